//! How near a request looks first.
//!
//! The distance is drawn once for each pool that it climbs through, as the pool's shares say. From
//! there it goes on to the nearest of the others. Each failed attempt puts its distance behind
//! those that this request has not tried: whatever took one server of a zone may have taken all,
//! and a request has too few attempts to find that out one by one.

use crate::balance::locality::DISTANCES;
use crate::balance::{Distance, Locality};

use super::super::eligible::RANK;
use super::super::plan::{Member, Pool, Step};
use super::{Choice, Climb, Context};

/// The rank of each distance, as tiers hold it.
pub(super) type Ranks = [u8; DISTANCES];

/// In place of a rank: out of reach for the request.
pub(super) const BEYOND: u8 = u8::MAX;

impl Climb<'_> {
    /// The request has been sent here by another region: it is not sent to another one again, or
    /// gateways that stand in for each other would hand it to and fro.
    pub const fn stay(&mut self) {
        self.stays = true;
    }

    /// The order in which the distances are looked at; `None` where all members are alike.
    #[inline]
    pub(super) fn ranks(&mut self, pool: &Pool, cx: &mut Context<'_>) -> Option<Ranks> {
        if pool.locality.is_none() && !self.stays {
            return None;
        }
        let mut ranks = match &pool.locality {
            // A last resort asks whoever there is.
            Some(locality) if !self.last_resort && !self.panics => self.ranks_by(locality, cx),
            _ => [0; DISTANCES],
        };
        if self.stays {
            ranks[Distance::Elsewhere as usize] = BEYOND;
        }
        Some(ranks)
    }

    /// Notes where an attempt failed: whatever took that server may have taken all around it.
    pub(super) fn note_distance(&mut self, choice: &Choice) {
        if let Some(Step::Pool(pool)) = self.plan.steps().get(choice.step)
            && let Some(member) = pool.members.get(choice.member)
        {
            self.failed_at |= 1 << member.distance as u8;
        }
    }

    fn ranks_by(&mut self, locality: &Locality, cx: &mut Context<'_>) -> Ranks {
        let first = *self.looks_first.get_or_insert_with(|| match self.key {
            Some(key) => locality.draw_for(key.draw()),
            None => locality.draw(cx.rng),
        });
        let mut ranks = [0; DISTANCES];
        let mut next = 0;
        for again in [false, true] {
            let others = Distance::ALL.into_iter().filter(|other| *other != first);
            for distance in std::iter::once(first).chain(others) {
                if (self.failed_at >> distance as u8 & 1 == 1) == again {
                    ranks[distance as usize] = next;
                    next += RANK;
                }
            }
        }
        ranks
    }
}

/// Whether a choice of this member is one beyond the nearest that the pool has.
pub(super) fn is_spill(pool: &Pool, member: &Member) -> bool {
    pool.locality.is_some() && pool.members.iter().any(|near| near.distance < member.distance)
}
