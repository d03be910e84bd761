//! Whether a target may be asked: a circuit breaker with closed, open and half-open states.
//!
//! Closed lets everything through and watches: too large a share of failures or of slow answers
//! within a window, too many failures in a row, or one fatal error opens it. Open refuses until
//! a wait is over, which doubles with each opening soon after the last; active probes that find
//! the target back end it early. Half-open lets a few *real* requests through at a time, because
//! a target can pass every probe and still fail all requests: enough successes close it, one
//! failure opens it again. (Nygard, *Release It!*; the words are those of Resilience4j.)
//!
//! What it keeps to:
//! - an open breaker admits nothing before its wait is over, and something after it;
//! - at most `permits` requests of a half-open period are out at a time;
//! - only failures that are the target's fault count ([`Class::blames_target`]); the others give
//!   their permit back and count as neither failure nor success;
//! - what was admitted in an earlier period counts nowhere ([`Permit`]);
//! - what an operator forces overrides the rest until it expires, and changes nothing in it.
//!
//! The state is one word, changed by compare-and-swap over pure functions of it, and every worker
//! sees the same. A good answer reads that word, counts in the worker's own shard of the window
//! and writes nothing that others read; windows are summed only when a call failed or was slow.
//! Relaxed ordering is enough everywhere: no word says anything about another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::{Class, Moment, Outcome};

use self::baseline::Baseline;
use self::window::{Call, Totals, Window};
use self::word::{Admission, Context, Event, Phase, Word};

mod baseline;
mod report;
mod settings;
mod window;
mod word;

#[cfg(test)]
mod tests;

pub use self::report::{Cause, Forced, Permit, Refusal, State, Status, Transition};
pub use self::settings::{MAX_PERMITS, Settings, SlowCalls, WindowKind};

/// The breaker of one target, shared by all workers.
#[derive(Debug)]
pub struct Breaker {
    word: AtomicU64,
    /// What an operator forced: milliseconds of the expiry, then 1 for open or 2 for closed in
    /// the low two bits; 0 for nothing.
    forced: AtomicU64,
    baseline: Baseline,
    /// Swapped whole when the configuration changes; a closed breaker admits without them.
    rules: ArcSwap<Rules>,
    /// Set while all of its target's peers are slower than usual as well.
    excused: AtomicBool,
}

/// What it judges by, and the calls that it judges.
#[derive(Debug)]
struct Rules {
    settings: Settings,
    window: Window,
}

impl Rules {
    fn new(settings: Settings, shards: usize) -> Arc<Self> {
        Arc::new(Self { window: Window::new(settings.window, shards), settings })
    }

    /// The rate that the window has reached, if any.
    fn rate(&self, now: Moment, period: u8) -> Option<Cause> {
        let Totals { calls, failures, slow } = self.window.totals(now, period);
        if calls < self.settings.minimum() {
            return None;
        }
        if failures > 0 && self.settings.failure_rate.reached_by(failures, calls) {
            return Some(Cause::FailureRate { failures, calls });
        }
        let rules = self.settings.slow.as_ref()?;
        (slow > 0 && rules.rate.reached_by(slow, calls)).then_some(Cause::SlowCalls { slow, calls })
    }

    const fn context(&self, now: Moment, rate: Option<Cause>, chance: f32) -> Context<'_> {
        Context { settings: &self.settings, now, chance, rate }
    }
}

impl Breaker {
    /// A closed breaker for so many workers; worker `n` records with shard `n`.
    #[must_use]
    pub fn new(settings: Settings, shards: usize) -> Self {
        Self {
            word: AtomicU64::new(Word::NEW.pack()),
            forced: AtomicU64::new(0),
            baseline: Baseline::default(),
            rules: ArcSwap::new(Rules::new(settings, shards)),
            excused: AtomicBool::new(false),
        }
    }

