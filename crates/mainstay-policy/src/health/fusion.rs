//! The verdict on a target, fused from everything that is known of it.
//!
//! A health check lies in both directions, and so each signal is only believed for what it can
//! know. Requests that complete prove life, whatever a probe says; requests that do not complete
//! prove trouble, whatever a probe says; a connection that is refused is not one that timed out;
//! what a server says of itself (loading, draining, its load) is taken at its word.
//!
//! | verdict | because |
//! |---|---|
//! | Draining | its heartbeat says so, until it is seen dead, says otherwise, or is long silent |
//! | Dead | `fall` probes failed and no request completed since; or its heartbeat is gone, unprobed |
//! | Busy | the same probes failed, but requests complete (or its counters advance, or it beats) |
//! | Loading, Wrong | a probe or its heartbeat says not ready; golden requests go wrong |
//! | Stalled | requests were asked, and nothing came of them for longer than is usual |
//! | Slow | a heartbeat is late, one request waits for too long, or many calls were slow |
//! | Ready | its probes pass (or it beats, unprobed) |
//! | Unknown | nothing of all this |
//!
//! The first row that holds decides. Two invariants are kept, for every sequence of signals: a
//! target whose requests complete is not ejected for a missed probe, and one that answers its
//! probes while its requests stall is.
//!
//! **How long is too long.** Longer than `stall-after`, and than `factor` times the target's own
//! 95th percentile (its peers', while it has none). And one silent request is not enough, since
//! it may be a long one: two must wait, or have run out of time, or a peer must have completed
//! requests meanwhile. Where nothing is known of what is usual, only attempts whose time ran out
//! count.
//!
//! **How Stalled ends.** Not by a probe, which passed all the while. A request that completes
//! ends it. Since no request goes there any more, one real request is offered after a
//! hold-down, at a time when its peers could answer it if it fails; each relapse doubles the
//! hold-down. Probes that fail and pass again end it too: that was a restart.

use std::time::Duration;

use crate::{Moment, Verdict};

use self::hold::Hold;
use super::counters::Trend;
use super::heartbeat::{Presence, Report, State};
use super::progress::Traffic;
use super::{Check, streak};

mod evidence;
mod hold;
#[cfg(test)]
mod tests;

pub use self::evidence::Evidence;

/// How long a completed request is believed against probes that fail: far longer than a busy
/// server's pauses, and short enough that a server nobody uses is not taken for alive for ever.
const BELIEVED: Duration = Duration::from_secs(60);
/// Calls in the breaker's window before their slow share is spoken of; half of them must be.
const SLOW_CALLS: u32 = 10;

/// When silence is a stall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The shortest silence that is one. Default 1 s: three times that is what a client should
    /// notice at most. [`Duration::MAX`] turns the rule off.
    pub stall_after: Duration,
    /// How many times the usual 95th percentile it must be besides. Default 4.
    pub factor: f32,
    /// The first hold-down before a stalled target is tried. Default 2 s, as breakers wait.
    pub hold: Duration,
    /// The longest, after relapses. Default 30 s.
    pub hold_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stall_after: Duration::from_secs(1),
            factor: 4.0,
            hold: Duration::from_secs(2),
            hold_max: Duration::from_secs(30),
        }
    }
}

/// What its probes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// What they amount to; Unknown if there are none.
    pub verdict: Verdict,
    /// What brought that about.
    pub evidence: Option<streak::Evidence>,
    /// What the last one found.
    pub last: Option<Check>,
    /// Probes in a row that were missed: refused, timed out or failed.
    pub missed: u8,
    /// When the first probe began that was missed since they last amounted to something better
    /// than dead.
    pub since: Moment,
    /// How many are needed.
    pub fall: u8,
}

impl Probes {
    /// After one more check, which began at `began`, and the change of its streak, if it made
    /// one.
    #[must_use]
    pub fn step(self, check: Check, change: Option<&streak::Change>, began: Moment) -> Self {
        let missed = if check.is_missed() { self.missed.saturating_add(1) } else { 0 };
        Self {
            verdict: change.map_or(self.verdict, |change| change.to),
            evidence: change.map(|change| change.evidence).or(self.evidence),
            last: Some(check),
            missed,
            since: if missed == 1 && self.verdict != Verdict::Dead { began } else { self.since },
            ..self
        }
    }
}

