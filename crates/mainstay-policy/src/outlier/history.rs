//! What one target did in the last seconds, and what is usual for it.
//!
//! Kept by whoever evaluates the pool, one tick at a time; the way of a request never comes here.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Moment;

use super::{Counts, Histogram};

/// Ticks that are kept: ten seconds.
const TICKS: usize = 10;
/// Ticks over which a present rate is taken: enough to even out a pause of one second.
const RATE_TICKS: usize = 3;
/// Time constant of the usual latency: a fault of a minute does not become usual, a change that
/// is meant to last does.
const LEARN: Duration = Duration::from_secs(60);
/// Ticks with answers before anything is usual.
const LEARNED: u32 = 3;
/// Ticks that count alike, before what is usual moves slowly.
const LEARNING: u32 = 10;
/// Time constant with which the lowest latency and the highest rate are forgotten: servers are
/// moved, caches are filled, models are replaced.
const FORGET: Duration = Duration::from_secs(600);
/// A target is taken to bear at most so many times what it does now while its latency shows no
/// queue: what was never seen is not counted on without limit.
const HEADROOM: f64 = 4.0;
/// From this share of refusals ("full") on, a target does what it can.
const FULL: f64 = 0.05;
/// From this utilisation on, and from as many requests at once as [`ABREAST`], what it can do is
/// measured. Below, its latency varies for other reasons than a queue: a server with little to do
/// is not at its limit because two requests met.
const BUSY: f64 = 0.5;
/// From this part of its limit on, a target has as much under way as it may.
const FILLED: f64 = 0.75;
/// Requests under way on average (Little's law: rate times latency) that make a queue possible.
const ABREAST: f64 = 1.0;
/// So many times its lowest latency is a queue that a target does not get out of.
const QUEUED: f64 = 5.0;

/// The last seconds of one target and what it has been seen to do.
#[derive(Clone, Debug, Default)]
pub struct History {
    read: Option<(Moment, Counts)>,
    ticks: VecDeque<Tick>,
    /// The usual median in seconds, and how many ticks have taught it.
    usual: (f64, u32),
    /// The lowest median, in seconds; 0 if none was seen.
    lowest: f64,
    /// The most answers in one second.
    peak: f64,
    /// What it could do when it was last busy, and when that was.
    busy: Option<(f64, Moment)>,
    /// How many requests it may have under way.
    limit: Option<u32>,
}

/// The answers in a second that a target is taken to be able to give.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Capacity {
    /// Answers in a second; 0 where nothing is known.
    pub rate: f64,
    /// Whether it was so busy lately that it showed; otherwise an estimate.
    pub measured: bool,
}

#[derive(Clone, Copy, Debug)]
struct Tick {
    span: Duration,
    counts: Counts,
    /// Whether nothing came: of ten thousand targets most are idle at most times, and their sums
    /// are taken each second.
    is_empty: bool,
}

impl History {
    /// Takes the reading of this moment; what came since the last one is a tick. The first one
    /// is only remembered.
    pub fn read(&mut self, now: Moment, counts: Counts) -> Counts {
        let Some((before, earlier)) = self.read.replace((now, counts)) else {
            return Counts::default();
        };
        let (counts, is_empty) = (counts.since(&earlier), counts == earlier);
        let tick = Tick { span: now.since(before), counts, is_empty };
        if self.ticks.len() == TICKS {
            self.ticks.pop_front();
        }
        self.ticks.push_back(tick);
        self.age(tick);
        if let Some(rate) = self.seen_busy(tick) {
            let before = self.busy.filter(|(_, at)| now.since(*at) < FORGET);
            self.busy = Some((before.map_or(rate, |(before, _)| (before + rate) / 2.0), now));
        }
        tick.counts
    }

    /// It may have so many requests under way from now on.
    pub const fn bound(&mut self, limit: Option<u32>) {
        self.limit = limit;
    }

    /// Forgets the last seconds, not what is usual: the target begins anew.
    pub fn clear(&mut self) {
        self.ticks.clear();
    }

