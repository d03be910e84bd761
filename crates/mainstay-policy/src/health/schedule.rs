//! When the next probe is due.

use std::time::Duration;

use crate::Verdict;

use super::{Settings, Streak};

/// From the start of a probe to the start of the next one of a target in this state, jitter
/// included.
#[must_use]
pub fn next_delay(streak: Streak, settings: &Settings, rng: &mut fastrand::Rng) -> Duration {
    let base = if streak.is_in_transition() {
        settings.fast
    } else {
        match streak.verdict() {
            Verdict::Ready => settings.interval,
            _ => settings.down,
        }
    };
    let jitter = f64::from(settings.jitter.get()) * (2.0 * rng.f64() - 1.0);
    Duration::try_from_secs_f64(base.as_secs_f64() * (1.0 + jitter)).unwrap_or(base)
}

/// The delay before the first probe of target `index` of `count`, so that all of them together
/// are spread evenly over `window`.
#[must_use]
pub fn initial_spread(index: usize, count: usize, window: Duration) -> Duration {
    let place = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    window / place(count.max(1)) * place(index.min(count))
}
