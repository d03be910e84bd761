//! When a fallback is tried out before it is needed, and what is known of it.
//!
//! A standby or a later step of a chain sees no request until the day on which everything depends
//! on it. So a small share of live requests is sent there in the shadow, after the client has its
//! answer, and what comes back is kept as a [`Proof`]: when it last answered, how often, how fast,
//! and how far it agrees with the source in use. "Untested fallbacks do not work"; one that would
//! not is told of before it is needed.
//!
//! ```text
//! unproven ──answered──▶ proven ──failed `fall` times──▶ failing ──answered──▶ proven
//!     └──────stale-after──────┴──stale-after──▶ stale ──answered──▶ proven
//!                         proven ◀──agrees again── disagreeing ◀──below at-least── proven
//! ```
//!
//! A rehearsal blames nobody: verdicts, breakers and budgets know nothing of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Moment, Ratio};

/// Weight of the latest latency in the average: about the last ten count.
const LATEST: f64 = 0.2;
/// Rows that agreement is judged by: older ones fade.
const ROWS: f64 = 500.0;
/// Fewer compared rows than this say nothing about agreement.
const FEW_ROWS: f64 = 20.0;
/// A model that is asked so rarely that its share comes to nothing is sampled so many times within
/// the time after which a proof is stale.
const LEAST_SAMPLES: u32 = 4;

/// How a model's fallbacks are rehearsed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Of the live requests, what each later step and each pool's standbys get. Default 1 %: often
    /// enough to find a broken fallback within seconds of load, and little beside it.
    pub share: Ratio,
    /// Shadow requests under way at once, over all of them. Default 4.
    pub concurrent: u32,
    /// Failed rehearsals in a row that are an alert. Default 3: one or two may be a restart.
    pub fall: u32,
    /// Without a success for so long nothing is known any more. Default 10 min.
    pub stale_after: Duration,
    /// Agreement below this is an alert; `None` only shows it. Default `None`: a fallback is
    /// lesser by nature, and how much so is for its owner to say.
    pub agreement: Option<Ratio>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            share: Ratio::percent(1),
            concurrent: 4,
            fall: 3,
            stale_after: Duration::from_secs(600),
            agreement: None,
        }
    }
}

impl Settings {
    /// The longest time between two rehearsals of a model that is asked at all.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.stale_after / LEAST_SAMPLES
    }
}

/// Which live requests are samples. Shared by all workers: one addition for each request.
#[derive(Debug, Default)]
pub struct Sampler {
    /// Samples due, as a fixed-point number with 32 bits behind the point.
    due: AtomicU64,
    /// When the last one was taken, in nanoseconds.
    last: AtomicU64,
}

/// One as [`Sampler`] counts.
const ONE: u64 = 1 << 32;

impl Sampler {
    /// Whether the request that was answered at `now` is a sample: every so many, as the share
    /// says, and the next one when too long there was none.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 2^32")]
    pub fn takes(&self, settings: &Settings, now: Moment) -> bool {
        let share = (f64::from(settings.share.get()) * ONE as f64) as u64;
        let before = self.due.fetch_add(share, Ordering::Relaxed);
        let due = before.wrapping_add(share) / ONE != before / ONE;
        let last = self.last.load(Ordering::Relaxed);
        let long_ago = now.since(Moment::from_nanos(last)) >= settings.interval();
        if !due && !long_ago {
            return false;
        }
        let taken = self.last.compare_exchange(
            last,
            now.as_nanos().max(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        due || taken.is_ok()
    }
}

/// A standby or a later step, as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Those of one group are asked in turn: the endpoints of one pool.
    pub group: usize,
    /// When it was asked last.
    pub asked: Option<Moment>,
    /// Whether it may be asked now: not full, not paused, its breaker closed.
    pub free: bool,
}

/// Of each group, the stage to send a sample to: the one among the free that was asked longest
/// ago. Stages of one group stand together.
pub fn choose(stages: &[Stage]) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    stages.chunk_by(|one, other| one.group == other.group).filter_map(move |group| {
        let first = at;
        at += group.len();
        let free = group.iter().enumerate().filter(|(_, stage)| stage.free);
        free.min_by_key(|(_, stage)| stage.asked).map(|(index, _)| first + index)
    })
}

/// What came of one rehearsal.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A usable answer.
    Good {
        /// From the request to the end of the answer.
        latency: Duration,
        /// Rows that say what the source in use said, and rows compared; `None` where there was
        /// nothing to compare with.
        agreement: Option<(u32, u32)>,
    },
    /// None, and why, in a few words.
    Failed(String),
}

/// Whether a fallback would answer if it were needed now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Not known yet.
    #[default]
    Unproven,
    /// It answered when it was last asked.
    Proven,
    /// It fails.
    Failing,
    /// It answered, or was first known of, too long ago.
    Stale,
    /// It answers, and too often not as the source in use does.
    Disagreeing,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Unproven, Self::Proven, Self::Failing, Self::Stale, Self::Disagreeing];

    /// The state in lower case, as status, metrics and events show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Proven => "proven",
            Self::Failing => "failing",
            Self::Stale => "stale",
            Self::Disagreeing => "disagreeing",
        }
    }

    /// Whether somebody should look after it before it is needed.
    #[must_use]
    pub const fn is_alert(self) -> bool {
        matches!(self, Self::Failing | Self::Stale | Self::Disagreeing)
    }
}

