//! One member of a group: what it is, what was said of it, what it does.

use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::{Moment, Ratio, Standing};

use super::damping::Penalty;
use super::{Damping, Distance, Fitness, Prepared, Sight, Standby};

/// A spare that was well for less than this was not back yet: one outage counts once.
const BACK: Duration = Duration::from_secs(1);
/// The least share of a member on a ramp.
const FOOT: f32 = 0.02;

/// What the configuration says of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name, unique in its pool.
    pub name: Arc<str>,
    /// Where it is. Another address is another server.
    pub server: Arc<str>,
    /// What it takes to use it, if it is marked as a standby.
    pub standby: Option<Standby>,
    /// How far it is.
    pub distance: Distance,
}

/// What operators let it do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// Everything.
    #[default]
    Open,
    /// It takes no new requests.
    Drained {
        /// Why.
        reason: String,
    },
    /// It is not touched.
    Maintenance {
        /// Why.
        reason: String,
    },
}

/// One member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// What the configuration says of it.
    pub spec: Spec,
    pub(super) service: Service,
    pub(super) weight: f32,
    /// Whether it is in use, on its way back included.
    pub(super) posted: bool,
    /// How it takes its post back.
    pub(super) ramp: Option<Ramp>,
    /// Why it is not to take its post back before it is told: an operator moved it away.
    pub(super) held_off: Option<String>,
    /// An operator wants it to take the post of this one.
    pub(super) called: Option<usize>,
    /// An operator wants it back.
    pub(super) recalled: bool,
    /// Since when it has been well.
    pub(super) well: Option<Moment>,
    pub(super) penalty: Penalty,
    pub(super) suppressed: bool,
    /// Whether it is to be loaded or started.
    pub(super) prepare: bool,
    /// And what of that was commanded.
    pub(super) preparing: bool,
    pub(super) prepared: Prepared,
    /// Whether it was ready at the last look, and at this one has to be made ready anew.
    pub(super) unloaded: bool,
    pub(super) standing: Standing,
    pub(super) share: Ratio,
    pub(super) why: String,
    /// Whether that was said since the last step.
    pub(super) told: bool,
}

/// The way back into a post that a stand-in holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ramp {
    pub(super) stand_in: usize,
    pub(super) began: Moment,
}

impl Member {
    pub(super) const fn new(spec: Spec) -> Self {
        Self {
            spec,
            service: Service::Open,
            weight: 1.0,
            posted: false,
            ramp: None,
            held_off: None,
            called: None,
            recalled: false,
            well: None,
            penalty: Penalty::NONE,
            suppressed: false,
            prepare: false,
            preparing: false,
            prepared: Prepared::No,
            unloaded: false,
            standing: Standing::Active,
            share: Ratio::ONE,
            why: String::new(),
            told: false,
        }
    }

    /// It is another server now: what was remembered of the one before is over. The post, and what
    /// operators said, are the place's.
    pub(super) fn begin_anew(&mut self) {
        let kept = Self::new(self.spec.clone());
        *self = Self {
            service: std::mem::take(&mut self.service),
            weight: self.weight,
            // Whoever was on the way back never had the whole post, and nobody has one who must be
            // made ready first.
            posted: self.holds() && kept.is_prepared(),
            held_off: self.held_off.take(),
            called: self.called,
            standing: self.standing,
            ..kept
        };
    }

    /// What it is for.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Why, in one line.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The share of its traffic: all of it, but on a ramp.
    #[must_use]
    pub const fn share(&self) -> Ratio {
        self.share
    }

    /// The operators' factor on its weight.
    #[must_use]
    pub const fn weight(&self) -> f32 {
        self.weight
    }

    /// What operators let it do.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// Whether it is on its way back.
    #[must_use]
    pub const fn is_returning(&self) -> bool {
        self.ramp.is_some()
    }

