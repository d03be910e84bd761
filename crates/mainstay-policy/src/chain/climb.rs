//! One request on its way through its chain.

use std::time::Duration;

use crate::Moment;
use crate::balance::{Candidate, Distance, Key, Why};
use crate::budget::{Division, RetryBudget, attempt_limit};
use crate::outcome::{Class, SentState};
use crate::target::Target;

use super::eligible::tier;
use super::plan::{Plan, Pool, Step};
use super::{Cause, Reason, Skipped};

mod candidates;
mod hedge;
mod keyed;
mod near;
mod pinned;
mod room;

pub use pinned::Pin;

use room::Room;

/// Attempts of one request altogether, those that never left us included. Bounds the work of a
/// request whose every endpoint refuses, and the size of its record.
pub const MAX_ATTEMPTS: u8 = 6;

/// What a climb needs from outside for one decision.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time now.
    pub now: Moment,
    /// Chance for the choice between endpoints and for pauses.
    pub rng: &'a mut fastrand::Rng,
    /// A number that grows with each choice of this worker: whose turn it is.
    pub turn: u32,
    /// The worker that asks.
    pub shard: usize,
    /// The gateway's allowance of retries.
    pub retries: &'a RetryBudget,
    /// Room for the candidates, kept by the worker so that no choice allocates.
    pub candidates: &'a mut Vec<Candidate>,
}

/// An attempt to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Step of the chain.
    pub step: usize,
    /// Member of the step's pool.
    pub member: usize,
    /// Why this member.
    pub why: Why,
    /// The longest that the attempt may take.
    pub limit: Duration,
    /// The pause to make before it.
    pub delay: Duration,
    /// After so long without an answer it may be [hedged](Climb::hedge); `None`: never.
    pub hedge_after: Option<Duration>,
    /// Whether somebody else of the pool was asked before: what broke there may have broken here
    /// too.
    pub again: bool,
    /// Who was passed over, for the record.
    pub skipped: Skipped,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Try this member.
    Attempt(Choice),
    /// Ask the source inside the gateway at this step.
    Local(usize),
    /// Wait until there is room at a server, if the queue allows it; then say
    /// [`room`](Climb::room) or [`no_room`](Climb::no_room).
    Wait,
    /// Nobody is left in a pool: ask again after this pause, somebody may have come back.
    Await(Duration),
    /// Nothing is left to ask.
    Exhausted,
}

/// The state of one request's climb.
#[derive(Debug)]
pub struct Climb<'p> {
    pub(super) plan: &'p Plan,
    pub(super) deadline: Moment,
    /// Whether it may be sent again once it may have been executed.
    pub(super) repeatable: bool,
    /// What was left of the deadline at the first decision: reserves are a part of this whole,
    /// so that one hung attempt after another cannot eat them up.
    pub(super) whole: Option<Duration>,
    pub(super) step: usize,
    /// Members of the present step that this request has tried.
    pub(super) tried: [u16; MAX_ATTEMPTS as usize],
    pub(super) tried_count: u8,
    /// Attempts that may have reached a server.
    spent: u8,
    /// All attempts.
    total: u8,
    /// Whether the retry budget knows of this request.
    counted: bool,
    /// How many of the spent attempts have drawn their repetition from the retry budget.
    drawn: u8,
    /// Set once no pool may be asked any more.
    pub(super) pools_closed: Option<Reason>,
    /// Whether the sources inside the gateway can answer this kind of request.
    locals: bool,
    /// The second and last pass, over what health alone had ruled out.
    pub(super) last_resort: bool,
    /// How long somebody may be waited for at the present step, once that has begun.
    pub(super) awaits: Option<Moment>,
    /// Everybody of the present step is tried, whatever is said against them.
    pub(super) panics: bool,
    /// The distance at which it looks first in the present step's pool, once that is drawn.
    looks_first: Option<Distance>,
    /// Where nobody listened, as step and member: there is always room at such a place, and
    /// whoever waited for some would go there again and again.
    gone: [(u16, u16); MAX_ATTEMPTS as usize],
    gone_count: u8,
    /// The distances at which an attempt of this request failed, as bits: a zone is one for all
    /// pools.
    failed_at: u8,
    /// Whether it must not go to another region.
    stays: bool,
    /// What it is kept together by with others.
    key: Option<Key>,
    /// The only member that may answer it.
    pin: Option<Pin>,
    /// Whether some answer is already at hand, so that no last resort is needed.
    content: bool,
    /// What made the last source fail: later steps may be for some causes alone.
    cause: Cause,
    pub(super) reason: Reason,
    /// How the attempts of the present step failed, in the words of a reason.
    failure: Reason,
    room: Room,
}

