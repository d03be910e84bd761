//! What we hold a target to be: from its probes, its requests, its heartbeat and its counters.
//!
//! [`fusion`] makes one verdict of all of them; [`Progress`] is what requests show, [`heartbeat`]
//! what a server says of itself, [`counters`] what it counts. The rest of this file is about
//! probes: what they say, and when to ask again.
//!
//! One probe is one [`Check`]; a [`Streak`] counts them and changes its verdict only after a row
//! of equal ones, so that a single lost packet moves nobody. The very first check decides at
//! once: a gateway that has just started must know its endpoints soon.
//!
//! | verdict | leaves for | after |
//! |---|---|---|
//! | Unknown | Ready, Loading or Dead | the first check |
//! | Ready | Dead | `fall` checks in a row that failed outright |
//! | Ready | Loading | `fall` checks in a row that did not pass, some of them answered |
//! | Loading | Dead | `fall` checks in a row that failed outright |
//! | Dead | Loading | the first answer "not ready": whoever answers is alive |
//! | Ready | Wrong | `fall` golden requests in a row that were answered wrongly |
//! | Loading, Dead, Wrong | Ready | `rise` checks in a row that passed |
//!
//! So `Dead` always means a row of outright failures. A server that says "not ready" while it
//! stops, and is then gone, is first loading and a little later dead; neither takes traffic.
//!
//! Intervals follow the state as HAProxy's `fastinter` and `downinter` do: shorter while a row
//! is building up, so that a change is confirmed quickly without probing all the time.

mod cell;
pub mod counters;
pub mod fusion;
pub mod heartbeat;
mod progress;
mod schedule;
mod streak;

use std::time::Duration;

pub use cell::Cell;
pub use progress::{Progress, Traffic};
pub use schedule::{initial_spread, next_delay};
pub use streak::{Change, Check, Evidence, Streak};

use crate::Ratio;

/// How a target is probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Between two probes of a target whose state is settled. Default 2 s, as HAProxy's `inter`.
    pub interval: Duration,
    /// Between two probes while a change is building up. Default 500 ms: with `fall` 3 a dead
    /// target is known after one interval and two of these.
    pub fast: Duration,
    /// Between two probes of a target that is down. Default 1 s: it should be back soon after it
    /// is back.
    pub down: Duration,
    /// The longest that a probe may take; below `interval`. Default 400 ms.
    pub timeout: Duration,
    /// Passed probes in a row that make a target ready again; at least 1. Default 3.
    pub rise: u8,
    /// Failed probes in a row that take a target out; at least 1. Default 3.
    pub fall: u8,
    /// The share by which each delay is drawn longer or shorter, so that gateways and targets do
    /// not fall into step. Default 20 %.
    pub jitter: Ratio,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            fast: Duration::from_millis(500),
            down: Duration::from_secs(1),
            timeout: Duration::from_millis(400),
            rise: 3,
            fall: 3,
            jitter: Ratio::percent(20),
        }
    }
}

#[cfg(test)]
mod tests;
