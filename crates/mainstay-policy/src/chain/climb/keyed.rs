//! A request with a key goes to the key's home, the same for all requests with it.
//!
//! Only the home matters, not whose turn it is: a member on its way back takes the share of its own
//! keys that its ramp says, always the same ones, and a stalled or half-open member is tried by
//! keys of its own. Everybody else's keys stay where they are.

use crate::balance::Why;
use crate::balance::ring::{Key, LoadFactor};

use super::super::eligible::{BEHIND, TRIAL};
use super::super::plan::Pool;
use super::super::returning;
use super::{Climb, Context};

impl Climb<'_> {
    /// The request is to be kept together with all others that have this key.
    pub const fn keep_together(&mut self, key: Key) {
        self.key = Some(key);
    }

    /// Where the key leads; `None` where nobody is listed.
    pub(super) fn pick_by_key(
        &self,
        pool: &Pool,
        cx: &mut Context<'_>,
        (key, factor): (Key, LoadFactor),
    ) -> Option<(usize, Why)> {
        if let Some(trial) = trial(pool, cx, key) {
            return Some((trial, Why::Probation));
        }
        for candidate in cx.candidates.iter_mut().filter(|it| returning::is_back(it.tier)) {
            let member = &pool.members[usize::from(candidate.index)];
            let share = returning::share(pool, member, cx.now).unwrap_or(1.0);
            if key.is_within(member.seat, share) {
                candidate.tier &= !BEHIND;
            }
        }
        let best = cx.candidates.iter().map(|candidate| candidate.tier).min()?;
        cx.candidates.retain(|candidate| candidate.tier == best);
        let (home, _) = nearest(pool, cx, key, |_| true)?;
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
        Some((member, why))
    }
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
