//! The loop of every probe: ask, count, tell, wait.
//!
//! One task for each subject, so that a probe that hangs delays no other. A dependency that
//! several servers declare is asked once for all of them.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use mainstay_config::{Check, Dependency, EndpointUrl};
use mainstay_policy::health::{Change, Settings, Streak, initial_spread, next_delay};
use mainstay_policy::{Moment, Verdict};
use mainstay_telemetry::Clock;
use tokio::task::JoinSet;

use crate::check::golden::GoldenProbe;
use crate::check::{Found, ModelName, Probe, probe};

mod golden;

/// The first probes are all made within this time: a gateway that has just started must know its
/// endpoints soon, and yet not ask them all in one instant.
const FIRST_WINDOW: Duration = Duration::from_millis(200);

/// Who is probed, and how.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where.
    pub address: EndpointUrl,
    /// The model whose readiness is asked; `None` asks for the server's own.
    pub model: Option<ModelName>,
    /// What is asked; [`Check::Off`] is not probed.
    pub check: Check,
    /// How often, how long, how many.
    pub settings: Settings,
    /// Requests whose right answers are known.
    pub golden: Option<GoldenProbe>,
    /// What it needs to answer well.
    pub dependencies: Vec<Dependency>,
}

/// Who is told what the prober finds. Calls must return soon.
pub trait Observer: Send + Sync {
    /// A probe of `subject` ended, before any change that it causes.
    fn probed(&self, subject: usize, found: &Found, took: Duration);

    /// The verdict on `subject` changed.
    fn changed(&self, subject: usize, change: &Change, now: Moment);

    /// A round of golden requests at `subject` ended, with the change that it causes: to
    /// [`Verdict::Wrong`], or to [`Verdict::Ready`] where the answers are right (again).
    fn golden(&self, subject: usize, found: &Found, took: Duration, change: Option<&Change>);

    /// A dependency of `subject` became healthy or sick; `None` means the gateway's own.
    fn dependency(&self, subject: Option<usize>, name: &str, healthy: bool, why: &str);
}

/// Probes its subjects, and what they depend on, until it is dropped.
#[derive(Debug)]
pub struct Prober {
    subjects: Vec<Subject>,
    own: Vec<Dependency>,
    clock: Clock,
    seed: u64,
}

/// A dependency and everyone who declared it.
struct Shared {
    dependency: Dependency,
    dependants: Vec<Option<usize>>,
}

impl Prober {
    /// A prober of these subjects, and of the gateway's `own` dependencies.
    #[must_use]
    pub const fn new(
        subjects: Vec<Subject>,
        own: Vec<Dependency>,
        clock: Clock,
        seed: u64,
    ) -> Self {
        Self { subjects, own, clock, seed }
    }

    /// Probes until it is dropped.
    pub async fn run(self, observer: Arc<dyn Observer>) {
        let shared = shared_dependencies(&self.subjects, &self.own);
        let mut loops = JoinSet::new();
        let (subjects, dependencies) = (self.subjects.len(), shared.len());
        for (index, subject) in self.subjects.into_iter().enumerate() {
            if let Some(probe) = subject.golden.clone() {
                let rng = fastrand::Rng::with_seed(self.seed.rotate_left(17) ^ index as u64);
                let rhythm = Rhythm::new((index, subjects), &probe.settings, self.clock, rng);
                let (address, model) = (subject.address.clone(), subject.model.clone());
                let asked = golden::Asked { index, address, model, probe };
                loops.spawn(golden::watch(asked, rhythm, Arc::clone(&observer)));
            }
            if matches!(subject.check, Check::Off) {
                continue;
            }
            let rng = fastrand::Rng::with_seed(self.seed.wrapping_add(index as u64));
            let rhythm = Rhythm::new((index, subjects), &subject.settings, self.clock, rng);
            loops.spawn(watch_subject(index, subject, rhythm, Arc::clone(&observer)));
        }
        for (index, shared) in shared.into_iter().enumerate() {
            let rng = fastrand::Rng::with_seed(!self.seed.wrapping_add(index as u64));
            let settings = &shared.dependency.health;
            let rhythm = Rhythm::new((index, dependencies), settings, self.clock, rng);
            loops.spawn(watch_dependency(shared, rhythm, Arc::clone(&observer)));
        }
        while loops.join_next().await.is_some() {}
        // With nothing to probe the prober still lasts until it is dropped.
        std::future::pending::<()>().await;
    }
}

