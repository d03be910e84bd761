//! What the members of a pool amount to at each distance, as its locality wants to know.

use crate::Moment;
use crate::balance::locality::{DISTANCES, Supply};
use crate::standing::Standing;
use crate::verdict::Verdict;

use super::plan::{Member, Pool};
use super::returning;

/// What the members meant to be in use amount to, by distance. Where none are, it is the spares
/// that are in use.
#[must_use]
pub fn supplies(pool: &Pool, now: Moment) -> [Supply; DISTANCES] {
    let standing = |member: &Member| member.target.place.standing();
    let in_use =
        |member: &&Member| matches!(standing(member), Standing::Active | Standing::Drained);
    let spares_alone = !pool.members.iter().any(|member| standing(member) == Standing::Active);
    let mut supplies = [Supply::default(); DISTANCES];
    for member in pool.members.iter().filter(|it| in_use(it) || (spares_alone && it.is_spare())) {
        let weight = member.steady_weight();
        let supply = &mut supplies[member.distance as usize];
        supply.all += weight;
        supply.usable += weight * usable(pool, member, now);
    }
    supplies
}

/// The part of its weight that a member can carry now. Whoever is full or asked for a pause still
/// counts: the requests that find it so go on by themselves, for exactly as long as that lasts.
fn usable(pool: &Pool, member: &Member, now: Moment) -> f32 {
    let target = &*member.target;
    let well = match target.health.verdict() {
        Verdict::Ready | Verdict::Busy | Verdict::Slow => target.health.deep(),
        Verdict::Unknown => true,
        Verdict::Stalled
        | Verdict::Loading
        | Verdict::Draining
        | Verdict::Dead
        | Verdict::Wrong => false,
    };
    let drained = target.place.standing() == Standing::Drained;
    if !well || drained || returning::is_out(target) || target.breaker.would_admit(now).is_err() {
        return 0.0;
    }
    returning::share(pool, member, now).unwrap_or(1.0)
}
