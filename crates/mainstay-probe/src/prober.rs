//! The loop of every probe: ask, count, tell, wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{Check, Dependency, EndpointUrl};
use mainstay_policy::health::{Change, Settings, Streak, initial_spread, next_delay};
use mainstay_policy::{Moment, Verdict};
use mainstay_telemetry::Clock;
use tokio::task::JoinSet;

use crate::check::{Found, ModelName, Probe, probe};

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
    /// What it needs to answer well.
    pub dependencies: Vec<Dependency>,
}

/// Who is told what the prober finds. Calls must return soon.
pub trait Observer: Send + Sync {
    /// A probe of `subject` ended, before any change that it causes.
    fn probed(&self, subject: usize, found: &Found, took: Duration);

    /// The verdict on `subject` changed.
    fn changed(&self, subject: usize, change: &Change, now: Moment);

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
        let count = self.subjects.len();
        for (index, subject) in self.subjects.into_iter().enumerate() {
            if matches!(subject.check, Check::Off) {
                continue;
            }
            let window = FIRST_WINDOW.min(subject.settings.interval);
            let rhythm = Rhythm {
                first: initial_spread(index, count, window),
                clock: self.clock,
                rng: fastrand::Rng::with_seed(self.seed.wrapping_add(index as u64)),
                settings: subject.settings.clone(),
            };
            loops.spawn(watch_subject(index, subject, rhythm, Arc::clone(&observer)));
        }
        for (index, shared) in shared.into_iter().enumerate() {
            let rhythm = Rhythm {
                first: Duration::ZERO,
                clock: self.clock,
                rng: fastrand::Rng::with_seed(!self.seed.wrapping_add(index as u64)),
                settings: shared.dependency.health.clone(),
            };
            loops.spawn(watch_dependency(shared, rhythm, Arc::clone(&observer)));
        }
        while loops.join_next().await.is_some() {}
        // With nothing to probe the prober still lasts until it is dropped.
        std::future::pending::<()>().await;
    }
}

/// Each distinct dependency once, whoever declared it.
fn shared_dependencies(subjects: &[Subject], own: &[Dependency]) -> Vec<Shared> {
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut all: Vec<Shared> = Vec::new();
    let declared = subjects
        .iter()
        .enumerate()
        .flat_map(|(at, subject)| subject.dependencies.iter().map(move |d| (Some(at), d)))
        .chain(own.iter().map(|dependency| (None, dependency)));
    for (dependant, dependency) in declared {
        let key = format!("{:?}", (&dependency.name, &dependency.address, &dependency.check));
        let at = *known.entry(key).or_insert_with(|| {
            all.push(Shared { dependency: dependency.clone(), dependants: Vec::new() });
            all.len() - 1
        });
        all[at].dependants.push(dependant);
    }
    all
}

/// When one loop asks.
struct Rhythm {
    first: Duration,
    clock: Clock,
    rng: fastrand::Rng,
    settings: Settings,
}

impl Rhythm {
    /// Asks once and counts the result.
    async fn round(&self, asked: &Probe, streak: Streak) -> (Found, Duration, Streak, Option<Change>) {
        let started = self.clock.now();
        let found = probe(asked).await;
        let took = self.clock.now().since(started);
        let (streak, change) = streak.step(found.check, &self.settings);
        (found, took, streak, change)
    }

    async fn pause(&mut self, streak: Streak) {
        tokio::time::sleep(next_delay(streak, &self.settings, &mut self.rng)).await;
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
        let (found, took, next, change) = rhythm.round(&asked, streak).await;
        streak = next;
        observer.probed(index, &found, took);
        if let Some(change) = change {
            observer.changed(index, &change, rhythm.clock.now());
        }
        rhythm.pause(streak).await;
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
    loop {
        let (found, _, next, change) = rhythm.round(&asked, streak).await;
        streak = next;
        if let Some(change) = change {
            let healthy = change.to == Verdict::Ready;
            // Healthy from the beginning is no news.
            if !(healthy && change.from == Verdict::Unknown) {
                let why = format!("{} ({})", change.evidence, found.detail);
                for dependant in &dependants {
                    observer.dependency(*dependant, &dependency.name, healthy, &why);
                }
            }
        }
        rhythm.pause(streak).await;
    }
}

#[cfg(test)]
mod tests;