/// Each distinct dependency once, whoever declared it. Where two declarations differ in rhythm
/// alone, the first one sets it.
fn shared_dependencies(subjects: &[Subject], own: &[Dependency]) -> Vec<Shared> {
    let mut all: Vec<Shared> = Vec::new();
    let declared = subjects
        .iter()
        .enumerate()
        .flat_map(|(at, subject)| subject.dependencies.iter().map(move |d| (Some(at), d)))
        .chain(own.iter().map(|dependency| (None, dependency)));
    for (dependant, dependency) in declared {
        match all.iter_mut().find(|shared| is_same(&shared.dependency, dependency)) {
            Some(shared) => shared.dependants.push(dependant),
            None => {
                let dependency = dependency.clone();
                all.push(Shared { dependency, dependants: vec![dependant] });
            }
        }
    }
    all
}

fn is_same(left: &Dependency, right: &Dependency) -> bool {
    let shown = |check: &Check| format!("{check:?}");
    left.name == right.name
        && left.address == right.address
        && headers(&left.check) == headers(&right.check)
        && shown(&left.check) == shown(&right.check)
}

/// Compared by value: secret ones all look the same when they are shown.
const fn headers(check: &Check) -> Option<&HeaderMap> {
    match check {
        Check::Http(check) => Some(&check.headers),
        _ => None,
    }
}

/// When one loop asks.
struct Rhythm {
    first: Duration,
    clock: Clock,
    rng: fastrand::Rng,
    settings: Settings,
}

impl Rhythm {
    /// The rhythm of the `place.0`th of `place.1` loops.
    fn new(place: (usize, usize), settings: &Settings, clock: Clock, rng: fastrand::Rng) -> Self {
        let window = FIRST_WINDOW.min(settings.interval);
        let first = initial_spread(place.0, place.1, window);
        Self { first, clock, rng, settings: settings.clone() }
    }

    /// Asks once and counts the result.
    async fn round(&self, asked: &Probe, streak: Streak) -> Round {
        let started = self.clock.now();
        let found = probe(asked).await;
        let took = self.clock.now().since(started);
        let (streak, change) = streak.step(found.check, &self.settings);
        Round { found, took, streak, change }
    }

    /// Waits for the next probe. The delay counts from the start of the last one: a server that
    /// lets every probe run into its timeout is found out about as soon as one that refuses.
    async fn pause(&mut self, round: &Round) {
        let delay = next_delay(round.streak, &self.settings, &mut self.rng);
        tokio::time::sleep(delay.saturating_sub(round.took)).await;
    }
}

/// One probe and what it amounts to.
struct Round {
    found: Found,
    took: Duration,
    streak: Streak,
    change: Option<Change>,
}

impl Round {
    /// Whether a dependency became healthy or sick. It is taken to be healthy before the first
    /// probe, so healthy from the beginning is no news.
    fn health_changed(&self) -> Option<bool> {
        let change = self.change?;
        let was = matches!(change.from, Verdict::Unknown | Verdict::Ready);
        let healthy = change.to == Verdict::Ready;
        (healthy != was).then_some(healthy)
    }
}

async fn watch_subject(
    index: usize,
    subject: Subject,
    mut rhythm: Rhythm,
    observer: Arc<dyn Observer>,
) {
    let asked = Probe {
        address: Some(subject.address),
        model: subject.model,
        check: subject.check,
        timeout: subject.settings.timeout,
    };
    let mut streak = Streak::default();
    tokio::time::sleep(rhythm.first).await;
    loop {
        let round = rhythm.round(&asked, streak).await;
        streak = round.streak;
        observer.probed(index, &round.found, round.took);
        if let Some(change) = &round.change {
            observer.changed(index, change, rhythm.clock.now());
        }
        rhythm.pause(&round).await;
    }
}

async fn watch_dependency(shared: Shared, mut rhythm: Rhythm, observer: Arc<dyn Observer>) {
    let Shared { dependency, dependants } = shared;
    let asked = Probe {
        address: dependency.address,
        model: None,
        check: dependency.check,
        timeout: dependency.health.timeout,
    };
    let mut streak = Streak::default();
    tokio::time::sleep(rhythm.first).await;
    loop {
        let round = rhythm.round(&asked, streak).await;
        streak = round.streak;
        if let (Some(healthy), Some(change)) = (round.health_changed(), &round.change) {
            let why = format!("{} ({})", change.evidence, round.found.detail);
            for dependant in &dependants {
                observer.dependency(*dependant, &dependency.name, healthy, &why);
            }
        }
        rhythm.pause(&round).await;
    }
}
