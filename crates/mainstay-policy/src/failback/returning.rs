//! One target on its way back: a state machine that is asked once a second.

use std::time::Duration;

use crate::{Moment, Ratio};

use super::Settings;

/// The ramp stands still from so many times the normal latency on.
const ABOVE: f64 = 1.5;
/// And steps back from so many times.
const FAR_ABOVE: f64 = 2.5;
/// On probation, so many times the normal latency is as slow as before.
const TOO_SLOW: f64 = 3.0;

/// Where a target is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Phase {
    /// Takes its full share.
    #[default]
    Serving,
    /// Held out until then.
    Held {
        /// When probation may begin.
        until: Moment,
    },
    /// A few real requests are to prove it.
    Probation {
        /// Those that did.
        good: u32,
    },
    /// Its share grows.
    Ramp {
        /// From 0.0, the foot, to 1.0.
        done: f32,
        /// How long the whole ramp takes.
        window: Duration,
        /// The share at the foot.
        foot: Ratio,
    },
}

/// How its latency compares with what is normal: its peers' or, where that is longer, its own
/// usual one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Pace {
    /// Too little is known.
    #[default]
    Unknown,
    /// So many times the normal latency, where that is above the floor that counts.
    Times(f64),
}

/// What the last tick brought.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The time now.
    pub now: Moment,
    /// Since the last tick.
    pub elapsed: Duration,
    /// Whether its verdict takes traffic.
    pub takes_traffic: bool,
    /// Answers since the last tick.
    pub good: u32,
    /// Blamed failures since the last tick.
    pub bad: u32,
    /// How its latency compares.
    pub pace: Pace,
}

/// A change of phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The phase before.
    pub from: &'static str,
    /// The phase from now on.
    pub to: &'static str,
    /// Why.
    pub cause: String,
}

/// One target's way back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Failback {
    phase: Phase,
    /// Ejections in a row, each soon after the last.
    relapses: u8,
    /// Since when it serves again after an ejection.
    serving_since: Option<Moment>,
}

impl Phase {
    /// The phase in kebab case.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Held { .. } => "ejected",
            Self::Probation { .. } => "probation",
            Self::Ramp { .. } => "ramp",
        }
    }
}

impl Failback {
    /// Where it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The share that it should have.
    #[must_use]
    pub fn share(&self, settings: &Settings) -> Ratio {
        match self.phase {
            Phase::Serving => Ratio::ONE,
            Phase::Held { .. } => Ratio::ZERO,
            Phase::Probation { .. } => settings.foot,
            Phase::Ramp { done, foot, .. } => {
                Ratio::new(foot.get() + (1.0 - foot.get()) * done).unwrap_or(Ratio::ONE)
            }
        }
    }

    /// It is ejected for `cause`.
    pub fn eject(&mut self, cause: &str, now: Moment, settings: &Settings) -> Step {
        let calm = self.serving_since.is_none_or(|since| now.since(since) >= settings.hold_max);
        if calm && self.phase == Phase::Serving {
            self.relapses = 0;
        }
        self.hold(cause, now, settings)
    }

    /// It is needed: up the ramp at once.
    pub fn recall(&mut self, cause: &str, settings: &Settings) -> Step {
        self.climb(cause.to_owned(), settings.ramp, settings.foot)
    }

    /// It was away, dead or behind an open breaker, came back `ago`, and takes up its share.
    /// `None` if there is nothing to do: it is on its way already, or needs no ramp.
    pub fn came_back(&mut self, ago: Duration, window: Duration, foot: Ratio) -> Option<Step> {
        let may = matches!(self.phase, Phase::Serving | Phase::Ramp { .. });
        if !may || ago >= window {
            return None;
        }
        let mut step = self.climb("it is back".to_owned(), window, foot);
        if let Phase::Ramp { done, .. } = &mut self.phase {
            *done = ago.as_secs_f32() / window.as_secs_f32();
        }
        step.cause = format!("it is back; a ramp of {window:?}");
        Some(step)
    }

    /// One tick; the step, if it led to one.
    pub fn tick(&mut self, seen: &Seen, settings: &Settings) -> Option<Step> {
        match self.phase {
            Phase::Serving => None,
            Phase::Held { until } => {
                (seen.now >= until && seen.takes_traffic).then(|| self.try_out(settings))
            }
            Phase::Probation { good } => self.probation(good + seen.good, seen, settings),
            Phase::Ramp { done, window, foot } => {
                let done = done + pace(seen) * (seen.elapsed.as_secs_f32() / window.as_secs_f32());
                self.phase = Phase::Ramp { done: done.max(0.0), window, foot };
                (done >= 1.0).then(|| self.serve(seen.now))
            }
        }
    }

    fn try_out(&mut self, settings: &Settings) -> Step {
        let hold = settings.hold_after(self.relapses.saturating_sub(1));
        self.enter(Phase::Probation { good: 0 }, format!("held out for {hold:?}"))
    }

    fn probation(&mut self, good: u32, seen: &Seen, settings: &Settings) -> Option<Step> {
        self.phase = Phase::Probation { good };
        if seen.bad > 0 {
            return Some(self.hold("a probation request failed", seen.now, settings));
        }
        if good < settings.successes.max(1) {
            return None;
        }
        if let Pace::Times(times) = seen.pace
            && times > TOO_SLOW
        {
            let cause = format!("{good} probation answers, {times:.1} times slower than normal");
            return Some(self.hold(&cause, seen.now, settings));
        }
        let cause = format!("{good} probation requests answered");
        Some(self.climb(cause, settings.ramp, settings.foot))
    }

    fn climb(&mut self, cause: String, window: Duration, foot: Ratio) -> Step {
        let window = window.max(Duration::from_millis(1));
        self.enter(Phase::Ramp { done: 0.0, window, foot }, cause)
    }

    fn serve(&mut self, now: Moment) -> Step {
        if self.relapses > 0 {
            self.serving_since = Some(now);
        }
        self.enter(Phase::Serving, "its ramp is over".to_owned())
    }

    fn hold(&mut self, cause: &str, now: Moment, settings: &Settings) -> Step {
        let hold = settings.hold_after(self.relapses);
        let again = match self.relapses {
            0 => String::new(),
            times => format!(", relapse {times}"),
        };
        self.relapses = self.relapses.saturating_add(1);
        self.enter(Phase::Held { until: now + hold }, format!("{cause}; held {hold:?}{again}"))
    }

    fn enter(&mut self, phase: Phase, cause: String) -> Step {
        let from = self.phase.as_str();
        self.phase = phase;
        Step { from, to: phase.as_str(), cause }
    }
}

/// How the ramp goes on: forward, not at all, or back.
fn pace(seen: &Seen) -> f32 {
    match seen.pace {
        _ if !seen.takes_traffic || seen.bad > 0 => 0.0,
        Pace::Times(times) if times > FAR_ABOVE => -1.0,
        Pace::Times(times) if times > ABOVE => 0.0,
        Pace::Times(_) | Pace::Unknown => 1.0,
    }
}
