//! One pool under watch: reads its targets once a second, judges them, and brings them back.
//!
//! Everything that one tick does is decided here from the targets' counters and the time; the
//! shell only calls it and tells of the changes. The targets' rotations are written by nobody
//! else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::SlowStart;
use crate::failback::{self, Failback, Pace, Phase, Seen, Step};
use crate::target::Target;
use crate::{Moment, Ratio};

use super::evaluate::peers;
use super::{Capacity, Cause, Command, Counts, History, Place, Settings, View, evaluate};

/// Latencies to judge a returning target's pace by, at least.
const PACE_REQUESTS: u32 = 3;
/// Answers of each target to say that all of them became slower, at least.
const COMMON_REQUESTS: u32 = 5;
/// So many times its usual latency is slower than usual.
const SLOWER: f64 = 2.0;

/// One pool's targets and their state.
#[derive(Debug)]
pub struct Watch {
    settings: Settings,
    failback: failback::Settings,
    slow_start: SlowStart,
    members: Vec<Watched>,
    last: Option<Moment>,
}

/// One target under watch.
#[derive(Debug)]
pub struct Watched {
    target: Arc<Target>,
    history: History,
    failback: Failback,
    /// The last return from death or from an open breaker that was seen.
    recovered: Option<Moment>,
    /// Why it is where it is.
    why: String,
    /// Why it would be ejected and is not.
    kept: Option<String>,
    /// What the last tick brought.
    brought: Counts,
}

/// A change of one target's state.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub target: Arc<Target>,
    /// The phase before, in kebab case.
    pub from: &'static str,
    /// The phase from now on.
    pub to: &'static str,
    /// Why, in one line.
    pub cause: String,
    /// The kind of [`Cause`] by its number, where it was ejected as an outlier.
    pub ejection: Option<usize>,
}

/// What can be said of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The target's number.
    pub target: u32,
    /// Its phase in kebab case.
    pub phase: &'static str,
    /// Its share as it was set last.
    pub share: Ratio,
    /// Why; empty for one that serves and has nothing said against it.
    pub why: String,
    /// Attempts that end there in a second.
    pub load: f64,
    /// Answers in a second that it is taken to be able to give; 0 where nothing is known.
    pub capacity: f64,
    /// Whether that was measured while it was busy, or is an estimate.
    pub measured: bool,
}

impl Watch {
    /// A watch over the targets of one pool for one model.
    #[must_use]
    pub fn new(
        settings: Settings,
        failback: failback::Settings,
        slow_start: SlowStart,
        targets: Vec<Arc<Target>>,
    ) -> Self {
        let members = targets.into_iter().map(Watched::new).collect();
        Self { settings, failback, slow_start, members, last: None }
    }

    /// Other rules and other targets from now on. Who was there before keeps its history and its
    /// place on the way back.
    pub fn reconfigure(
        &mut self,
        settings: Settings,
        failback: failback::Settings,
        slow_start: SlowStart,
        targets: Vec<Arc<Target>>,
    ) {
        let mut known: HashMap<u32, Watched> =
            self.members.drain(..).map(|member| (member.target.id, member)).collect();
        let kept = |target: Arc<Target>| match known.remove(&target.id) {
            Some(member) if Arc::ptr_eq(&member.target, &target) => member,
            _ => Watched::new(target),
        };
        self.members = targets.into_iter().map(kept).collect();
        (self.settings, self.failback, self.slow_start) = (settings, failback, slow_start);
    }

