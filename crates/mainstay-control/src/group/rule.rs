//! What the configuration says of a group.

use std::time::Duration;

use super::Window;

/// The redundancy rule of a pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// How many endpoints are in use. Default: all that are not marked as standbys.
    pub active: Active,
    /// Whether a lost endpoint is replaced without being told. Default automatic.
    pub mode: Mode,
    /// How who was lost takes its post back.
    pub failback: Failback,
}

/// How many endpoints of a pool are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Active {
    /// All that are not marked as standbys.
    #[default]
    All,
    /// From so many to so many, as load asks for it; always the same number if both are equal.
    Between(Range),
}

/// How many endpoints are in use, and when there are more or fewer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The fewest, at least 1.
    pub min: u16,
    /// The most.
    pub max: u16,
    /// One more is used when the load has been above this share of what those in use can bear.
    /// Default 80 %: beyond it queues grow steeply.
    pub above: f32,
    /// One fewer is used when the others would have been below this share. Default 50 %: well
    /// below the upper bound, so that one that is let go is not called back.
    pub below: f32,
    /// How long it must have been above. Default 5 s: longer than a burst.
    pub rise: Duration,
    /// How long it must have been below. Default 5 min.
    pub calm: Duration,
}

impl Range {
    /// Always so many.
    #[must_use]
    pub const fn always(number: u16) -> Self {
        Self::between(number, number)
    }

    /// From `min` to `max`, with the default thresholds.
    #[must_use]
    pub const fn between(min: u16, max: u16) -> Self {
        let (rise, calm) = (Duration::from_secs(5), Duration::from_mins(5));
        Self { min, max, above: 0.8, below: 0.5, rise, calm }
    }
}

/// Whether Mainstay acts by itself or proposes and waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It acts.
    #[default]
    Automatic,
    /// It proposes, and an operator tells it to.
    Manual,
}

impl Mode {
    /// The mode in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Manual => "manual",
        }
    }
}

/// How who was lost takes its post back from its stand-in.
#[derive(Clone, Debug, PartialEq)]
pub struct Failback {
    /// Whether it waits for an operator. Default: as the pool's mode.
    pub mode: Mode,
    /// How long it must have been well. Default 30 s: longer than a server that crashes while it
    /// warms up takes to do so.
    pub stable_for: Duration,
    /// How long its traffic grows from nothing to all of it. Default 60 s.
    pub ramp: Duration,
    /// When it may happen; always if there are none.
    pub windows: Vec<Window>,
    /// What is held against an endpoint that comes and goes.
    pub damping: Damping,
}

impl Default for Failback {
    fn default() -> Self {
        Self {
            mode: Mode::Automatic,
            stable_for: Duration::from_secs(30),
            ramp: Duration::from_mins(1),
            windows: Vec::new(),
            damping: Damping::default(),
        }
    }
}

/// Flap damping, as RFC 2439 has it for routes: each loss adds one to a penalty that decays by
/// half in each half-life; above `suppress` the endpoint does not take its post back, until the
/// penalty has fallen below `reuse`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    /// The time in which a penalty halves. Default 1 min.
    pub half_life: Duration,
    /// Above this it is suppressed. Default 1.5: the second loss within a minute.
    pub suppress: f32,
    /// Below this it is not any more. Default 0.75, as RFC 2439's 750 of 1000.
    pub reuse: f32,
    /// The longest that it is suppressed after its last loss. Default 10 min.
    pub max: Duration,
}

impl Default for Damping {
    fn default() -> Self {
        let (half_life, max) = (Duration::from_mins(1), Duration::from_mins(10));
        Self { half_life, suppress: 1.5, reuse: 0.75, max }
    }
}

/// What it takes to use an endpoint that is not in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standby {
    /// Nothing: it runs and has its models.
    #[default]
    Hot,
    /// Its models are loaded first.
    Warm,
    /// It is started first.
    Cold,
}

impl Standby {
    /// The kind in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

/// How far an endpoint is from this gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Distance {
    /// In the same zone, or nothing is said of where either is.
    #[default]
    Zone,
    /// In the same region.
    Region,
    /// Elsewhere.
    Far,
}

impl Distance {
    /// How far apart two places are, each a region and a zone; what is not said is taken to be
    /// the same.
    #[must_use]
    pub fn between(one: (Option<&str>, Option<&str>), other: (Option<&str>, Option<&str>)) -> Self {
        let differ =
            |a: Option<&str>, b: Option<&str>| matches!((a, b), (Some(a), Some(b)) if a != b);
        if differ(one.0, other.0) {
            Self::Far
        } else if differ(one.1, other.1) {
            Self::Region
        } else {
            Self::Zone
        }
    }
}
