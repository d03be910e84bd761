//! What the control loop decides, beside the way of requests: who of a pool is in use, who takes
//! over and how the lost one comes back; operators' orders, and forecasts.
//!
//! Pure ring: no runtime, no sockets, no clock. Whoever acts on what is decided here lives in a
//! shell; the same decisions answer "what if" questions without anything being done. The way of a
//! request switches by itself ([`mainstay_policy::standing`]); what is decided here makes it last.

pub mod forecast;
pub mod group;
pub mod orders;
pub mod process;
pub mod writer;
