//! How much a target has to do and how fast it answers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::Moment;

use super::Rule;

/// The time constant of the average: what is older counts for less than a third. Finagle's
/// default; long enough to remember a stall, short enough to forgive it.
const DECAY: Duration = Duration::from_secs(10);

/// What each request at a target that has never answered is taken to cost: 1 s, in microseconds.
/// The first request is free, so that a new target is tried; the others wait for its answer.
const UNKNOWN: f32 = 1e6;

/// Stamps count 2^17 ns, about 131 µs, and repeat after 6.5 days: a target that answered nothing
/// for that long may look as fresh as it last was.
const STAMP_SHIFT: u32 = 17;

/// The load of one target, shared by all workers, in two words.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicU32,
    /// The average in microseconds (f32) in the high half, the stamp of its last change in the
    /// low half. 0: never answered.
    average: AtomicU64,
}

impl Load {
    /// A target that was never asked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A request goes there.
    #[inline]
    pub fn start(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that went there is over: after `latency`, or cancelled (`None`), which says
    /// nothing about the target. A failure belongs here with a latency that makes it a bad
    /// choice, its limit for example, however fast it came.
    #[inline]
    pub fn finish(&self, latency: Option<Duration>, now: Moment) {
        let one_less = |count: u32| count.checked_sub(1);
        let _ = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        if let Some(latency) = latency {
            self.observe((latency.as_secs_f32() * 1e6).max(1.0), stamp(now));
        }
    }

    /// Requests that are there now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The latency to expect: the peak EWMA, decayed until now. Zero if it never answered.
    #[must_use]
    pub fn latency(&self, now: Moment) -> Duration {
        let word = self.average.load(Ordering::Relaxed);
        Duration::from_nanos((f64::from(decayed(word, stamp(now))) * 1e3) as u64)
    }

    /// The expected wait of one more request, in microseconds of work: latency times requests.
    ///
    /// The longer a target has not answered, the cheaper it looks, so that it is tried again;
    /// but only to the next request. Those already there cost what they did before, which keeps
    /// a herd from running to a target that was left alone for a while.
    #[inline]
    #[must_use]
    pub fn cost(&self, now: Moment) -> f64 {
        let word = self.average.load(Ordering::Relaxed);
        let each = if word == 0 { UNKNOWN } else { average(word) };
        f64::from(decayed(word, stamp(now))) + f64::from(each) * f64::from(self.in_flight())
    }

    /// The cost of one more request under `rule`, for a [`Candidate`](super::Candidate).
    #[inline]
    #[must_use]
    pub fn cost_under(&self, rule: Rule, now: Moment) -> f64 {
        match rule {
            Rule::PeakEwma => self.cost(now),
            Rule::LeastRequest => f64::from(self.in_flight()) + 1.0,
            Rule::RoundRobin => 0.0,
        }
    }

    fn observe(&self, micros: f32, now: u32) {
        let mut seen = self.average.load(Ordering::Relaxed);
        loop {
            let next = pack(blend(seen, micros, now), now);
            let swapped = self.average.compare_exchange_weak(
                seen,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return,
                Err(current) => seen = current,
            }
        }
    }
}

/// Peak EWMA: up at once, down by and by.
fn blend(word: u64, micros: f32, now: u32) -> f32 {
    let before = average(word);
    if micros >= before {
        return micros;
    }
    let weight = remains(word, now);
    before * weight + micros * (1.0 - weight)
}

#[inline]
fn decayed(word: u64, now: u32) -> f32 {
    average(word) * remains(word, now)
}

/// The share of the average that is left after the time since its stamp.
#[inline]
fn remains(word: u64, now: u32) -> f32 {
    let elapsed = now.wrapping_sub(word as u32);
    // The clocks of two workers may differ by less than a stamp: that is no time at all.
    if elapsed == 0 || elapsed > u32::MAX - 8 {
        return 1.0;
    }
    let constant = (DECAY.as_nanos() >> STAMP_SHIFT) as f32;
    (-(elapsed as f32) / constant).exp()
}

fn average(word: u64) -> f32 {
    f32::from_bits((word >> 32) as u32)
}

const fn stamp(now: Moment) -> u32 {
    (now.as_nanos() >> STAMP_SHIFT) as u32
}

fn pack(average: f32, stamp: u32) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(stamp)
}
