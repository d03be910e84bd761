//! Counting checks in a row.

use std::fmt;

use crate::Verdict;

use super::Settings;

/// What one probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// The answer that was hoped for.
    Passed,
    /// No connection: nobody listens there.
    Refused,
    /// No answer in time. Not the same as refused: it may be busy.
    TimedOut,
    /// It answered that it is not ready.
    NotReady,
    /// It answered something else, or broke off.
    Failed,
}

impl Check {
    /// Every result.
    pub const ALL: [Self; 5] =
        [Self::Passed, Self::Refused, Self::TimedOut, Self::NotReady, Self::Failed];

    /// The verdict that a row of these amounts to.
    const fn verdict(self) -> Verdict {
        match self {
            Self::Passed => Verdict::Ready,
            Self::NotReady => Verdict::Loading,
            Self::Refused | Self::TimedOut | Self::Failed => Verdict::Dead,
        }
    }

    /// The result in kebab case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::TimedOut => "timed-out",
            Self::NotReady => "not-ready",
            Self::Failed => "failed",
        }
    }
}

/// Why a verdict changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Probes in a row that spoke for the change.
    pub row: u8,
    /// What the last of them found.
    pub last: Check,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            1 => write!(f, "a probe {}", self.words()),
            row => write!(f, "{row} probes in a row, the last {}", self.words()),
        }
    }
}

impl Evidence {
    const fn words(self) -> &'static str {
        match self.last {
            Check::Passed => "passed",
            Check::Refused => "was refused",
            Check::TimedOut => "timed out",
            Check::NotReady => "said not ready",
            Check::Failed => "failed",
        }
    }
}

/// A verdict that gave way to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The verdict before.
    pub from: Verdict,
    /// The verdict from now on.
    pub to: Verdict,
    /// Why.
    pub evidence: Evidence,
}

/// The checks of one target so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    verdict: Verdict,
    /// Passed checks in a row.
    passed: u8,
    /// Checks in a row that did not pass.
    missed: u8,
}

impl Streak {
    /// The verdict as it stands.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        self.verdict
    }

    /// Whether checks speak against the verdict, not enough of them yet.
    #[must_use]
    pub const fn is_in_transition(self) -> bool {
        match self.verdict {
            Verdict::Ready => self.missed > 0,
            _ => self.passed > 0,
        }
    }

    /// Counts a check; the change, if it was the one that decided.
    #[must_use]
    pub fn step(self, check: Check, settings: &Settings) -> (Self, Option<Change>) {
        let (passed, missed) = match check {
            Check::Passed => (self.passed.saturating_add(1), 0),
            _ => (0, self.missed.saturating_add(1)),
        };
        let counted = Self { verdict: self.verdict, passed, missed };
        match counted.decides(check, settings) {
            Some(to) if to != self.verdict => {
                let evidence = Evidence { row: passed.max(missed), last: check };
                let change = Change { from: self.verdict, to, evidence };
                (Self { verdict: to, passed: 0, missed: 0 }, Some(change))
            }
            _ => (counted, None),
        }
    }

    /// The verdict that the row amounts to, if it is long enough to say so.
    fn decides(self, check: Check, settings: &Settings) -> Option<Verdict> {
        let wanted = check.verdict();
        let enough = match (self.verdict, wanted) {
            (Verdict::Unknown, _) | (Verdict::Dead, Verdict::Loading) => true,
            (_, Verdict::Ready) => self.passed >= settings.rise,
            _ => self.missed >= settings.fall,
        };
        enough.then_some(wanted)
    }
}
