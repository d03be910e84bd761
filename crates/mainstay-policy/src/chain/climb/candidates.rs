//! Who may be asked next, and who of them is.

use crate::balance::{self, Candidate, Rule, Why};
use crate::breaker::Refusal;
use crate::budget::SENSIBLE;
use crate::standing::Standing;

use super::super::eligible::{BEHIND, SPARE, TRIAL, tier};
use super::super::plan::Pool;
use super::super::{Reason, Skipped, returning};
use super::near::{BEYOND, is_spill};
use super::{Climb, Context};

/// The tier of members that have to be waited for: after all others.
const PAUSED: u8 = 4;

/// What is known of the members that were passed over.
///
/// Decisions go by the flags: the bits hold the first 16 members, as the record shows them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    /// For the record.
    pub(super) skipped: Skipped,
    /// Somebody was full.
    pub(super) full: bool,
    /// A member in use was full: so many are in use as the pool is to have, and spares are for
    /// those that fail.
    full_in_use: bool,
    /// Somebody who takes its full share was.
    full_proven: bool,
}

impl Climb<'_> {
    /// Lists the members that may be asked, and says who may not.
    pub(super) fn list(&mut self, pool: &Pool, cx: &mut Context<'_>) -> Passed {
        let mut passed = Passed::default();
        let skipped = &mut passed.skipped;
        let ranks = self.ranks(pool, cx);
        // The usual request: nothing that it did speaks against anybody.
        let fresh = self.tried_count == 0 && self.gone_count == 0;
        cx.candidates.clear();
        for (index, member) in pool.members.iter().enumerate() {
            let bit = 1u16.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
            let target = &*member.target;
            if !fresh && self.has_tried(index) {
                skipped.tried |= bit;
                continue;
            }
            let standing = target.place.standing();
            let Some(mut tier) = tier(target, self.last_resort || self.panics) else {
                skipped.verdict |= bit;
                continue;
            };
            if let Some(until) = target.pause.until(cx.now) {
                // The last resort waits for it, if that leaves time to be answered.
                if !self.last_resort || until + SENSIBLE >= self.deadline {
                    skipped.paused |= bit;
                    continue;
                }
                tier = PAUSED;
            }
            if let Err(refusal) = target.breaker.would_admit(cx.now)
                && (!self.panics || refusal == Refusal::ForcedOpen)
            {
                skipped.breaker |= bit;
                continue;
            }
            if let Some(ranks) = &ranks {
                match ranks[member.distance as usize] {
                    BEYOND => continue,
                    rank => tier |= rank,
                }
            }
            let mut weight = member.weight * target.place.weight() * target.health.favour();
            let share = returning::share(pool, member, cx.now);
            if let Some(share) = share {
                if returning::is_out(target) && !self.last_resort && !self.panics {
                    skipped.ejected |= bit;
                    continue;
                }
                weight *= share;
                tier |= BEHIND;
            }
            if standing == Standing::Spare && tier != TRIAL {
                tier |= SPARE;
            }
            if target.limiter.is_full() {
                skipped.limit |= bit;
                passed.full = true;
                passed.full_in_use |= standing != Standing::Spare;
                passed.full_proven |= share.is_none();
                continue;
            }
            cx.candidates.push(Candidate {
                index: u16::try_from(index).unwrap_or(u16::MAX),
                cost: target.load.cost_under(pool.rule, cx.now),
                weight,
                tier,
            });
        }
        passed
    }

    /// Who is asked: first a target on trial, since only real requests can end that, then a member
    /// on its way back if it is its turn, then whoever the pool's rule says.
    pub(super) fn pick(
        &mut self,
        pool: &Pool,
        cx: &mut Context<'_>,
        passed: Passed,
    ) -> Result<(usize, Why), Reason> {
        let for_spares = |tier: u8| (SPARE..TRIAL).contains(&tier);
        if passed.full_in_use && cx.candidates.iter().all(|it| for_spares(it.tier)) {
            return Err(self.nobody(passed.full));
        }
        if let (Rule::RingHash(factor), Some(key)) = (pool.rule, self.key)
            && !self.last_resort
        {
            return match self.pick_by_key(pool, cx, (key, factor), passed.full_proven) {
                Err(Reason::AtLimit) => Err(self.nobody(passed.full)),
                picked => picked,
            };
        }
        while let Some(at) = cx.candidates.iter().position(|candidate| candidate.tier == TRIAL) {
            let index = usize::from(cx.candidates[at].index);
            if pool.members[index].target.health.take_trial() {
                return Ok((index, Why::Probation));
            }
            cx.candidates.remove(at);
        }
        let back = cx.candidates.iter().any(|candidate| returning::is_back(candidate.tier));
        if back && !self.last_resort && !self.panics {
            match returning::turn(self.plan, (self.step, pool), cx, passed.full_proven) {
                Ok(Some(turn)) => return Ok(turn),
                Ok(None) => {}
                Err(Reason::Returning) if has_spare(cx) => {
                    cx.candidates.retain(|candidate| candidate.tier >= SPARE);
                }
                Err(Reason::AtLimit) => return Err(self.nobody(passed.full)),
                Err(reason) => return Err(reason),
            }
        }
        let picked = balance::pick(pool.rule, cx.candidates, cx.turn, cx.rng)
            .ok_or_else(|| self.nobody(passed.full))?;
        let why = match picked.why {
            _ if self.last_resort => Why::LastResort,
            _ if self.panics => Why::Panic,
            _ if self.awaits.is_some() => Why::Waited,
            _ if pool.members[usize::from(picked.index)].is_spare() => Why::StandsIn,
            _ if is_spill(pool, &pool.members[usize::from(picked.index)]) => Why::SpilledOver,
            why => why,
        };
        Ok((usize::from(picked.index), why))
    }
}

/// Whether a spare is among the candidates.
fn has_spare(cx: &Context<'_>) -> bool {
    cx.candidates.iter().any(|candidate| candidate.tier >= SPARE)
}
