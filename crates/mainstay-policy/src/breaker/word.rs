//! The breaker's state as one machine word, and its transitions as pure functions of it.
//!
//! ```text
//!            failure rate, failures in a row,
//!            slow calls, fatal accelerator
//!   ┌────────┐ ───────────────────────────────► ┌──────┐
//!   │ Closed │                                  │ Open │ ◄──┐
//!   └────────┘ ◄──┐                             └──────┘    │ a trial fails,
//!                 │ `permits` trials succeed        │       │ or they are slow
//!                 │                             wait over,  │
//!            ┌──────────┐ ◄──────────────── probes succeed  │
//!            │ HalfOpen │ ──────────────────────────────────┘
//!            └──────────┘
//! ```
//!
//! Each change of state begins a new period; an outcome counts only in the period that admitted
//! it. The number of openings in a row outlives a closing, so that a target that fails again at
//! once waits longer; it is forgotten once the breaker has stayed closed for as long as its last
//! wait. A long failure thus needs a long proof, a short one a short proof.

use crate::{Class, Moment};

use super::report::{Cause, Permit, Refusal, State, Transition};
use super::settings::Settings;

// Layout, from the low bits: state 2, openings 4, period 5, three tallies of 5 bits each (when
// closed, the first two together hold the failures in a row), milliseconds 38.
const OPENINGS: u32 = 2;
const PERIOD: u32 = 6;
const TALLY_A: u32 = 11;
const TALLY_B: u32 = 16;
const TALLY_C: u32 = 21;
const MILLIS: u32 = 26;

const FIVE_BITS: u64 = 0x1f;
const MAX_OPENINGS: u8 = 15;
/// The latest moment a word can hold: 8.7 years after the clock's origin. From then on waits
/// would be over at once; the rest goes on working.
const MAX_MILLIS: u64 = (1 << (64 - MILLIS)) - 1;

/// What a state has to remember. Moments are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed { consecutive: u8, since: u64 },
    Open { until: u64 },
    HalfOpen { out: u8, passed: u8, slow: u8, given: u64 },
}

/// The whole state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) phase: Phase,
    /// Openings in a row.
    pub(super) openings: u8,
    /// Changes with each change of state, modulo 32.
    pub(super) period: u8,
}

/// What happened to an attempt, or to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A usable answer.
    Passed { slow: bool },
    /// A failure that is the target's fault.
    Failed(Class),
    /// The attempt says nothing about the target: given back.
    Void,
    /// Active checks found the target back.
    ProbesSucceeded,
}

/// What a step needs besides the event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) now: Moment,
    /// Chance for the jitter of a wait: -1 to 1.
    pub(super) chance: f32,
    /// The rate that the window has reached, if any.
    pub(super) rate: Option<Cause>,
}

/// An admission: the word after it, the permit, and the change that came with it.
pub(super) type Admission = (Word, Permit, Option<Transition>);

impl Word {
    /// Closed, with nothing known.
    pub(super) const NEW: Self =
        Self { phase: Phase::Closed { consecutive: 0, since: 0 }, openings: 0, period: 0 };

    #[inline]
    pub(super) fn unpack(bits: u64) -> Self {
        let five = |shift: u32| ((bits >> shift) & FIVE_BITS) as u8;
        let millis = bits >> MILLIS;
        let phase = match bits & 3 {
            0 => Phase::Closed { consecutive: (bits >> TALLY_A) as u8, since: millis },
            1 => Phase::Open { until: millis },
            _ => Phase::HalfOpen {
                out: five(TALLY_A),
                passed: five(TALLY_B),
                slow: five(TALLY_C),
                given: millis,
            },
        };
        Self { phase, openings: ((bits >> OPENINGS) & 0xf) as u8, period: five(PERIOD) }
    }

