//! A request that only one server can answer: a later one of a sequence, whose state is there.
//!
//! It goes to that server or nowhere. What else decides who is asked (shares, turns, ejection, a
//! drain) is about requests that could go elsewhere as well. It is sent again only if it never left
//! us, and only there.

use std::time::Duration;

use crate::Moment;
use crate::budget::SENSIBLE;
use crate::standing::Standing;
use crate::target::Target;
use crate::verdict::Verdict;

use super::super::Reason;
use super::super::plan::Pool;
use super::{Climb, Context};

/// Attempts of a pinned request: one, and one more if the first never left us.
const TRIES: u8 = 2;

/// The server that a request is pinned to: a member of a step's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Step of the chain.
    pub step: usize,
    /// Member of the step's pool.
    pub member: usize,
}

impl Climb<'_> {
    /// Only this member may answer the request, and it may be executed once.
    pub const fn pin(&mut self, pin: Pin) {
        self.pin = Some(pin);
        self.repeatable = false;
        self.locals = false;
    }

    /// Whether only one member may answer the request.
    pub(in crate::chain) const fn is_pinned(&self) -> bool {
        self.pin.is_some()
    }

    /// The pinned member and the pause before it is asked, if it can be.
    pub(super) fn pinned(
        &mut self,
        pool: &Pool,
        pin: Pin,
        cx: &mut Context<'_>,
    ) -> Result<(usize, Duration), Reason> {
        cx.candidates.clear();
        let member = pool.members.get(pin.member).filter(|_| pin.step == self.step);
        let Some(member) = member.filter(|_| self.spent == 0 && self.total < TRIES) else {
            return Err(self.nobody_left());
        };
        let target = &*member.target;
        if is_lost(target) || target.breaker.would_admit(cx.now).is_err() {
            return Err(self.nobody_left());
        }
        if target.limiter.is_full() {
            return Err(self.nobody(true));
        }
        let again = if self.total > 0 {
            pool.backoff.delay(self.total.into(), cx.rng)
        } else {
            Duration::ZERO
        };
        let until = target.pause.until(cx.now).unwrap_or(Moment::ZERO).max(cx.now + again);
        if until + SENSIBLE >= self.deadline {
            return Err(Reason::OutOfTime);
        }
        Ok((pin.member, until.since(cx.now)))
    }
}

/// Whether what the server knew of a sequence is gone with it, or out of reach for good.
fn is_lost(target: &Target) -> bool {
    target.place.standing() == Standing::Away
        || matches!(target.health.verdict(), Verdict::Dead | Verdict::Loading | Verdict::Wrong)
}
