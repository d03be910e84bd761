//! All that is known of the targets, looked at in a steady rhythm.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_config::Config;
use mainstay_policy::health::counters::{Reading, Trend};
use mainstay_policy::health::fusion::{self, Evidence, Fusion, Probes, Signals};
use mainstay_policy::health::heartbeat::{self, Heart, Presence, State};
use mainstay_policy::health::{Change as ProbeChange, Check, Traffic};
use mainstay_policy::target::Target;
use mainstay_policy::{Moment, Verdict};
use mainstay_telemetry::{Event, EventKind};

use super::peers::{Groups, Shown};
use crate::build::Watched;
use crate::shared::Shared;

mod golden;

/// Between two looks: a tenth of the shortest silence that is a stall by default.
const LOOK: Duration = Duration::from_millis(100);
/// A look that comes later than this finds a gateway that was stopped itself: the silence of the
/// targets may have been its own.
const STOPPED: Duration = Duration::from_secs(1);

/// What is known of every target.
#[derive(Debug)]
pub(crate) struct Board {
    shared: Arc<Shared>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// By subject of the prober; which is also the order of the watched.
    entries: Vec<Entry>,
    /// By target's number, the place of its entry.
    places: HashMap<u32, usize>,
    /// By pool and endpoint in the configuration.
    hearts: HashMap<(usize, usize), Heart>,
    /// By pool, the heartbeats that are expected.
    expected: Vec<Option<heartbeat::Settings>>,
    /// The gateway's own dependencies that are sick, with the reasons.
    sick: BTreeMap<String, String>,
    looked: Option<Moment>,
}

/// What is known of one target.
#[derive(Debug)]
struct Entry {
    target: Arc<Target>,
    /// Pool and endpoint in the configuration.
    place: (usize, usize),
    /// The targets of one group are peers.
    group: usize,
    settings: fusion::Settings,
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
    pub(crate) fn new(config: &Config, shared: Arc<Shared>, watched: Vec<Watched>) -> Arc<Self> {
        let mut groups = HashMap::new();
        let entries: Vec<Entry> = watched
            .into_iter()
            .map(|watched| {
                let key = &watched.target.key;
                let next = groups.len();
                let name = (watched.pool, Arc::clone(&key.model), key.version.clone());
                let group = *groups.entry(name).or_insert(next);
                Entry::new(config, watched, group)
            })
            .collect();
        let places = entries.iter().enumerate().map(|(at, entry)| (entry.target.id, at)).collect();
        let known = Known {
            entries,
            places,
            hearts: HashMap::new(),
            expected: config.pools.iter().map(|pool| pool.heartbeat).collect(),
            sick: BTreeMap::new(),
            looked: None,
        };
        Arc::new(Self { shared, known: Mutex::new(known) })
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
        for (at, entry) in known.entries.iter_mut().enumerate() {
            if late {
                entry.fusion.excuse(now);
            }
            let heart = known.hearts.get_mut(&entry.place);
            let expected = known.expected[entry.place.0].as_ref();
            let heartbeat = heart.as_ref().and_then(|heart| heart.report(expected, now));
            let signals = Signals {
                now,
                probes: entry.probes,
                traffic: seen[at].0,
                usual: seen[at].1.usual,
                slow: entry.slow(now),
                peers: groups.others(&seen[at].1),
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
            self.tell(&entry.target, change, signals.now);
        }
    }

    fn tell(&self, target: &Target, change: &fusion::Change, now: Moment) {
        let fusion::Change { from, to, evidence } = change;
        target.health.set(*to, now);
        self.shared.telemetry.event(Event {
            kind: EventKind::Verdict,
            subject: target.key.to_string(),
            from: from.as_str().to_owned(),
            to: to.as_str().to_owned(),
            cause: evidence.to_string(),
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

    /// Notes what a probe found.
    pub(crate) fn probed(&self, subject: usize, check: Check, took: Duration, words: String) {
        let began = self.shared.clock.now() - took;
        let mut known = self.lock();
        let entry = &mut known.entries[subject];
        entry.probes = entry.probes.step(check, None, began);
        entry.probed = Some(words);
    }

    /// Notes what its probes amount to from now on.
    pub(crate) fn probes_changed(&self, subject: usize, change: &ProbeChange) {
        let probes = &mut self.lock().entries[subject].probes;
        probes.verdict = change.to;
        probes.evidence = Some(change.evidence);
    }

    /// Notes what an endpoint says of itself: its pool's and its own place in the configuration,
    /// its state, its load and how long that holds. Gives after what time it should speak again,
    /// and after what time its word is gone.
    pub(crate) fn beat(
        &self,
        place: (usize, usize),
        state: State,
        load: Option<f32>,
        lifetime: Option<Duration>,
    ) -> (Duration, Duration) {
        let now = self.shared.clock.now();
        let mut known = self.lock();
        let expected = known.expected.get(place.0).copied().flatten();
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

    /// Notes what stands on a subject's page of counters, or why it could not be read.
    pub(crate) fn counted(&self, subject: usize, reading: Result<Reading, &str>) {
        let now = self.shared.clock.now();
        let entry = &mut self.lock().entries[subject];
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
        let sick = match subject {
            Some(subject) => &mut known.entries[subject].sick,
            None => &mut known.sick,
        };
        if healthy {
            sick.remove(name);
        } else {
            sick.insert(name.to_owned(), why.to_owned());
        }
        let entry = &known.entries[subject?];
        entry.target.health.set_deep(entry.sick.is_empty());
        Some(Arc::clone(&entry.target))
    }

    /// What the verdict on a target rests on, in one line.
    pub(crate) fn evidence(&self, target: u32) -> String {
        let known = self.lock();
        let Some(entry) = known.places.get(&target).map(|at| &known.entries[*at]) else {
            return String::new();
        };
        let now = self.shared.clock.now();
        let heart = known.hearts.get(&entry.place);
        let expected = known.expected[entry.place.0].as_ref();
        entry.words(heart.and_then(|heart| heart.report(expected, now)), now)
    }

    /// The gateway's own dependencies that are sick, with the reasons.
    pub(crate) fn sick_dependencies(&self) -> Vec<String> {
        self.lock().sick.iter().map(|(name, why)| format!("dependency {name}: {why}")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(config: &Config, watched: Watched, group: usize) -> Self {
        let pool = &config.pools[watched.pool];
        Self {
            target: watched.target,
            place: (watched.pool, watched.endpoint),
            group,
            settings: pool.progress,
            probes: Probes { fall: pool.probe.health.fall, ..Probes::default() },
            counters: None,
            counted_within: pool.counters.as_ref().map_or(Duration::ZERO, |c| c.interval * 3),
            uncounted: None,
            fusion: Fusion::default(),
            probed: None,
            golden: None,
            sick: BTreeMap::new(),
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
