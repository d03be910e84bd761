//! Members on their way back get their share of a pool's requests, and no more.
//!
//! A weight alone cannot hold a share: of two drawn the cheaper is asked, and a server that has
//! just come back is the cheapest of all. So a member on its way back stands behind all proven
//! ones, and is asked exactly when the requests that have come since its last one amount to a
//! whole one of its own. In a pool with distances it shares in the requests that look there first;
//! where nobody there is proven it takes all of those, since so many were meant for it. What explores, or proves a half-open breaker, keeps to the same.
//!
//! Only where nobody in the pool is proven are they asked like any others, since somebody must
//! answer; unless spares of the pool, or a later pool of the chain, are proven, which then keep
//! what is beyond the share. Proven members that are full are waited for: what they cannot take must not fall
//! on the one that is least ready for it.

use crate::Moment;
use crate::balance::{Candidate, Why};
use crate::target::Target;

use super::climb::Context;
use super::eligible::{BEHIND, RANK, RANKS, SPARE, TRIAL};
use super::plan::{Member, Plan, Pool, Step};
use super::{Reason, eligible};

/// The share below which a member is on its way back.
const WHOLE: f32 = 1.0;

/// A member's share of what it gets when it is proven; `None` if it takes all of it.
#[inline]
pub(super) fn share(pool: &Pool, member: &Member, now: Moment) -> Option<f32> {
    let target = &*member.target;
    let recovered = target.health.recovered();
    let half_open = target.breaker.on_probation();
    let failback = target.place.share().get();
    if recovered.is_none() && !half_open && target.health.rotation.is_full() && failback >= WHOLE {
        return None;
    }
    let foot = if half_open { pool.slow_start.minimum.get() } else { WHOLE };
    let ramp = pool.slow_start.weight(recovered, now).min(target.health.share().get());
    let share = ramp.min(foot).min(failback);
    (share < WHOLE).then_some(share)
}

/// Whether the tier is that of a member on its way back, in use or spare.
pub(super) const fn is_back(tier: u8) -> bool {
    tier < TRIAL && tier & BEHIND != 0
}

/// Whether it takes no request: ejected, or all that its probation takes are under way.
pub(super) fn is_out(target: &Target) -> bool {
    let rotation = &target.health.rotation;
    rotation.is_ejected() || rotation.is_spent()
}

/// Whether only real requests can prove it.
pub(super) fn unproven(member: &Member) -> bool {
    member.target.breaker.on_probation() || member.target.health.rotation.is_on_probation()
}

/// Who answers what is beyond the shares of those on their way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// Proven members in use.
    Shared,
    /// None of those in use that are listed: spares or a later pool ([`Reason::Returning`]), or
    /// members in use that are full now ([`Reason::AtLimit`]).
    Kept(Reason),
    /// Nobody else: those on their way back must.
    Nobody,
}

/// Who answers what is beyond the shares; `full_proven`: a proven member was passed over for want
/// of room alone.
pub(super) fn beyond(plan: &Plan, step: usize, cx: &Context<'_>, full_proven: bool) -> Beyond {
    if cx.candidates.iter().any(|candidate| candidate.tier < BEHIND) {
        Beyond::Shared
    } else if has_proven_spare(cx) || has_proven(plan, step + 1, cx.now) {
        Beyond::Kept(Reason::Returning)
    } else if full_proven {
        Beyond::Kept(Reason::AtLimit)
    } else {
        Beyond::Nobody
    }
}

