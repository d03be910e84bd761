//! The pause before a retry.

use std::time::Duration;

/// Exponential back-off with full jitter: anything between nothing and the doubled base.
///
/// Of the schemes compared in *Exponential Backoff And Jitter* (M. Brooker, AWS Architecture
/// Blog, 2015) this one makes the fewest calls in total; it also needs no memory of the last pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest pause before the first retry; each further retry doubles it.
    pub base: Duration,
    /// The longest pause before any.
    pub max: Duration,
}

impl Default for Backoff {
    /// 25 ms lets a connection be re-made, and fits several times into a usual deadline; 1 s is
    /// as long as an interactive client waits.
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_secs(1) }
    }
}

impl Backoff {
    /// The pause before retry number `retry`, the first being 1.
    #[must_use]
    pub fn delay(&self, retry: u32, rng: &mut fastrand::Rng) -> Duration {
        let longest = u64::try_from(self.longest(retry).as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.u64(0..=longest))
    }

    /// The longest that [`delay`](Self::delay) can give.
    #[must_use]
    pub fn longest(&self, retry: u32) -> Duration {
        self.base.saturating_mul(1 << retry.saturating_sub(1).min(31)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pause_doubles_up_to_the_maximum() {
        let backoff = Backoff::default();
        let longest: Vec<_> = (0..8).map(|retry| backoff.longest(retry).as_millis()).collect();
        assert_eq!(longest, [25, 25, 50, 100, 200, 400, 800, 1000]);
        assert_eq!(backoff.longest(u32::MAX), backoff.max);
    }

    #[test]
    fn pauses_fill_the_whole_range() {
        let backoff = Backoff::default();
        let mut rng = fastrand::Rng::with_seed(7);
        let pauses: Vec<_> = (0..1000).map(|_| backoff.delay(3, &mut rng).as_millis()).collect();
        assert!(pauses.iter().all(|ms| *ms <= 100));
        let mean = pauses.iter().sum::<u128>() / 1000;
        assert!((45..=55).contains(&mean), "{mean}");
    }

    #[test]
    fn the_longest_durations_do_not_overflow() {
        let endless = Backoff { base: Duration::MAX, max: Duration::MAX };
        let _ = endless.delay(u32::MAX, &mut fastrand::Rng::with_seed(1));
        let none = Backoff { base: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(none.delay(3, &mut fastrand::Rng::with_seed(1)), Duration::ZERO);
    }
}