    /// Whether it is to be loaded or started.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.prepare
    }

    /// Whether it has a post of its own.
    pub(super) const fn holds(&self) -> bool {
        self.posted && self.ramp.is_none()
    }

    pub(super) fn is_open(&self) -> bool {
        self.service == Service::Open
    }

    /// Whether nothing has to be done before it can be used.
    pub(super) fn is_prepared(&self) -> bool {
        self.is_hot() || self.prepared == Prepared::Yes
    }

    fn is_hot(&self) -> bool {
        self.spec.standby.unwrap_or_default() == Standby::Hot
    }

    /// Whether it could have a post, as far as it is not lost.
    pub(super) fn may_be_posted(&self) -> bool {
        !self.posted && self.is_open() && self.is_prepared()
    }

    pub(super) fn observe(&mut self, sight: &Sight, damping: &Damping, now: Moment) {
        self.unloaded = self.prepared == Prepared::Yes && sight.prepared == Prepared::No;
        self.prepared = sight.prepared;
        if self.prepared == Prepared::Yes && !self.is_hot() && !self.preparing {
            // Found ready, as after a restart of the gateway: it is to be let go like any other.
            (self.prepare, self.preparing) = (true, true);
        }
        // Who is lost again before it was really back is lost once.
        let was_well = self.well.is_some_and(|at| self.posted || now.since(at) >= BACK);
        match sight.fitness {
            Fitness::Ready => self.well = self.well.or(Some(now)),
            Fitness::Lost(loss) if was_well && loss.is_flap() && self.is_open() => {
                self.penalty.add(damping, now);
                self.well = None;
            }
            _ => self.well = None,
        }
        self.suppressed = self.penalty.holds(damping, now);
    }

    /// How it should stand.
    pub(super) fn due(&self, manual: bool) -> Standing {
        match self.service {
            Service::Maintenance { .. } => Standing::Away,
            Service::Drained { .. } => Standing::Drained,
            Service::Open if self.posted => Standing::Active,
            Service::Open if manual || !self.is_prepared() => Standing::Away,
            Service::Open => Standing::Spare,
        }
    }

    pub(super) fn say(&mut self, why: impl Into<String>) {
        (self.why, self.told) = (why.into(), true);
    }

    /// Why it stands as it is due to, where nothing else was said.
    pub(super) fn usual_why(&self, due: Standing) -> String {
        let why = match (due, self.spec.standby) {
            (Standing::Active, _) => "in use",
            (Standing::Spare, _) => "ready to take over",
            (Standing::Away, Some(Standby::Warm)) if !self.is_prepared() => "to be loaded first",
            (Standing::Away, Some(Standby::Cold)) if !self.is_prepared() => "to be started first",
            (Standing::Away, _) if self.is_open() => "takes over when an operator says so",
            (Standing::Away | Standing::Drained, _) => return self.ordered(),
        };
        why.to_owned()
    }

    pub(super) fn take_post(&mut self, why: String) {
        self.posted = true;
        self.held_off = None;
        self.called = None;
        self.say(why);
    }

    pub(super) fn give_up(&mut self, why: String) {
        self.posted = false;
        self.ramp = None;
        self.recalled = false;
        self.say(why);
    }
}

impl Ramp {
    /// How far it is, from 0 to 1.
    pub(super) fn progress(&self, length: Duration, now: Moment) -> f32 {
        if length.is_zero() {
            return 1.0;
        }
        (now.since(self.began).as_secs_f32() / length.as_secs_f32()).min(1.0)
    }

    /// In the first half the returning member's traffic grows.
    pub(super) fn share(&self, length: Duration, now: Moment) -> Ratio {
        share(self.progress(length, now) * 2.0)
    }

    /// In the second half its stand-in's falls.
    pub(super) fn share_of_stand_in(&self, length: Duration, now: Moment) -> Ratio {
        share((1.0 - self.progress(length, now)) * 2.0)
    }

    /// The same with its stand-in in another place; `None` if that is gone.
    pub(super) fn moved(self, place: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        place(self.stand_in).map(|stand_in| Self { stand_in, ..self })
    }
}

fn share(value: f32) -> Ratio {
    Ratio::new(value.clamp(FOOT, 1.0)).unwrap_or(Ratio::ONE)
}
