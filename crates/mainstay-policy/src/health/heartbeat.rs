//! Heartbeats: what a server says of itself, and how sure we are that it would still say so.
//!
//! A server registers with a lifetime and renews it. Between two beats suspicion grows with the
//! time since the last one, measured against how regular its beats were: the φ accrual failure
//! detector (Hayashibara, Défago, Yared and Katayama 2004). φ is the negative decimal logarithm
//! of the probability that a beat comes this late: 1 means one in ten, 3 one in a thousand. A
//! heartbeat is first suspected, by φ, and gone only after a fixed number of intervals; suspicion
//! alone ejects nobody.

use std::fmt;
use std::time::Duration;

use crate::Moment;

/// Intervals that are remembered: a minute of beats, so that a change of rhythm is learned soon.
const REMEMBERED: usize = 64;
/// The least deviation that is believed, as a share of the mean: a perfectly regular past says
/// nothing about the next scheduler's hiccup.
const LEAST_DEVIATION: f64 = 0.1;
/// From this φ on a beat is suspected to be missing: one in a thousand comes this late.
pub const SUSPECTED: f64 = 3.0;
/// So many lifetimes a server that said draining still drains after its last beat: long enough for
/// whoever says it once and then waits for what is in flight.
const DRAINS: u32 = 100;
/// And so long at most, unless its word holds for longer.
const DRAINS_MOST: Duration = Duration::from_secs(15 * 60);
/// The largest φ that is told; beyond it numbers say no more.
const MOST: f64 = 99.0;

/// What is expected of the servers of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two beats. Default 1 s.
    pub interval: Duration,
    /// Beats that may be missed before the signal is gone; at least 1. Default 3.
    pub misses: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), misses: 3 }
    }
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Takes requests.
    #[default]
    Ready,
    /// Alive, not ready yet.
    Loading,
    /// Wants no new requests; finishes those that it has.
    Draining,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Ready, Self::Loading, Self::Draining];

    /// The state in kebab case, as servers say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Loading => "loading",
            Self::Draining => "draining",
        }
    }
}

/// Whether a server still beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// In its rhythm.
    Present,
    /// Later than it should be.
    Suspected,
    /// Missed for as long as is allowed.
    Gone,
}

/// The heart of one endpoint, as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// What it last said of itself.
    pub state: State,
    /// How busy it said to be: 0 idle, 1 full.
    pub load: Option<f32>,
    /// Whether it still beats.
    pub presence: Presence,
    /// Since its last beat.
    pub age: Duration,
    /// The suspicion that it beats no more.
    pub phi: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.age.as_secs_f64();
        match self.presence {
            Presence::Present => {
                write!(f, "heartbeat {age:.1}s ago: {}", self.state.as_str())?;
                self.load.map_or(Ok(()), |load| write!(f, ", load {load:.2}"))
            }
            Presence::Suspected => {
                write!(f, "no heartbeat for {age:.1}s (suspicion {:.1})", self.phi)
            }
            Presence::Gone => write!(f, "heartbeat gone for {age:.1}s"),
        }
    }
}

/// The heart of one endpoint. Unknown until its first beat.
#[derive(Clone, Debug, Default)]
pub struct Heart {
    last: Option<Last>,
    /// Seconds between beats, a ring.
    intervals: Vec<f64>,
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at: Moment,
    lifetime: Duration,
    state: State,
    load: Option<f32>,
}

impl Last {
    /// What a silence of `age` leaves of its word: draining ends, or a server that was restarted
    /// before anyone saw it dead would drain for ever.
    fn state_after(&self, age: Duration) -> State {
        let drains = self.lifetime.max(self.lifetime.saturating_mul(DRAINS).min(DRAINS_MOST));
        if self.state == State::Draining && age >= drains { State::Ready } else { self.state }
    }
}

impl Heart {
    /// A beat: its state and load hold for `lifetime`, unless the next one comes before.
    pub fn beat(&mut self, state: State, load: Option<f32>, lifetime: Duration, now: Moment) {
        if let Some(last) = self.last {
            let interval = now.since(last.at).as_secs_f64();
            if self.intervals.len() < REMEMBERED {
                self.intervals.push(interval);
            } else {
                self.intervals[self.next] = interval;
            }
            self.next = (self.next + 1) % REMEMBERED;
        }
        self.last = Some(Last { at: now, lifetime, state, load });
    }

    /// Forgets the endpoint: its process ended, and what comes next is another one.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// How it stands. Where none is `expected`, a heart that stops is simply no signal any more.
    #[must_use]
    pub fn report(&self, expected: Option<&Settings>, now: Moment) -> Option<Report> {
        let last = self.last?;
        let age = now.since(last.at);
        let allowed = expected.map_or(Duration::ZERO, |s| s.interval * u32::from(s.misses.max(1)));
        let gone = age >= allowed.max(last.lifetime);
        let state = last.state_after(age);
        // A server that drains and falls silent still drains.
        if gone && expected.is_none() && state != State::Draining {
            return None;
        }
        let phi = expected.map_or(0.0, |settings| self.phi(age, settings.interval));
        let presence = match (gone, phi >= SUSPECTED) {
            (true, _) => Presence::Gone,
            (false, true) => Presence::Suspected,
            (false, false) => Presence::Present,
        };
        Some(Report { state, load: last.load, presence, age, phi })
    }

