//! What the gateway itself lacks to open connections: descriptors, ports, buffers.
//!
//! No server is to blame for it, so neither breakers nor verdicts show it. It is told as an event
//! and a line of the log, at most once in a while: whoever is short of descriptors is short
//! thousands of times a second.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mainstay_policy::Moment;
use mainstay_telemetry::{Event, EventKind};

use crate::shared::Shared;

/// Between two tellings.
const QUIET: Duration = Duration::from_secs(10);

/// How often it came since it was last told.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    /// Nanoseconds; 0 before the first time.
    told: AtomicU64,
    since: AtomicU32,
}

impl Shortage {
    /// It came once more; if it is to be told again, how often it came since it was told last.
    fn again(&self, now: Moment) -> Option<u32> {
        self.since.fetch_add(1, Ordering::Relaxed);
        let told = self.told.load(Ordering::Relaxed);
        let quiet = told != 0 && now.since(Moment::from_nanos(told)) < QUIET;
        let mine = !quiet
            && self
                .told
                .compare_exchange(told, now.as_nanos().max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        mine.then(|| self.since.swap(0, Ordering::Relaxed))
    }
}

impl Shared {
    /// A connection to `whom` could not be opened for want of something of the gateway's own.
    pub(crate) fn short_of(&self, error: impl std::fmt::Display, whom: &str) {
        let Some(times) = self.shortage.again(self.clock.now()) else { return };
        let cause = format!(
            "MS0318: no connection to {whom} could be opened, which is not its fault: {error} \
             ({times} times since this was last told)"
        );
        tracing::error!("{cause}");
        self.telemetry.event(Event {
            kind: EventKind::Gateway,
            subject: "gateway".to_owned(),
            from: "connecting".to_owned(),
            to: "short".to_owned(),
            cause,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_in_a_while_with_how_often_it_came() {
        let shortage = Shortage::default();
        let at = |millis: u64| Moment::from_millis(1_000 + millis);
        assert_eq!(shortage.again(at(0)), Some(1));
        assert!((1..500).all(|n| shortage.again(at(n * 10)).is_none()));
        assert_eq!(shortage.again(at(10_000)), Some(500));
        assert_eq!(shortage.again(at(10_001)), None);
    }
}
