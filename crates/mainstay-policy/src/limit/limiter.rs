//! The limit of one target, shared by all workers.
//!
//! An attempt that finds room costs two atomic steps more: one word counts what is under way,
//! one adds up the answers of the window. Whoever ends an attempt after the window is over
//! decides on the next limit ([`Gradient`]); the lock around that decision is only ever tried,
//! so nobody waits for it.
//!
//! Between two windows one look at each answer suffices to see a queue grow: so many answers in a
//! row, every one of them slow. Service that varies has quick answers among the slow ones, a queue
//! has none, since everybody waits in it (Nichols, Jacobson: "Controlling Queue Delay", 2012). An
//! attempt that runs out of time while others are answered slowly shows a queue as well, and is no
//! sign of a broken server.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Moment;
use crate::outcome::Class;

use super::gradient::{Gradient, Settings, Window};

/// A window is at least this long: shorter ones see the bursts of arrivals, not the load.
const SHORTEST: Duration = Duration::from_millis(100);

/// And lasts so many times the last latency, so that most of what it sees began within it.
const LATENCIES: u32 = 2;

/// And holds so many answers, or their mean says little.
const ANSWERS: u32 = 20;

/// But lasts no longer than this, or than so many of its answers take one after the other: what
/// was seen so far apart does not belong together. It is given up then, unless someone found the
/// target full: a limit that is only ever cut, and never tried higher, would be there to stay.
const LONGEST: Duration = Duration::from_secs(10);
const LONGEST_LATENCIES: u32 = 10;

/// So many slow answers in a row are a queue. Where the work varies so much that one in eight is
/// slow by itself, that many are met by chance once in sixteen million answers.
const SLOW_RUN: u32 = 8;

/// For so many times its latency after a relief, attempts may still run out of time behind what
/// had been let in before.
const RELIEF: u32 = 2;

/// What is under way has grown where it is more than so many times what it was.
const GREW: f64 = 1.1;

/// Bits of the sum that hold microseconds, 203 days; the count has the others. When the count is
/// full, the window is over.
const SUM_BITS: u32 = 44;
const MOST_ANSWERS: u64 = (1 << (64 - SUM_BITS)) - 2;

/// The attempts that may be under way at one target.
#[derive(Debug)]
pub struct Limiter {
    limit: AtomicU32,
    in_flight: AtomicU32,
    /// Answers in the high bits, their latency in microseconds in the low ones.
    sum: AtomicU64,
    peak: AtomicU32,
    refused: AtomicU32,
    limited: AtomicBool,
    /// What was under way when the window began.
    began_with: AtomicU32,
    /// Nanoseconds: when the window began.
    opened: AtomicU64,
    /// Nanoseconds: attempts from before this belong to a higher limit that no longer holds.
    since: AtomicU64,
    /// Nanoseconds: when it may be closed.
    due: AtomicU64,
    /// Microseconds beyond which an answer is slow; 0 before that is known.
    slow_from: AtomicU64,
    /// Slow answers in a row, and what was under way after the first of them.
    slow_run: AtomicU32,
    run_began_with: AtomicU32,
    /// Nanoseconds: when the last slow answer came.
    slow_at: AtomicU64,
    /// Nanoseconds: until when attempts wait behind what a relief came too late for.
    relieved_until: AtomicU64,
    /// So few are held not to wait for each other.
    least: AtomicU32,
    gradient: Mutex<Gradient>,
    adaptive: AtomicBool,
    off: AtomicBool,
}

/// What an ended attempt says about its target's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// It took this long, to its answer.
    Took(Duration),
    /// Its time was over after this long.
    TimedOut(Duration),
    /// The server was full.
    Refused,
    /// Nothing: it was cancelled, or failed for another reason.
    Nothing,
}

impl Sample {
    /// What the outcome of an attempt says.
    #[must_use]
    pub const fn of(result: Result<(), Class>, latency: Duration) -> Self {
        match result {
            Ok(()) => Self::Took(latency),
            Err(Class::Timeout) => Self::TimedOut(latency),
            Err(Class::Capacity) => Self::Refused,
            Err(_) => Self::Nothing,
        }
    }
}

