//! How many a second: a token bucket in one atomic word.
//!
//! The generic cell rate algorithm (ITU-T I.371): kept is the moment at which the bucket would be
//! full again, instead of a level and the time of its last change. One compare-and-swap then
//! decides, and a refusal knows how long it would have had to wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::moment::Moment;

/// So many a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds between two that come evenly; at least one.
    interval: u64,
    /// How far the bucket may be emptied, in nanoseconds.
    depth: u64,
}

impl Rate {
    /// `per_second` on average, `burst` at once; both at least what lets one through.
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        let interval = (1e9 / per_second.max(1e-6)).clamp(1.0, 1e15) as u64;
        Self { interval, depth: interval.saturating_mul(u64::from(burst.max(1))) }
    }
}

/// What has been taken lately.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one.
    ///
    /// # Errors
    /// There is none left: how long until there is.
    pub fn take(&self, rate: Rate, now: Moment) -> Result<(), Duration> {
        let now = now.as_nanos();
        let mut full = self.0.load(Ordering::Relaxed);
        loop {
            let next = full.max(now).saturating_add(rate.interval);
            let emptied = next - now;
            if emptied > rate.depth {
                return Err(Duration::from_nanos(emptied - rate.depth));
            }
            match self.0.compare_exchange_weak(full, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => full = seen,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10.0, 3));
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, at(1000)), Ok(()));
        }
        assert_eq!(bucket.take(rate, at(1000)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(rate, at(1099)), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(rate, at(1100)), Ok(()));
        assert!(bucket.take(rate, at(1100)).is_err());
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, at(5000)), Ok(()), "after a pause it is full again");
        }
        assert!(bucket.take(rate, at(5000)).is_err());
    }

    #[test]
    fn another_rate_holds_from_now_on() {
        let bucket = Bucket::default();
        assert_eq!(bucket.take(Rate::new(1.0, 1), at(0)), Ok(()));
        assert!(bucket.take(Rate::new(1.0, 1), at(1)).is_err());
        assert_eq!(bucket.take(Rate::new(1.0, 5), at(1)), Ok(()));
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_its_share(
            steps in prop::collection::vec(0_u64..200, 1..300),
            per_second in 1_u32..100,
            burst in 1_u32..20,
        ) {
            let (bucket, rate) = (Bucket::default(), Rate::new(f64::from(per_second), burst));
            let mut now = 0;
            let mut passed = Vec::new();
            for step in steps {
                now += step;
                if bucket.take(rate, at(now)).is_ok() {
                    passed.push(now);
                }
            }
            for (at, from) in passed.iter().enumerate() {
                for (to, until) in passed.iter().enumerate().skip(at) {
                    let seconds = (until - from) as f64 / 1e3;
                    let most = f64::from(burst) + seconds * f64::from(per_second) + 1e-3;
                    prop_assert!((to - at + 1) as f64 <= most);
                }
            }
        }

        #[test]
        fn who_waits_as_long_as_told_is_let_through(burst in 1_u32..5, at_once in 1_u32..20) {
            let (bucket, rate) = (Bucket::default(), Rate::new(7.0, burst));
            let mut now = Moment::from_millis(10);
            for _ in 0..at_once {
                if let Err(wait) = bucket.take(rate, now) {
                    now = now + wait;
                    prop_assert_eq!(bucket.take(rate, now), Ok(()));
                }
            }
        }
    }
}