    /// The latest median is as usual as any: learn from it. Not to be called for a target that
    /// is suspected, or what is wrong with it would become usual.
    pub fn learn(&mut self, minimum: u32) {
        let latest = self.latest(minimum);
        let Some(median) = latest.median().filter(|_| latest.count() >= minimum.max(1)) else {
            return;
        };
        let (usual, seen) = self.usual;
        let span = self.ticks.back().map_or(Duration::ZERO, |tick| tick.span);
        let step = match seen {
            0..LEARNING => 1.0 / f64::from(seen + 1),
            _ => (span.as_secs_f64() / LEARN.as_secs_f64()).min(1.0),
        };
        self.usual = (usual + (median.as_secs_f64() - usual) * step, seen.saturating_add(1));
    }

    /// All that was counted in the last ten seconds.
    #[must_use]
    pub fn recent(&self) -> Counts {
        self.sum(TICKS)
    }

    /// The latencies of the latest ticks that hold `minimum` of them together, or of all.
    /// Looking no further back is what makes a sudden change show at once.
    #[must_use]
    pub fn latest(&self, minimum: u32) -> Histogram {
        let mut latest = Histogram::default();
        for tick in self.ticks.iter().rev().filter(|tick| !tick.is_empty) {
            latest.add(&tick.counts.latencies);
            if latest.count() >= minimum {
                break;
            }
        }
        latest
    }

    /// What the target usually needs, once that is known.
    #[must_use]
    pub fn usual(&self) -> Option<Duration> {
        let (usual, seen) = self.usual;
        (seen >= LEARNED).then(|| Duration::from_secs_f64(usual))
    }

    /// Attempts that end there in a second, at present.
    #[must_use]
    pub fn load(&self) -> f64 {
        self.per_second(Counts::ended)
    }

    /// The answers in a second that the target is taken to be able to give.
    ///
    /// At least the most that it has been seen to give. Beyond that its latency tells while it is
    /// busy: by Little's law and the simplest of queues, answers take `lowest / (1 - utilisation)`,
    /// so the present rate divided by the utilisation is what it could do (M/M/1; Kleinrock 1975).
    /// A target that says that it is full does what it can.
    ///
    /// One that was not busy for ten minutes is estimated: it can do one request after the other at
    /// its lowest latency, or as many at once as the limit that need has `found`, and some times
    /// what it does now.
    #[must_use]
    pub fn capacity(&self, found: Option<u32>) -> Capacity {
        let rate = self.per_second(|counts| counts.answered);
        if self.is_full() {
            return Capacity { rate, measured: true };
        }
        let last = self.read.map_or(Moment::ZERO, |(now, _)| now);
        if let Some((busy, _)) = self.busy.filter(|(_, at)| last.since(*at) < FORGET) {
            return Capacity { rate: self.peak.max(busy), measured: true };
        }
        let abreast = f64::from(found.unwrap_or(1).max(1));
        let idle = if self.lowest > 0.0 { abreast / self.lowest } else { 0.0 };
        Capacity { rate: self.peak.max(rate * HEADROOM).max(idle), measured: false }
    }

    /// What it can do, if it was busy in this tick: it refused, it had as many requests under way as
    /// it may, or its latency shows a queue.
    fn seen_busy(&self, tick: Tick) -> Option<f64> {
        let span = tick.span.as_secs_f64();
        let latency = tick.counts.latencies.median()?.as_secs_f64();
        if span <= 0.0 || latency <= 0.0 {
            return None;
        }
        let rate = f64::from(tick.counts.answered) / span;
        let abreast = rate * latency;
        if self.is_full() {
            return Some(rate);
        }
        let limit = self.limit.map(|limit| f64::from(limit.max(1)));
        if let Some(limit) = limit.filter(|limit| abreast >= limit * FILLED) {
            return Some(rate.max(limit / latency));
        }
        let stretch = if self.lowest > 0.0 { (latency / self.lowest).max(1.0) } else { 1.0 };
        let utilisation = 1.0 - 1.0 / stretch;
        (utilisation >= BUSY && abreast >= ABREAST).then(|| rate / utilisation)
    }

