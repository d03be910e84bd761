//! Endpoints that come and go: which of them a pool has, by what its sources say.
//!
//! Sources of names are wrong more often than servers die: a resolver that is down, a record
//! deleted by mistake, a file half written, a cluster's control plane that lost its mind. So what
//! a source says is believed at once where it adds, and only after a second look where it takes
//! away:
//!
//! ```text
//!            named                 no longer named            linger is over, or dead
//!   absent ─────────▶ present ──────────────────▶ leaving ─────────────────────────▶ absent
//!                        ▲      drained, not cut     │
//!                        └───────────────────────────┘ named again
//! ```
//!
//! - A failure, or an answer that names nobody, changes nothing: the last good set is kept.
//! - An answer that takes away more than a share of the set at once is believed when the next one
//!   says so too (in the way of Envoy's panic threshold and of Eureka's self-preservation).
//! - Who is no longer named and still answers its probes gets no new requests and stays as a last
//!   resort for a while; who does not answer either is removed at once.
//!
//! [`Lookups`] is a source that is asked (DNS, a file), [`Leases`] one whose endpoints speak for
//! themselves. Both are pure: they are told the time, chance and who answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Ratio;

mod leases;
mod lookups;
mod roster;
#[cfg(test)]
mod tests;

pub use leases::{Leases, Refused};
pub use lookups::{Lookups, Said};
pub use roster::Roster;

/// How a source is looked at and believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The shortest time between two looks, whatever TTL an answer has. Default 5 s, as Envoy's
    /// `dns_refresh_rate`.
    pub min_refresh: Duration,
    /// The longest. Default 60 s: a change of an address is not waited for longer than a minute.
    pub max_refresh: Duration,
    /// How long an endpoint that is no longer named and still answers is drained before it is
    /// removed. Default 30 s.
    pub linger: Duration,
    /// An answer that takes away more than this share of the endpoints has to be confirmed by the
    /// next one. Default half.
    pub most_removed: Ratio,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_refresh: Duration::from_secs(5),
            max_refresh: Duration::from_secs(60),
            linger: Duration::from_secs(30),
            most_removed: Ratio::percent(50),
        }
    }
}

/// How a pool's endpoints may register themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Endpoints that may be registered at once. Default 64.
    pub most: usize,
    /// How long after the end of its word an endpoint is kept: long enough for a server, or the
    /// way to it, to stumble and come back. Default 10 s.
    pub grace: Duration,
    /// As [`Settings::linger`].
    pub linger: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        let linger = Settings::default().linger;
        Self { most: 64, grace: Duration::from_secs(10), linger }
    }
}

/// What changed about one endpoint, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which endpoint.
    pub key: Arc<str>,
    /// What became of it.
    pub to: Became,
    /// In one line.
    pub cause: String,
}

/// What became of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Became {
    /// It was not there before.
    Added,
    /// It is described otherwise now.
    Changed,
    /// It gets no new requests any more.
    Leaving,
    /// It was leaving, and is back.
    Returned,
    /// It is gone.
    Removed,
}

impl Became {
    /// The word for it in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Leaving => "leaving",
            Self::Returned => "returned",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.key, self.to.as_str(), self.cause)
    }
}
