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

/// How much slower than usual a failure is scored; and the most that it is scored, since a row of
/// them would otherwise multiply without end.
const FAILURE_FACTOR: f32 = 3.0;
const FAILURE_MOST: f32 = 5e6;

/// Stamps count 2^17 ns, about 131 µs, and repeat after 6.5 days: a target that answered nothing
/// for that long may look as fresh as it last was.
const STAMP_SHIFT: u32 = 17;

/// The usual latency of a target that failed before it ever answered, in microseconds: none.
const NEVER: f32 = 1.0;

/// The load of one target, shared by all workers, in a few words.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicU32,
    /// The average before a row of failures, in microseconds (f32). 0: the last one was no failure.
    usual: AtomicU32,
    /// The average in microseconds (f32) in the high half, the stamp of its last change in the
    /// low half. 0: never answered.
    average: AtomicU64,
    /// What the requests there are guessed to cost, in tokens; 0 where nobody guesses.
    tokens: AtomicU64,
}

impl Load {
    /// A target that was never asked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A request goes there; gives how many were there before it.
    #[inline]
    pub fn start(&self) -> u32 {
        self.in_flight.fetch_add(1, Ordering::Relaxed)
    }

    /// A request that goes there is guessed to cost so many tokens.
    pub fn carry(&self, tokens: u64) {
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    /// So many of the tokens that it [carries](Self::carry) are no more to come.
    pub fn relieve(&self, tokens: u64) {
        let next = |there: u64| Some(there.saturating_sub(tokens));
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The tokens that it carries.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// A request that went there is over: answered after `latency`, or cancelled (`None`), which
    /// says nothing about the target. Failures go to [`failed`](Self::failed), or come here with
    /// a latency that makes their target a bad choice.
    #[inline]
    pub fn finish(&self, latency: Option<Duration>, now: Moment) {
        self.one_less();
        if let Some(latency) = latency {
            self.answered(micros(latency), stamp(now));
        }
    }

    /// A request that went there failed after `latency`. It is scored as slower than the target
    /// usually is, however fast it failed: otherwise the quickest to refuse would look best. A row
    /// of failures makes it ever dearer; its first answer ends that.
    pub fn failed(&self, latency: Duration, now: Moment) {
        self.one_less();
        let before = average(self.average.load(Ordering::Relaxed));
        let kept = before.max(NEVER).to_bits();
        let _ = self.usual.compare_exchange(0, kept, Ordering::Relaxed, Ordering::Relaxed);
        let scored = (before * FAILURE_FACTOR).min(FAILURE_MOST);
        let unknown = if before > 0.0 { 0.0 } else { UNKNOWN };
        self.observe(micros(latency).max(scored).max(unknown), stamp(now));
    }

    /// A request that went there was cut off after `latency`: it would have taken at least that
    /// long, so the average can only rise.
    pub fn overtaken(&self, latency: Duration, now: Moment) {
        self.one_less();
        if micros(latency) >= average(self.average.load(Ordering::Relaxed)) {
            self.observe(micros(latency), stamp(now));
        }
    }

    /// Forgets how fast it answered, as if it had never been asked: what a server did before it
    /// was restarted says nothing about it now. What is in flight stays.
    pub fn forget(&self) {
        self.usual.store(0, Ordering::Relaxed);
        self.average.store(0, Ordering::Relaxed);
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
            Rule::PeakEwma | Rule::RingHash(_) => self.cost(now),
            Rule::LeastRequest => f64::from(self.in_flight()) + 1.0,
            Rule::RoundRobin => 0.0,
            Rule::Tokens => self.tokens.load(Ordering::Relaxed) as f64 + 1.0,
        }
    }

    /// Never below zero, should a caller finish twice.
    fn one_less(&self) {
        let next = |count: u32| count.checked_sub(1);
        let _ = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// An answer takes back what failures were scored: they were no latencies, and would otherwise
    /// take minutes to fade at a target that is hardly asked any more.
    #[inline]
    fn answered(&self, micros: f32, now: u32) {
        if self.usual.load(Ordering::Relaxed) == 0 {
            return self.observe(micros, now);
        }
        let usual = f32::from_bits(self.usual.swap(0, Ordering::Relaxed));
        self.average.store(pack(usual.max(micros), now), Ordering::Relaxed);
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

/// At least one, so that an answer is never mistaken for none.
fn micros(latency: Duration) -> f32 {
    (latency.as_secs_f32() * 1e6).max(1.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_carried_until_they_are_relieved() {
        let load = Load::new();
        load.carry(100);
        load.carry(20);
        assert_eq!(load.cost_under(Rule::Tokens, START), 121.0);
        load.relieve(100);
        load.relieve(100);
        assert_eq!(load.tokens(), 0);
    }

    const START: Moment = Moment::from_millis(1_000_000);

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A target that has answered once, after `millis`, at [`START`].
    fn answered(millis: u64) -> Load {
        let load = Load::new();
        load.start();
        load.finish(Some(ms(millis)), START);
        load
    }

    fn near(actual: Duration, expected: f64) -> bool {
        (actual.as_secs_f64() * 1e3 / expected - 1.0).abs() < 0.02
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let load = answered(10);
        load.finish(Some(ms(100)), START + ms(1));
        assert!(near(load.latency(START + ms(1)), 100.0));
        // After one time constant a third of the peak and two thirds of the news are left.
        load.finish(Some(ms(10)), START + ms(10_001));
        assert!(near(load.latency(START + ms(10_001)), 43.1), "{:?}", load.latency(START));
    }

    #[test]
    fn without_answers_it_fades_to_nothing() {
        let load = answered(100);
        assert!(near(load.latency(START + ms(10_000)), 36.8));
        assert!(load.latency(START + ms(200_000)) < Duration::from_micros(1));
    }

    #[test]
    fn cost_grows_with_what_is_in_flight() {
        let load = answered(10);
        let alone = load.cost(START);
        load.start();
        load.start();
        assert!((load.cost(START) / alone - 3.0).abs() < 1e-3);
    }

    #[test]
    fn a_new_target_is_free_for_one_request_only() {
        let (new, known) = (Load::new(), answered(50));
        assert!(new.cost(START) < known.cost(START));
        new.start();
        assert!(new.cost(START) > known.cost(START));
        new.finish(Some(ms(50)), START);
        assert!((new.cost(START) - known.cost(START)).abs() < 1.0);
    }

    #[test]
    fn a_target_left_alone_is_cheap_for_one_request_only() {
        let (idle, busy) = (answered(50), answered(50));
        let later = START + ms(60_000);
        busy.finish(Some(ms(50)), later);
        assert!(idle.cost(later) < busy.cost(later) / 100.0);
        idle.start();
        assert!((idle.cost(later) / busy.cost(later) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_quick_failure_makes_a_target_dearer() {
        let (failing, well) = (answered(10), answered(10));
        failing.start();
        failing.failed(ms(0), START);
        assert!(failing.cost(START) > 2.5 * well.cost(START));
        (0..100).for_each(|_| failing.failed(ms(0), START));
        assert!(near(failing.latency(START), 5_000.0));
    }

    #[test]
    fn an_answer_takes_back_what_failures_were_scored() {
        let load = answered(10);
        (0..100).for_each(|_| load.failed(ms(0), START));
        load.finish(Some(ms(5)), START);
        assert!(near(load.latency(START), 10.0));
        load.failed(ms(0), START);
        assert!(near(load.latency(START), 30.0), "the next row begins where the last one did");
    }

    #[test]
    fn a_first_answer_after_failures_is_taken_at_its_word() {
        let load = Load::new();
        load.failed(ms(0), START);
        load.finish(Some(ms(7)), START);
        assert!(near(load.latency(START), 7.0));
    }

    #[test]
    fn a_first_failure_is_no_bargain_either() {
        let new = Load::new();
        new.failed(ms(0), START);
        assert!(new.cost(START) > answered(500).cost(START));
        new.forget();
        assert!(new.cost(START) < answered(1).cost(START));
    }

    #[test]
    fn a_cancelled_request_says_nothing() {
        let load = answered(10);
        let before = load.cost(START);
        load.start();
        load.finish(None, START + ms(3));
        assert!((load.cost(START) - before).abs() < f64::EPSILON);
        load.finish(None, START);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_request_that_was_cut_off_makes_a_target_dearer_and_never_cheaper() {
        let load = answered(10);
        load.overtaken(ms(2), START);
        assert!(near(load.latency(START), 10.0));
        load.overtaken(ms(80), START);
        assert!(near(load.latency(START), 80.0));
    }

    #[test]
    fn clocks_of_two_workers_may_differ_a_little() {
        let load = answered(10);
        assert!(near(load.latency(START - Duration::from_micros(500)), 10.0));
    }

    #[test]
    fn workers_lose_no_request() {
        let load = Load::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..10_000 {
                        load.start();
                        load.finish(Some(Duration::from_micros(n % 100 + 1)), START);
                    }
                });
            }
        });
        assert_eq!(load.in_flight(), 0);
        assert!(near(load.latency(START), 0.1));
    }
}