/// Whose turn it is among the listed members on their way back, if anybody's. Every one of them
/// is credited with its part of this request.
///
/// # Errors
/// Nobody's turn, and a later pool has proven members to keep the request, or this one has and
/// they are full.
pub(super) fn turn(
    plan: &Plan,
    (step, pool): (usize, &Pool),
    cx: &Context<'_>,
    full_proven: bool,
) -> Result<Option<(usize, Why)>, Reason> {
    let beyond = match beyond(plan, step, cx, full_proven) {
        Beyond::Shared => None,
        Beyond::Kept(reason) => Some(reason),
        Beyond::Nobody => return Ok(anybody(pool, cx)),
    };
    // Where the rest goes elsewhere, those who are out count in the whole as well: one of four
    // that is back must not get what four did.
    let whole = whole(pool, cx, beyond.is_some());
    let mut due = None;
    let looked_at = |index: &usize| beyond.is_some() || is_first(cx, *index);
    for index in back(cx).filter(looked_at) {
        let member = &pool.members[index];
        let share = share(pool, member, cx.now).unwrap_or(WHOLE);
        let unproven = unproven(member);
        let rotation = &member.target.health.rotation;
        if rotation.owe(share * member.weight / whole, unproven, cx.now) && due.is_none() {
            due = Some((index, if unproven { Why::Probation } else { Why::Returning }));
        }
    }
    match (due, beyond) {
        (Some((index, _)), _) => settle(&pool.members[index], cx.now),
        (None, Some(reason)) => return Err(reason),
        (None, None) => {}
    }
    Ok(due)
}

/// What a share is a part of: the weights of those who can be asked, or of `everybody`. Members in
/// use share among themselves, and spares among themselves once nobody else is left.
fn whole(pool: &Pool, cx: &Context<'_>, everybody: bool) -> f32 {
    let spares = cx.candidates.iter().all(|candidate| candidate.tier >= SPARE);
    let members = pool.members.iter().filter(|member| member.is_spare() == spares);
    if everybody {
        return members.map(|member| member.weight).sum();
    }
    let listed = cx
        .candidates
        .iter()
        .filter(|candidate| (candidate.tier >= SPARE) == spares && candidate.tier & RANKS == 0);
    let members = listed.map(|candidate| &pool.members[usize::from(candidate.index)]);
    if cx.candidates.iter().any(|candidate| candidate.tier < RANK) {
        return members.map(|member| member.weight).sum();
    }
    // Of these requests nobody else is to have any: their number has the shares in it already.
    members.map(|member| member.weight * share(pool, member, cx.now).unwrap_or(WHOLE)).sum()
}

/// Whether the request looks first where this member is.
fn is_first(cx: &Context<'_>, index: usize) -> bool {
    let mut listed = cx.candidates.iter();
    listed.any(|candidate| usize::from(candidate.index) == index && candidate.tier & RANKS == 0)
}

/// Nobody is proven: first who wants real requests to prove it, else whoever the rule says.
fn anybody(pool: &Pool, cx: &Context<'_>) -> Option<(usize, Why)> {
    let index = back(cx).find(|index| unproven(&pool.members[*index]))?;
    settle(&pool.members[index], cx.now);
    Some((index, Why::Probation))
}

/// It is asked: what it was owed is settled, and its probation has one request less to take.
pub(super) fn settle(member: &Member, now: Moment) {
    let rotation = &member.target.health.rotation;
    rotation.settle(now);
    if rotation.is_on_probation() {
        // Another worker may have taken the last one in this moment: one more does no harm.
        let _taken = rotation.take_permit();
    }
}

/// The same for a member that was picked for another reason than its turn.
pub(super) fn settle_unproven(member: &Member, now: Moment) {
    if unproven(member) {
        settle(member, now);
    }
}

/// Whether a spare among the candidates takes its full share.
fn has_proven_spare(cx: &Context<'_>) -> bool {
    cx.candidates.iter().any(|candidate| candidate.tier >= SPARE && !is_back(candidate.tier))
}

/// The listed members on their way back.
fn back<'a>(cx: &'a Context<'_>) -> impl Iterator<Item = usize> + 'a {
    let back = cx.candidates.iter().filter(|candidate| is_back(candidate.tier));
    back.map(|candidate: &Candidate| usize::from(candidate.index))
}

/// Whether a pool from `step` on has a member that takes its full share.
fn has_proven(plan: &Plan, step: usize, now: Moment) -> bool {
    let pools = plan.steps().iter().skip(step).filter_map(|step| match step {
        Step::Pool(pool) => Some(pool),
        Step::Local(_) => None,
    });
    pools.flat_map(|pool| pool.members.iter().map(move |member| (pool, member))).any(
        |(pool, member)| {
            eligible::tier(&member.target, false).is_some_and(|tier| tier < BEHIND)
                && member.target.breaker.would_admit(now).is_ok()
                && share(pool, member, now).is_none()
        },
    )
}
