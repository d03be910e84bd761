//! What is broken when, and when it is mended: plain data.

use std::fmt;
use std::time::Duration;

/// Servers of the first pool.
pub(super) const FOREST_SERVERS: usize = 3;
/// Servers of the second pool.
pub(super) const BOOSTING_SERVERS: usize = 2;

/// What is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// One server of the first pool, by its number from 0.
    Forest(usize),
    /// The whole first pool.
    AllForest,
    /// The whole second pool.
    AllBoosting,
}

/// How it is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// SIGKILL; mended by a restart on the same port.
    Kill,
    /// SIGSTOP; mended by SIGCONT.
    Freeze,
}

/// A fault and its end, after the start of the traffic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) target: Target,
    pub(super) strikes: Duration,
    pub(super) mended: Duration,
}

/// A whole demo.
#[derive(Clone, Debug)]
pub(super) struct Timetable {
    /// Requests a second.
    pub(super) rate: u32,
    /// In the order in which they strike.
    pub(super) faults: Vec<Fault>,
    /// How long the traffic goes on after everything has recovered.
    pub(super) calm: Duration,
    /// The end, recovered or not.
    pub(super) latest: Duration,
}

impl Timetable {
    /// Slow enough to be followed.
    pub(super) fn full() -> Self {
        use {
            Kind::{Freeze, Kill},
            Target::{AllBoosting, AllForest, Forest},
        };
        Self {
            rate: 250,
            faults: vec![
                fault(Kill, Forest(0), 4_000, 8_000),
                fault(Freeze, Forest(1), 14_000, 18_000),
                fault(Kill, AllForest, 24_000, 38_000),
                fault(Kill, AllBoosting, 29_000, 34_000),
            ],
            calm: Duration::from_secs(4),
            latest: Duration::from_secs(60),
        }
    }

    /// The same faults, hurried: for tests.
    pub(super) fn fast() -> Self {
        use {
            Kind::{Freeze, Kill},
            Target::{AllBoosting, AllForest, Forest},
        };
        Self {
            rate: 150,
            faults: vec![
                fault(Kill, Forest(0), 500, 1_500),
                fault(Freeze, Forest(1), 2_500, 3_500),
                fault(Kill, AllForest, 4_500, 6_500),
                fault(Kill, AllBoosting, 5_200, 5_900),
            ],
            calm: Duration::from_millis(300),
            latest: Duration::from_secs(12),
        }
    }

    /// When it will be over if all goes as usual.
    pub(super) fn expected(&self) -> Duration {
        const RECOVERY: Duration = Duration::from_secs(1);
        let last = self.faults.iter().map(|fault| fault.mended).max().unwrap_or_default();
        last + RECOVERY + self.calm
    }
}

fn fault(kind: Kind, target: Target, strikes_ms: u64, mended_ms: u64) -> Fault {
    let strikes = Duration::from_millis(strikes_ms);
    Fault { kind, target, strikes, mended: Duration::from_millis(mended_ms) }
}

impl Target {
    /// The pool that it belongs to.
    pub(super) const fn pool(self) -> &'static str {
        match self {
            Self::Forest(_) | Self::AllForest => "forest",
            Self::AllBoosting => "boosting",
        }
    }

    /// The numbers of its servers in their pool.
    pub(super) const fn servers(self) -> std::ops::Range<usize> {
        match self {
            Self::Forest(index) => index..index + 1,
            Self::AllForest => 0..FOREST_SERVERS,
            Self::AllBoosting => 0..BOOSTING_SERVERS,
        }
    }

    /// Whether `label`, which begins as `pool/endpoint`, is one of its servers.
    pub(super) fn covers(self, label: &str) -> bool {
        let mut parts = label.split('/');
        let (pool, endpoint) = (parts.next(), parts.next());
        pool == Some(self.pool())
            && self.servers().any(|index| endpoint == Some(&*endpoint_name(self.pool(), index)))
    }
}

/// `forest-1` is the first of its pool.
pub(super) fn endpoint_name(pool: &str, index: usize) -> String {
    format!("{pool}-{}", index + 1)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forest(index) => f.write_str(&endpoint_name(self.pool(), *index)),
            Self::AllForest | Self::AllBoosting => {
                write!(f, "all of {} ({} servers)", self.pool(), self.servers().len())
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_mended_before_the_end() {
        for timetable in [Timetable::full(), Timetable::fast()] {
            assert!(timetable.faults.len() >= 3);
            for fault in &timetable.faults {
                assert!(fault.strikes < fault.mended && fault.mended < timetable.latest);
            }
        }
    }

    #[test]
    fn the_fast_one_has_enough_requests_in_its_time() {
        let fast = Timetable::fast();
        let last = fast.faults.iter().map(|fault| fault.mended).max().unwrap();
        assert!(last.as_secs_f64() * f64::from(fast.rate) > 500.0);
        assert!(fast.latest < Duration::from_secs(13), "starting and ending take time too");
    }

    #[test]
    fn a_target_knows_its_servers() {
        assert!(Target::Forest(0).covers("forest/forest-1/digits"));
        assert!(!Target::Forest(0).covers("forest/forest-2"));
        assert!(Target::AllForest.covers("forest/forest-3"));
        assert!(!Target::AllForest.covers("boosting/boosting-1"));
        assert!(!Target::AllForest.covers("gateway"));
    }
}