    /// φ for a silence of `age`: the normal distribution's tail, by a logistic approximation that
    /// errs by less than 0.00014 (Bowling et al. 2009; also what Akka uses).
    fn phi(&self, age: Duration, interval: Duration) -> f64 {
        let (mean, deviation) = self.rhythm(interval.as_secs_f64());
        let y = (age.as_secs_f64() - mean) / deviation;
        let e = (-y * (1.5976 + 0.070_566 * y * y)).exp();
        let later = if y > 0.0 { e / (1.0 + e) } else { 1.0 - 1.0 / (1.0 + e) };
        (-later.log10()).clamp(0.0, MOST)
    }

    /// Mean and deviation of its intervals; the expected one counts as two, so that there is
    /// something to go by from the start.
    fn rhythm(&self, expected: f64) -> (f64, f64) {
        let count = self.intervals.len() as f64 + 2.0;
        let mean = (self.intervals.iter().sum::<f64>() + 2.0 * expected) / count;
        let squares: f64 = self.intervals.iter().map(|i| (i - mean).powi(2)).sum();
        // The two made-up ones lie a quarter to either side.
        let variance = (squares + 2.0 * (expected / 4.0).powi(2)) / count;
        (mean, variance.sqrt().max(mean * LEAST_DEVIATION).max(1e-3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { interval: Duration::from_secs(1), misses: 3 };

    const fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    /// A heart that beat each second until `at(20_000)`.
    fn regular() -> Heart {
        let mut heart = Heart::default();
        for second in 0..=20 {
            heart.beat(State::Ready, Some(0.4), Duration::from_secs(3), at(second * 1_000));
        }
        heart
    }

    fn report(heart: &Heart, millis: u64) -> Report {
        heart.report(Some(&SETTINGS), at(millis)).unwrap()
    }

    #[test]
    fn who_never_beat_is_no_signal() {
        assert_eq!(Heart::default().report(Some(&SETTINGS), at(99_000)), None);
    }

    #[test]
    fn a_late_beat_is_suspected_before_it_is_gone() {
        let heart = regular();
        assert_eq!(report(&heart, 20_900).presence, Presence::Present);
        assert_eq!(report(&heart, 21_100).presence, Presence::Present);
        let late = report(&heart, 21_800);
        assert_eq!(late.presence, Presence::Suspected, "φ {}", late.phi);
        assert_eq!(report(&heart, 23_000).presence, Presence::Gone);
    }

    #[test]
    fn suspicion_grows_with_the_silence_and_ends_with_a_beat() {
        let mut heart = regular();
        let phis: Vec<_> = (0..30).map(|n| report(&heart, 20_000 + n * 100).phi).collect();
        assert!(phis.windows(2).all(|pair| pair[0] <= pair[1]), "{phis:?}");
        heart.beat(State::Ready, None, Duration::from_secs(3), at(23_000));
        assert_eq!(report(&heart, 23_100).presence, Presence::Present);
    }

    #[test]
    fn an_irregular_heart_is_suspected_later() {
        let mut ragged = Heart::default();
        let mut now = 0;
        for n in 0..40 {
            now += if n % 2 == 0 { 400 } else { 1_600 };
            ragged.beat(State::Ready, None, Duration::from_secs(9), at(now));
        }
        let (even, odd) = (report(&regular(), 21_800), report(&ragged, now + 1_800));
        assert!(odd.phi < even.phi / 2.0, "{} and {}", odd.phi, even.phi);
    }

    #[test]
    fn a_longer_lifetime_than_the_misses_holds() {
        let mut heart = Heart::default();
        heart.beat(State::Ready, None, Duration::from_secs(30), at(0));
        assert_ne!(report(&heart, 29_000).presence, Presence::Gone);
        assert_eq!(report(&heart, 30_000).presence, Presence::Gone);
    }

    #[test]
    fn where_none_is_expected_a_word_holds_for_its_lifetime() {
        let mut heart = Heart::default();
        heart.beat(State::Loading, None, Duration::from_secs(3), at(0));
        assert_eq!(heart.report(None, at(2_900)).map(|r| r.state), Some(State::Loading));
        assert_eq!(heart.report(None, at(3_000)), None);
    }

    #[test]
    fn who_drains_and_falls_silent_still_drains() {
        let mut heart = Heart::default();
        heart.beat(State::Draining, None, Duration::from_secs(3), at(0));
        let report = heart.report(None, at(60_000)).unwrap();
        assert_eq!((report.state, report.presence), (State::Draining, Presence::Gone));
        heart.forget();
        assert_eq!(heart.report(None, at(60_000)), None);
    }

    #[test]
    fn who_drained_and_was_never_heard_of_again_drains_no_more() {
        let drains = |lifetime: u64, expected: Option<&Settings>, millis| {
            let mut heart = Heart::default();
            heart.beat(State::Draining, None, Duration::from_secs(lifetime), at(0));
            heart.report(expected, at(millis)).map(|report| report.state)
        };
        assert_eq!(drains(3, None, 299_900), Some(State::Draining));
        assert_eq!(drains(3, None, 300_000), None);
        assert_eq!(drains(3, Some(&SETTINGS), 299_900), Some(State::Draining));
        assert_eq!(drains(3, Some(&SETTINGS), 300_000), Some(State::Ready));
        assert_eq!(
            drains(60, None, 899_900),
            Some(State::Draining),
            "a quarter of an hour at most"
        );
        assert_eq!(drains(60, None, 900_000), None);
        assert_eq!(drains(3_600, None, 3_599_900), Some(State::Draining), "its word holds longer");
        assert_eq!(drains(3_600, None, 3_600_000), None);
    }
}
