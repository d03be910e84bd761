//! Overload: how much a target takes at once, who waits, and who is turned away.
//!
//! A server that is asked for more than it can do does not do more: its queue grows until every
//! answer comes too late, and its capacity goes into answers that nobody waits for any more.
//! So the waiting is done here, where it is bounded and in a sensible order:
//!
//! - a [`Limiter`] finds out how many attempts at a target are worth having under way, by what
//!   more of them do to its latency and its throughput ([`gradient`]);
//! - a [`Bulkhead`] bounds the requests of one model, so that a flood on one leaves room for the
//!   others;
//! - a [`Queue`] for each model holds what finds no room: bounded, the highest [`Priority`]
//!   first and then the earliest deadline; what cannot be answered in time any more is turned
//!   away at once instead of at its deadline.
//!
//! Nothing here locks on the way of a request that finds room.

pub mod bulkhead;
pub mod gradient;
pub mod limiter;
pub mod priority;
pub mod queue;
pub mod rate;

#[cfg(test)]
mod simulation;

pub use bulkhead::{Bulkhead, Pace, Took};
pub use gradient::Settings;
pub use limiter::{Limiter, Sample};
pub use priority::Priority;
pub use queue::{Key, Queue, Refusal};
pub use rate::{Bucket, Rate};