    #[inline]
    pub(super) fn pack(self) -> u64 {
        let five = |value: u8, shift: u32| (u64::from(value) & FIVE_BITS) << shift;
        let (state, tallies, millis) = match self.phase {
            Phase::Closed { consecutive, since } => (0, u64::from(consecutive) << TALLY_A, since),
            Phase::Open { until } => (1, 0, until),
            Phase::HalfOpen { out, passed, slow, given } => {
                (2, five(out, TALLY_A) | five(passed, TALLY_B) | five(slow, TALLY_C), given)
            }
        };
        let openings = u64::from(self.openings.min(MAX_OPENINGS)) << OPENINGS;
        let millis = millis.min(MAX_MILLIS) << MILLIS;
        state | openings | five(self.period, PERIOD) | tallies | millis
    }

    pub(super) const fn state(self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// The admission by a closed breaker, if this is one.
    #[inline]
    pub(super) const fn closed_admission(self) -> Option<Admission> {
        match self.phase {
            Phase::Closed { .. } => Some((self, Permit::Closed { period: self.period }, None)),
            Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// Lets an attempt through, or says why not.
    #[inline]
    pub(super) fn admit(self, now: Moment, settings: &Settings) -> Result<Admission, Refusal> {
        match self.phase {
            Phase::Closed { .. } => Ok((self, Permit::Closed { period: self.period }, None)),
            Phase::Open { until } if now.as_millis() < until => {
                Err(Refusal::Open { until: Moment::from_millis(until) })
            }
            Phase::Open { .. } => {
                let trial = self.half_open(1, now);
                Ok((trial, trial.trial_permit(), Some(self.change(trial, Cause::WaitOver))))
            }
            Phase::HalfOpen { out, passed, slow, .. } if out < settings.permits() => {
                let given = now.as_millis();
                let phase = Phase::HalfOpen { out: out + 1, passed, slow, given };
                Ok((Self { phase, ..self }, self.trial_permit(), None))
            }
            Phase::HalfOpen { given, .. } => self.renew(given, now, settings),
        }
    }

    /// All permits are out. Should none come back for as long as the longest wait (streams that
    /// do not end, a caller that lost them), a new trial begins, so that no breaker is stuck.
    fn renew(self, given: u64, now: Moment, settings: &Settings) -> Result<Admission, Refusal> {
        if now < Moment::from_millis(given) + settings.open_max {
            return Err(Refusal::HalfOpenFull);
        }
        let trial = self.half_open(1, now);
        Ok((trial, trial.trial_permit(), None))
    }

    /// Whether the permit's attempt was admitted in the present period.
    const fn honours(self, permit: Permit) -> bool {
        match (permit, self.phase) {
            (Permit::Closed { period }, Phase::Closed { .. })
            | (Permit::Probe { period }, Phase::HalfOpen { .. }) => period == self.period,
            _ => false,
        }
    }

    /// The word after an attempt ended in `event`; unchanged if its permit is out of date.
    pub(super) fn step_with(
        self,
        permit: Permit,
        event: Event,
        cx: &Context<'_>,
    ) -> (Self, Option<Transition>) {
        if self.honours(permit) { self.step(event, cx) } else { (self, None) }
    }

    /// The word after `event`, and the change of state if there was one.
    pub(super) fn step(self, event: Event, cx: &Context<'_>) -> (Self, Option<Transition>) {
        match self.phase {
            Phase::Closed { consecutive, since } => self.step_closed(event, consecutive, since, cx),
            Phase::Open { .. } if event == Event::ProbesSucceeded => {
                self.changed(self.half_open(0, cx.now), Cause::ProbesSucceeded)
            }
            Phase::Open { .. } => (self, None),
            Phase::HalfOpen { .. } => self.step_half_open(event, cx),
        }
    }

    fn step_closed(
        self,
        event: Event,
        consecutive: u8,
        since: u64,
        cx: &Context<'_>,
    ) -> (Self, Option<Transition>) {
        let (consecutive, cause) = match event {
            Event::Passed { .. } => (0, cx.rate),
            Event::Failed(class) => {
                let count = consecutive.saturating_add(1);
                (count, failure_cause(class, count, cx))
            }
            Event::Void | Event::ProbesSucceeded => (consecutive, None),
        };
        match cause {
            Some(cause) => self.changed(self.open(cx), cause),
            None => (Self { phase: Phase::Closed { consecutive, since }, ..self }, None),
        }
    }

    fn step_half_open(self, event: Event, cx: &Context<'_>) -> (Self, Option<Transition>) {
        let Phase::HalfOpen { out, passed, slow, given } = self.phase else { return (self, None) };
        let out = out.saturating_sub(1);
        match event {
            Event::Failed(class) => self.changed(self.open(cx), Cause::HalfOpenFailed(class)),
            Event::Passed { slow: was_slow } => {
                let (passed, slow) = (passed.saturating_add(1), slow + u8::from(was_slow));
                if passed >= cx.settings.permits() {
                    return self.conclude(passed, slow, cx);
                }
                (Self { phase: Phase::HalfOpen { out, passed, slow, given }, ..self }, None)
            }
            Event::Void => {
                (Self { phase: Phase::HalfOpen { out, passed, slow, given }, ..self }, None)
            }
            Event::ProbesSucceeded => (self, None),
        }
    }

    /// Enough answers came: they close the breaker, unless they were as slow as what opened it.
    fn conclude(self, passed: u8, slow: u8, cx: &Context<'_>) -> (Self, Option<Transition>) {
        let (slow, calls) = (u32::from(slow), u32::from(passed));
        let too_slow = |rules: &super::SlowCalls| slow > 0 && rules.rate.reached_by(slow, calls);
        if cx.settings.slow.as_ref().is_some_and(too_slow) {
            return self.changed(self.open(cx), Cause::HalfOpenSlow { slow, calls });
        }
        let closed = Phase::Closed { consecutive: 0, since: cx.now.as_millis() };
        self.changed(self.next(closed), Cause::HalfOpenSucceeded)
    }

    fn open(self, cx: &Context<'_>) -> Self {
        let openings = self.openings_after(cx);
        let until = cx.now + cx.settings.wait(openings, cx.chance);
        let opened = self.next(Phase::Open { until: until.as_nanos().div_ceil(1_000_000) });
        Self { openings, ..opened }
    }

    /// How many openings in a row it makes to open now.
    fn openings_after(self, cx: &Context<'_>) -> u8 {
        let another = self.openings.saturating_add(1).min(MAX_OPENINGS);
        let Phase::Closed { since, .. } = self.phase else { return another };
        let proof = cx.settings.wait(self.openings, 0.0);
        let proven = cx.now >= Moment::from_millis(since) + proof;
        if proven { 1 } else { another }
    }

    fn half_open(self, out: u8, now: Moment) -> Self {
        self.next(Phase::HalfOpen { out, passed: 0, slow: 0, given: now.as_millis() })
    }

    const fn next(self, phase: Phase) -> Self {
        Self { phase, openings: self.openings, period: (self.period + 1) & FIVE_BITS as u8 }
    }

    const fn trial_permit(self) -> Permit {
        Permit::Probe { period: self.period }
    }

    const fn change(self, next: Self, cause: Cause) -> Transition {
        Transition { from: self.state(), to: next.state(), cause }
    }

    const fn changed(self, next: Self, cause: Cause) -> (Self, Option<Transition>) {
        (next, Some(self.change(next, cause)))
    }
}

/// Whether a failure, the `count`th in a row, opens a closed breaker.
fn failure_cause(class: Class, count: u8, cx: &Context<'_>) -> Option<Cause> {
    if class == Class::FatalAccelerator && !cx.settings.is_off() {
        return Some(Cause::FatalAccelerator);
    }
    let limit = cx.settings.consecutive;
    if limit > 0 && count >= limit { Some(Cause::Consecutive(count)) } else { cx.rate }
}
