//! Which targets are worse than their peers, and whether the others can do without them.
//!
//! A health check cannot see a server that answers it and is ten times slower than its peers, or
//! that fails one request in five; comparison can. Once a second [`evaluate`](evaluate()) looks at one pool's
//! targets and says whom to eject, and why:
//!
//! | cause | ejected when |
//! |---|---|
//! | consecutive | so many blamed failures in a row |
//! | success rate | below the mean of the others minus `deviations` standard deviations |
//! | latency | most of its answers are slower than `factor` times the median of the peers, *and* than `factor` times what it usually needs itself, *and* than an absolute floor |
//!
//! The success rate follows Envoy's outlier detection
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>), with two
//! differences: the target itself is left out of the mean (within it, nobody of four could ever
//! be two deviations away: the most that is possible is the square root of three), and the
//! chance that lies in few requests counts as deviation too. Latency is compared with both the
//! peers and the past, since a server that was always slower is a smaller one, and servers that
//! all became slower have a common cause that no ejection mends.
//!
//! What an evaluation keeps to (invariant 7 of the design):
//! - who is ejected leaves others behind whose measured service rates carry the present load;
//! - at most a configured share of the pool is out by ejection, and never its last;
//! - who is certainly dead, or out for another reason, is no ejection and no help;
//! - when the load outgrows those who are left, the ejected are called back.

mod evaluate;
mod history;
mod stats;
mod watch;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::Ratio;

pub use evaluate::{Cause, Command, Kept, Place, View, evaluate};
pub use history::{Capacity, History};
pub use stats::{Counts, Histogram, Stats};
pub use watch::{Change, State, Watch, Watched};

/// How often a pool is evaluated.
pub const TICK: Duration = Duration::from_secs(1);

/// When a target is an outlier.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Blamed failures in a row; `None`: no number ejects. Default 5, as Envoy's
    /// `consecutive_5xx`. A target whose breaker has opened on them is out already.
    pub consecutive: Option<u32>,
    /// Against the pool's success rate; `None`: not compared.
    pub success_rate: Option<SuccessRate>,
    /// Against the peers' latency and its own; `None`: not compared.
    pub latency: Option<Latency>,
    /// The largest share of a pool that may be out by ejection; one target may always be, where
    /// the share is above zero. Default 50 %: with more gone, the pool is what is broken.
    pub max_ejected: Ratio,
}

/// Success rates over the last ten seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    /// How many standard deviations below the others' mean. Default 3: once in 700 by chance
    /// (Envoy's 1.9, once in 35, counts the target itself into the mean).
    pub deviations: f32,
    /// And at least so far below it. Default 10 %: where all others succeed always, the
    /// deviation is nothing and a single failure would be outside.
    pub margin: Ratio,
    /// Targets with enough requests, at least. Default 3 (Envoy: 5).
    pub minimum_hosts: u32,
    /// Requests of each of them, at least. Default 20 (Envoy: 100): a balancer that sends a
    /// failing target less must not thereby protect it.
    pub minimum_requests: u32,
}

/// Latencies of the latest requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// How many times the peers' median and its own usual latency. Default 3.
    pub factor: f32,
    /// Never below this. Default 10 ms: less is scheduling, not a fault.
    pub floor: Duration,
    /// Answers to judge by, at least. Default 10.
    pub minimum_requests: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive: Some(5),
            success_rate: Some(SuccessRate::default()),
            latency: Some(Latency::default()),
            max_ejected: Ratio::percent(50),
        }
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { deviations: 3.0, margin: Ratio::percent(10), minimum_hosts: 3, minimum_requests: 20 }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self { factor: 3.0, floor: Duration::from_millis(10), minimum_requests: 10 }
    }
}

impl Settings {
    /// Rules under which nobody is ejected.
    #[must_use]
    pub const fn off() -> Self {
        Self { consecutive: None, success_rate: None, latency: None, max_ejected: Ratio::ZERO }
    }
}