    /// What can be said of each target.
    pub fn states(&self) -> impl Iterator<Item = State> + '_ {
        self.members.iter().map(|member| State {
            target: member.target.id,
            phase: member.failback.phase().as_str(),
            share: member.failback.share(&self.failback),
            why: member.why(),
            load: member.history.load(),
            capacity: member.capacity().rate,
            measured: member.capacity().measured,
        })
    }

    /// Looks at every target, and changes what is to be changed. Called once a second.
    pub fn tick(&mut self, now: Moment) -> Vec<Change> {
        let elapsed = self.last.replace(now).map_or(Duration::ZERO, |last| now.since(last));
        let mut changes = Vec::new();
        for member in &mut self.members {
            member.history.bound(member.target.limiter.limit());
            member.brought = member.history.read(now, member.target.stats.read());
            let step = member.came_back(now, &self.slow_start);
            changes.extend(member.enter(step, None));
        }
        let views = self.views(now);
        self.bring_back(&views, now, elapsed, &mut changes);
        let commands = evaluate(&self.settings, &views);
        for member in &self.members {
            member.target.breaker.excuse_slowness(self.is_common_slowness());
        }
        self.learn(&commands);
        self.keep(&commands);
        for command in commands {
            changes.extend(self.obey(command, now));
        }
        self.members.iter().for_each(|member| member.set_share(&self.failback));
        changes
    }

    fn views(&self, now: Moment) -> Vec<View> {
        let minimum = self.settings.latency.map_or(0, |rule| rule.minimum_requests);
        self.members.iter().map(|member| member.view(minimum, now)).collect()
    }

    /// Moves those on that are on their way back.
    fn bring_back(
        &mut self,
        views: &[View],
        now: Moment,
        elapsed: Duration,
        changes: &mut Vec<Change>,
    ) {
        for (at, member) in self.members.iter_mut().enumerate() {
            let seen = Seen {
                now,
                elapsed,
                takes_traffic: member.target.health.verdict().takes_traffic(),
                good: member.brought.answered,
                bad: member.brought.failed,
                pace: member.pace(peers(views, at, PACE_REQUESTS), &self.settings),
            };
            let step = member.failback.tick(&seen, &self.failback);
            changes.extend(member.enter(step, None));
        }
    }

    /// Whether most targets answer much slower than each of them usually does: no fault of one.
    fn is_common_slowness(&self) -> bool {
        let judged = self.members.iter().filter_map(Watched::slowdown);
        let (mut slower, mut count) = (0u32, 0u32);
        for times in judged {
            count += 1;
            slower += u32::from(times > SLOWER);
        }
        slower >= 2 && slower * 2 > count
    }

    /// What is usual is learned from those who serve, and against whom nothing is said.
    fn learn(&mut self, commands: &[Command]) {
        let minimum = self.settings.latency.map_or(COMMON_REQUESTS, |rule| rule.minimum_requests);
        for (at, member) in self.members.iter_mut().enumerate() {
            let suspected = commands.iter().any(|command| command.at() == at);
            if !suspected && member.failback.phase() == Phase::Serving {
                member.history.learn(minimum);
            }
        }
    }

    /// Notes who would be ejected and is not.
    fn keep(&mut self, commands: &[Command]) {
        for (at, member) in self.members.iter_mut().enumerate() {
            let kept = commands.iter().find_map(|command| match command {
                Command::Keep { at: kept, cause, kept: why } if *kept == at => {
                    Some(format!("{cause}; kept, since {why}"))
                }
                _ => None,
            });
            member.kept = kept;
        }
    }

    fn obey(&mut self, command: Command, now: Moment) -> Option<Change> {
        let member = self.members.get_mut(command.at())?;
        match command {
            Command::Eject { cause, .. } => {
                let step = member.failback.eject(&cause.to_string(), now, &self.failback);
                member.enter(Some(step), Some(&cause))
            }
            Command::Recall { overloaded, serving, .. } => {
                let cause =
                    format!("called back: {overloaded} of the {serving} others are overloaded");
                let step = member.failback.recall(&cause, &self.failback);
                member.enter(Some(step), None)
            }
            Command::Keep { .. } => None,
        }
    }
}

impl Watched {
    fn new(target: Arc<Target>) -> Self {
        let recovered = target.health.recovered();
        Self {
            target,
            history: History::default(),
            failback: Failback::default(),
            recovered,
            why: String::new(),
            kept: None,
            brought: Counts::default(),
        }
    }

    fn capacity(&self) -> Capacity {
        self.history.capacity(self.target.limiter.found())
    }

    fn why(&self) -> String {
        self.kept.as_ref().unwrap_or(&self.why).clone()
    }

    fn view(&self, minimum: u32, now: Moment) -> View {
        View {
            place: self.place(now),
            streak: self.target.stats.streak(),
            recent: self.history.recent(),
            latest: self.history.latest(minimum),
            usual: self.history.usual(),
            load: self.history.load(),
            capacity: self.capacity().rate,
            overloaded: self.history.is_overloaded(),
        }
    }

