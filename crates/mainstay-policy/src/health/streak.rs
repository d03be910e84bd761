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
    /// It answered a golden request, and not as it must.
    Wrong,
}

impl Check {
    /// Every result.
    pub const ALL: [Self; 6] =
        [Self::Passed, Self::Refused, Self::TimedOut, Self::NotReady, Self::Failed, Self::Wrong];

    /// The verdict that a row of these amounts to.
    pub(super) const fn verdict(self) -> Verdict {
        match self {
            Self::Passed => Verdict::Ready,
            Self::NotReady => Verdict::Loading,
            Self::Wrong => Verdict::Wrong,
            Self::Refused | Self::TimedOut | Self::Failed => Verdict::Dead,
        }
    }

    /// Whether nothing usable came: neither a pass nor the word "not ready". A server that is
    /// only too busy for its probes looks like this.
    #[must_use]
    pub const fn is_missed(self) -> bool {
        matches!(self, Self::Refused | Self::TimedOut | Self::Failed)
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
            Self::Wrong => "wrong",
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
            Check::Wrong => "was answered wrongly",
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
    last: Option<Check>,
    /// Checks in a row that passed, or did not.
    passed: Run,
    /// Checks in a row that were answered ("not ready" is an answer), or were not.
    answered: Run,
}

/// How many checks in a row were alike in one respect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    alike: bool,
    length: u8,
}

impl Run {
    const fn step(self, alike: bool) -> Self {
        let length = if self.alike == alike { self.length.saturating_add(1) } else { 1 };
        Self { alike, length }
    }

    fn reaches(self, alike: bool, length: u8) -> bool {
        self.alike == alike && self.length >= length.max(1)
    }
}

impl Streak {
    /// The verdict as it stands.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        self.verdict
    }

    /// Whether checks speak against the verdict, not enough of them yet.
    #[must_use]
    pub fn is_in_transition(self) -> bool {
        self.last.is_some_and(|check| check.verdict() != self.verdict)
    }

    /// Counts a check; the change, if it was the one that decided.
    #[must_use]
    pub fn step(self, check: Check, settings: &Settings) -> (Self, Option<Change>) {
        let counted = Self {
            verdict: self.verdict,
            last: Some(check),
            passed: self.passed.step(check == Check::Passed),
            answered: self.answered.step(check.verdict() != Verdict::Dead),
        };
        let to = counted.judge(check, settings);
        if to == self.verdict {
            return (counted, None);
        }
        let evidence = Evidence { row: counted.row(to), last: check };
        let change = Change { from: self.verdict, to, evidence };
        (Self { verdict: to, ..counted }, Some(change))
    }

    /// The verdict that the rows amount to.
    fn judge(self, check: Check, settings: &Settings) -> Verdict {
        match (self.verdict, check.verdict()) {
            (Verdict::Unknown, first) => first,
            (Verdict::Dead, Verdict::Loading) => Verdict::Loading,
            (_, Verdict::Ready) if self.passed.reaches(true, settings.rise) => Verdict::Ready,
            (_, Verdict::Dead) if self.answered.reaches(false, settings.fall) => Verdict::Dead,
            (Verdict::Ready, wrong @ Verdict::Wrong)
                if self.passed.reaches(false, settings.fall) =>
            {
                wrong
            }
            (Verdict::Ready, _) if self.passed.reaches(false, settings.fall) => Verdict::Loading,
            (unchanged, _) => unchanged,
        }
    }

    /// How many checks in a row spoke for the change to this verdict.
    const fn row(self, to: Verdict) -> u8 {
        match (self.verdict, to) {
            (_, Verdict::Dead) | (Verdict::Dead, Verdict::Loading) => self.answered.length,
            _ => self.passed.length,
        }
    }
}
