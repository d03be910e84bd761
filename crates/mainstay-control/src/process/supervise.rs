//! One supervised process: held to what is wanted of it.
//!
//! | state | event | next | command |
//! |---|---|---|---|
//! | stopped | wanted | starting | start |
//! | starting | ready | running | |
//! | starting | start timeout | stopping | stop |
//! | starting, running | exit | backing off, or crash loop | |
//! | starting, running | not wanted, or changed | stopping | stop |
//! | stopping | exit | stopped, or starting where it is wanted | start |
//! | backing off, crash loop | its time has come | starting | start |
//! | backing off, crash loop | not wanted | stopped | |
//!
//! The pause doubles with each exit, with jitter, so that many processes that fail for one reason
//! do not start at once. So many exits within a window are a crash loop: from then on there is
//! one try at a long interval, until one of them has run for the whole window. The scheme is that
//! of init systems (systemd's `StartLimitBurst`) and Kubernetes' `CrashLoopBackOff`; unlike the
//! first it never gives up, since what was missing may come back at night.

use std::collections::VecDeque;
use std::time::Duration;

use mainstay_policy::{Moment, Ratio};

use super::exit::{Cause, Exit};

/// How a process is started again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// Whether it is started again at all. Default true.
    pub enabled: bool,
    /// The pause after the first exit; doubled with each further one. Default 500 ms.
    pub base: Duration,
    /// The longest pause. Default 30 s.
    pub max: Duration,
    /// Random share added to or taken from a pause. Default 20 %.
    pub jitter: Ratio,
    /// So many exits within the window are a crash loop. Default 5.
    pub exits: u32,
    /// The window, and how long a process has to run until its exits are forgotten. Default 60 s.
    pub window: Duration,
    /// Between two tries in a crash loop. Default 5 min, as Kubernetes' longest pause.
    pub retry: Duration,
    /// From the start to the verdict Ready. Default 5 min: large models load for minutes.
    pub start_timeout: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            enabled: true,
            base: Duration::from_millis(500),
            max: Duration::from_secs(30),
            jitter: Ratio::percent(20),
            exits: 5,
            window: Duration::from_secs(60),
            retry: Duration::from_secs(300),
            start_timeout: Duration::from_secs(300),
        }
    }
}

/// How a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does not run, and is not meant to.
    Stopped,
    /// It runs or is about to, and is not ready yet.
    Starting {
        /// Once it has one.
        pid: Option<u32>,
        /// When it was started.
        since: Moment,
    },
    /// It runs and was ready.
    Running {
        /// Its process id.
        pid: u32,
        /// When it was started.
        since: Moment,
    },
    /// It was told to end.
    Stopping {
        /// Since when.
        since: Moment,
    },
    /// It ended and is started again then.
    BackingOff {
        /// The moment of the start.
        until: Moment,
    },
    /// It ends again and again; the next try is then.
    CrashLoop {
        /// The moment of the next try.
        until: Moment,
    },
}

impl State {
    /// The state in kebab case.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Stopping { .. } => "stopping",
            Self::BackingOff { .. } => "backing-off",
            Self::CrashLoop { .. } => "crash-loop",
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// It is meant to run, or not to, from now on.
    Wanted(bool),
    /// What it is made from has changed: it has to be started anew.
    Changed,
    /// It has been started.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// It was found running, where it was left.
    Adopted {
        /// Its process id.
        pid: u32,
        /// When it was started.
        since: Moment,
    },
    /// Its probes say that it is ready.
    Ready,
    /// It has ended.
    Exited(&'a Exit),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start the process.
    Start,
    /// Stop the process.
    Stop,
}

/// A change of state, with its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: &'static str,
    /// The state from now on.
    pub to: &'static str,
    /// Why, in one line.
    pub cause: String,
}

/// What follows from an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What is to be done.
    pub command: Option<Command>,
    /// What has changed.
    pub change: Option<Change>,
}

