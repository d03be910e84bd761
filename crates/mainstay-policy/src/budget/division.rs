//! How long one attempt may take.

use std::time::Duration;

/// The least time in which an attempt over a network can sensibly succeed.
pub const SENSIBLE: Duration = Duration::from_millis(1);

/// What an attempt's limit depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// The longest that the configuration allows.
    pub configured: Duration,
    /// What is left of the deadline.
    pub remaining: Duration,
    /// What the steps behind this one must be left with.
    pub reserve: Duration,
    /// Attempts that this step could still make, this one included; 0 counts as 1.
    pub tries_left: u32,
    /// What the target usually takes, where an attempt must not get less; zero: nothing is known,
    /// or it may.
    pub usual: Duration,
}

/// The limit of the next attempt: an equal part of what may be spent, at most what is configured.
///
/// A hung attempt thus always leaves the reserve, and an equal part for each other try. Where
/// the parts would be too short to be [`SENSIBLE`], or for what is usual, fewer tries get more. `None`
/// where not even one does: the request had better go to what stands behind.
#[must_use]
pub fn attempt_limit(limits: Division) -> Option<Duration> {
    let available = limits.remaining.saturating_sub(limits.reserve);
    if available < SENSIBLE || limits.configured.is_zero() {
        return None;
    }
    let part = available / limits.tries_left.max(1);
    let enough = limits.usual.min(available).max(SENSIBLE);
    Some(part.max(enough).min(limits.configured))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn limit(configured: u64, remaining: u64, reserve: u64, tries_left: u32) -> Option<Duration> {
        attempt_limit(Division {
            configured: ms(configured),
            remaining: ms(remaining),
            reserve: ms(reserve),
            tries_left,
            usual: Duration::ZERO,
        })
    }

    #[test]
    fn tries_share_what_the_reserve_leaves() {
        assert_eq!(limit(10_000, 200, 50, 3), Some(ms(50)));
        assert_eq!(limit(10_000, 200, 50, 1), Some(ms(150)));
        assert_eq!(limit(20, 200, 50, 3), Some(ms(20)));
        assert_eq!(limit(10_000, 200, 50, 0), Some(ms(150)));
    }

    #[test]
    fn a_part_is_no_shorter_than_what_is_usual_while_there_is_time() {
        let limits = |remaining, usual| Division {
            configured: ms(10_000),
            remaining: ms(remaining),
            reserve: ms(50),
            tries_left: 3,
            usual: ms(usual),
        };
        assert_eq!(attempt_limit(limits(350, 80)), Some(ms(100)));
        assert_eq!(attempt_limit(limits(350, 200)), Some(ms(200)));
        assert_eq!(attempt_limit(limits(350, 900)), Some(ms(300)));
    }

    #[test]
    fn too_short_parts_become_fewer() {
        assert_eq!(limit(10_000, 7, 5, 3), Some(ms(1)));
        assert_eq!(limit(10_000, 5, 5, 3), None);
        assert_eq!(limit(10_000, 3, 5, 3), None);
        assert_eq!(limit(0, 200, 0, 3), None);
    }

    fn micros(max: u64) -> impl Strategy<Value = Duration> {
        (0..max).prop_map(Duration::from_micros)
    }

    proptest! {
        #[test]
        fn a_hung_attempt_leaves_the_reserve(
            configured in micros(20_000_000),
            remaining in micros(10_000_000),
            reserve in micros(10_000_000),
            usual in micros(10_000_000),
            tries_left in 0u32..10,
        ) {
            let limits = Division { configured, remaining, reserve, tries_left, usual };
            if let Some(limit) = attempt_limit(limits) {
                prop_assert!(limit <= configured);
                prop_assert!(!limit.is_zero());
                prop_assert!(remaining - limit >= reserve);
            }
        }

        #[test]
        fn all_hung_attempts_together_leave_the_reserve(
            configured in micros(20_000_000),
            deadline in micros(10_000_000),
            reserve in micros(1_000_000),
            tries in 1u32..10,
        ) {
            let mut remaining = deadline;
            let mut spent = Duration::ZERO;
            for tries_left in (1..=tries).rev() {
                let usual = Duration::ZERO;
                let limits = Division { configured, remaining, reserve, tries_left, usual };
                let Some(limit) = attempt_limit(limits) else { break };
                spent += limit;
                remaining -= limit;
            }
            prop_assert!(spent <= deadline);
            prop_assert!(spent.is_zero() || deadline - spent >= reserve);
        }
    }
}
