//! What a target's attempts came to, counted by each worker alone and read once a second.
//!
//! Counters only ever grow; whoever evaluates keeps the last reading and takes the difference,
//! so that the way of a request has no window to turn: an answer costs three additions on a cache
//! line that no other worker writes. Latencies fall into buckets of a quarter of an octave, found
//! by the upper bits of a floating-point number, which is exact enough to tell three times from
//! twice.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::{Class, Outcome};

/// Buckets of a quarter octave each: from 64 µs to 16.8 s.
pub(super) const BUCKETS: usize = 72;
/// How many times slower than it was given up after an attempt is taken to be. A target like its
/// peers is outrun in one case of twenty, which moves none of the quantiles that decide.
const OUTRUN: u32 = 4;
/// Bits of an `f32` below its exponent and the two upper bits of its mantissa.
const LOWER_BITS: u32 = 21;
/// The upper bits of 64.0: where the first bucket begins.
const FIRST: u32 = 64.0_f32.to_bits() >> LOWER_BITS;

/// The counters of one target.
#[derive(Debug)]
pub struct Stats {
    shards: Box<[Shard]>,
    /// Blamed failures in a row, over all workers.
    streak: AtomicU32,
}

/// One worker's; two cache lines apart, since processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    answered: AtomicU32,
    failed: AtomicU32,
    refused: AtomicU32,
    latencies: [AtomicU32; BUCKETS],
}

impl Default for Shard {
    fn default() -> Self {
        let [answered, failed, refused] = Default::default();
        let latencies = std::array::from_fn(|_| AtomicU32::new(0));
        Self { answered, failed, refused, latencies }
    }
}

/// A reading of the counters, or the difference of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Usable answers.
    pub answered: u32,
    /// Failures that are the target's fault.
    pub failed: u32,
    /// "Full" and "not ready": nobody's fault, and no answer either.
    pub refused: u32,
    /// How long answers took; and timeouts, which took at least as long.
    pub latencies: Histogram,
}

/// Latencies by bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram([u32; BUCKETS]);

impl Stats {
    /// Empty counters for so many workers, at least one.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        let shards = (0..shards.max(1)).map(|_| Shard::default()).collect();
        Self { shards, streak: AtomicU32::new(0) }
    }

    /// Counts an attempt that ended. An unknown shard counts as the first.
    #[inline]
    pub fn record(&self, shard: usize, outcome: &Outcome) {
        let Some(shard) = self.shards.get(shard).or_else(|| self.shards.first()) else { return };
        match outcome.result {
            Ok(()) => {
                add(&shard.answered);
                add(&shard.latencies[bucket(outcome.latency)]);
                if self.streak.load(Ordering::Relaxed) != 0 {
                    self.streak.store(0, Ordering::Relaxed);
                }
            }
            Err(Class::NotReady | Class::Capacity) => add(&shard.refused),
            Err(class) if class.blames_target() => {
                add(&shard.failed);
                add(&self.streak);
                // How long a failure took says nothing of speed; a timeout says "at least".
                if class == Class::Timeout {
                    add(&shard.latencies[bucket(outcome.latency)]);
                }
            }
            Err(_) => {}
        }
    }

    /// An attempt was given up after `latency`, since another target had been faster. How long it
    /// would have taken nobody knows; it counts as so many times slower, or whoever is hedged
    /// around would look hardly slower than its peers.
    pub fn outrun(&self, shard: usize, latency: Duration) {
        if let Some(shard) = self.shards.get(shard).or_else(|| self.shards.first()) {
            add(&shard.latencies[bucket(latency.saturating_mul(OUTRUN))]);
        }
    }

    /// Blamed failures since the last answer.
    #[must_use]
    pub fn streak(&self) -> u32 {
        self.streak.load(Ordering::Relaxed)
    }

    /// What it did before no longer counts: it begins anew.
    pub fn end_streak(&self) {
        self.streak.store(0, Ordering::Relaxed);
    }

    /// The counters as they stand, over all workers; they wrap.
    #[must_use]
    pub fn read(&self) -> Counts {
        let mut sum = Counts::default();
        for shard in &self.shards {
            sum.answered = sum.answered.wrapping_add(shard.answered.load(Ordering::Relaxed));
            sum.failed = sum.failed.wrapping_add(shard.failed.load(Ordering::Relaxed));
            sum.refused = sum.refused.wrapping_add(shard.refused.load(Ordering::Relaxed));
            for (sum, count) in sum.latencies.0.iter_mut().zip(&shard.latencies) {
                *sum = sum.wrapping_add(count.load(Ordering::Relaxed));
            }
        }
        sum
    }
}

#[inline]
fn add(counter: &AtomicU32) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[inline]
fn bucket(latency: Duration) -> usize {
    let micros = (latency.as_secs_f32() * 1e6).max(64.0);
    let index = (micros.to_bits() >> LOWER_BITS).saturating_sub(FIRST);
    (index as usize).min(BUCKETS - 1)
}

/// Where a bucket begins, in microseconds; one past the last is where that one ends.
const fn begin(bucket: usize) -> f32 {
    f32::from_bits((FIRST + bucket as u32) << LOWER_BITS)
}

