//! What the control loop decides, beside the way of requests: operators' orders, and forecasts.
//!
//! Pure ring: no runtime, no sockets, no clock. Whoever acts on what is decided here lives in a
//! shell; the same decisions answer "what if" questions without anything being done.

pub mod forecast;
