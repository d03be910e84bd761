//! What each target serves and could serve, measured.
//!
//! The rate is what ended within the last seconds. What it could serve follows from Little's law:
//! attempts that may be under way, divided by the time that each usually takes. A limit that was
//! found by its own latency makes that the service rate; one that was never reached makes it an
//! upper bound.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mainstay_policy::Moment;
use mainstay_policy::outlier::Counts;
use mainstay_policy::target::Target;

/// Readings that a rate is taken over, one a second.
const READINGS: usize = 6;
/// Answers that make a time usual.
const ENOUGH: u32 = 10;
/// Each reading moves the usual time by this part.
const BLEND: f64 = 0.25;

/// The measurements of all targets.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// By target.
    known: HashMap<u32, Readings>,
}

#[derive(Debug, Default)]
struct Readings {
    /// Attempts that had ended by then; the oldest first.
    ended: VecDeque<(Moment, u32)>,
    /// Since when answers are collected for the usual time.
    from: Counts,
    /// Seconds that an attempt usually takes.
    usual: Option<f64>,
}

impl Meter {
    /// Reads all counters; forgets who is gone.
    pub(super) fn read(&mut self, targets: &[Arc<Target>], now: Moment) {
        let mut before = std::mem::take(&mut self.known);
        for target in targets {
            let mut readings = before.remove(&target.id).unwrap_or_default();
            readings.add(target.stats.read(), now);
            self.known.insert(target.id, readings);
        }
    }

    /// Attempts a second.
    pub(super) fn rate(&self, target: &Target) -> f64 {
        self.known.get(&target.id).map_or(0.0, Readings::rate)
    }

    /// Attempts a second that it could take; `None` where nothing bounds it, or nothing is known.
    pub(super) fn capacity(&self, target: &Target) -> Option<f64> {
        let usual = self.known.get(&target.id)?.usual?;
        Some(f64::from(target.limiter.limit()?) / usual)
    }
}

impl Readings {
    fn add(&mut self, counts: Counts, now: Moment) {
        if self.ended.is_empty() {
            self.from = counts;
        }
        if self.ended.len() == READINGS {
            self.ended.pop_front();
        }
        self.ended.push_back((now, counts.ended()));
        let fresh = counts.since(&self.from);
        if fresh.latencies.count() < ENOUGH {
            return;
        }
        self.from = counts;
        let Some(mean) = mean(&fresh) else { return };
        let usual = self.usual.unwrap_or(mean);
        self.usual = Some(usual + (mean - usual) * BLEND);
    }

    fn rate(&self) -> f64 {
        let (Some(first), Some(last)) = (self.ended.front(), self.ended.back()) else { return 0.0 };
        let seconds = last.0.since(first.0).as_secs_f64();
        if seconds > 0.0 { f64::from(last.1.wrapping_sub(first.1)) / seconds } else { 0.0 }
    }
}

/// The mean of the latencies, by their deciles.
fn mean(counts: &Counts) -> Option<f64> {
    let deciles = [0.1, 0.3, 0.5, 0.7, 0.9].map(|share| counts.latencies.quantile(share));
    let sum: Option<f64> = deciles.iter().map(|d| d.map(|d| d.as_secs_f64())).sum();
    sum.map(|sum| sum / deciles.len() as f64).filter(|mean| *mean > 0.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_policy::Outcome;
    use mainstay_policy::limit;
    use mainstay_policy::target::{Key, Registry, Settings};

    use super::*;

    #[test]
    fn a_rate_and_what_is_possible_follow_from_what_ended() {
        let registry = Registry::default();
        let key = Key { pool: "p".into(), endpoint: "e".into(), model: "m".into(), version: None };
        let limit = limit::Settings { adaptive: false, min: 1, initial: 4, max: 4 };
        let target = registry.target(key, &Settings { limit, ..Settings::default() }, 1);
        let mut meter = Meter::default();
        for second in 0..10 {
            meter.read(&registry.all(), Moment::from_millis(second * 1000));
            for _ in 0..40 {
                target.stats.record(0, &Outcome::success(Duration::from_millis(50)));
            }
        }
        assert!((meter.rate(&target) - 40.0).abs() < 1e-6, "{}", meter.rate(&target));
        let capacity = meter.capacity(&target).unwrap();
        assert!((70.0..90.0).contains(&capacity), "4 at once, 50 ms each: {capacity}");
    }
}
