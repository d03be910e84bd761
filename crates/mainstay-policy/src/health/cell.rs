//! The health of one target as every worker reads it: lock-free, a few loads.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::{Moment, Verdict};

/// Shared health of one target. Written by the prober, read on the way of every request.
#[derive(Debug)]
pub struct Cell {
    verdict: AtomicU8,
    /// Whether the dependencies behind the target are healthy.
    deep: AtomicBool,
    since: AtomicU64,
    /// When it last came back to Ready; 0 if it never went away.
    recovered: AtomicU64,
}

impl Default for Cell {
    fn default() -> Self {
        Self {
            verdict: AtomicU8::new(Verdict::Unknown as u8),
            deep: AtomicBool::new(true),
            since: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
        }
    }
}

impl Cell {
    /// The verdict as it stands.
    #[inline]
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::from_code(self.verdict.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// Whether the dependencies behind the target are healthy; true until one was seen not to
    /// be. A target with sick dependencies is asked after the others, and is not ejected: its
    /// peers most likely share them.
    #[inline]
    #[must_use]
    pub fn deep(&self) -> bool {
        self.deep.load(Ordering::Relaxed)
    }

    /// When the verdict last changed; the origin if it never did.
    #[must_use]
    pub fn since(&self) -> Moment {
        Moment::from_nanos(self.since.load(Ordering::Relaxed))
    }

    /// When it last came back to Ready after it had been away: the start of its slow start.
    #[inline]
    #[must_use]
    pub fn recovered(&self) -> Option<Moment> {
        let nanos = self.recovered.load(Ordering::Relaxed);
        (nanos > 0).then_some(Moment::from_nanos(nanos))
    }

    /// Another verdict from `now` on. The very first Ready is no recovery: a fleet that starts
    /// takes its full share at once.
    pub fn set(&self, verdict: Verdict, now: Moment) {
        let before = self.verdict();
        if verdict == Verdict::Ready && !matches!(before, Verdict::Unknown | Verdict::Ready) {
            self.recovered.store(now.as_nanos(), Ordering::Relaxed);
        }
        self.since.store(now.as_nanos(), Ordering::Relaxed);
        self.verdict.store(verdict as u8, Ordering::Relaxed);
    }

    /// Whether the dependencies behind the target are healthy, from now on.
    pub fn set_deep(&self, healthy: bool) {
        self.deep.store(healthy, Ordering::Relaxed);
    }
}
