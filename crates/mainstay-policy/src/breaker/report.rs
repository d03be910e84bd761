//! What a breaker says: its state, what it lets through or refuses, and why it changed.

use std::fmt;

use crate::{Class, Moment};

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Lets everything through.
    #[default]
    Closed = 0,
    /// Lets nothing through until its wait is over.
    Open = 1,
    /// Lets a few requests through, to learn from them.
    HalfOpen = 2,
}

impl State {
    /// The state in kebab case, as metrics, records and status show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What an operator may force a breaker to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forced {
    /// Refuse everything.
    Open,
    /// Let everything through.
    Closed,
}

impl Forced {
    /// The forced state in kebab case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// The right to make one attempt. Goes back to its breaker once, by
/// [`record`](super::Breaker::record) or [`release`](super::Breaker::release).
///
/// It knows the breaker's period, which changes with each change of state: what an attempt from
/// an earlier period says is out of date and counts nowhere. Without that, the timeouts of
/// requests sent before an opening would open a breaker that has just closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Given when closed.
    Closed {
        /// The period it belongs to.
        period: u8,
    },
    /// One of the few given when half-open.
    Probe {
        /// The period it belongs to.
        period: u8,
    },
    /// Given because an operator forced the breaker closed; its outcome counts nowhere.
    Forced,
}

/// Why no attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Open, until then at least.
    Open {
        /// The end of the wait.
        until: Moment,
    },
    /// Half-open, and all permits are out.
    HalfOpenFull,
    /// Forced open by an operator.
    ForcedOpen,
}

/// Why a breaker changed its state. Display gives one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Too large a share of the calls in the window failed.
    FailureRate {
        /// Failures in the window.
        failures: u32,
        /// Calls in the window.
        calls: u32,
    },
    /// So many failures in a row.
    Consecutive(u8),
    /// Too large a share of the calls in the window was slow.
    SlowCalls {
        /// Slow calls in the window.
        slow: u32,
        /// Calls in the window.
        calls: u32,
    },
    /// The accelerator failed in a way that its server does not survive.
    FatalAccelerator,
    /// The wait of an open breaker is over.
    WaitOver,
    /// Probes found the target back before the wait was over.
    ProbesSucceeded,
    /// A request failed while half-open.
    HalfOpenFailed(Class),
    /// The requests while half-open were answered, but as slowly as before.
    HalfOpenSlow {
        /// Slow answers.
        slow: u32,
        /// Answers.
        calls: u32,
    },
    /// Enough requests succeeded while half-open.
    HalfOpenSucceeded,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailureRate { failures, calls } => {
                write!(f, "{failures} of the last {calls} calls failed")
            }
            Self::Consecutive(count) => write!(f, "{count} failures in a row"),
            Self::SlowCalls { slow, calls } => {
                write!(f, "{slow} of the last {calls} calls were slow")
            }
            Self::FatalAccelerator => f.write_str("fatal accelerator error"),
            Self::WaitOver => f.write_str("the wait is over"),
            Self::ProbesSucceeded => f.write_str("probes succeed again"),
            Self::HalfOpenFailed(class) => write!(f, "a trial request failed: {}", class.as_str()),
            Self::HalfOpenSlow { slow, calls } => {
                write!(f, "{slow} of {calls} trial requests were slow")
            }
            Self::HalfOpenSucceeded => f.write_str("trial requests succeeded"),
        }
    }
}

/// A change of state, for the log of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// What brought it about.
    pub cause: Cause,
}

/// A breaker as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it stands by its own rules.
    pub state: State,
    /// What an operator forced it to be, and until when.
    pub forced: Option<(Forced, Moment)>,
    /// The end of the wait, when open.
    pub until: Option<Moment>,
    /// Calls in the window (when closed).
    pub calls: u32,
    /// Failures among them.
    pub failures: u32,
    /// Slow ones among them.
    pub slow: u32,
    /// Failures in a row (when closed).
    pub consecutive: u8,
    /// How often it opened again soon after it had opened: the exponent of its wait.
    pub reopened: u8,
}
