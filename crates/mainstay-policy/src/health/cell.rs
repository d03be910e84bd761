//! The health of one target as every worker reads it: two words, no lock.
//!
//! A request asks for the verdict and for deep health of every candidate, so both lie in one
//! word. The moment of recovery has a word of its own, written before the verdict: whoever sees
//! the target back in traffic also sees the foot of its slow start.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::failback::Rotation;
use crate::{Moment, Ratio, Verdict};

/// The lowest four bits hold the verdict's code.
const VERDICT: u64 = 0b1111;
/// Set while a dependency is sick, so that a new cell (0) is unknown and deeply healthy.
const SICK: u64 = 1 << 4;
/// Set while golden requests are answered wrongly. A bit of its own, since whoever passes its
/// probes and makes its requests progress may answer them all wrongly.
const WRONG: u64 = 1 << 5;
/// Above it: milliseconds since the clock's origin.
const SINCE: u32 = 6;

/// Shared health of one target. Written by the control loop, read on the way of every request.
#[derive(Debug, Default)]
pub struct Cell {
    state: AtomicU64,
    /// When it last came back to Ready, in nanoseconds; 0 if it never went away.
    recovered: AtomicU64,
    /// Whether one real request may be tried though the verdict takes none.
    trial: AtomicBool,
    /// The share (f32) that its verdict and its reported load leave it; 0 stands for all of it.
    favour: AtomicU32,
    /// Its share of the traffic. Written by the control loop that watches its pool.
    pub rotation: Rotation,
}

impl Cell {
    /// The verdict as it stands: [`Verdict::Wrong`] while golden requests are answered wrongly,
    /// unless something else keeps the target out of traffic anyway.
    #[inline]
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let word = self.state.load(Ordering::Acquire);
        let verdict = Verdict::from_code((word & VERDICT) as u8).unwrap_or_default();
        if word & WRONG != 0 && verdict.takes_traffic() { Verdict::Wrong } else { verdict }
    }

    /// Whether the dependencies behind the target are healthy; true until one was seen not to
    /// be. A target with sick dependencies is asked after the others, and is not ejected: its
    /// peers most likely share them.
    #[inline]
    #[must_use]
    pub fn deep(&self) -> bool {
        self.state.load(Ordering::Relaxed) & SICK == 0
    }

    /// Out by ejection: worse than its peers, and they carry the load. Whatever its verdict is.
    #[inline]
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.rotation.is_ejected()
    }

    /// Its share of the traffic: 1 unless it is ejected or on its way back.
    #[inline]
    #[must_use]
    pub fn share(&self) -> Ratio {
        self.rotation.share()
    }

    /// When the verdict last changed, to the millisecond; the origin if it never did.
    #[must_use]
    pub fn since(&self) -> Moment {
        Moment::from_millis(self.state.load(Ordering::Relaxed) >> SINCE)
    }

    /// When it last came back to Ready after it had been away: the start of its slow start.
    #[inline]
    #[must_use]
    pub fn recovered(&self) -> Option<Moment> {
        let nanos = self.recovered.load(Ordering::Relaxed);
        (nanos > 0).then_some(Moment::from_nanos(nanos))
    }

    /// Whether one real request may be tried there, though the verdict takes none.
    #[must_use]
    pub fn trial_is_open(&self) -> bool {
        self.trial.load(Ordering::Relaxed)
    }

    /// Takes the trial that is on offer; false if another request was faster.
    #[must_use]
    pub fn take_trial(&self) -> bool {
        self.trial.swap(false, Ordering::Relaxed)
    }

    /// Offers one trial, or withdraws it.
    pub fn offer_trial(&self, open: bool) {
        self.trial.store(open, Ordering::Relaxed);
    }

    /// How much of its share it should get, above 0 and up to 1: less while it is slow, or says
    /// that it is busy.
    #[inline]
    #[must_use]
    pub fn favour(&self) -> f32 {
        match self.favour.load(Ordering::Relaxed) {
            0 => 1.0,
            bits => f32::from_bits(bits),
        }
    }

    /// How much of its share it should get from now on.
    pub fn set_favour(&self, favour: f32) {
        self.favour.store(favour.clamp(0.01, 1.0).to_bits(), Ordering::Relaxed);
    }

    /// The verdict from `now` on. The very first Ready is no recovery: a fleet that starts
    /// takes its full share at once.
    pub fn set(&self, verdict: Verdict, now: Moment) {
        let before = self.verdict();
        if verdict.takes_traffic() && !before.takes_traffic() {
            self.recovered.store(now.as_nanos(), Ordering::Relaxed);
            self.rotation.begin();
        }
        self.change(|word| word & (SICK | WRONG) | verdict as u64 | now.as_millis() << SINCE);
    }

    /// It proved itself by real requests at `now`: its slow start begins, whatever probes say.
    pub fn recover(&self, now: Moment) {
        self.recovered.store(now.as_nanos(), Ordering::Relaxed);
        self.rotation.begin();
    }

    /// Whether the dependencies behind the target are healthy, from now on.
    pub fn set_deep(&self, healthy: bool) {
        self.change(|word| if healthy { word & !SICK } else { word | SICK });
    }

    /// Whether golden requests are answered wrongly, whatever else is known of the target.
    #[must_use]
    pub fn answers_wrongly(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRONG != 0
    }

    /// Whether golden requests are answered wrongly, from `now` on. One that answers rightly again
    /// begins with a slow start.
    pub fn set_wrong(&self, wrong: bool, now: Moment) {
        let was = self.state.load(Ordering::Relaxed) & WRONG != 0;
        if was == wrong {
            return;
        }
        if !wrong {
            self.recovered.store(now.as_nanos(), Ordering::Relaxed);
            self.rotation.begin();
        }
        let since = now.as_millis() << SINCE;
        let bit = if wrong { WRONG } else { 0 };
        self.change(|word| word & (VERDICT | SICK) | bit | since);
    }

    fn change(&self, step: impl Fn(u64) -> u64) {
        let step = |word| Some(step(word));
        // Always `Ok`: the step never declines.
        let _changed = self.state.fetch_update(Ordering::Release, Ordering::Relaxed, step);
    }
}
