//! A request with a key goes to the key's home, the same for all requests with it.
//!
//! Only the home matters, not whose turn it is: a member on its way back takes the share of its own
//! keys that its ramp says, always the same ones, and a stalled or half-open member is tried by
//! keys of its own. Everybody else's keys stay where they are. What is beyond the share goes where
//! requests without a key would go: to proven members in use, else to proven spares or a later
//! pool; only where there is nobody proven at all, those on their way back get it.

use crate::balance::ring::{Key, LoadFactor};
use crate::balance::{Candidate, Why};

use super::super::Reason;
use super::super::eligible::{BEHIND, TRIAL};
use super::super::plan::{Member, Pool};
use super::super::returning::{self, Beyond};
use super::{Climb, Context};

impl Climb<'_> {
    /// The request is to be kept together with all others that have this key.
    pub const fn keep_together(&mut self, key: Key) {
        self.key = Some(key);
    }

    /// Where the key leads.
    ///
    /// # Errors
    /// Nobody is listed, or nobody of those may have it: `full_proven` says that proven members
    /// were passed over for want of room alone.
    pub(super) fn pick_by_key(
        &self,
        pool: &Pool,
        cx: &mut Context<'_>,
        (key, factor): (Key, LoadFactor),
        full_proven: bool,
    ) -> Result<(usize, Why), Reason> {
        if let Some(trial) = trial(pool, cx, key) {
            return Ok((trial, Why::Probation));
        }
        if cx.candidates.iter().any(|candidate| returning::is_back(candidate.tier))
            && let Some(proof) = self.share_keys(pool, cx, key, full_proven)?
        {
            returning::settle(&pool.members[proof], cx.now);
            return Ok((proof, Why::Probation));
        }
        let best = cx.candidates.iter().map(|candidate| candidate.tier).min();
        let best = best.ok_or(Reason::AtLimit)?;
        cx.candidates.retain(|candidate| candidate.tier == best);
        let (home, _) = nearest(pool, cx, key, |_| true).ok_or(Reason::AtLimit)?;
        let in_flight = |at: usize| pool.members[at].target.load.in_flight();
        let listed = || cx.candidates.iter().map(|candidate| usize::from(candidate.index));
        let all = listed().map(in_flight).fold(0, u32::saturating_add);
        let weights = listed().map(|at| pool.members[at].steady_weight()).sum();
        let has_room =
            |at| in_flight(at) < factor.bound(all, pool.members[at].steady_weight(), weights);
        let (member, why) = match nearest(pool, cx, key, has_room) {
            Some((next, _)) if next != home => (next, Why::HomeIsFull),
            _ => (home, Why::Home),
        };
        returning::settle_unproven(&pool.members[member], cx.now);
        Ok((member, why))
    }

    /// Puts those on their way back among the others for the keys that are theirs already, and
    /// takes them off the list where others are to have the rest. Gives the member that only this
    /// request can prove, whatever its key: a handful of keys may all lie beyond the share.
    fn share_keys(
        &self,
        pool: &Pool,
        cx: &mut Context<'_>,
        key: Key,
        full_proven: bool,
    ) -> Result<Option<usize>, Reason> {
        let beyond = if self.panics {
            Beyond::Nobody
        } else {
            returning::beyond(self.plan, self.step, cx, full_proven)
        };
        let now = cx.now;
        let kept = matches!(beyond, Beyond::Kept(_));
        let mut proof = None;
        cx.candidates.retain_mut(|candidate: &mut Candidate| {
            if !returning::is_back(candidate.tier) {
                return true;
            }
            let at = usize::from(candidate.index);
            let member = &pool.members[at];
            let own = is_home(pool, member, key);
            let share = returning::share(pool, member, now).unwrap_or(1.0);
            let theirs = key.is_within(member.seat, share) && (own || !kept);
            if theirs {
                candidate.tier &= !BEHIND;
            } else if own
                && beyond != Beyond::Nobody
                && returning::unproven(member)
                && member.target.health.rotation.owe(0.0, true, now)
            {
                proof = proof.or(Some(at));
            }
            theirs || !kept
        });
        match beyond {
            Beyond::Kept(reason) if proof.is_none() && cx.candidates.is_empty() => Err(reason),
            _ => Ok(proof),
        }
    }
}

/// Whether the key would be this member's, were everybody who is in use well. Those who are out
/// count: one of four that is back must not get the keys of all four.
fn is_home(pool: &Pool, member: &Member, key: Key) -> bool {
    let own = key.distance(member.seat, member.steady_weight());
    let peers = pool.members.iter().filter(|peer| {
        peer.target.place.standing() == member.target.place.standing()
            && (pool.locality.is_none() || peer.distance == member.distance)
    });
    let mut others = peers.filter(|peer| !std::ptr::eq(*peer, member));
    others.all(|peer| own <= key.distance(peer.seat, peer.steady_weight()))
}

/// A stalled member that wants a trial, if it is the key's home.
fn trial(pool: &Pool, cx: &mut Context<'_>, key: Key) -> Option<usize> {
    if !cx.candidates.iter().any(|candidate| candidate.tier == TRIAL) {
        return None;
    }
    let (home, tier) = nearest(pool, cx, key, |_| true)?;
    if tier == TRIAL && pool.members[home].target.health.take_trial() {
        return Some(home);
    }
    cx.candidates.retain(|candidate| candidate.tier != TRIAL);
    None
}

/// The nearest candidate to the key that is fit, and its tier.
fn nearest(
    pool: &Pool,
    cx: &Context<'_>,
    key: Key,
    is_fit: impl Fn(usize) -> bool,
) -> Option<(usize, u8)> {
    let mut nearest: Option<(f64, usize, u8)> = None;
    for candidate in cx.candidates.iter() {
        let at = usize::from(candidate.index);
        let member = &pool.members[at];
        let distance = key.distance(member.seat, member.steady_weight());
        if is_fit(at) && nearest.is_none_or(|(least, ..)| distance < least) {
            nearest = Some((distance, at, candidate.tier));
        }
    }
    nearest.map(|(_, at, tier)| (at, tier))
}
