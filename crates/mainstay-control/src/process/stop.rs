//! How a process is ended: a signal, its grace, then a kill of everything that it started.
//!
//! ```text
//! begin → ask (signal) → wait until the grace is over → kill the group, again and again → gone
//! ```
//!
//! A kill is repeated because what is being killed may be starting processes meanwhile. Nothing
//! more can be done about one that survives SIGKILL (it waits inside the kernel, for a disk or a
//! device), so that is only looked at ever more rarely.

use std::time::Duration;

use mainstay_policy::Moment;

/// Between two kills of what is left: long enough for the kernel to have ended it.
const AGAIN: Duration = Duration::from_millis(50);
/// The longest between two of them.
const SELDOM: Duration = Duration::from_secs(5);

/// One process on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It was asked, and has until then.
    Asked(Moment),
    /// It was killed so often, and is killed again then.
    Killed(u32, Moment),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before this moment.
    Wait(Moment),
    /// Kill everything that is left of it.
    Kill,
}

impl Stop {
    /// The signal has been sent; `grace` is what the process has to end by itself.
    #[must_use]
    pub fn begin(grace: Duration, now: Moment) -> Self {
        Self { phase: Phase::Asked(now + grace) }
    }

    /// What is to be done while something of it is left.
    pub fn step(&mut self, now: Moment) -> Action {
        let (kills, due) = match self.phase {
            Phase::Asked(until) => (0, until),
            Phase::Killed(kills, again) => (kills, again),
        };
        if now < due {
            return Action::Wait(due);
        }
        let pause = AGAIN.saturating_mul(1 << kills.min(10)).min(SELDOM);
        self.phase = Phase::Killed(kills.saturating_add(1), now + pause);
        Action::Kill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_comes_before_the_kill() {
        let at = Moment::from_millis;
        let mut stop = Stop::begin(Duration::from_secs(1), at(0));
        assert_eq!(stop.step(at(999)), Action::Wait(at(1000)));
        assert_eq!(stop.step(at(1000)), Action::Kill);
        assert_eq!(stop.step(at(1001)), Action::Wait(at(1050)));
        assert_eq!(stop.step(at(1050)), Action::Kill);
        assert_eq!(stop.step(at(1051)), Action::Wait(at(1150)));
    }
}
