//! All that is known of the targets, looked at in a steady rhythm.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_config::{self as config, Config, Pool};
use mainstay_policy::health::counters::{Reading, Trend};
use mainstay_policy::health::fusion::{self, Evidence, Fusion, Probes, Signals};
use mainstay_policy::health::heartbeat::{self, Heart, Presence, State};
use mainstay_policy::health::{Change as ProbeChange, Check, Traffic};
use mainstay_policy::target::Target;
use mainstay_policy::{Moment, Verdict};
use mainstay_telemetry::{Event, EventKind};

use super::peers::{Groups, Shown};
use super::witness::golden_of;
use crate::build::Watched;
use crate::shared::Shared;

mod golden;

/// Between two looks: a tenth of the shortest silence that is a stall by default.
const LOOK: Duration = Duration::from_millis(100);
/// A look that comes later than this finds a gateway that was stopped itself: the silence of the
/// targets may have been its own.
const STOPPED: Duration = Duration::from_secs(1);

/// What counts for an endpoint that is on its way out, whatever it says itself.
const LEAVING: heartbeat::Report = heartbeat::Report {
    state: State::Draining,
    load: None,
    presence: Presence::Present,
    age: Duration::ZERO,
    phi: 0.0,
};

/// And why.
const GOES: &str = "it is leaving the pool, and drained before it is removed";

/// What is known of every target.
#[derive(Debug)]
pub(crate) struct Board {
    shared: Arc<Shared>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    entries: Vec<Entry>,
    /// By the number of the prober's subject, the place of its entry.
    subjects: HashMap<usize, usize>,
    /// By target's number, the place of its entry.
    places: HashMap<u32, usize>,
    /// The entries of each group of peers.
    groups: Vec<Vec<usize>>,
    /// By pool and endpoint.
    hearts: HashMap<(Arc<str>, Arc<str>), Heart>,
    /// By pool, the heartbeats that are expected.
    expected: HashMap<Arc<str>, heartbeat::Settings>,
    /// The gateway's own dependencies that are sick, with the reasons.
    sick: BTreeMap<String, String>,
    looked: Option<Moment>,
    /// Subjects so far.
    numbered: usize,
}

/// What is known of one target.
#[derive(Debug)]
struct Entry {
    target: Arc<Target>,
    /// The prober's name for it: never that of another one.
    subject: usize,
    /// The targets of one group are peers.
    group: usize,
    settings: fusion::Settings,
    /// Whether its endpoint is on its way out of the pool.
    leaving: bool,
    /// The heartbeats that are expected of it.
    expected: Option<heartbeat::Settings>,
    probes: Probes,
    counters: Option<Trend>,
    /// How old a reading of its counters may be.
    counted_within: Duration,
    /// Why its counters could not be read.
    uncounted: Option<String>,
    fusion: Fusion,
    /// What its last probe found, in words.
    probed: Option<String>,
    /// What its last golden request came to, in words.
    golden: Option<String>,
    /// Sick dependencies with the reasons.
    sick: BTreeMap<String, String>,
}