/// One supervised process.
#[derive(Clone, Debug)]
pub struct Process {
    restart: Restart,
    wanted: bool,
    state: State,
    /// Exits within the window, at most as many as make a crash loop.
    exits: VecDeque<Moment>,
    /// Exits in a row without a run as long as the window.
    streak: u32,
    /// Whether it is in a crash loop, the tries of which are started and run like any other.
    looping: bool,
    /// Why it is being stopped although it is wanted.
    timed_out: bool,
    restarts: u64,
    /// When the start timeout began to run: with the start, or when it was found.
    begun: Moment,
}

impl Process {
    /// A process that does not run.
    #[must_use]
    pub const fn new(restart: Restart) -> Self {
        Self {
            restart,
            wanted: false,
            state: State::Stopped,
            exits: VecDeque::new(),
            streak: 0,
            looping: false,
            timed_out: false,
            restarts: 0,
            begun: Moment::ZERO,
        }
    }

    /// How it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether it is meant to run.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether it ended so often that it is only tried at long intervals.
    #[must_use]
    pub const fn is_looping(&self) -> bool {
        self.looping
    }

    /// How often it was started again after an exit that nobody wanted.
    #[must_use]
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// From now on it is started again so.
    pub const fn set_restart(&mut self, restart: Restart) {
        self.restart = restart;
    }

    /// When it was started by us, or found.
    #[must_use]
    pub const fn begun(&self) -> Moment {
        self.begun
    }

    /// Its start, which nobody was there to carry out, is made only now.
    pub const fn begin_late(&mut self, now: Moment) {
        if let State::Starting { since, .. } = &mut self.state {
            (*since, self.begun) = (now, now);
        }
    }