    /// Its rules.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.rules.load().settings.clone()
    }

    /// Gives it other rules, if they are others. Its state, what an operator forced and what is
    /// usual stay; the calls of its window are counted anew.
    pub fn reconfigure(&self, settings: &Settings, shards: usize) {
        if self.rules.load().settings != *settings {
            self.rules.store(Rules::new(settings.clone(), shards));
        }
    }

    /// Whether [`admit`](Self::admit) would let an attempt through; takes no permit.
    ///
    /// # Errors
    /// The reason why not.
    #[inline]
    pub fn would_admit(&self, now: Moment) -> Result<(), Refusal> {
        match self.forced_now(now) {
            Some((Forced::Open, _)) => Err(Refusal::ForcedOpen),
            Some((Forced::Closed, _)) => Ok(()),
            None => self.admission(self.load(), now).map(|_| ()),
        }
    }

    /// Lets an attempt through. The permit must come back once, by [`record`](Self::record) or
    /// [`release`](Self::release).
    ///
    /// # Errors
    /// The reason why not.
    #[inline]
    pub fn admit(&self, now: Moment) -> Result<(Permit, Option<Transition>), Refusal> {
        match self.forced_now(now) {
            Some((Forced::Open, _)) => return Err(Refusal::ForcedOpen),
            Some((Forced::Closed, _)) => return Ok((Permit::Forced, None)),
            None => {}
        }
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let (next, permit, transition) = self.admission(Word::unpack(seen), now)?;
            match self.swap(seen, next) {
                Ok(()) => return Ok((permit, transition)),
                Err(current) => seen = current,
            }
        }
    }

    /// What a word says to one more attempt. A closed one needs no rules for that.
    #[inline]
    fn admission(&self, word: Word, now: Moment) -> Result<Admission, Refusal> {
        match word.closed_admission() {
            Some(admission) => Ok(admission),
            None => word.admit(now, &self.rules.load().settings),
        }
    }

    /// Lets an attempt through whatever its state, unless an operator forced it open. What
    /// becomes of the attempt counts nowhere.
    ///
    /// # Errors
    /// An operator forced it open.
    pub fn admit_anyway(&self, now: Moment) -> Result<Permit, Refusal> {
        match self.forced_now(now) {
            Some((Forced::Open, _)) => Err(Refusal::ForcedOpen),
            Some((Forced::Closed, _)) | None => Ok(Permit::Forced),
        }
    }

    /// Takes back a permit with what became of its attempt.
    pub fn record(
        &self,
        shard: usize,
        permit: Permit,
        outcome: Outcome,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Option<Transition> {
        let rules = &**self.rules.load();
        let slow = self.is_slow(rules, outcome.latency);
        let event = event(outcome.result, slow);
        match permit {
            Permit::Forced => None,
            Permit::Closed { .. } if event == Event::Void => None,
            Permit::Closed { period } => {
                let streak = self.streak_in(period)?;
                self.count(&rules.window, (shard, period), outcome, slow, now);
                if outcome.result.is_ok() && !slow {
                    // The way of nearly every answer: only a streak of failures must be ended.
                    return streak
                        .then(|| self.apply(rules, (permit, event), now, None, rng))
                        .flatten();
                }
                self.apply(rules, (permit, event), now, rules.rate(now, period), rng)
            }
            Permit::Probe { .. } => self.apply(rules, (permit, event), now, None, rng),
        }
    }

    /// Takes back the permit of an attempt that was not made or has no outcome, because its
    /// client went away for example.
    pub fn release(&self, permit: Permit) {
        if matches!(permit, Permit::Probe { .. }) {
            let rules = self.rules.load();
            let cx = rules.context(Moment::ZERO, None, 0.0);
            self.update(&rules, |word| word.step_with(permit, Event::Void, &cx));
        }
    }

    /// Active probes found the target back: an open breaker becomes half-open at once.
    pub fn end_wait(&self, now: Moment) -> Option<Transition> {
        let rules = self.rules.load();
        let cx = rules.context(now, None, 0.0);
        self.update(&rules, |word| word.step(Event::ProbesSucceeded, &cx))
    }

    /// Overrides it until a moment, or ends the override. A moment that has passed is no
    /// override. The breaker's own state waits underneath and applies again afterwards.
    pub fn force(&self, forced: Option<(Forced, Moment)>, now: Moment) {
        let bits = match forced {
            Some((kind, until)) if until > now => pack_forced(kind, until),
            Some(_) | None => 0,
        };
        self.forced.store(bits, Ordering::Relaxed);
    }

    /// Whether it is open or half-open by its own rules, so that only real requests can prove
    /// its target. Asked after [`would_admit`](Self::would_admit), which clears an override that
    /// has expired.
    #[must_use]
    pub fn on_probation(&self) -> bool {
        self.forced.load(Ordering::Relaxed) == 0 && self.load().state() != State::Closed
    }

    /// The usual latency of its target: the 95th percentile of its good answers. `None` while
    /// too few were seen.
    #[inline]
    #[must_use]
    pub fn usual(&self) -> Option<Duration> {
        self.baseline.p95()
    }

    /// Takes back the permit of an attempt that was cut off after `latency`, because another
    /// one answered first. Nobody is blamed; but an attempt that had already taken longer than
    /// usual counts as such an answer in what is usual. Without that the estimate would learn
    /// from the quick answers alone, and shrink.
    pub fn overtaken(&self, permit: Permit, latency: Duration, now: Moment) {
        if self.usual().is_some_and(|usual| latency > usual) {
            self.baseline.learn(latency, self.is_slow(&self.rules.load(), latency), now);
        }
        self.release(permit);
    }

    /// Whether slow answers count for nothing, since the target's peers became slower with it:
    /// what all of them share is mended by taking none of them out.
    pub fn excuse_slowness(&self, excused: bool) {
        self.excused.store(excused, Ordering::Relaxed);
    }

    /// From which latency on a call is slow; `None` while that is not known, or never.
    #[must_use]
    pub fn slow_from(&self) -> Option<Duration> {
        self.slow_by(self.rules.load().settings.slow.as_ref()?)
    }

    fn slow_by(&self, rules: &SlowCalls) -> Option<Duration> {
        if rules.factor <= 0.0 {
            return Some(rules.floor);
        }
        let usual = self.baseline.p95()?.as_secs_f32();
        let limit = Duration::try_from_secs_f32(usual * rules.factor).unwrap_or(Duration::MAX);
        Some(limit.max(rules.floor))
    }

    /// The breaker as an operator sees it.
    #[must_use]
    pub fn status(&self, now: Moment) -> Status {
        let word = self.load();
        let Totals { calls, failures, slow } = match word.phase {
            Phase::Closed { .. } => self.rules.load().window.totals(now, word.period),
            Phase::Open { .. } | Phase::HalfOpen { .. } => Totals::default(),
        };
        let (until, consecutive) = match word.phase {
            Phase::Closed { consecutive, .. } => (None, consecutive),
            Phase::Open { until } => (Some(Moment::from_millis(until)), 0),
            Phase::HalfOpen { .. } => (None, 0),
        };
        Status {
            state: word.state(),
            forced: self.forced_now(now),
            until,
            calls,
            failures,
            slow,
            consecutive,
            reopened: word.openings.saturating_sub(1),
        }
    }

    #[inline]
    fn load(&self) -> Word {
        Word::unpack(self.word.load(Ordering::Relaxed))
    }

    /// What an operator forced, unless it has expired; then it is cleared, so that later reads
    /// need no clock. A newer override is never cleared by mistake: the exchange compares.
    #[inline]
    fn forced_now(&self, now: Moment) -> Option<(Forced, Moment)> {
        let bits = self.forced.load(Ordering::Relaxed);
        let (kind, until) = unpack_forced(bits)?;
        if now < until {
            return Some((kind, until));
        }
        let _ = self.forced.compare_exchange(bits, 0, Ordering::Relaxed, Ordering::Relaxed);
        None
    }

    fn is_slow(&self, rules: &Rules, latency: Duration) -> bool {
        // Most answers are below the floor, and need no estimate to be looked at.
        rules.settings.slow.as_ref().is_some_and(|slow| {
            latency > slow.floor
                && !self.excused.load(Ordering::Relaxed)
                && self.slow_by(slow).is_some_and(|limit| latency > limit)
        })
    }

    /// Whether failures in a row are being counted; `None` unless closed in this same period.
    #[inline]
    fn streak_in(&self, period: u8) -> Option<bool> {
        match self.load() {
            Word { phase: Phase::Closed { consecutive, .. }, period: now, .. } if now == period => {
                Some(consecutive > 0)
            }
            _ => None,
        }
    }

    /// Counts a call of a closed period in the window, and learns from it what is usual.
    #[inline]
    fn count(
        &self,
        window: &Window,
        (shard, period): (usize, u8),
        outcome: Outcome,
        slow: bool,
        now: Moment,
    ) {
        let call = Call { failed: outcome.result.is_err(), slow };
        window.add(shard, now, period, call);
        if !call.failed {
            self.baseline.learn(outcome.latency, slow, now);
        }
    }

    fn apply(
        &self,
        rules: &Rules,
        (permit, event): (Permit, Event),
        now: Moment,
        rate: Option<Cause>,
        rng: &mut fastrand::Rng,
    ) -> Option<Transition> {
        let cx = rules.context(now, rate, rng.f32() * 2.0 - 1.0);
        self.update(rules, |word| word.step_with(permit, event, &cx))
    }

    fn update(
        &self,
        rules: &Rules,
        step: impl Fn(Word) -> (Word, Option<Transition>),
    ) -> Option<Transition> {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let (next, transition) = step(Word::unpack(seen));
            match self.swap(seen, next) {
                Ok(()) => {
                    if transition.is_some_and(|change| change.to == State::Closed) {
                        rules.window.begin();
                    }
                    return transition;
                }
                Err(current) => seen = current,
            }
        }
    }

    /// Puts `next` in the place of `seen`, or says what stands there now.
    #[inline]
    fn swap(&self, seen: u64, next: Word) -> Result<(), u64> {
        let next = next.pack();
        if next == seen {
            return Ok(());
        }
        self.word
            .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            .map(|_| ())
    }
}

fn event(result: Result<(), Class>, slow: bool) -> Event {
    match result {
        Ok(()) => Event::Passed { slow },
        Err(class) if class.blames_target() => Event::Failed(class),
        Err(_) => Event::Void,
    }
}

fn pack_forced(kind: Forced, until: Moment) -> u64 {
    let kind = match kind {
        Forced::Open => 1,
        Forced::Closed => 2,
    };
    until.as_nanos().div_ceil(1_000_000) << 2 | kind
}

fn unpack_forced(bits: u64) -> Option<(Forced, Moment)> {
    let kind = match bits & 3 {
        1 => Forced::Open,
        2 => Forced::Closed,
        _ => return None,
    };
    Some((kind, Moment::from_millis(bits >> 2)))
}