impl Board {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, known: Mutex::default() })
    }

    /// From now on these targets are looked at; what is known of those that were there before
    /// stays. Gives the numbers that the prober is to call them by, in their order.
    pub(crate) fn watch(&self, config: &Config, watched: &[Watched]) -> Vec<usize> {
        let known = &mut *self.lock();
        let mut before: HashMap<u32, Entry> =
            known.entries.drain(..).map(|entry| (entry.target.id, entry)).collect();
        let mut groups = HashMap::new();
        known.groups.clear();
        for (at, watched) in watched.iter().enumerate() {
            let key = &watched.target.key;
            let group =
                *groups.entry((watched.pool, &key.model, &key.version)).or_insert_with(|| {
                    known.groups.push(Vec::new());
                    known.groups.len() - 1
                });
            known.groups[group].push(at);
            let same = before.remove(&watched.target.id);
            let same = same.filter(|entry| Arc::ptr_eq(&entry.target, &watched.target));
            let mut entry = same.unwrap_or_else(|| {
                known.numbered += 1;
                Entry::new(&watched.target, known.numbered)
            });
            entry.follow(&config.pools[watched.pool], group, self.shared.clock.now());
            known.entries.push(entry);
        }
        known.renumber(config);
        known.entries.iter().map(|entry| entry.subject).collect()
    }

    /// Looks and judges for as long as it is polled.
    pub(crate) async fn run(&self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.look();
        }
    }

    /// Judges every target by what is known now.
    pub(crate) fn look(&self) {
        let now = self.shared.clock.now();
        let mut guard = self.lock();
        let known = &mut *guard;
        let late = known.looked.replace(now).is_some_and(|last| now.since(last) > STOPPED);
        let seen: Vec<_> = known.entries.iter().map(Entry::see).collect();
        let groups = Groups::of(seen.iter().map(|(_, shown)| *shown));
        for (entry, seen) in known.entries.iter_mut().zip(&seen) {
            if late {
                entry.fusion.excuse(now);
            }
            let heart = heart_of(&mut known.hearts, entry);
            self.weigh(entry, heart, (seen, groups.others(&seen.1)), now);
        }
    }

    /// Judges one target by what is known now: all others wait for the next look.
    pub(crate) fn look_at(&self, subject: usize) {
        let now = self.shared.clock.now();
        let known = &mut *self.lock();
        let Some(at) = known.subjects.get(&subject).copied() else { return };
        let members = &known.groups[known.entries[at].group];
        let shown = members.iter().map(|at| Shown { group: 0, ..known.entries[*at].see().1 });
        let peers = Groups::of(shown);
        let entry = &mut known.entries[at];
        let seen = entry.see();
        let others = peers.others(&Shown { group: 0, ..seen.1 });
        let heart = heart_of(&mut known.hearts, entry);
        self.weigh(entry, heart, (&seen, others), now);
    }

    fn weigh(
        &self,
        entry: &mut Entry,
        heart: Option<&mut Heart>,
        (seen, peers): (&(Traffic, Shown), fusion::Peers),
        now: Moment,
    ) {
        let said = heart.as_ref().and_then(|heart| heart.report(entry.expected.as_ref(), now));
        let heartbeat = if entry.leaving { Some(LEAVING) } else { said };
        let signals = Signals {
            now,
            probes: entry.probes,
            traffic: seen.0,
            usual: seen.1.usual,
            slow: entry.slow(now),
            peers,
            heartbeat,
            counters: entry.counters_at(now),
            trial_open: entry.target.health.trial_is_open(),
        };
        self.judge(entry, &signals);
        let gone = heartbeat.is_some_and(|report| report.presence == Presence::Gone);
        if gone && entry.fusion.verdict() == Verdict::Dead && entry.probes.last.is_some() {
            // Its process is gone. Whatever comes up there next speaks for itself.
            heart.map(Heart::forget).unwrap_or_default();
        }
    }

    fn judge(&self, entry: &mut Entry, signals: &Signals) {
        let ruling = entry.fusion.step(signals, &entry.settings);
        let health = &entry.target.health;
        if ruling.trial != signals.trial_open {
            health.offer_trial(ruling.trial);
        }
        let favour = entry.fusion.favour(signals);
        if (health.favour() - favour).abs() > f32::EPSILON {
            health.set_favour(favour);
        }
        if let Some(change) = &ruling.change {
            let leaves = entry.leaving && change.to == Verdict::Draining;
            let cause = if leaves { GOES.to_owned() } else { change.evidence.to_string() };
            self.tell(&entry.target, change, cause, signals.now);
        }
    }

    fn tell(&self, target: &Target, change: &fusion::Change, cause: String, now: Moment) {
        let fusion::Change { from, to, .. } = change;
        target.health.set(*to, now);
        self.shared.alarm.raise(now);
        if *to == Verdict::Dead {
            target.found_gone();
        }
        self.shared.telemetry.event(Event {
            kind: EventKind::Verdict,
            subject: target.key.to_string(),
            from: from.as_str().to_owned(),
            to: to.as_str().to_owned(),
            cause,
        });
        let was_away = !from.takes_traffic() || *from == Verdict::Unknown;
        if to.takes_traffic() && was_away {
            self.welcome(target, now);
        }
    }

    /// It is back; real requests may prove it without waiting longer.
    fn welcome(&self, target: &Target, now: Moment) {
        target.load.forget();
        target.progress.forget();
        if let Some(transition) = target.breaker.end_wait(now) {
            self.shared.breaker_changed(target, &transition);
        }
    }

    /// Notes what a probe found. Gives the target.
    pub(crate) fn probed(
        &self,
        subject: usize,
        check: Check,
        took: Duration,
        words: String,
    ) -> Option<Arc<Target>> {
        let began = self.shared.clock.now() - took;
        let mut known = self.lock();
        let entry = known.subject(subject)?;
        entry.probes = entry.probes.step(check, None, began);
        entry.probed = Some(words);
        Some(Arc::clone(&entry.target))
    }

    /// Notes what its probes amount to from now on.
    pub(crate) fn probes_changed(&self, subject: usize, change: &ProbeChange) {
        if let Some(entry) = self.lock().subject(subject) {
            entry.probes.verdict = change.to;
            entry.probes.evidence = Some(change.evidence);
        }
    }

    /// Notes what an endpoint says of itself: its pool's name and its own, its state, its load and how long that holds. Gives after what time it should speak again,
    /// and after what time its word is gone.
    pub(crate) fn beat(
        &self,
        place: (Arc<str>, Arc<str>),
        state: State,
        load: Option<f32>,
        lifetime: Option<Duration>,
    ) -> (Duration, Duration) {
        let now = self.shared.clock.now();
        let mut known = self.lock();
        let expected = known.expected.get(&place.0).copied();
        let usual = expected.unwrap_or_default();
        let lifetime = lifetime.unwrap_or_else(|| usual.interval * u32::from(usual.misses));
        let heart = known.hearts.entry(place).or_default();
        let before = heart.report(expected.as_ref(), now).map(|report| report.state);
        heart.beat(state, load, lifetime, now);
        drop(known);
        if before != Some(state) {
            // What it asks for holds from the very next request.
            self.look();
        }
        (usual.interval.min(lifetime / 3), lifetime)
    }

    /// Notes whether an endpoint, by its pool's name and its own, is on its way out: from the very
    /// next request on it is asked only as a last resort.
    pub(crate) fn leaves(&self, pool: &str, endpoint: &str, leaving: bool) {
        let mut known = self.lock();
        for entry in &mut known.entries {
            let key = &entry.target.key;
            if *key.pool == *pool && *key.endpoint == *endpoint {
                entry.leaving = leaving;
            }
        }
        drop(known);
        self.look();
    }

    /// Notes what stands on a subject's page of counters, or why it could not be read.
    pub(crate) fn counted(&self, subject: usize, reading: Result<Reading, &str>) {
        let now = self.shared.clock.now();
        let mut known = self.lock();
        let Some(entry) = known.subject(subject) else { return };
        match reading {
            Ok(reading) => {
                entry.counters = Trend::step(entry.counters, &reading, now);
                entry.uncounted = None;
            }
            Err(why) => entry.uncounted = Some(why.to_owned()),
        }
    }

    /// Notes that a dependency of a subject, or of the gateway, is healthy or why it is not.
    /// Gives the target.
    pub(crate) fn depends(
        &self,
        subject: Option<usize>,
        name: &str,
        healthy: bool,
        why: &str,
    ) -> Option<Arc<Target>> {
        let known = &mut *self.lock();
        let at = subject.map(|subject| known.subjects.get(&subject).copied());
        let sick = match at {
            Some(at) => &mut known.entries[at?].sick,
            None => &mut known.sick,
        };
        if healthy {
            sick.remove(name);
        } else {
            sick.insert(name.to_owned(), why.to_owned());
        }
        let entry = &known.entries[at??];
        entry.target.health.set_deep(entry.sick.is_empty());
        Some(Arc::clone(&entry.target))
    }

    /// What the verdict on a target rests on, in one line.
    pub(crate) fn evidence(&self, target: u32) -> String {
        let known = &mut *self.lock();
        let Some(entry) = known.places.get(&target).map(|at| &known.entries[*at]) else {
            return String::new();
        };
        let now = self.shared.clock.now();
        let heart = heart_of(&mut known.hearts, entry);
        entry.words(heart.and_then(|heart| heart.report(entry.expected.as_ref(), now)), now)
    }

    /// The gateway's own dependencies that are sick, with the reasons.
    pub(crate) fn sick_dependencies(&self) -> Vec<String> {
        self.lock().sick.iter().map(|(name, why)| format!("dependency {name}: {why}")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn subject(&mut self, subject: usize) -> Option<&mut Entry> {
        self.subjects.get(&subject).map(|at| &mut self.entries[*at])
    }

    /// Sets right what follows from the entries and the configuration.
    fn renumber(&mut self, config: &Config) {
        let entries = || self.entries.iter().enumerate();
        self.subjects = entries().map(|(at, entry)| (entry.subject, at)).collect();
        self.places = entries().map(|(at, entry)| (entry.target.id, at)).collect();
        let expected = config.pools.iter();
        self.expected =
            expected.filter_map(|it| Some((Arc::clone(&it.name), it.heartbeat?))).collect();
        let pools = config.pools.iter();
        let endpoints: HashSet<_> = pools
            .flat_map(|pool| pool.endpoints.iter().map(move |it| (&pool.name, &it.name)))
            .collect();
        self.hearts.retain(|(pool, endpoint), _| endpoints.contains(&(pool, endpoint)));
    }
}

/// What an entry's endpoint says of itself.
fn heart_of<'h>(
    hearts: &'h mut HashMap<(Arc<str>, Arc<str>), Heart>,
    entry: &Entry,
) -> Option<&'h mut Heart> {
    if hearts.is_empty() {
        return None;
    }
    let key = &entry.target.key;
    hearts.get_mut(&(Arc::clone(&key.pool), Arc::clone(&key.endpoint)))
}

