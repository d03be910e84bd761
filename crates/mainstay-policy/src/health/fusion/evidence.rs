//! The line that says what made a verdict change.

use std::fmt;
use std::time::Duration;

use super::{Report, State, streak};

/// What a verdict rests on. Display gives one line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Evidence {
    /// Nothing is known.
    #[default]
    Nothing,
    /// A row of probes.
    Probes(streak::Evidence),
    /// Probes time out, too few of them to know.
    Missed {
        /// In a row.
        row: u8,
        /// How many are needed.
        fall: u8,
    },
    /// Probes fail and requests complete.
    Completes {
        /// Since the last one did.
        ago: Duration,
        /// Probes missed in a row.
        row: u8,
    },
    /// Probes time out and its own counters advance.
    Advances {
        /// Probes missed in a row.
        row: u8,
    },
    /// Probes time out and its heartbeat comes.
    Beats {
        /// Probes missed in a row.
        row: u8,
    },
    /// Requests wait for long while its own counters advance.
    Queued {
        /// Requests that wait, or ran out of time.
        waiting: u32,
        /// The silence.
        lasted: Duration,
    },
    /// Its heartbeat says that it is full.
    Full(f32),
    /// Nothing comes of what was asked.
    Silent {
        /// Requests that wait.
        waiting: u32,
        /// Attempts whose time ran out.
        unanswered: u32,
        /// The silence.
        lasted: Duration,
        /// Whether its peers completed requests meanwhile.
        peers: bool,
    },
    /// Its own counters stand still with work to do.
    Flat {
        /// Requests that are not done.
        undone: u32,
        /// For how long.
        lasted: Duration,
    },
    /// One request waits for long.
    Long {
        /// The silence.
        lasted: Duration,
    },
    /// Its heartbeat is late.
    Late {
        /// Since the last beat.
        age: Duration,
        /// The suspicion.
        phi: f64,
    },
    /// Its heartbeat is gone.
    Gone {
        /// Since the last beat.
        age: Duration,
    },
    /// Many calls were slow.
    SlowCalls {
        /// Slow ones.
        slow: u32,
        /// All.
        calls: u32,
    },
    /// Its heartbeat says so.
    Said(State),
    /// A request completed after it had stalled.
    Completed,
    /// Its own counters advance after it had stalled.
    AdvancesAgain,
}

impl Evidence {
    pub(super) const fn gone(heart: &Report) -> Self {
        Self::Gone { age: heart.age }
    }

    pub(super) const fn late(heart: &Report) -> Self {
        Self::Late { age: heart.age, phi: heart.phi }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => f.write_str("nothing is known yet"),
            Self::Probes(evidence) => evidence.fmt(f),
            Self::Missed { row, fall } => {
                write!(f, "{row} of {fall} probes timed out, busy or dead")
            }
            Self::Completes { ago, row } => {
                write!(f, "requests complete (the last {} ago), though ", seconds(ago))?;
                missed(f, row)
            }
            Self::Advances { row } => {
                f.write_str("its own counters advance, though ")?;
                missed(f, row)
            }
            Self::Beats { row } => {
                f.write_str("its heartbeat comes, though ")?;
                missed(f, row)
            }
            Self::Queued { waiting, lasted } => {
                let lasted = seconds(lasted);
                write!(f, "{waiting} requests wait for {lasted} while its own counters advance")
            }
            Self::Full(load) => write!(f, "its heartbeat reports a load of {load:.2}"),
            Self::Silent { waiting, unanswered, lasted, peers } => {
                write!(f, "nothing came for {}: ", seconds(lasted))?;
                write!(f, "{waiting} requests wait, {unanswered} got no answer")?;
                if peers { f.write_str(", peers complete theirs") } else { Ok(()) }
            }
            Self::Flat { undone, lasted } => {
                let lasted = seconds(lasted);
                write!(f, "its own counters stand still for {lasted} with {undone} requests to do")
            }
            Self::Long { lasted } => {
                write!(f, "a request waits for {}, longer than is usual", seconds(lasted))
            }
            Self::Late { age, phi } => {
                write!(f, "no heartbeat for {} (suspicion {phi:.1})", seconds(age))
            }
            Self::Gone { age } => write!(f, "no heartbeat for {}, and no probe", seconds(age)),
            Self::SlowCalls { slow, calls } => {
                write!(f, "{slow} of the last {calls} calls were slow")
            }
            Self::Said(state) => write!(f, "its heartbeat says {}", state.as_str()),
            Self::Completed => f.write_str("a real request completed"),
            Self::AdvancesAgain => f.write_str("its own counters advance again"),
        }
    }
}

fn missed(f: &mut fmt::Formatter<'_>, row: u8) -> fmt::Result {
    match row {
        0 | 1 => f.write_str("a probe failed"),
        row => write!(f, "{row} probes in a row failed"),
    }
}

/// Tenths are enough for what changes with each look.
fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}