impl<'p> Climb<'p> {
    /// A climb that must end by `deadline`. `locals` says whether embedded models and default
    /// predictions can answer this kind of request.
    #[must_use]
    pub fn new(plan: &'p Plan, deadline: Moment, locals: bool) -> Self {
        Self {
            plan,
            deadline,
            repeatable: plan.repeatable,
            whole: None,
            step: 0,
            tried: [0; MAX_ATTEMPTS as usize],
            tried_count: 0,
            spent: 0,
            total: 0,
            counted: false,
            drawn: 0,
            pools_closed: None,
            locals,
            last_resort: false,
            awaits: None,
            panics: false,
            looks_first: None,
            gone: [(0, 0); MAX_ATTEMPTS as usize],
            gone_count: 0,
            failed_at: 0,
            stays: false,
            key: None,
            pin: None,
            content: false,
            cause: Cause::ServerError,
            reason: Reason::None,
            failure: Reason::AttemptsFailed,
            room: Room::OPEN,
        }
    }

    /// Why the first step did not answer, as far as is known.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// What to do next.
    pub fn next(&mut self, cx: &mut Context<'_>) -> Next {
        loop {
            match self.plan.steps().get(self.step) {
                Some(_) if self.step > 0 && !self.plan.is_for(self.step, self.cause) => {
                    self.step += 1;
                }
                Some(Step::Pool(pool)) => match self.choose(pool, cx) {
                    Ok(choice) => return Next::Attempt(choice),
                    Err(reason) => {
                        if let Some(next) = self.resort(pool, reason, cx) {
                            return next;
                        }
                    }
                },
                Some(Step::Local(local)) => {
                    if self.locals && !self.last_resort && local.is_available() {
                        let waits = self.waits(cx.now);
                        return if waits { Next::Wait } else { Next::Local(self.step) };
                    }
                    self.leave(Reason::EmbeddedUnavailable);
                }
                None if self.waits(cx.now) => return Next::Wait,
                None if self.may_resort(cx.now) => {
                    self.last_resort = true;
                    self.step = 0;
                }
                None => return Next::Exhausted,
            }
        }
    }

    /// The attempt was not made after all: the breaker's last permit, or the last place that the
    /// limit leaves, went to someone else.
    pub fn refused(&mut self, choice: &Choice) {
        self.mark_tried(choice.member);
        self.note_full(choice);
    }

    /// The attempt failed and another source may be asked. (A failure of a class that does not
    /// [move on](Class::moves_on) is passed back to the client; it ends the climb.)
    pub fn failed(&mut self, choice: &Choice, class: Class, sent: SentState) {
        self.mark_tried(choice.member);
        self.note_distance(choice);
        self.cause = Cause::of(class);
        self.total = self.total.saturating_add(1);
        if sent == SentState::NotSent {
            self.note_gone(choice);
            return;
        }
        self.spent = self.spent.saturating_add(1);
        // A server that says that it is full or not ready has not executed the request.
        let declined = class.needs_a_step() || matches!(class, Class::NotReady | Class::Capacity);
        if !self.repeatable && !declined {
            self.pools_closed.get_or_insert(Reason::NotRepeatable);
        }
        // The other members of the pool would say the same.
        match class {
            _ if choice.step != self.step => {}
            Class::ContextLength => self.leave(Reason::ContextLength),
            Class::ContentPolicy => self.leave(Reason::ContentPolicy),
            _ => {}
        }
    }

