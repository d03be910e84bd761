//! What latency is usual for a target: a streaming estimate of its 95th percentile.
//!
//! The estimate steps up by 95 parts when an answer took longer and down by 5 when it took less;
//! it rests where one answer in twenty is longer. Steps are relative, since latencies spread over
//! orders of magnitude. This is stochastic approximation (Robbins and Monro 1951), the same as
//! the FAME estimator (Feldman and Shavitt 2007) with unequal steps; a P² or t-digest sketch is
//! more exact and many words large, and three times a percentile asks for no exactness.
//!
//! An answer that already counts as slow moves the estimate much less. Otherwise a server that
//! browns out would teach within seconds that this is usual, before any window could judge it;
//! and without any step a change that is meant to last would never be accepted. After the first
//! answers at most one in each tick is looked at, which bounds that speed in time, whatever the
//! load, and keeps the word from being written on each request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Moment;

/// The quantile that is estimated.
const QUANTILE: f32 = 0.95;
/// The relative step of an established estimate.
const STEP: f32 = 0.05;
/// The part of a step that a slow answer makes: tripling takes more than a minute.
const SLOW_STEP: f32 = STEP / 16.0;
/// Answers before the estimate is used: twenty make one beyond the percentile likely.
const LEARNING: u8 = 20;
/// One tick: 2^27 ns, about 134 ms; a power of two spares a division.
const TICK_SHIFT: u32 = 27;

// Layout: 32 bits of the estimate (f32, microseconds), 8 of the answers seen, 24 of the tick.
const COUNT: u32 = 32;
const TICK: u32 = 40;
const TICK_MASK: u64 = (1 << 24) - 1;

/// The estimate, in one word. Unknown at first.
#[derive(Debug, Default)]
pub(super) struct Baseline(AtomicU64);

impl Baseline {
    /// The estimated 95th percentile; `None` before enough answers were seen.
    #[inline]
    pub(super) fn p95(&self) -> Option<Duration> {
        let word = self.0.load(Ordering::Relaxed);
        (count(word) >= LEARNING)
            .then(|| Duration::from_nanos((f64::from(estimate(word)) * 1e3) as u64))
    }

    /// Learns from one good answer; `slow` says that it counted as such.
    #[inline]
    pub(super) fn learn(&self, latency: Duration, slow: bool, now: Moment) {
        let word = self.0.load(Ordering::Relaxed);
        let tick = (now.as_nanos() >> TICK_SHIFT) & TICK_MASK;
        if count(word) >= LEARNING && word >> TICK == tick {
            return;
        }
        let micros = (latency.as_secs_f32() * 1e6).max(1.0);
        let next = u64::from(stepped(word, micros, slow).to_bits())
            | u64::from(count(word).saturating_add(1)) << COUNT
            | tick << TICK;
        // Another worker's answer is as good as this one: no second try.
        let _ = self.0.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn stepped(word: u64, micros: f32, slow: bool) -> f32 {
    let estimate = estimate(word);
    let seen = count(word);
    if seen == 0 {
        return micros;
    }
    // Early answers move it far, later ones less: 1/n until the established step is reached.
    let step = if slow { SLOW_STEP } else { STEP.max(1.0 / f32::from(seen)) };
    let factor =
        if micros > estimate { 1.0 + step * QUANTILE } else { 1.0 - step * (1.0 - QUANTILE) };
    estimate * factor
}

fn estimate(word: u64) -> f32 {
    f32::from_bits(word as u32)
}

const fn count(word: u64) -> u8 {
    (word >> COUNT) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Learns `answers` latencies drawn by `draw`, 200 ms apart.
    fn learned(answers: u64, mut draw: impl FnMut() -> f64) -> Baseline {
        let baseline = Baseline::default();
        for n in 0..answers {
            let latency = Duration::from_secs_f64(draw() / 1e3);
            baseline.learn(latency, false, Moment::from_millis(n * 200));
        }
        baseline
    }

    fn millis(baseline: &Baseline) -> f64 {
        baseline.p95().unwrap().as_secs_f64() * 1e3
    }

    #[test]
    fn nothing_is_usual_before_twenty_answers() {
        assert_eq!(learned(19, || 5.0).p95(), None);
        assert!(learned(20, || 5.0).p95().is_some());
    }

    #[test]
    fn it_finds_the_percentile_of_known_distributions() {
        let mut rng = fastrand::Rng::with_seed(11);
        let uniform = millis(&learned(5_000, || 1.0 + 99.0 * rng.f64()));
        assert!((80.0..=115.0).contains(&uniform), "uniform: {uniform}");

        let mut rng = fastrand::Rng::with_seed(12);
        // The 95th percentile of an exponential distribution of mean 10 is 30.
        let exponential = millis(&learned(5_000, || -10.0 * (1.0 - rng.f64()).ln()));
        assert!((20.0..=45.0).contains(&exponential), "exponential: {exponential}");
    }

    #[test]
    fn a_brown_out_is_not_learned_in_seconds_but_a_lasting_change_is() {
        let baseline = learned(200, || 10.0);
        let usual = millis(&baseline);
        let start = Moment::from_millis(200 * 200);
        let slow = |from: u64, to: u64| {
            for ms in from..to {
                let now = start + Duration::from_millis(ms);
                baseline.learn(Duration::from_millis(60), true, now);
            }
        };
        slow(1_000, 21_000);
        assert!(millis(&baseline) < 2.0 * usual, "after 20 s: {}", millis(&baseline));
        slow(21_000, 600_000);
        assert!(millis(&baseline) > 40.0, "after ten minutes: {}", millis(&baseline));
    }

    #[test]
    fn one_tick_teaches_once() {
        let baseline = learned(50, || 10.0);
        let now = Moment::from_millis(100_000);
        baseline.learn(Duration::from_millis(500), false, now);
        let once = baseline.p95();
        baseline.learn(Duration::from_millis(500), false, now);
        assert_eq!(baseline.p95(), once);
    }
}
