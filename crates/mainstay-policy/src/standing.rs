//! What an endpoint stands for in its pool: in use, in reserve, or out of use.
//!
//! Health says what a server can do; standing says what it is for. A pool's redundancy rule and its
//! operators set it, the way of every request reads it. A spare is asked as soon as no active
//! member of the pool can be asked, so a switch happens inside the request that finds the active
//! one gone; the control loop then makes it last.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::Ratio;
use crate::role::Role;

/// What an endpoint is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Standing {
    /// In use.
    #[default]
    Active = 0,
    /// A hot standby: asked when no active member of its pool can be.
    Spare = 1,
    /// Takes no new requests; asked only when an error is the alternative.
    Drained = 2,
    /// Never asked: in maintenance, not loaded or not running.
    Away = 3,
}

impl Standing {
    /// Every standing, in the order of the codes.
    pub const ALL: [Self; 4] = [Self::Active, Self::Spare, Self::Drained, Self::Away];

    /// The standing in lower case, as status and events show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Spare => "spare",
            Self::Drained => "drained",
            Self::Away => "away",
        }
    }
}

/// What all models at one endpoint of a pool share. Written by the control loop, read on the way
/// of every request.
#[derive(Debug, Default)]
pub struct Place {
    standing: AtomicU8,
    /// An f32; 0 stands for all of it.
    share: AtomicU32,
    /// An f32; 0 stands for 1.
    weight: AtomicU32,
    /// 0 unknown, 1 primary, 2 replica.
    role: AtomicU8,
}

impl Place {
    /// What the endpoint is for; active until something else is said.
    #[inline]
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::ALL
            .get(usize::from(self.standing.load(Ordering::Relaxed)))
            .copied()
            .unwrap_or_default()
    }

    /// What it is for from now on.
    pub fn stand(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// What the endpoint says it is, where it was asked and said so.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match self.role.load(Ordering::Relaxed) {
            1 => Some(Role::Primary),
            2 => Some(Role::Replica),
            _ => None,
        }
    }

    /// What it says from now on.
    pub fn set_role(&self, role: Option<Role>) {
        let code = match role {
            None => 0,
            Some(Role::Primary) => 1,
            Some(Role::Replica) => 2,
        };
        self.role.store(code, Ordering::Relaxed);
    }

    /// The share of its traffic that a failback gives it, above 0; 1 unless one is under way.
    #[inline]
    #[must_use]
    pub fn share(&self) -> Ratio {
        Ratio::new(whole(&self.share)).unwrap_or(Ratio::ONE)
    }

    /// The share of its traffic from now on; held above 0.
    pub fn set_share(&self, share: Ratio) {
        self.share.store(share.get().max(LEAST).to_bits(), Ordering::Relaxed);
    }

    /// The operators' factor on its weight, above 0; 1 unless they said otherwise.
    #[inline]
    #[must_use]
    pub fn weight(&self) -> f32 {
        whole(&self.weight)
    }

    /// The operators' factor from now on; held above 0. Who is to get nothing is drained.
    pub fn set_weight(&self, weight: f32) {
        self.weight.store(weight.max(LEAST).to_bits(), Ordering::Relaxed);
    }
}

/// Less than this is as good as nothing.
const LEAST: f32 = 0.001;

fn whole(word: &AtomicU32) -> f32 {
    match word.load(Ordering::Relaxed) {
        0 => 1.0,
        bits => f32::from_bits(bits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_place_is_in_use_and_whole() {
        let place = Place::default();
        assert_eq!(place.standing(), Standing::Active);
        assert_eq!((place.share().get(), place.weight()), (1.0, 1.0));
    }

    #[test]
    fn what_is_said_is_read() {
        let place = Place::default();
        for standing in Standing::ALL {
            place.stand(standing);
            assert_eq!(place.standing(), standing);
        }
        place.set_share(Ratio::percent(25));
        place.set_weight(3.0);
        assert_eq!((place.share().get(), place.weight()), (0.25, 3.0));
        place.set_weight(0.0);
        assert!(place.weight() > 0.0);
    }
}