/// What the other targets of its pool show, for the same model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// The longest of their usual latencies (95th percentile).
    pub usual: Option<Duration>,
    /// When a request last completed at one of them.
    pub completed: Option<Moment>,
}

/// Everything that is known of a target at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signals {
    /// The moment.
    pub now: Moment,
    /// Its probes.
    pub probes: Probes,
    /// Its requests.
    pub traffic: Traffic,
    /// Its own usual latency (95th percentile).
    pub usual: Option<Duration>,
    /// Slow calls and calls in its breaker's window.
    pub slow: (u32, u32),
    /// The others.
    pub peers: Peers,
    /// Its endpoint's heart; `None` if it never beat.
    pub heartbeat: Option<Report>,
    /// Its own counters; `None` if they are not read.
    pub counters: Option<Trend>,
    /// Whether the trial that was offered is still there to be taken.
    pub trial_open: bool,
}

/// A verdict that gave way to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The verdict before.
    pub from: Verdict,
    /// The verdict from now on.
    pub to: Verdict,
    /// Why.
    pub evidence: Evidence,
}

/// What follows from a look at the signals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ruling {
    /// The change, if the verdict is another one.
    pub change: Option<Change>,
    /// Whether one real request may be tried there, though the verdict takes none.
    pub trial: bool,
}

/// The verdict on one target, and what it remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fusion {
    verdict: Verdict,
    evidence: Evidence,
    /// Since when it has been back in traffic: what was owed before is forgotten.
    fresh: Moment,
    /// When it was found stalled.
    stalled_at: Moment,
    /// When its probes last amounted to dead: what was said before, another process said.
    fell: Moment,
    hold: Hold,
}

/// A silence that is longer than it should be.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Moment,
    lasted: Duration,
    /// Whether anything is known of how long an answer takes.
    measured: bool,
}

impl Fusion {
    /// The verdict as it stands.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What it rests on.
    #[must_use]
    pub const fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// Forgets every silence so far: it was the observer that was stopped.
    pub const fn excuse(&mut self, now: Moment) {
        self.fresh = now;
    }

    /// How much of its share it should get: half while it is slow, and less the busier it says
    /// that it is; a server that is full gets half of what an idle one gets.
    #[must_use]
    pub fn favour(&self, signals: &Signals) -> f32 {
        let slow = if self.verdict == Verdict::Slow { 0.5 } else { 1.0 };
        let load = signals.heartbeat.filter(|heart| heart.presence != Presence::Gone);
        let load = load.and_then(|heart| heart.load).unwrap_or_default();
        slow / (1.0 + load.max(0.0))
    }

    /// Looks at the signals.
    pub fn step(&mut self, signals: &Signals, settings: &Settings) -> Ruling {
        let (to, evidence) = self.judge(signals, settings);
        let from = self.verdict;
        if is_missed(signals) {
            self.fell = signals.now;
        }
        if to == from {
            if to != Verdict::Stalled {
                self.evidence = evidence;
            }
            let limit = limit(signals, settings);
            let trial = to == Verdict::Stalled && self.hold.step(signals, settings, limit);
            return Ruling { change: None, trial };
        }
        self.verdict = to;
        self.evidence = evidence;
        if to.takes_traffic() && !from.takes_traffic() {
            self.fresh = signals.now;
        }
        if to == Verdict::Stalled {
            self.stalled_at = signals.now;
            self.hold.enter(signals.now, settings);
        } else if from == Verdict::Stalled {
            self.hold.leave(signals.now);
        }
        Ruling { change: Some(Change { from, to, evidence }), trial: false }
    }

