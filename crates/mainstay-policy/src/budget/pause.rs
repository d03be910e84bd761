//! The time before which a target asked not to be asked again (`Retry-After`).
//!
//! A server that says when it can be asked again knows more than any guess of ours, so everyone
//! keeps to it: the state is shared by all workers. It is also a word of the server's own, and
//! may be a mistake: it is bounded, and the last resort may wait for its end within a request's
//! deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Moment;

/// The longest that a server can keep requests away with one answer: as long as the longest wait
/// of an open breaker. A server that is still full then says so again.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When a target may be asked again, shared by all workers.
#[derive(Debug, Default)]
pub struct Pause(AtomicU64);

impl Pause {
    /// Nobody asks it before `after` has passed, [`LONGEST_PAUSE`] at most. A later word replaces
    /// an earlier one only if it reaches further: answers can overtake each other. True where the
    /// target may have been asked until now.
    pub fn ask(&self, after: Duration, now: Moment) -> bool {
        let until = now + after.min(LONGEST_PAUSE);
        let before = self.0.fetch_max(until.as_nanos(), Ordering::Relaxed);
        before <= now.as_nanos() && until > now
    }

    /// Until when it wants to be left alone; `None` if it may be asked.
    #[inline]
    #[must_use]
    pub fn until(&self, now: Moment) -> Option<Moment> {
        let until = Moment::from_nanos(self.0.load(Ordering::Relaxed));
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(5_000);

    #[test]
    fn a_pause_is_bounded_and_ends() {
        let pause = Pause::default();
        assert_eq!(pause.until(NOW), None);
        assert!(pause.ask(Duration::from_secs(86_400), NOW), "it begins");
        assert_eq!(pause.until(NOW), Some(NOW + LONGEST_PAUSE));
        assert!(!pause.ask(Duration::from_secs(1), NOW), "it has begun before");
        assert_eq!(pause.until(NOW), Some(NOW + LONGEST_PAUSE), "the longer one holds");
        assert_eq!(pause.until(NOW + LONGEST_PAUSE), None);
    }
}