/// Why a state changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// It answered.
    Answered {
        /// In this time.
        latency: Duration,
    },
    /// It failed so often in a row.
    Failed {
        /// How often.
        row: u32,
        /// The last time for this.
        why: String,
    },
    /// So long without an answer.
    Silent(Duration),
    /// It agrees in this share of rows.
    Agreement {
        /// The share.
        share: f64,
        /// What it is to reach.
        at_least: Ratio,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { latency } => {
                write!(f, "it answered a rehearsal in {:.1} ms", latency.as_secs_f64() * 1e3)
            }
            Self::Failed { row, why } => write!(f, "{row} rehearsals in a row failed: {why}"),
            Self::Silent(age) => {
                write!(f, "no rehearsal succeeded for {:.0} s", age.as_secs_f64())
            }
            Self::Agreement { share, at_least } => write!(
                f,
                "it agrees with the source in use in {:.0}% of the rows, {at_least} is wanted",
                share * 100.0
            ),
        }
    }
}

/// A change of state, with its cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Before.
    pub from: State,
    /// From now on.
    pub to: State,
    /// Why.
    pub cause: Cause,
}

/// What rehearsals have shown of one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// Since when it is known of, and could be asked.
    pub since: Moment,
    /// When it was asked last.
    pub asked: Option<Moment>,
    /// When it answered last.
    pub succeeded: Option<Moment>,
    /// Rehearsals that ended.
    pub tried: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Failures since the last answer.
    pub row: u32,
    /// A moving average over about the last ten answers; zero before the first.
    pub latency: Duration,
    /// Why the last failure was one; empty after an answer.
    pub why: String,
    /// Whether it would answer.
    pub state: State,
    /// Rows that agreed, and rows compared, both fading.
    rows: (f64, f64),
}

impl Proof {
    /// Nothing is known yet.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self {
            since: now,
            asked: None,
            succeeded: None,
            tried: 0,
            answered: 0,
            row: 0,
            latency: Duration::ZERO,
            why: String::new(),
            state: State::Unproven,
            rows: (0.0, 0.0),
        }
    }

    /// The share of its rows that say what the source in use said, over about the last 500;
    /// `None` where none could be compared.
    #[must_use]
    pub fn agreement(&self) -> Option<f64> {
        (self.rows.1 > 0.0).then(|| self.rows.0 / self.rows.1)
    }

    /// Takes in what a rehearsal found.
    #[must_use]
    pub fn step(
        mut self,
        found: Found,
        now: Moment,
        settings: &Settings,
    ) -> (Self, Option<Change>) {
        self.tried += 1;
        let (to, cause) = match found {
            Found::Good { latency, agreement } => self.answered(latency, agreement, now, settings),
            Found::Failed(why) => {
                self.row = self.row.saturating_add(1);
                self.why.clone_from(&why);
                let failing = self.row >= settings.fall;
                let to = if failing { State::Failing } else { self.state };
                (to, Cause::Failed { row: self.row, why })
            }
        };
        self.turn(to, cause)
    }

    fn answered(
        &mut self,
        latency: Duration,
        agreement: Option<(u32, u32)>,
        now: Moment,
        settings: &Settings,
    ) -> (State, Cause) {
        self.answered += 1;
        self.row = 0;
        self.why.clear();
        self.latency = match self.succeeded.replace(now) {
            None => latency,
            Some(_) => self.latency.mul_f64(1.0 - LATEST) + latency.mul_f64(LATEST),
        };
        if let Some((agreed, rows)) = agreement {
            let whole = self.rows.1 + f64::from(rows);
            let keep = if whole > ROWS { (ROWS / whole).min(1.0) } else { 1.0 };
            self.rows = ((self.rows.0 + f64::from(agreed)) * keep, whole * keep);
        }
        match (self.agreement(), settings.agreement) {
            (Some(share), Some(at_least))
                if self.rows.1 >= FEW_ROWS && share < f64::from(at_least.get()) =>
            {
                (State::Disagreeing, Cause::Agreement { share, at_least })
            }
            _ => (State::Proven, Cause::Answered { latency }),
        }
    }

    /// Looks at the time: what was proven too long ago is not known any more.
    #[must_use]
    pub fn look(self, now: Moment, settings: &Settings) -> (Self, Option<Change>) {
        let silent = now.since(self.succeeded.unwrap_or(self.since));
        if self.state.is_alert() || silent < settings.stale_after {
            return (self, None);
        }
        self.turn(State::Stale, Cause::Silent(silent))
    }

    /// It cannot be asked now, and nobody counts on it: its time begins anew when it can.
    #[must_use]
    pub fn away(mut self, now: Moment) -> Self {
        let (tried, answered) = (self.tried, self.answered);
        self = Self::new(now);
        Self { tried, answered, ..self }
    }

    /// Whether so long nothing was asked of it that a golden request should be.
    #[must_use]
    pub fn is_idle(&self, now: Moment, settings: &Settings) -> bool {
        now.since(self.asked.unwrap_or(Moment::ZERO)) >= settings.interval() || self.asked.is_none()
    }

    fn turn(mut self, to: State, cause: Cause) -> (Self, Option<Change>) {
        if to == self.state {
            return (self, None);
        }
        let change = Change { from: self.state, to, cause };
        self.state = to;
        (self, Some(change))
    }
}

#[cfg(test)]
mod tests;
