//! What is seen of a member.

use std::fmt;
use std::time::Duration;

use mainstay_policy::Verdict;

/// What is seen of a member at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// Whether it can serve the pool's models.
    pub fitness: Fitness,
    /// How far it is made ready; hot ones always are.
    pub prepared: Prepared,
    /// Requests a second that it answers now.
    pub load: f64,
    /// Requests a second that it is taken to be able to answer; `None` if nothing is known.
    pub capacity: Option<f64>,
    /// Whether that was measured while it was busy, or is an estimate.
    pub measured: bool,
    /// Whether it has as much to do as it may have.
    pub full: bool,
    /// Answers and failures of the last ten seconds.
    pub judged: u32,
    /// Failures among them.
    pub failed: u32,
    /// The median of their latencies.
    pub median: Option<Duration>,
}

impl Default for Sight {
    fn default() -> Self {
        Self {
            fitness: Fitness::Unknown,
            prepared: Prepared::No,
            load: 0.0,
            capacity: None,
            measured: false,
            full: false,
            judged: 0,
            failed: 0,
            median: None,
        }
    }
}

/// Whether a member can serve its pool's models, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// All of them.
    Ready,
    /// Some of them.
    Partly,
    /// Nothing is known yet.
    Unknown,
    /// None of them.
    Lost(Loss),
}

/// Why a member can serve nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Its models are not loaded, or it starts.
    Loading,
    /// It asked for no new requests.
    Draining,
    /// Its breakers are open.
    Broken,
    /// It takes requests and completes none.
    Stalled,
    /// It answers wrongly.
    Wrong,
    /// It refuses connections, again when asked once more.
    Refuses,
    /// It does not answer.
    Dead,
}

/// How far a warm or cold member is made ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prepared {
    /// Not at all.
    #[default]
    No,
    /// It is under way.
    Underway,
    /// It failed, and is tried again.
    Failing,
    /// It runs, has its models, and has answered what it was asked.
    Yes,
}

impl Loss {
    /// Whether it counts as a flap: a planned stop or start does not.
    pub(super) const fn is_flap(self) -> bool {
        !matches!(self, Self::Loading | Self::Draining)
    }

    /// What a verdict that takes no traffic amounts to.
    #[must_use]
    pub const fn of(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Unknown | Verdict::Ready | Verdict::Busy | Verdict::Slow => None,
            Verdict::Stalled => Some(Self::Stalled),
            Verdict::Loading => Some(Self::Loading),
            Verdict::Draining => Some(Self::Draining),
            Verdict::Dead => Some(Self::Dead),
            Verdict::Wrong => Some(Self::Wrong),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loading => "has no model ready",
            Self::Draining => "asked for no new requests",
            Self::Broken => "fails: its breakers are open",
            Self::Stalled => "is stalled",
            Self::Wrong => "answers wrongly",
            Self::Refuses => "refuses connections",
            Self::Dead => "is dead",
        })
    }
}

impl Fitness {
    /// Whether it can serve nothing.
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

impl Sight {
    /// What is wrong, if anything, as the end of a sentence about the member.
    #[must_use]
    pub fn words(&self) -> String {
        match self.fitness {
            Fitness::Ready => "is well".to_owned(),
            Fitness::Unknown => "is not known yet".to_owned(),
            Fitness::Partly => "can serve only some of the models".to_owned(),
            Fitness::Lost(loss) => loss.to_string(),
        }
    }

    /// The share of failures.
    pub(super) fn errors(&self) -> f32 {
        self.failed as f32 / self.judged.max(1) as f32
    }
}