impl Counts {
    /// What was counted between an earlier reading and this one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        difference.answered = self.answered.wrapping_sub(earlier.answered);
        difference.failed = self.failed.wrapping_sub(earlier.failed);
        difference.refused = self.refused.wrapping_sub(earlier.refused);
        for (count, earlier) in difference.latencies.0.iter_mut().zip(&earlier.latencies.0) {
            *count = count.wrapping_sub(*earlier);
        }
        difference
    }

    /// Adds another count to this one.
    pub fn add(&mut self, other: &Self) {
        self.answered = self.answered.saturating_add(other.answered);
        self.failed = self.failed.saturating_add(other.failed);
        self.refused = self.refused.saturating_add(other.refused);
        self.latencies.add(&other.latencies);
    }

    /// Answers and blamed failures: what a success rate is taken of.
    #[must_use]
    pub const fn judged(&self) -> u32 {
        self.answered.saturating_add(self.failed)
    }

    /// All attempts that ended at the target.
    #[must_use]
    pub const fn ended(&self) -> u32 {
        self.judged().saturating_add(self.refused)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Histogram {
    /// How many latencies there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds another histogram to this one.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// Counts one more latency.
    pub fn count_one(&mut self, latency: Duration) {
        let slot = &mut self.0[bucket(latency)];
        *slot = slot.saturating_add(1);
    }

    /// The latency that this share of all stay below, from 0.0 to 1.0; `None` if there are none.
    /// Within a bucket they are taken to be spread evenly.
    #[must_use]
    pub fn quantile(&self, share: f32) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let mut left = share.clamp(0.0, 1.0) * count as f32;
        for (at, here) in self.0.iter().enumerate().filter(|(_, here)| **here > 0) {
            let here = *here as f32;
            if left <= here {
                let micros = begin(at) + (begin(at + 1) - begin(at)) * left / here;
                return Some(Duration::from_secs_f32(micros / 1e6));
            }
            left -= here;
        }
        Some(Duration::from_secs_f32(begin(BUCKETS) / 1e6))
    }

    /// The latency that half of them stay below.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn each_class_counts_where_it_belongs() {
        let stats = Stats::new(2);
        for class in Class::ALL {
            stats.record(0, &Outcome::failure(class, ms(1)));
        }
        stats.record(9, &Outcome::success(ms(5)));
        let counts = stats.read();
        let blamed = Class::ALL.iter().filter(|class| class.blames_target()).count();
        assert_eq!((counts.answered, counts.refused), (1, 2));
        assert_eq!(counts.failed as usize, blamed);
        // The answer and the timeout.
        assert_eq!(counts.latencies.count(), 2);
        assert_eq!(counts.ended() as usize, blamed + 3);
    }

    #[test]
    fn a_row_of_failures_ends_with_an_answer_and_with_nothing_else() {
        let stats = Stats::new(1);
        (0..4).for_each(|_| stats.record(0, &Outcome::failure(Class::ServerFault, ms(1))));
        stats.record(0, &Outcome::failure(Class::Capacity, ms(1)));
        stats.record(0, &Outcome::failure(Class::ClientFault, ms(1)));
        assert_eq!(stats.streak(), 4);
        stats.record(0, &Outcome::success(ms(1)));
        assert_eq!(stats.streak(), 0);
    }

    #[test]
    fn a_fast_failure_is_no_low_latency() {
        let stats = Stats::new(1);
        stats.record(0, &Outcome::success(ms(100)));
        for class in [Class::Capacity, Class::NotReady, Class::ServerFault, Class::Unreachable] {
            (0..50).for_each(|_| stats.record(0, &Outcome::failure(class, ms(0))));
        }
        assert!(stats.read().latencies.quantile(0.01).unwrap() > ms(80));
    }

    #[test]
    fn who_is_always_outrun_is_slow() {
        let stats = Stats::new(1);
        (0..20).for_each(|_| stats.outrun(0, ms(45)));
        let counts = stats.read();
        assert!(counts.latencies.median().unwrap() > ms(140));
        assert_eq!((counts.answered, counts.failed), (0, 0));
    }

    #[test]
    fn quantiles_are_right_to_a_quarter_octave() {
        for micros in [64, 90, 1_000, 12_345, 400_000, 9_000_000] {
            let mut histogram = Histogram::default();
            let latency = Duration::from_micros(micros);
            (0..9).for_each(|_| histogram.count_one(latency));
            let ratio = histogram.median().unwrap().as_secs_f64() / latency.as_secs_f64();
            assert!((0.79..1.26).contains(&ratio), "{micros}: {ratio}");
        }
    }

    #[test]
    fn the_ends_of_the_scale_take_everything_beyond_them() {
        let mut histogram = Histogram::default();
        histogram.count_one(Duration::ZERO);
        assert!(histogram.median().unwrap() < Duration::from_micros(80));
        histogram.count_one(Duration::MAX);
        assert!(histogram.quantile(1.0).unwrap() > Duration::from_secs(15));
    }

    #[test]
    fn shares_are_counted_apart() {
        let mut histogram = Histogram::default();
        (0..30).for_each(|_| histogram.count_one(ms(10)));
        (0..70).for_each(|_| histogram.count_one(ms(100)));
        assert!(histogram.quantile(0.25).unwrap() < ms(13));
        assert!(histogram.median().unwrap() > ms(80));
    }

    #[test]
    fn differences_survive_a_wrap() {
        let mut earlier = Counts { answered: u32::MAX, ..Counts::default() };
        let later = Counts { answered: 4, failed: 2, ..Counts::default() };
        assert_eq!(later.since(&earlier).answered, 5);
        earlier.add(&later);
        assert_eq!(earlier.answered, u32::MAX);
    }
}