impl Entry {
    fn new(target: &Arc<Target>, subject: usize) -> Self {
        Self {
            target: Arc::clone(target),
            subject,
            group: 0,
            settings: fusion::Settings::default(),
            expected: None,
            probes: Probes::default(),
            counters: None,
            counted_within: Duration::ZERO,
            uncounted: None,
            fusion: Fusion::default(),
            leaving: false,
            probed: None,
            golden: None,
            sick: BTreeMap::new(),
        }
    }

    /// What the configuration says of it from now on.
    fn follow(&mut self, pool: &Pool, group: usize, now: Moment) {
        self.group = group;
        self.settings = pool.progress;
        self.expected = pool.heartbeat;
        self.probes.fall = pool.probe.health.fall;
        self.counted_within = pool.counters.as_ref().map_or(Duration::ZERO, |c| c.interval * 3);
        if pool.counters.is_none() {
            (self.counters, self.uncounted) = (None, None);
        }
        if matches!(pool.probe.check, config::Check::Off) {
            (self.probes.verdict, self.probes.last, self.probed) = (Verdict::Unknown, None, None);
        }
        if golden_of(pool, &self.target.key.model).is_none() {
            self.golden = None;
            self.target.health.set_wrong(false, now);
        }
    }

    fn see(&self) -> (Traffic, Shown) {
        let traffic = self.target.progress.read(self.target.load.in_flight());
        let usual = self.target.breaker.usual();
        let shown = Shown { group: self.group, completed: traffic.last_completed, usual };
        (traffic, shown)
    }