    /// The answer that made the latest attempt fail came, and broke a guard.
    pub const fn guard_broken(&mut self) {
        self.failure = Reason::GuardBroken;
    }

    /// The present step gave no usable answer for `reason`; the next one is asked.
    pub fn leave(&mut self, reason: Reason) {
        if self.reason == Reason::None {
            self.reason = reason;
        }
        if reason == Reason::AtLimit {
            self.cause = Cause::RateLimit;
        }
        self.step += 1;
        self.tried_count = 0;
        (self.awaits, self.panics, self.looks_first) = (None, false, None);
        self.failure = Reason::AttemptsFailed;
    }

    /// The request is not of the kind that the plan allows to repeat: once it may have been
    /// executed it is not sent again.
    pub const fn forbid_repeat(&mut self) {
        self.repeatable = false;
    }

    /// It goes on with an answer that was cut: the request is counted already, and whatever it
    /// tries is a repetition.
    pub const fn goes_on(&mut self) {
        (self.counted, self.spent, self.total) = (true, 1, 1);
    }

    /// No server may be asked any more, for `reason`; the sources inside the gateway still may.
    pub fn close_pools(&mut self, reason: Reason) {
        self.pools_closed.get_or_insert(reason);
    }

    /// Some answer is at hand, if not the best: no last resort is needed.
    pub const fn has_answer(&mut self) {
        self.content = true;
    }

    fn mark_tried(&mut self, member: usize) {
        if let Some(slot) = self.tried.get_mut(usize::from(self.tried_count)) {
            *slot = u16::try_from(member).unwrap_or(u16::MAX);
            self.tried_count += 1;
        }
    }

    fn has_tried(&self, member: usize) -> bool {
        let tried = &self.tried[..usize::from(self.tried_count)];
        tried.iter().any(|tried| usize::from(*tried) == member)
            || (self.gone_count > 0 && !self.last_resort && self.is_gone(member))
    }

    const fn has_failed(&self) -> bool {
        self.tried_count > 0 || self.gone_count > 0
    }

    fn note_gone(&mut self, choice: &Choice) {
        let place = u16::try_from(choice.step).ok().zip(u16::try_from(choice.member).ok());
        if let (Some(slot), Some(place)) = (self.gone.get_mut(usize::from(self.gone_count)), place)
        {
            *slot = place;
            self.gone_count += 1;
        }
    }

    fn is_gone(&self, member: usize) -> bool {
        let here =
            |(step, at): &(u16, u16)| usize::from(*step) == self.step && usize::from(*at) == member;
        self.gone[..usize::from(self.gone_count)].iter().any(here)
    }

    fn may_resort(&self, now: Moment) -> bool {
        !self.last_resort
            && !self.content
            && self.pin.is_none()
            && !self.is_held_back()
            && self.pools_closed.is_none()
            && !self.deadline.remaining(now).is_zero()
    }

    fn choose(&mut self, pool: &Pool, cx: &mut Context<'_>) -> Result<Choice, Reason> {
        self.may_attempt()?;
        self.has_entered()?;
        if let Some(pin) = self.pin {
            return self.choose_pinned(pool, pin, cx);
        }
        let passed = self.list(pool, cx);
        let (member, mut why) = self.pick(pool, cx, passed)?;
        let target = &*pool.members[member].target;
        let mut delay = self.pause(pool, cx);
        if self.last_resort
            && let Some(until) = target.pause.until(cx.now)
        {
            // Those who wait for the same moment come back one after the other.
            delay = until.since(cx.now) + delay.max(pool.backoff.delay(1, cx.rng));
            why = Why::Waited;
        }
        let limit = self.limit((pool, target), cx, delay).ok_or(Reason::OutOfTime)?;
        self.draw(cx)?;
        let hedge_after = self.hedge_after(pool, target, cx).filter(|after| *after < limit);
        let (step, again, skipped) = (self.step, self.has_failed(), passed.skipped);
        Ok(Choice { step, member, why, limit, delay, hedge_after, again, skipped })
    }