    fn judge(&self, s: &Signals, settings: &Settings) -> (Verdict, Evidence) {
        let silence = self.silence(s, settings);
        if let Some(said) = self.by_probes_or_word(s, silence) {
            return said;
        }
        if self.verdict == Verdict::Stalled {
            return match self.proof(s) {
                None => (Verdict::Stalled, self.evidence),
                Some(proof) => match at_ease(s) {
                    (Verdict::Ready | Verdict::Unknown, _) => (Verdict::Ready, proof),
                    other => other,
                },
            };
        }
        // What was owed when it went away is no evidence on its way back.
        let silence = silence.filter(|_| self.verdict.takes_traffic());
        let stall = self.stall(s, silence, settings).filter(|_| self.verdict.takes_traffic());
        stall.or_else(|| slow(s, silence)).unwrap_or_else(|| at_ease(s))
    }

    /// What its own word or a row of probes decide, before anything else.
    fn by_probes_or_word(
        &self,
        s: &Signals,
        silence: Option<Silence>,
    ) -> Option<(Verdict, Evidence)> {
        let missed = is_missed(s);
        let gone = s.heartbeat.is_some_and(|heart| heart.presence == Presence::Gone);
        let state = s.heartbeat.map(|heart| heart.state);
        let fell = s.heartbeat.is_some_and(|heart| self.fell > s.now - heart.age);
        if state == Some(State::Draining) && !(gone && (missed || fell)) {
            return Some((Verdict::Draining, Evidence::Said(State::Draining)));
        }
        if missed {
            return Some(self.missed(s, silence));
        }
        if matches!(s.probes.verdict, Verdict::Loading | Verdict::Wrong) {
            return Some((s.probes.verdict, probed(s)));
        }
        if state == Some(State::Loading) && !gone {
            return Some((Verdict::Loading, Evidence::Said(State::Loading)));
        }
        let unprobed = s.probes.verdict == Verdict::Unknown && s.probes.last.is_none();
        match s.heartbeat {
            Some(heart) if unprobed && gone && self.completes(s, silence, s.now - heart.age) => {
                None
            }
            Some(heart) if unprobed && gone => Some((Verdict::Dead, Evidence::gone(&heart))),
            _ => None,
        }
    }

    /// A row of probes was missed: dead, unless something better says that it lives.
    fn missed(&self, s: &Signals, silence: Option<Silence>) -> (Verdict, Evidence) {
        let Probes { last, missed: row, fall, since, .. } = s.probes;
        let timed_out = last == Some(Check::TimedOut);
        // A bad answer is an answer: no traffic speaks against that. A passed probe, the first of
        // those that it takes, speaks for it.
        let overruled = last.is_some_and(|last| last.is_missed() || last == Check::Passed);
        if overruled && self.completes(s, silence, since) {
            let completed = s.traffic.last_completed.unwrap_or(since);
            return (Verdict::Busy, Evidence::Completes { ago: s.now.since(completed), row });
        }
        let advanced = s.counters.and_then(|trend| trend.advanced_at);
        if timed_out && advanced.is_some_and(|at| at > since && s.now.since(at) < BELIEVED) {
            return (Verdict::Busy, Evidence::Advances { row });
        }
        let beats = s.heartbeat.is_some_and(|heart| heart.presence == Presence::Present);
        if timed_out && beats && silence.is_none() {
            return (Verdict::Busy, Evidence::Beats { row });
        }
        if self.verdict == Verdict::Unknown && timed_out && row < fall {
            // Busy or dead: one probe cannot know, and nobody has lost anything yet.
            return (Verdict::Unknown, Evidence::Missed { row, fall });
        }
        (Verdict::Dead, probed(s))
    }

    /// Whether requests complete, as far as can be said since a moment: the last that ended did,
    /// later than that, and nothing has been refused or silent for too long since.
    fn completes(&self, s: &Signals, silence: Option<Silence>, since: Moment) -> bool {
        s.traffic.last_completed.is_some_and(|at| at > since && s.now.since(at) < BELIEVED)
            && s.traffic.refused == 0
            && silence.is_none()
    }

    fn silence(&self, s: &Signals, settings: &Settings) -> Option<Silence> {
        // One attempt that ran out of time, and nothing asked since: that is no silence yet.
        if s.traffic.waiting == 0 && s.traffic.unanswered < 2 {
            return None;
        }
        let since = s.traffic.silent_since?.max(self.fresh);
        let lasted = s.now.since(since);
        let measured = s.usual.or(s.peers.usual).is_some();
        (lasted >= limit(s, settings)).then_some(Silence { since, lasted, measured })
    }