    /// Slow calls and calls of late.
    fn slow(&self, now: Moment) -> (u32, u32) {
        let calls = self.target.breaker.status(now);
        (calls.slow, calls.calls)
    }

    /// Its counters, unless they are out of date.
    fn counters_at(&self, now: Moment) -> Option<Trend> {
        self.counters.filter(|trend| now.since(trend.read_at) <= self.counted_within)
    }

    fn words(&self, heart: Option<heartbeat::Report>, now: Moment) -> String {
        let mut parts = Vec::new();
        match self.fusion.evidence() {
            Evidence::Nothing | Evidence::Probes(_) => {}
            _ if self.leaving => parts.push(GOES.to_owned()),
            evidence => parts.push(evidence.to_string()),
        }
        let unprobed = || "not probed; judged by its traffic".to_owned();
        parts.extend(self.golden.clone());
        parts.push(self.probed.clone().unwrap_or_else(unprobed));
        parts.extend(heart.map(|heart| heart.to_string()));
        if let Some(trend) = self.counters_at(now) {
            let since = now.since(trend.flat_since).as_secs_f64();
            parts.push(format!("own counters: {} to do, still for {since:.1}s", trend.undone));
        }
        parts.extend(self.uncounted.iter().map(|why| format!("own counters: {why}")));
        parts.extend(self.sick.iter().map(|(name, why)| format!("dependency {name}: {why}")));
        parts.join("; ")
    }
}