    /// Who is out for another reason is no ejection, whatever was said of it before.
    fn place(&self, now: Moment) -> Place {
        if !self.target.health.verdict().takes_traffic() {
            return Place::Out;
        }
        let breaker = &self.target.breaker;
        match self.failback.phase() {
            Phase::Held { .. } | Phase::Probation { .. } => Place::Ejected,
            _ if breaker.would_admit(now).is_err() || breaker.on_probation() => Place::Out,
            Phase::Ramp { .. } => Place::Returning,
            Phase::Serving => Place::Serving,
        }
    }

    /// It came back from death, or its breaker closed, since the last tick.
    fn came_back(&mut self, now: Moment, slow_start: &SlowStart) -> Option<Step> {
        let recovered = self.target.health.recovered();
        if recovered == self.recovered {
            return None;
        }
        self.recovered = recovered;
        let ago = recovered.map_or(Duration::ZERO, |recovered| now.since(recovered));
        self.failback.came_back(ago, slow_start.window, slow_start.minimum)
    }

    /// Its latency since it began to come back over its peers', or over its own usual one where
    /// that is longer: who was always slower is well when it is as slow as ever.
    fn pace(&self, peers: Option<Duration>, settings: &Settings) -> Pace {
        if self.failback.phase() == Phase::Serving {
            return Pace::Unknown;
        }
        let latest = self.history.latest(PACE_REQUESTS);
        let (Some(median), Some(peers)) = (latest.median(), peers) else { return Pace::Unknown };
        if latest.count() < PACE_REQUESTS {
            return Pace::Unknown;
        }
        let floor = settings.latency.unwrap_or_default().floor;
        if median <= floor {
            return Pace::Times(1.0);
        }
        let normal = peers.max(self.history.usual().unwrap_or_default());
        Pace::Times(median.as_secs_f64() / normal.as_secs_f64().max(1e-6))
    }

    /// Its latency over its usual one.
    fn slowdown(&self) -> Option<f64> {
        let latest = self.history.latest(COMMON_REQUESTS);
        let median = latest.median().filter(|_| latest.count() >= COMMON_REQUESTS)?;
        Some(median.as_secs_f64() / self.history.usual()?.as_secs_f64().max(1e-6))
    }

    /// Takes note of a step, and begins anew where the past no longer counts.
    fn enter(&mut self, step: Option<Step>, cause: Option<&Cause>) -> Option<Change> {
        let Step { from, to, cause: why } = step?;
        self.why =
            if self.failback.phase() == Phase::Serving { String::new() } else { why.clone() };
        self.history.clear();
        if matches!(self.failback.phase(), Phase::Ramp { .. } | Phase::Probation { .. }) {
            // What the balancer thought of it was true before.
            self.target.load.forget();
            // Nor is it ejected again for the failures that took it away.
            self.target.stats.end_streak();
        }
        if matches!(self.failback.phase(), Phase::Held { .. }) {
            self.target.health.rotation.eject();
        }
        let target = Arc::clone(&self.target);
        Some(Change { target, from, to, cause: why, ejection: cause.map(Cause::kind) })
    }

    fn set_share(&self, settings: &failback::Settings) {
        let rotation = &self.target.health.rotation;
        let share = self.failback.share(settings);
        match self.failback.phase() {
            Phase::Held { .. } => rotation.eject(),
            Phase::Probation { good } => {
                // Requests whose clients went away proved nothing: others take their places.
                let all_done = self.target.load.in_flight() == 0;
                if !rotation.is_on_probation() || (!rotation.has_permit() && all_done) {
                    rotation.try_out(settings.successes.saturating_sub(good).max(1), share);
                }
            }
            Phase::Ramp { .. } | Phase::Serving => rotation.set_share(share),
        }
    }
}

impl Command {
    /// The position of the target that it is about.
    #[must_use]
    pub const fn at(&self) -> usize {
        match self {
            Self::Eject { at, .. } | Self::Keep { at, .. } | Self::Recall { at, .. } => *at,
        }
    }
}