    fn stall(
        &self,
        s: &Signals,
        silence: Option<Silence>,
        settings: &Settings,
    ) -> Option<(Verdict, Evidence)> {
        let advanced = s.counters.and_then(|trend| trend.advanced_at);
        if let Some(silence) = silence {
            if advanced.is_some_and(|at| at > silence.since) {
                let waiting = s.traffic.waiting + s.traffic.unanswered;
                return Some((Verdict::Busy, Evidence::Queued { waiting, lasted: silence.lasted }));
            }
            let peers = s.peers.completed.is_some_and(|at| at > silence.since);
            let waiting = if silence.measured { s.traffic.waiting } else { 0 };
            let owed = waiting + s.traffic.unanswered;
            if owed >= 2 || (waiting == 1 && peers) {
                let Traffic { waiting, unanswered, .. } = s.traffic;
                let lasted = silence.lasted;
                let evidence = Evidence::Silent { waiting, unanswered, lasted, peers };
                return Some((Verdict::Stalled, evidence));
            }
        }
        let trend = s.counters.filter(|trend| trend.undone >= 2)?;
        let flat = trend.read_at.since(trend.flat_since.max(self.fresh));
        let measured = s.usual.or(s.peers.usual).is_some();
        let completed = s.traffic.last_completed.is_some_and(|at| at > trend.flat_since);
        (measured && !completed && flat >= limit(s, settings))
            .then_some((Verdict::Stalled, Evidence::Flat { undone: trend.undone, lasted: flat }))
    }

    /// What proves that a stalled target works again.
    fn proof(&self, s: &Signals) -> Option<Evidence> {
        let after = |at: Option<Moment>| at.is_some_and(|at| at > self.stalled_at);
        if after(s.traffic.last_completed) {
            return Some(Evidence::Completed);
        }
        after(s.counters.and_then(|trend| trend.advanced_at)).then_some(Evidence::AdvancesAgain)
    }
}

/// Whether its probes amount to dead.
fn is_missed(s: &Signals) -> bool {
    s.probes.verdict == Verdict::Dead
}

/// The silence that is too long.
fn limit(s: &Signals, settings: &Settings) -> Duration {
    let usual = s.usual.or(s.peers.usual).unwrap_or_default();
    let many = usual.as_secs_f32() * settings.factor.max(0.0);
    settings.stall_after.max(Duration::try_from_secs_f32(many).unwrap_or(Duration::MAX))
}

fn slow(s: &Signals, silence: Option<Silence>) -> Option<(Verdict, Evidence)> {
    if let Some(silence) = silence.filter(|silence| silence.measured && s.traffic.waiting > 0) {
        return Some((Verdict::Slow, Evidence::Long { lasted: silence.lasted }));
    }
    // Who said that it drains was to fall silent.
    let heart = s.heartbeat.filter(|heart| heart.state != State::Draining);
    if let Some(heart) = heart.filter(|heart| heart.presence != Presence::Present) {
        return Some((Verdict::Slow, Evidence::late(&heart)));
    }
    let (slow, calls) = s.slow;
    (calls >= SLOW_CALLS && slow >= calls.div_ceil(2))
        .then_some((Verdict::Slow, Evidence::SlowCalls { slow, calls }))
}

/// Nothing speaks against it.
fn at_ease(s: &Signals) -> (Verdict, Evidence) {
    let heart = s.heartbeat.filter(|heart| heart.presence == Presence::Present);
    if let Some(load) = heart.and_then(|heart| heart.load).filter(|load| *load >= 1.0) {
        return (Verdict::Busy, Evidence::Full(load));
    }
    match (s.probes.verdict, heart) {
        (Verdict::Unknown, None) => (Verdict::Unknown, Evidence::Nothing),
        (Verdict::Unknown, Some(_)) => (Verdict::Ready, Evidence::Said(State::Ready)),
        (verdict, _) => (verdict, probed(s)),
    }
}

fn probed(s: &Signals) -> Evidence {
    s.probes.evidence.map_or(Evidence::Nothing, Evidence::Probes)
}