    /// Why its last stop was not asked for: it was not ready in time.
    #[must_use]
    pub const fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// What follows from an event; `why` is the cause of what operators or groups decided.
    pub fn step(
        &mut self,
        event: &Event<'_>,
        why: &str,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Step {
        match event {
            Event::Wanted(wanted) => self.want(*wanted, why, now),
            Event::Changed => self.changed(why, now),
            Event::Started { pid } => self.started(*pid),
            Event::Adopted { pid, since } => self.adopted(*pid, *since, now),
            Event::Ready => self.ready(now),
            Event::Exited(exit) => self.exited(exit, now, rng),
            Event::Tick => self.tick(now),
        }
    }

    fn want(&mut self, wanted: bool, why: &str, now: Moment) -> Step {
        self.wanted = wanted;
        match self.state {
            State::Stopped if wanted => self.start(why.to_owned(), now),
            State::Starting { .. } | State::Running { .. } if !wanted => {
                self.stop(why.to_owned(), now)
            }
            State::BackingOff { .. } | State::CrashLoop { .. } if !wanted => {
                self.forget();
                self.become_state(State::Stopped, why.to_owned())
            }
            // An order ends the wait of a crash loop: whoever gives it may have mended the cause.
            State::CrashLoop { .. } => {
                self.forget();
                self.start(why.to_owned(), now)
            }
            _ => Step::default(),
        }
    }

    fn changed(&mut self, why: &str, now: Moment) -> Step {
        self.forget();
        match self.state {
            State::Starting { .. } | State::Running { .. } => self.stop(why.to_owned(), now),
            State::BackingOff { .. } | State::CrashLoop { .. } => self.start(why.to_owned(), now),
            State::Stopped | State::Stopping { .. } => Step::default(),
        }
    }

    const fn started(&mut self, pid: u32) -> Step {
        if let State::Starting { pid: unknown, .. } = &mut self.state {
            *unknown = Some(pid);
        }
        Step { command: None, change: None }
    }

    /// One that is not wanted any more is left to the next [`Event::Wanted`].
    fn adopted(&mut self, pid: u32, since: Moment, now: Moment) -> Step {
        self.begun = now;
        let cause = format!("found running, process {pid}");
        self.become_state(State::Starting { pid: Some(pid), since }, cause)
    }

    fn ready(&mut self, now: Moment) -> Step {
        let State::Starting { pid: Some(pid), since } = self.state else { return Step::default() };
        let cause =
            format!("ready after {:.1} s, process {pid}", now.since(self.begun).as_secs_f64());
        self.become_state(State::Running { pid, since }, cause)
    }

    fn tick(&mut self, now: Moment) -> Step {
        match self.state {
            State::BackingOff { until } if now >= until => self.again(now, "the pause is over"),
            State::CrashLoop { until } if now >= until => {
                self.again(now, "one try in a crash loop")
            }
            State::Starting { .. } if now.since(self.begun) >= self.restart.start_timeout => {
                self.timed_out = true;
                self.stop(format!("not ready within {:?}", self.restart.start_timeout), now)
            }
            State::Running { since, .. } if now.since(since) >= self.restart.window => {
                self.forget();
                Step::default()
            }
            _ => Step::default(),
        }
    }

    fn again(&mut self, now: Moment, cause: &str) -> Step {
        self.restarts += 1;
        self.start(cause.to_owned(), now)
    }

    fn exited(&mut self, exit: &Exit, now: Moment, rng: &mut fastrand::Rng) -> Step {
        let stopping = matches!(self.state, State::Stopping { .. });
        let timed_out = std::mem::take(&mut self.timed_out);
        let cause = format!("{}: {}", exit.cause, exit.evidence);
        if !self.wanted {
            return self.become_state(State::Stopped, cause);
        }
        if stopping && !timed_out {
            return self.start(format!("started anew; before: {cause}"), now);
        }
        if !self.restart.enabled {
            self.wanted = false;
            return self.become_state(State::Stopped, format!("{cause}; it is not started again"));
        }
        self.note(exit, now);
        if self.looping { self.loop_again(&cause, now) } else { self.back_off(&cause, now, rng) }
    }

    /// Counts an exit; one that came with its guardian says nothing of the process.
    fn note(&mut self, exit: &Exit, now: Moment) {
        if exit.cause == Cause::GuardianLost {
            return;
        }
        if exit.ran >= self.restart.window {
            self.forget();
        }
        self.streak = self.streak.saturating_add(1);
        while self.exits.front().is_some_and(|at| now.since(*at) > self.restart.window) {
            self.exits.pop_front();
        }
        self.exits.push_back(now);
        let many = usize::try_from(self.restart.exits).unwrap_or(usize::MAX);
        self.looping |= self.exits.len() >= many;
        while self.exits.len() >= many.max(1) {
            self.exits.pop_front();
        }
    }

    fn loop_again(&mut self, cause: &str, now: Moment) -> Step {
        let Restart { retry, .. } = self.restart;
        let cause = format!(
            "{cause}; exit number {} in a row, tried again only every {retry:?}",
            self.streak
        );
        self.become_state(State::CrashLoop { until: now + retry }, cause)
    }

    fn back_off(&mut self, cause: &str, now: Moment, rng: &mut fastrand::Rng) -> Step {
        let pause = self.pause(rng);
        let cause = format!("{cause}; started again in {:.1} s", pause.as_secs_f64());
        self.become_state(State::BackingOff { until: now + pause }, cause)
    }

    /// Doubled with each exit, and somewhat random.
    fn pause(&self, rng: &mut fastrand::Rng) -> Duration {
        let doubled = self.restart.base.saturating_mul(1 << self.streak.saturating_sub(1).min(20));
        let jitter = self.restart.jitter.get() * (rng.f32() * 2.0 - 1.0);
        doubled.min(self.restart.max).mul_f32(1.0 + jitter)
    }

    fn start(&mut self, cause: String, now: Moment) -> Step {
        self.begun = now;
        let step = self.become_state(State::Starting { pid: None, since: now }, cause);
        Step { command: Some(Command::Start), ..step }
    }

    fn stop(&mut self, cause: String, now: Moment) -> Step {
        let step = self.become_state(State::Stopping { since: now }, cause);
        Step { command: Some(Command::Stop), ..step }
    }

    fn become_state(&mut self, to: State, cause: String) -> Step {
        let from = std::mem::replace(&mut self.state, to).as_str();
        Step { command: None, change: Some(Change { from, to: to.as_str(), cause }) }
    }

    /// A long run, an order or a change of what it is made from ends what its exits counted for.
    fn forget(&mut self) {
        self.exits.clear();
        self.streak = 0;
        self.looping = false;
    }
}

#[cfg(test)]
mod tests;