    /// Whether it says that it is full, or has a queue that it does not get out of.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.is_full() || self.stretch() > QUEUED
    }

    fn is_full(&self) -> bool {
        let counts = self.sum(RATE_TICKS);
        f64::from(counts.refused) > FULL * f64::from(counts.ended())
    }

    /// The present latency over the lowest one; 1 if nothing is known.
    fn stretch(&self) -> f64 {
        let mut latest = self.ticks.iter().rev().take(RATE_TICKS);
        if latest.all(|tick| tick.is_empty) {
            return 1.0;
        }
        let median = self.sum(RATE_TICKS).latencies.median();
        match median {
            Some(median) if self.lowest > 0.0 => (median.as_secs_f64() / self.lowest).max(1.0),
            _ => 1.0,
        }
    }

    fn sum(&self, ticks: usize) -> Counts {
        let mut sum = Counts::default();
        let latest = self.ticks.iter().rev().take(ticks);
        latest.filter(|tick| !tick.is_empty).for_each(|tick| sum.add(&tick.counts));
        sum
    }

    fn per_second(&self, of: impl Fn(&Counts) -> u32) -> f64 {
        let span: Duration = self.ticks.iter().rev().take(RATE_TICKS).map(|tick| tick.span).sum();
        if span.is_zero() {
            return 0.0;
        }
        f64::from(of(&self.sum(RATE_TICKS))) / span.as_secs_f64()
    }

    /// Keeps the extremes, and forgets them slowly.
    fn age(&mut self, tick: Tick) {
        let span = tick.span.as_secs_f64();
        if span <= 0.0 {
            return;
        }
        let part = (span / FORGET.as_secs_f64()).min(1.0);
        let rate = f64::from(tick.counts.answered) / span;
        self.peak = rate.max(self.peak * (1.0 - part));
        let median = if tick.is_empty { None } else { tick.counts.latencies.median() };
        if let Some(median) = median.map(|median| median.as_secs_f64()) {
            let slower = self.lowest > 0.0 && median > self.lowest;
            self.lowest = if slower { self.lowest + (median - self.lowest) * part } else { median };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A target that answers so many requests a second, each in the same time.
    struct Bench {
        history: History,
        now: Moment,
        counts: Counts,
    }

    impl Bench {
        fn new() -> Self {
            let mut bench = Self {
                history: History::default(),
                now: Moment::from_millis(1_000),
                counts: Counts::default(),
            };
            bench.history.read(bench.now, bench.counts);
            bench
        }

        fn second(&mut self, answers: u32, latency: Duration) -> &mut Self {
            self.counts.answered += answers;
            (0..answers).for_each(|_| self.counts.latencies.count_one(latency));
            self.now = self.now + ms(1_000);
            self.history.read(self.now, self.counts);
            self
        }
    }

    #[test]
    fn what_is_usual_is_learned_and_not_unlearned_at_once() {
        let mut bench = Bench::new();
        assert_eq!(bench.history.usual(), None);
        for _ in 0..20 {
            bench.second(50, ms(20));
            bench.history.learn(10);
        }
        let usual = bench.history.usual().unwrap();
        assert!(usual > ms(15) && usual < ms(26), "{usual:?}");
        for _ in 0..10 {
            bench.second(50, ms(200));
            bench.history.learn(10);
        }
        assert!(bench.history.usual().unwrap() < ms(60));
    }

    #[test]
    fn the_latest_latencies_go_no_further_back_than_needed() {
        let mut bench = Bench::new();
        bench.second(100, ms(10)).second(3, ms(100)).second(8, ms(100));
        assert_eq!(bench.history.latest(10).count(), 11);
        assert!(bench.history.latest(10).quantile(0.1).unwrap() > ms(70));
        assert_eq!(bench.history.latest(50).count(), 111);
    }

    #[test]
    fn without_a_queue_it_bears_more_than_it_does_and_with_one_no_more() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.second(100, ms(10));
        }
        let idle = bench.history.capacity(None);
        assert!((390.0..=410.0).contains(&idle.rate) && !idle.measured);
        for _ in 0..3 {
            bench.second(100, ms(100));
        }
        let busy = bench.history.capacity(None);
        assert!((100.0..=115.0).contains(&busy.rate) && busy.measured);
        assert!(bench.history.is_overloaded());
    }

    #[test]
    fn who_refuses_does_what_it_can() {
        let mut bench = Bench::new();
        bench.second(400, ms(10));
        bench.counts.refused += 300;
        for _ in 0..3 {
            bench.second(100, ms(10));
        }
        let capacity = bench.history.capacity(None);
        assert!(bench.history.is_overloaded() && capacity.rate < 110.0 && capacity.measured);
    }

    #[test]
    fn a_target_begins_anew_and_still_knows_what_is_usual() {
        let mut bench = Bench::new();
        for _ in 0..4 {
            bench.second(50, ms(20));
            bench.history.learn(10);
        }
        bench.history.clear();
        assert_eq!(bench.history.recent(), Counts::default());
        assert!(bench.history.usual().is_some());
        assert!(bench.history.capacity(None).rate >= 50.0);
    }

    #[test]
    fn a_server_with_little_to_do_is_taken_to_bear_what_its_latency_says() {
        let mut bench = Bench::new();
        // One request in two seconds, now and then twice as slow.
        for latency in [5, 10, 5, 5, 11, 5, 9, 5] {
            bench.second(1, ms(latency)).second(0, ms(0));
        }
        let alone = bench.history.capacity(None);
        assert!((150.0..300.0).contains(&alone.rate) && !alone.measured, "{alone:?}");
        let found = bench.history.capacity(Some(8));
        assert!(found.rate > 7.0 * alone.rate && !found.measured, "{found:?}");
    }

    #[test]
    fn who_has_as_much_under_way_as_it_may_is_measured_without_any_queue() {
        let mut bench = Bench::new();
        bench.history.bound(Some(4));
        for _ in 0..5 {
            bench.second(195, ms(20));
        }
        let full = bench.history.capacity(None);
        assert!(full.measured && (160.0..240.0).contains(&full.rate), "{full:?}");
        // Half of that is half of what it can do, and not a quarter.
        for _ in 0..5 {
            bench.second(100, ms(20));
        }
        let half = bench.history.capacity(None);
        assert!(half.measured && (160.0..240.0).contains(&half.rate), "{half:?}");
    }

    #[test]
    fn what_was_measured_is_remembered_for_a_while_and_then_an_estimate_again() {
        let mut bench = Bench::new();
        for _ in 0..5 {
            bench.second(100, ms(10));
        }
        for _ in 0..5 {
            bench.second(150, ms(60));
        }
        let busy = bench.history.capacity(None);
        assert!(busy.measured && (150.0..200.0).contains(&busy.rate), "{busy:?}");
        for _ in 0..60 {
            bench.second(2, ms(10));
        }
        let later = bench.history.capacity(None);
        assert!(later.measured && (140.0..200.0).contains(&later.rate), "{later:?}");
        for _ in 0..700 {
            bench.second(2, ms(10));
        }
        assert!(!bench.history.capacity(None).measured);
    }

    proptest::proptest! {
        #[test]
        fn nobody_is_taken_to_bear_less_than_it_does_or_than_one_request_after_the_other(
            seconds in proptest::collection::vec((0u32..50, 1u64..40), 4..40)
        ) {
            let mut bench = Bench::new();
            for (answers, latency) in seconds {
                bench.second(answers, ms(latency));
            }
            let capacity = bench.history.capacity(None);
            let last = bench.history.per_second(|counts| counts.answered);
            proptest::prop_assert!(capacity.rate >= last * 0.999, "{capacity:?} < {last}");
            if !capacity.measured && bench.history.lowest > 0.0 {
                proptest::prop_assert!(capacity.rate >= 1.0 / bench.history.lowest * 0.999);
            }
        }
    }
}
