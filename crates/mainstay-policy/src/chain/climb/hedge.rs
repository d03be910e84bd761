//! A second attempt beside one that takes longer than usual.

use std::time::Duration;

use crate::balance::{self, Why};
use crate::budget::{Division, HedgeAfter, attempt_limit};
use crate::outcome::SentState;
use crate::target::Target;
use crate::verdict::Verdict;

use super::super::eligible::RANKS;
use super::super::plan::{Pool, Step};
use super::{Choice, Climb, Context, MAX_ATTEMPTS};

/// The tier of members of which nothing speaks against; those below are tried with care.
const UNKNOWN: u8 = 1;

impl Climb<'_> {
    /// A second attempt, to run beside `first`, whose [`hedge_after`](Choice::hedge_after) has
    /// passed without an answer; `None` where no other member is as good, or no share is left.
    ///
    /// Both attempts are still to be told of: [`failed`](Self::failed) for each that failed,
    /// [`overtaken`](Self::overtaken) for the one that was cut off.
    pub fn hedge(&mut self, first: &Choice, cx: &mut Context<'_>) -> Option<Choice> {
        let Some(Step::Pool(pool)) = self.plan.steps().get(first.step) else { return None };
        let budget = pool.hedges.as_ref()?;
        if !self.may_hedge(pool) || !budget.allows(cx.now) || !cx.retries.allows_hedge(cx.now) {
            return None;
        }
        let passed = self.list(pool, cx);
        let own = super::tier(&pool.members[first.member].target, false);
        // However bad the first one is by now: the second is one that takes requests.
        let worst = own.map_or(UNKNOWN, |tier| tier.min(UNKNOWN));
        // Whoever is slow itself, or has yet to prove itself, is no help for a late request.
        cx.candidates.retain(|other| {
            let at = usize::from(other.index);
            let target = &pool.members[at].target;
            let quick = !matches!(target.health.verdict(), Verdict::Busy | Verdict::Slow);
            let proven = !target.breaker.on_probation();
            at != first.member && other.tier & !RANKS <= worst && proven && quick
        });
        let picked = balance::pick(pool.rule, cx.candidates, cx.turn, cx.rng)?;
        let limit = self.hedge_limit(pool, cx)?;
        budget.spend(cx.shard, cx.now);
        cx.retries.hedge(cx.shard, cx.now);
        Some(Choice {
            step: first.step,
            member: usize::from(picked.index),
            why: Why::Hedged,
            limit,
            delay: Duration::ZERO,
            hedge_after: None,
            again: self.has_failed(),
            skipped: passed.skipped,
        })
    }

    /// The attempt was cut off because another one answered first.
    pub fn overtaken(&mut self, choice: &Choice, sent: SentState) {
        self.mark_tried(choice.member);
        self.total = self.total.saturating_add(1);
        self.spent = self.spent.saturating_add(u8::from(sent != SentState::NotSent));
    }

    /// When an attempt at `target` is late enough to be hedged; also counts the request among
    /// those of which hedges are a share.
    pub(super) fn hedge_after(
        &self,
        pool: &Pool,
        target: &Target,
        cx: &Context<'_>,
    ) -> Option<Duration> {
        let budget = pool.hedges.as_ref()?;
        if !self.may_hedge(pool) {
            return None;
        }
        if self.tried_count == 0 {
            budget.request(cx.shard, cx.now);
        }
        match budget.settings().after {
            HedgeAfter::P95 => target.breaker.usual(),
            HedgeAfter::Fixed(after) => Some(after),
        }
    }

    /// Whether a request may have two attempts at a time: only where it is harmless if both are
    /// executed, and not while the last resort asks whoever is left.
    fn may_hedge(&self, pool: &Pool) -> bool {
        self.repeatable
            && !self.last_resort
            && pool.members.len() > 1
            && self.spent + 1 < self.plan.attempts
            && self.total + 1 < MAX_ATTEMPTS
            && usize::from(self.tried_count) + 1 < self.tried.len()
    }

    fn hedge_limit(&self, pool: &Pool, cx: &Context<'_>) -> Option<Duration> {
        let remaining = self.deadline.remaining(cx.now);
        let reserve = self.plan.reserve(self.step, self.whole.unwrap_or(remaining));
        let left = u32::from(self.plan.attempts - self.spent - 1);
        let choices = u32::try_from(cx.candidates.len()).unwrap_or(u32::MAX);
        let tries_left = left.min(choices);
        let (configured, usual) = (pool.limit, Duration::ZERO);
        attempt_limit(Division { configured, remaining, reserve, tries_left, usual })
    }
}