impl Limiter {
    /// The limit of a target that was never asked.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            limit: AtomicU32::new(settings.first()),
            in_flight: AtomicU32::new(0),
            sum: AtomicU64::new(0),
            peak: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            limited: AtomicBool::new(false),
            began_with: AtomicU32::new(0),
            opened: AtomicU64::new(0),
            since: AtomicU64::new(0),
            due: AtomicU64::new(0),
            slow_from: AtomicU64::new(0),
            slow_run: AtomicU32::new(0),
            run_began_with: AtomicU32::new(0),
            slow_at: AtomicU64::new(0),
            relieved_until: AtomicU64::new(0),
            least: AtomicU32::new(settings.least()),
            gradient: Mutex::new(Gradient::new(settings)),
            adaptive: AtomicBool::new(settings.adaptive),
            off: AtomicBool::new(settings.is_off()),
        }
    }

    /// Gives it other rules, if they are others. What is under way stays counted; an adaptive
    /// limit goes on from where it is, as far as the new rules allow.
    pub fn reconfigure(&self, settings: Settings) {
        let mut gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = gradient.reconfigure(settings) {
            self.limit.store(limit, Ordering::Relaxed);
            self.least.store(settings.least(), Ordering::Relaxed);
            self.adaptive.store(settings.adaptive, Ordering::Relaxed);
            self.off.store(settings.is_off(), Ordering::Relaxed);
        }
    }

    #[inline]
    fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    /// Takes a place, if there is one. Each place taken must be [released](Self::release).
    #[inline]
    pub fn try_acquire(&self) -> bool {
        if self.is_off() {
            // Counted all the same: a limit may be set while it is under way.
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let another = |count: u32| (count < limit).then_some(count + 1);
        match self.in_flight.fetch_update(Ordering::SeqCst, Ordering::Relaxed, another) {
            Ok(before) => {
                if before >= self.peak.load(Ordering::Relaxed) {
                    self.peak.fetch_max(before + 1, Ordering::Relaxed);
                }
                true
            }
            Err(_) => {
                self.limited.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// Gives a place back and says what came of it; whether the limit grew.
    #[inline]
    pub fn release(&self, sample: Sample, now: Moment) {
        let one_less = |count: u32| count.checked_sub(1);
        let _ = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::Relaxed, one_less);
        if self.adaptive.load(Ordering::Relaxed) && sample != Sample::Nothing {
            self.observe(sample, now);
        }
    }

    /// Whether no place is left. Whoever asks wants one, so the limit is known to be reached.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        if self.is_off()
            || self.in_flight.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed)
        {
            return false;
        }
        self.limited.store(true, Ordering::Relaxed);
        true
    }

    /// Someone waits for a place: the limit is reached, even if nobody is seen to find it full.
    pub fn awaited(&self) {
        self.limited.store(true, Ordering::Relaxed);
    }

    /// Places left; `u32::MAX` where there is no limit.
    #[must_use]
    pub fn free(&self) -> u32 {
        match self.limit() {
            Some(limit) => limit.saturating_sub(self.in_flight.load(Ordering::SeqCst)),
            None => u32::MAX,
        }
    }

    /// The limit now; `None` where there is none.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        (!self.is_off()).then(|| self.limit.load(Ordering::Relaxed))
    }

    /// The limit, where need has found it: lower than the one it began with. That returns while
    /// nobody needs a limit, so a limit that stands at its beginning says nothing.
    #[must_use]
    pub fn found(&self) -> Option<u32> {
        let limit = self.limit().filter(|_| self.adaptive.load(Ordering::Relaxed))?;
        let gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        (limit < gradient.settings().first()).then_some(limit)
    }

    /// Attempts under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Whether an attempt that began at `began`, is still under way and has run out of time now
    /// waited in its server's queue: others were answered in the meantime, and slowly, and
    /// there are more of them than are held not to wait for each other. The server is busy then,
    /// and not broken. Never where the limit does not learn.
    #[must_use]
    pub fn is_crowded(&self, began: Moment, now: Moment) -> bool {
        self.adaptive.load(Ordering::Relaxed) && self.is_queue(self.in_flight(), began, now)
    }

    fn is_queue(&self, under_way: u32, began: Moment, now: Moment) -> bool {
        let slow_at = self.slow_at.load(Ordering::Relaxed);
        slow_at > began.as_nanos()
            && (under_way > self.least.load(Ordering::Relaxed)
                || now.as_nanos() < self.relieved_until.load(Ordering::Relaxed))
    }

    /// Whether so many slow answers have come in a row that there is a queue.
    #[inline]
    fn shows_queue(&self, micros: u64, is_old: bool, now: Moment) -> bool {
        let slow_from = self.slow_from.load(Ordering::Relaxed);
        if micros <= slow_from {
            if self.slow_run.load(Ordering::Relaxed) > 0 {
                self.slow_run.store(0, Ordering::Relaxed);
            }
            return false;
        }
        self.slow_at.store(now.as_nanos(), Ordering::Relaxed);
        // Of what was under way at a relief it is known that it waits.
        if slow_from == 0 || is_old {
            return false;
        }
        let run = self.slow_run.fetch_add(1, Ordering::Relaxed) + 1;
        if run == 1 {
            self.run_began_with.store(self.in_flight(), Ordering::Relaxed);
        }
        run >= SLOW_RUN && self.has_grown(&self.run_began_with)
    }

    /// Whether more is under way than what it began with.
    fn has_grown(&self, began_with: &AtomicU32) -> bool {
        let began_with = f64::from(began_with.load(Ordering::Relaxed));
        f64::from(self.in_flight()) > began_with * GREW + 1.0
    }

    /// Takes the limit down at once, for an attempt that took `latency` or has `timed_out` after
    /// it; another window begins.
    #[cold]
    fn relieve(&self, (latency, timed_out): (Duration, bool), now: Moment) {
        let Ok(mut gradient) = self.gradient.try_lock() else { return };
        // Somebody else may have been faster.
        if (now - latency).as_nanos() < self.since.load(Ordering::Relaxed) {
            return;
        }
        let under_way = self.in_flight() + 1;
        let decision = gradient.relieve(latency.as_secs_f64() * 1e6, under_way, timed_out);
        self.slow_run.store(0, Ordering::Relaxed);
        if decision.cut {
            self.limit.store(decision.limit, Ordering::Relaxed);
            self.since.store(now.as_nanos(), Ordering::Relaxed);
            let until = (now + latency * RELIEF).as_nanos();
            self.relieved_until.store(until, Ordering::Relaxed);
            self.open(now, latency);
        }
    }

    fn observe(&self, sample: Sample, now: Moment) {
        let answers = match sample {
            Sample::Took(latency) | Sample::TimedOut(latency) => {
                let began = now - latency;
                let is_old = began.as_nanos() < self.since.load(Ordering::Relaxed);
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                let timed_out = matches!(sample, Sample::TimedOut(_));
                let queue = if timed_out {
                    !is_old && self.is_queue(self.in_flight() + 1, began, now)
                } else {
                    self.shows_queue(micros, is_old, now)
                };
                if queue {
                    self.relieve((latency, timed_out), now);
                    return;
                }
                if is_old {
                    return;
                }
                let one = 1 << SUM_BITS | micros.min((1 << 32) - 1);
                self.sum.fetch_add(one, Ordering::Relaxed) >> SUM_BITS
            }
            Sample::Refused => u64::from(self.refused.fetch_add(1, Ordering::Relaxed)),
            Sample::Nothing => return,
        };
        if now.as_nanos() >= self.due.load(Ordering::Relaxed) || answers >= MOST_ANSWERS {
            self.close(now);
        }
    }

    /// Closes the window, if it has seen enough, and opens the next.
    #[cold]
    fn close(&self, now: Moment) {
        let Ok(mut gradient) = self.gradient.try_lock() else { return };
        if now.as_nanos() < self.due.load(Ordering::Relaxed) {
            return;
        }
        let opened = Moment::from_nanos(self.opened.load(Ordering::Relaxed));
        let sum = self.sum.load(Ordering::Relaxed);
        let answers = (sum >> SUM_BITS) as u32;
        let refused = self.refused.load(Ordering::Relaxed);
        let latency = (sum & ((1 << SUM_BITS) - 1)) as f64 / f64::from(answers.max(1));
        let usual = Duration::from_micros(latency as u64);
        let limited = self.limited.load(Ordering::Relaxed);
        if opened == Moment::ZERO || now.since(opened) > LONGEST.max(usual * LONGEST_LATENCIES) {
            let tells = opened != Moment::ZERO && limited && answers > 0 && refused == 0;
            if !tells {
                self.open(now, Duration::ZERO);
                return;
            }
        } else if answers < ANSWERS && refused == 0 {
            return;
        }
        let decision = gradient.step(&Window {
            answers,
            latency,
            refused,
            peak: self.peak.load(Ordering::Relaxed),
            limited,
            grew: self.has_grown(&self.began_with),
        });
        self.limit.store(decision.limit, Ordering::Relaxed);
        let slow_from = gradient.slow_from().map_or(0, |micros| micros as u64);
        self.slow_from.store(slow_from, Ordering::Relaxed);
        if decision.cut {
            self.since.store(now.as_nanos(), Ordering::Relaxed);
        }
        self.open(now, usual);
    }

    fn open(&self, now: Moment, latency: Duration) {
        let length = (latency * LATENCIES).clamp(SHORTEST, LONGEST / 4);
        self.sum.store(0, Ordering::Relaxed);
        self.refused.store(0, Ordering::Relaxed);
        self.peak
            .store(self.in_flight().min(self.limit.load(Ordering::Relaxed)), Ordering::Relaxed);
        self.limited.store(false, Ordering::Relaxed);
        self.began_with.store(self.in_flight(), Ordering::Relaxed);
        self.opened.store(now.as_nanos().max(1), Ordering::Relaxed);
        self.due.store((now + length).as_nanos(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Moment = Moment::from_millis(1_000_000);

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn fixed(max: u32) -> Limiter {
        Limiter::new(Settings { adaptive: false, max, ..Settings::default() })
    }

    #[test]
    fn a_fixed_limit_stays() {
        let limiter = fixed(2);
        assert!(limiter.try_acquire() && limiter.try_acquire());
        assert!(!limiter.try_acquire() && limiter.is_full());
        for at in 0..1_000 {
            limiter.release(Sample::Took(ms(1_000)), START + ms(at * 10));
            assert!(limiter.try_acquire());
        }
        assert_eq!((limiter.limit(), limiter.free()), (Some(2), 0));
    }

    #[test]
    fn off_is_no_limit() {
        let limiter = Limiter::new(Settings::off());
        assert!((0..10_000).all(|_| limiter.try_acquire()));
        assert!(!limiter.is_full());
        assert_eq!((limiter.limit(), limiter.free()), (None, u32::MAX));
    }

    #[test]
    fn releasing_once_too_often_does_no_harm() {
        let limiter = fixed(2);
        limiter.release(Sample::Nothing, START);
        assert_eq!(limiter.in_flight(), 0);
    }

    #[test]
    fn outcomes_say_what_they_can() {
        assert_eq!(Sample::of(Ok(()), ms(3)), Sample::Took(ms(3)));
        assert_eq!(Sample::of(Err(Class::Timeout), ms(3)), Sample::TimedOut(ms(3)));
        assert_eq!(Sample::of(Err(Class::Capacity), ms(3)), Sample::Refused);
        for class in [Class::ServerFault, Class::Unreachable, Class::ClientFault, Class::NotReady] {
            assert_eq!(Sample::of(Err(class), ms(3)), Sample::Nothing);
        }
    }

    #[test]
    fn a_server_that_refuses_lowers_its_limit() {
        let limiter = Limiter::new(Settings::default());
        for at in 0..400 {
            assert!(limiter.try_acquire());
            limiter.release(Sample::Refused, START + ms(at));
        }
        assert_eq!(limiter.limit(), Some(4));
    }

    /// A limiter that has seen answers of 20 ms, with so many attempts under way now.
    fn with_baseline(under_way: u32) -> (Limiter, Moment) {
        let limiter = Limiter::new(Settings::default());
        for at in 0..90 {
            assert!(limiter.try_acquire());
            limiter.release(Sample::Took(ms(20)), START + ms(at * 10));
        }
        assert!((0..under_way).all(|_| limiter.try_acquire()));
        (limiter, START + ms(1_000))
    }

    #[test]
    fn slow_answers_in_a_row_cut_the_limit_before_the_window_is_over() {
        let (limiter, now) = with_baseline(20);
        for answer in 1..=8 {
            assert_eq!(limiter.limit(), Some(200), "{answer}");
            assert!((0..3).all(|_| limiter.try_acquire()));
            limiter.release(Sample::Took(ms(80)), now + ms(answer));
        }
        assert!(limiter.limit() < Some(20), "{:?}", limiter.limit());
    }

    #[test]
    fn quick_answers_among_the_slow_ones_are_no_queue() {
        let (limiter, now) = with_baseline(20);
        for answer in 0..19 {
            let took = if answer % 5 == 4 { 20 } else { 80 };
            assert!((0..3).all(|_| limiter.try_acquire()));
            limiter.release(Sample::Took(ms(took)), now + ms(answer));
        }
        assert_eq!(limiter.limit(), Some(200));
    }

    #[test]
    fn who_runs_out_of_time_in_a_queue_is_told_from_who_meets_silence() {
        let (limiter, now) = with_baseline(20);
        let late = now + ms(300);
        assert!(!limiter.is_crowded(now, late), "nobody was answered in the meantime");
        limiter.release(Sample::Took(ms(30)), now + ms(100));
        assert!(!limiter.is_crowded(now, late), "the others were answered quickly");
        limiter.release(Sample::Took(ms(200)), now + ms(200));
        assert!(limiter.is_crowded(now, late));
        assert!(!limiter.is_crowded(now + ms(200), late), "that was before it began");
        limiter.release(Sample::TimedOut(ms(300)), late);
        assert!(limiter.limit() < Some(10), "{:?}", limiter.limit());
        (0..17).for_each(|_| limiter.release(Sample::Nothing, late));
        assert!(limiter.is_crowded(now, late), "it waits behind what was let in before");
        assert!(!limiter.is_crowded(now, late + ms(601)), "so few do not wait for each other");
    }

    #[test]
    fn a_fixed_limit_takes_no_timeout_for_a_queue() {
        let limiter = fixed(100);
        assert!((0..50).all(|_| limiter.try_acquire()));
        limiter.release(Sample::Took(ms(200)), START + ms(200));
        assert!(!limiter.is_crowded(START, START + ms(300)));
    }

    /// Keeps a target full that takes `work` for each and could do any number at once.
    fn keep_full(limiter: &Limiter, work: Duration, turns: usize) {
        let (mut under_way, mut now) = (std::collections::VecDeque::new(), START);
        for _ in 0..turns {
            while limiter.try_acquire() {
                under_way.push_back(now);
                now = now + ms(50);
            }
            let Some(began) = under_way.pop_front() else { return };
            now = now.max(began + work);
            limiter.release(Sample::Took(now.since(began)), now);
        }
    }

    #[test]
    fn a_limit_grows_however_slow_the_answers_are() {
        for (initial, least) in [(20, 60), (4, 12), (1, 4)] {
            let settings = Settings { min: 1, initial, ..Settings::default() };
            let limiter = Limiter::new(settings);
            keep_full(&limiter, Duration::from_secs(30), 4_000);
            assert!(limiter.limit() > Some(least), "{initial}: {:?}", limiter.limit());
        }
    }

    #[test]
    fn workers_together_never_exceed_a_limit() {
        let limiter = fixed(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if limiter.try_acquire() {
                            assert!(limiter.in_flight() <= 3);
                            limiter.release(Sample::Took(ms(1)), START);
                        }
                    }
                });
            }
        });
        assert_eq!(limiter.in_flight(), 0);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Begin,
        End(u64, u8),
    }

    proptest! {
        #[test]
        fn no_attempt_begins_beyond_the_limit(
            min in 1u32..8,
            initial in 1u32..40,
            max in 1u32..60,
            steps in prop::collection::vec(
                prop_oneof![
                    Just(Step::Begin),
                    (0u64..500, 0u8..4).prop_map(|(took, how)| Step::End(took, how)),
                ],
                0..2_000,
            ),
        ) {
            let limiter = Limiter::new(Settings { adaptive: true, min, initial, max });
            let (mut now, mut under_way) = (START, 0u32);
            for step in steps {
                now = now + ms(3);
                match step {
                    Step::Begin => {
                        let limit = limiter.limit().unwrap();
                        prop_assert!(limit <= max.max(1));
                        if limiter.try_acquire() {
                            under_way += 1;
                            prop_assert!(under_way <= limit);
                        } else {
                            prop_assert!(under_way >= limit);
                        }
                    }
                    Step::End(took, how) if under_way > 0 => {
                        let took = ms(took);
                        let sample = [
                            Sample::Took(took),
                            Sample::TimedOut(took),
                            Sample::Refused,
                            Sample::Nothing,
                        ];
                        limiter.release(sample[usize::from(how)], now);
                        under_way -= 1;
                    }
                    Step::End(..) => {}
                }
                prop_assert_eq!(limiter.in_flight(), under_way);
            }
        }
    }
}
