//! When the next probe is due.

use std::time::Duration;

use crate::Verdict;

use super::{Settings, Streak};

/// The delay before the next probe of a target in this state, jitter included.
pub fn next_delay(streak: Streak, settings: &Settings, rng: &mut fastrand::Rng) -> Duration {
    let base = if streak.is_in_transition() {
        settings.fast
    } else {
        match streak.verdict() {
            Verdict::Ready => settings.interval,
            _ => settings.down,
        }
    };
    let jitter = settings.jitter.get() * (2.0 * rng.f32() - 1.0);
    base.mul_f32(1.0 + jitter)
}

/// The delay before the first probe of target `index` of `count`, so that all of them together
/// are spread evenly over `window`.
#[must_use]
pub fn initial_spread(index: usize, count: usize, window: Duration) -> Duration {
    let place = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    window / place(count.max(1)) * place(index.min(count))
}
