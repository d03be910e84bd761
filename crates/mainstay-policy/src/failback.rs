//! How a target comes back: held out, on probation, up a ramp.
//!
//! | state | leaves for | when |
//! |---|---|---|
//! | serving | held | it is ejected |
//! | serving | ramp | it was dead or its breaker open, and it is back |
//! | held | probation | the hold is over and its verdict takes traffic |
//! | probation | held | a probation request failed, or the answers are as slow as before |
//! | probation | ramp | enough real requests were answered |
//! | ramp | held | it is an outlier again |
//! | ramp | serving | the ramp is over |
//! | held, probation | ramp | it is called back, since the others do not carry the load |
//!
//! - A *hold* doubles with each relapse soon after the last one (flap damping, as in BGP's route
//!   flap damping, RFC 2439), and starts anew after a time without one.
//! - *Probation* takes a few real requests, since a server can pass every probe and still fail
//!   all requests; everything else stays with the proven ones.
//! - The *ramp* is linear in time, as HAProxy's `slowstart`, and gated by latency: it stands
//!   still while the target is slower than its peers, and steps back while it is much slower.
//!
//! The share that comes of it lies in a [`Rotation`], which the way of a request reads and which
//! also paces the requests: in no second does a returning target get more than its share of
//! them, whatever the balancer thinks of its latency.

mod returning;
mod rotation;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::Ratio;

pub use returning::{Failback, Pace, Phase, Seen, Step};
pub use rotation::Rotation;

/// How targets come back.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Real requests that must succeed on probation. Default 3, as a breaker's.
    pub successes: u32,
    /// How long the ramp takes. Default 10 s; zero: no ramp.
    pub ramp: Duration,
    /// The share at its foot. Default 10 %.
    pub foot: Ratio,
    /// How long an ejected target is held out the first time. Default 10 s (Envoy's 30 s has no
    /// probation behind it).
    pub hold: Duration,
    /// The longest that it is held out; and how long it must go well for its relapses to be
    /// forgotten. Default 5 min, as Envoy's `max_ejection_time`.
    pub hold_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            successes: 3,
            ramp: Duration::from_secs(10),
            foot: Ratio::percent(10),
            hold: Duration::from_secs(10),
            hold_max: Duration::from_secs(300),
        }
    }
}

impl Settings {
    /// The hold after so many relapses.
    #[must_use]
    pub fn hold_after(&self, relapses: u8) -> Duration {
        let doubled = self.hold.saturating_mul(1 << u32::from(relapses).min(20));
        doubled.min(self.hold_max.max(self.hold))
    }
}