    /// The member that the request is pinned to.
    fn choose_pinned(
        &mut self,
        pool: &Pool,
        pin: Pin,
        cx: &mut Context<'_>,
    ) -> Result<Choice, Reason> {
        let (member, delay) = self.pinned(pool, pin, cx)?;
        let target = &*pool.members[member].target;
        let limit = self.limit((pool, target), cx, delay).ok_or(Reason::OutOfTime)?;
        self.draw(cx)?;
        let (step, why, again) = (self.step, Why::Sequence, self.has_failed());
        let (hedge_after, skipped) = (None, Skipped::default());
        Ok(Choice { step, member, why, limit, delay, hedge_after, again, skipped })
    }

    /// Draws on the gateway's allowance: a first attempt adds to it, the repetition of one that
    /// may have reached a server takes from it, once even if it never leaves us.
    fn draw(&mut self, cx: &Context<'_>) -> Result<(), Reason> {
        if !self.counted {
            self.counted = true;
            cx.retries.request(cx.shard, cx.now);
        }
        if self.drawn < self.spent && !cx.retries.try_retry(cx.shard, cx.now) {
            self.pools_closed = Some(Reason::RetryBudgetSpent);
            return Err(Reason::RetryBudgetSpent);
        }
        self.drawn = self.spent;
        Ok(())
    }

    fn may_attempt(&self) -> Result<(), Reason> {
        if let Some(reason) = self.pools_closed {
            return Err(reason);
        }
        if self.spent >= self.plan.attempts || self.total >= MAX_ATTEMPTS {
            return Err(Reason::AttemptsSpent);
        }
        // No room to remember more: so many breakers refused in the last moment.
        let full = usize::from(self.tried_count) == self.tried.len();
        if full || (self.last_resort && self.content) {
            return Err(self.nobody_left());
        }
        Ok(())
    }

    /// Why a pool has nobody to ask.
    const fn nobody_left(&self) -> Reason {
        if self.total > 0 { self.failure } else { Reason::NoEndpoint }
    }

    /// Another endpoint is asked at once; only the last resort, which may ask the same one
    /// again, waits a little for what broke to come back.
    fn pause(&self, pool: &Pool, cx: &mut Context<'_>) -> Duration {
        if !self.last_resort || self.total == 0 {
            return Duration::ZERO;
        }
        pool.backoff.delay(u32::from(self.total), cx.rng)
    }

    fn limit(
        &mut self,
        (pool, target): (&Pool, &Target),
        cx: &Context<'_>,
        delay: Duration,
    ) -> Option<Duration> {
        let whole = *self.whole.get_or_insert_with(|| self.deadline.remaining(cx.now));
        let remaining = self.deadline.remaining(cx.now + delay);
        let alone = self.last_resort || self.pin.is_some();
        let reserve = if alone { Duration::ZERO } else { self.plan.reserve(self.step, whole) };
        let left = u32::from(self.plan.attempts - self.spent.min(self.plan.attempts - 1));
        let choices = u32::try_from(cx.candidates.len()).unwrap_or(u32::MAX);
        let tries_left = left.min(choices).max(1);
        // Who waited for a server has little time left, and one try that is long enough is worth
        // more than several that are not.
        let usual = target.breaker.usual().filter(|_| self.has_waited()).unwrap_or_default();
        let configured = pool.limit;
        attempt_limit(Division { configured, remaining, reserve, tries_left, usual })
    }
}
