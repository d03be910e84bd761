//! A target's share of the traffic as the way of a request reads it, and the pacing of it.
//!
//! Written by the control loop, but for the moment of a return; only permits and credit change with
//! the requests, and those only while the target is on its way back. A new one (all zero) serves its full share.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::{Moment, Ratio};

/// The full share in the word's low half, which holds what is *missing* of it.
const FULL: u32 = 0xffff;
/// Out by ejection.
const EJECTED: u32 = 1 << 30;
/// A few requests may prove it.
const PROBATION: u32 = 1 << 31;

/// One request's worth of credit.
const ONE: u32 = 1 << 20;

/// Between two requests of a probation whose share alone would not give it any: a pool with
/// little traffic must not wait for minutes.
const SPACED: Duration = Duration::from_secs(1);

/// The share of one target.
#[derive(Debug, Default)]
pub struct Rotation {
    word: AtomicU32,
    /// Requests that the probation still takes.
    permits: AtomicU32,
    /// What the target is owed of the requests that came since its last one.
    credit: AtomicU32,
    /// When it was last picked while on its way back, in nanoseconds.
    picked: AtomicU64,
}

impl Rotation {
    /// Out by ejection: no candidate.
    #[inline]
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.word.load(Ordering::Relaxed) & EJECTED != 0
    }

    /// Whether a few requests may prove it.
    #[inline]
    #[must_use]
    pub fn is_on_probation(&self) -> bool {
        self.word.load(Ordering::Relaxed) & PROBATION != 0
    }

    /// Its share; 1 unless it is on its way back. What an ejected target would have is nothing.
    #[inline]
    #[must_use]
    pub fn share(&self) -> Ratio {
        let word = self.word.load(Ordering::Relaxed);
        if word & EJECTED != 0 {
            return Ratio::ZERO;
        }
        Ratio::new((FULL - (word & FULL)) as f32 / FULL as f32).unwrap_or(Ratio::ONE)
    }

    /// Whether nothing is in its way: the one question of nearly every request.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.word.load(Ordering::Relaxed) == 0
    }

    /// Ejected from now on.
    pub fn eject(&self) {
        self.word.store(EJECTED | FULL, Ordering::Relaxed);
    }

    /// On probation by so many requests, each paced by this share.
    pub fn try_out(&self, requests: u32, share: Ratio) {
        self.permits.store(requests, Ordering::Relaxed);
        self.word.store(PROBATION | missing(share), Ordering::Relaxed);
    }

    /// It has just come back, and nobody has said with which share: not all of it, to whoever
    /// asks. Leaves alone what the control loop has said.
    pub fn begin(&self) {
        let _begun = self.word.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// This share from now on.
    pub fn set_share(&self, share: Ratio) {
        self.word.store(missing(share), Ordering::Relaxed);
    }

    /// Takes one of the probation's requests; false if none is left.
    pub fn take_permit(&self) -> bool {
        let less = |permits: u32| permits.checked_sub(1);
        self.permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Whether the probation still takes requests.
    #[must_use]
    pub fn has_permit(&self) -> bool {
        self.permits.load(Ordering::Relaxed) > 0
    }

    /// On probation, with all of its requests under way.
    #[inline]
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.is_on_probation() && !self.has_permit()
    }

    /// One request comes, of which `part` belongs to this target: adds that to its credit. True
    /// once a whole request is owed, or, if it is `spaced`, when it was not asked for a while.
    /// Never two are owed, so that no pause ends in a burst.
    pub fn owe(&self, part: f32, spaced: bool, now: Moment) -> bool {
        let part = (part.clamp(0.0, 1.0) * ONE as f32) as u32;
        let step = |credit: u32| Some(credit.min(ONE) + part);
        let before = self
            .credit
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .unwrap_or_default();
        before.min(ONE) + part >= ONE
            || spaced
                && now.since(Moment::from_nanos(self.picked.load(Ordering::Relaxed))) >= SPACED
    }

    /// It was picked: what it was owed is settled.
    pub fn settle(&self, now: Moment) {
        let less = |credit: u32| Some(credit.saturating_sub(ONE));
        // Always `Ok`: the step never declines.
        let _settled = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.picked.store(now.as_nanos(), Ordering::Relaxed);
    }
}

fn missing(share: Ratio) -> u32 {
    FULL - (share.get() * FULL as f32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(50_000);

    /// How many of so many requests are owed to a target with this part.
    fn owed(rotation: &Rotation, requests: u32, part: f32) -> u32 {
        let owed = |_: &u32| {
            let owed = rotation.owe(part, false, NOW);
            if owed {
                rotation.settle(NOW);
            }
            owed
        };
        (0..requests).filter(owed).count() as u32
    }

    #[test]
    fn a_new_target_has_its_full_share() {
        let rotation = Rotation::default();
        assert!(rotation.is_full() && !rotation.is_ejected() && !rotation.is_on_probation());
        assert_eq!(rotation.share(), Ratio::ONE);
    }

    #[test]
    fn states_exclude_each_other() {
        let rotation = Rotation::default();
        rotation.eject();
        assert_eq!((rotation.is_ejected(), rotation.share()), (true, Ratio::ZERO));
        rotation.try_out(2, Ratio::percent(10));
        assert!(rotation.is_on_probation() && !rotation.is_ejected());
        assert!(rotation.take_permit() && rotation.take_permit() && !rotation.take_permit());
        rotation.set_share(Ratio::percent(50));
        assert!((rotation.share().get() - 0.5).abs() < 1e-3);
        rotation.set_share(Ratio::ONE);
        assert!(rotation.is_full());
    }

    #[test]
    fn the_credit_gives_exactly_the_part() {
        let rotation = Rotation::default();
        assert!((248..=250).contains(&owed(&rotation, 10_000, 0.025)));
        assert!(owed(&rotation, 1_000, 0.3) <= 300);
        assert_eq!(owed(&rotation, 100, 1.0), 100);
        assert_eq!(owed(&rotation, 100, 0.0), 0);
    }

    #[test]
    fn a_pause_ends_in_no_burst() {
        let rotation = Rotation::default();
        for _ in 0..1_000 {
            rotation.owe(0.1, false, NOW);
        }
        rotation.settle(NOW);
        assert!((0..7).all(|_| !rotation.owe(0.1, false, NOW)));
    }

    #[test]
    fn a_spaced_request_comes_once_a_second() {
        let rotation = Rotation::default();
        assert!(rotation.owe(0.001, true, NOW));
        rotation.settle(NOW);
        assert!(!rotation.owe(0.001, true, NOW + Duration::from_millis(900)));
        assert!(rotation.owe(0.001, true, NOW + Duration::from_millis(1_000)));
    }
}
