//! Latency histograms with log-linear buckets: two for each octave, from 50 µs to 79 s.
//!
//! The bucket of a latency follows from its highest two bits, without a search and without
//! floating point; a quantile read from it is at most a third too high. Bounds are the same for
//! every series, so that Prometheus can add them up.

use std::time::Duration;

use crate::tally::Tally;

/// Half the lowest bound, in nanoseconds: the unit in which all bounds are whole.
const UNIT: u64 = 25_000;
/// Buckets with an upper bound; one more takes what is above the highest.
pub(crate) const BOUNDED: usize = 42;
/// All buckets.
const BUCKETS: usize = BOUNDED + 1;

/// A family of histograms over the same bounds, written by one worker.
#[derive(Debug)]
pub(crate) struct Histograms {
    buckets: Tally,
    /// Nanoseconds.
    sums: Tally,
}

/// One histogram, summed over the workers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    /// What fell into each bucket, not cumulated; the last one is unbounded.
    pub(crate) buckets: [u64; BUCKETS],
    /// Of all latencies.
    pub(crate) sum: Duration,
}

impl Histograms {
    pub(crate) fn new(series: usize) -> Self {
        Self { buckets: Tally::new(series * BUCKETS), sums: Tally::new(series) }
    }

    /// Makes room for so many series.
    pub(crate) fn grow(&self, series: usize) {
        self.buckets.grow(series * BUCKETS);
        self.sums.grow(series);
    }

    /// Forgets a series that nobody writes to.
    pub(crate) fn clear(&self, series: usize) {
        self.buckets.clear(series * BUCKETS..(series + 1) * BUCKETS);
        self.sums.clear(series..series + 1);
    }

    /// Counts one latency; a series that does not exist is left out.
    pub(crate) fn observe(&self, series: usize, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets.add(series * BUCKETS + bucket(nanos), 1);
        self.sums.add(series, nanos);
    }

    /// Adds what this worker has counted to `total`.
    pub(crate) fn add_to(&self, series: usize, total: &mut Snapshot) {
        for (at, bucket) in total.buckets.iter_mut().enumerate() {
            *bucket += self.buckets.get(series * BUCKETS + at);
        }
        total.sum += Duration::from_nanos(self.sums.get(series));
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum: Duration::ZERO }
    }
}

/// The bucket of a latency. Its upper bound belongs to it, as Prometheus' `le` says.
fn bucket(nanos: u64) -> usize {
    let units = nanos.saturating_sub(1) / UNIT;
    if units < 2 {
        return 0;
    }
    let octave = units.ilog2() as usize;
    let upper_half = (units >> (octave - 1)) & 1;
    (2 * octave - 1 + upper_half as usize).min(BOUNDED)
}

/// The upper bound of a bucket below [`BOUNDED`].
pub(crate) fn bound(bucket: usize) -> Duration {
    let units = match bucket.checked_sub(1) {
        None => 2,
        Some(above) => (3 + (above as u64 & 1)) << (above / 2),
    };
    Duration::from_nanos(units * UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_next_nanosecond_does_not() {
        for at in 0..BOUNDED {
            let bound = u64::try_from(bound(at).as_nanos()).unwrap();
            assert_eq!(bucket(bound), at);
            assert_eq!(bucket(bound + 1), at + 1);
        }
    }

    #[test]
    fn bounds_span_from_50_microseconds_to_more_than_a_minute() {
        assert_eq!(bound(0), Duration::from_micros(50));
        assert_eq!(bound(1), Duration::from_micros(75));
        assert_eq!(bound(2), Duration::from_micros(100));
        assert!(bound(BOUNDED - 1) > Duration::from_secs(60));
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BOUNDED);
    }

    #[test]
    fn a_series_that_does_not_exist_is_left_out() {
        let histograms = Histograms::new(1);
        histograms.observe(0, Duration::from_millis(1));
        histograms.observe(1, Duration::from_millis(1));
        let mut total = Snapshot::default();
        histograms.add_to(0, &mut total);
        assert_eq!(total.buckets.iter().sum::<u64>(), 1);
        assert_eq!(total.sum, Duration::from_millis(1));
    }
}
