//! The recent calls of a target: how many, how many failed, how many were slow.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Moment, window};

use super::settings::WindowKind;

/// Bits of a counter: up to 8191 calls for each bucket and worker before they are halved.
const COUNTER_BITS: u32 = 13;

/// One call, as the window counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// The sums of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

/// The calls over which rates are taken.
#[derive(Debug)]
pub(super) enum Window {
    Time(window::Window<3, COUNTER_BITS>),
    Calls(Recent),
}

/// The last calls, the newest in the lowest bit.
///
/// Three words are shifted one after the other. Under concurrent calls their orders may differ,
/// but each holds exactly the last 64 answers to its question, so the counts are right.
#[derive(Debug)]
pub(super) struct Recent {
    /// The bits that count.
    size: u64,
    made: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
}

impl Window {
    pub(super) fn new(kind: WindowKind, shards: usize) -> Self {
        match kind {
            WindowKind::Time(span) => Self::Time(window::Window::new(span, shards)),
            WindowKind::Calls(size) => Self::Calls(Recent::new(size)),
        }
    }

    #[inline]
    pub(super) fn add(&self, shard: usize, now: Moment, period: u8, call: Call) {
        match self {
            Self::Time(window) => window.add(shard, now, period, [true, call.failed, call.slow]),
            Self::Calls(recent) => recent.add(call),
        }
    }

    pub(super) fn totals(&self, now: Moment, period: u8) -> Totals {
        match self {
            Self::Time(window) => {
                let [calls, failures, slow] = window.totals(now, period);
                Totals { calls, failures, slow }
            }
            Self::Calls(recent) => recent.totals(),
        }
    }

    /// A new period begins. Buckets of time know their period; the last calls are wiped.
    pub(super) fn begin(&self) {
        match self {
            Self::Time(_) => {}
            Self::Calls(recent) => recent.clear(),
        }
    }
}

impl Recent {
    fn new(size: u8) -> Self {
        let size = u64::MAX >> (64 - u32::from(size.clamp(1, 64)));
        let empty = || AtomicU64::new(0);
        Self { size, made: empty(), failed: empty(), slow: empty() }
    }

    fn add(&self, call: Call) {
        for (word, bit) in
            [(&self.failed, call.failed), (&self.slow, call.slow), (&self.made, true)]
        {
            let shifted = |bits: u64| Some(bits << 1 | u64::from(bit));
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shifted);
        }
    }

    fn totals(&self) -> Totals {
        let ones = |word: &AtomicU64| (word.load(Ordering::Relaxed) & self.size).count_ones();
        Totals { calls: ones(&self.made), failures: ones(&self.failed), slow: ones(&self.slow) }
    }

    fn clear(&self) {
        for word in [&self.made, &self.failed, &self.slow] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Call = Call { failed: true, slow: false };
    const SLOW: Call = Call { failed: false, slow: true };

    #[test]
    fn only_the_last_calls_count() {
        let recent = Recent::new(4);
        for call in [FAILED, FAILED, SLOW, SLOW, Call::default()] {
            recent.add(call);
        }
        assert_eq!(recent.totals(), Totals { calls: 4, failures: 1, slow: 2 });
    }

    #[test]
    fn the_largest_window_is_a_whole_word() {
        let recent = Recent::new(64);
        (0..100).for_each(|_| recent.add(FAILED));
        assert_eq!(recent.totals(), Totals { calls: 64, failures: 64, slow: 0 });
    }

    #[test]
    fn a_new_period_begins_empty() {
        let now = Moment::from_millis(5);
        for kind in [WindowKind::Calls(8), WindowKind::Time(std::time::Duration::from_secs(10))] {
            let window = Window::new(kind, 2);
            window.add(1, now, 0, FAILED);
            assert_eq!(window.totals(now, 0).failures, 1);
            window.begin();
            assert_eq!(window.totals(now, 1), Totals::default());
        }
    }
}
