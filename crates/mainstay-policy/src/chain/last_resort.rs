//! What happens when nobody is left in a pool.

use std::time::Duration;

use crate::Moment;

use super::Reason;
use super::climb::{Climb, Context, Next};
use super::plan::Pool;

/// The pause between two looks for somebody who has come back.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A model's rule for a step of its chain that has nobody left to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastResort {
    /// The next step of the chain is asked; when all have been, whoever health alone had ruled
    /// out is tried once more.
    #[default]
    NextStep,
    /// The client is told at once, whatever the later steps could do.
    FailFast,
    /// The request waits for somebody to come back, at most so long and never into the reserve
    /// of the later steps; then as [`NextStep`](Self::NextStep).
    Wait(Duration),
    /// Everybody is tried, whatever verdicts, ejections and breakers say (Envoy's panic mode);
    /// then as [`NextStep`](Self::NextStep).
    Panic,
}

impl Climb<'_> {
    /// What the model does about a pool that gave nobody; `None`: ask the climb again at once.
    pub(super) fn resort(
        &mut self,
        pool: &Pool,
        reason: Reason,
        cx: &mut Context<'_>,
    ) -> Option<Next> {
        let nobody =
            matches!(reason, Reason::NoEndpoint | Reason::AttemptsFailed | Reason::GuardBroken);
        let untried = usize::from(self.tried_count) < pool.members.len().min(self.tried.len());
        match self.plan.last_resort {
            _ if !nobody || self.last_resort || self.is_pinned() => self.leave(reason),
            LastResort::FailFast => {
                self.pools_closed = Some(Reason::FailFast);
                self.reason = Reason::FailFast;
                return Some(Next::Exhausted);
            }
            LastResort::Wait(most) if untried => return self.wait_for_somebody(most, cx),
            LastResort::Panic if untried && !self.panics => self.panics = true,
            LastResort::NextStep | LastResort::Wait(_) | LastResort::Panic => self.leave(reason),
        }
        None
    }

    /// Too many requests wait already: this one goes on without.
    pub const fn wait_no_longer(&mut self) {
        self.awaits = Some(Moment::ZERO);
    }

    fn wait_for_somebody(&mut self, most: Duration, cx: &mut Context<'_>) -> Option<Next> {
        let remaining = self.deadline.remaining(cx.now);
        let whole = *self.whole.get_or_insert(remaining);
        let spare = remaining.saturating_sub(self.plan.reserve(self.step, whole));
        let until = *self.awaits.get_or_insert_with(|| cx.now + most.min(spare));
        let left = until.remaining(cx.now);
        if left.is_zero() {
            self.leave(Reason::WaitedInVain);
            return None;
        }
        // Drawn apart, so that those who wait do not all come at once.
        Some(Next::Await(LOOK_AGAIN.mul_f32(0.5 + cx.rng.f32()).min(left)))
    }
}
