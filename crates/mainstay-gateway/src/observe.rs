//! What probes find, told to everyone whom it concerns: the target's health, its breaker, the
//! events, and the evidence that status shows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_config::Config;
use mainstay_policy::health::Change;
use mainstay_policy::target::Target;
use mainstay_policy::{Moment, Verdict};
use mainstay_probe::{Found, ModelName, Observer, Subject};
use mainstay_telemetry::{Event, EventKind};

use crate::build::Watched;
use crate::shared::Shared;

/// What the verdicts rest on, in words.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By target.
    latest: BTreeMap<u32, String>,
    /// Sick dependencies with their reasons; by target, or of the gateway itself.
    sick: BTreeMap<(Option<u32>, String), String>,
}

impl Evidence {
    /// What the last probe of a target found.
    pub(crate) fn of(&self, target: u32) -> String {
        let known = self.lock();
        let mut evidence = known
            .latest
            .get(&target)
            .cloned()
            .unwrap_or_else(|| "not probed; judged by its traffic".to_owned());
        for ((_, name), why) in known.sick.iter().filter(|((of, _), _)| *of == Some(target)) {
            evidence.push_str(&format!("; dependency {name}: {why}"));
        }
        evidence
    }

    /// The gateway's own dependencies that are sick, with the reasons.
    pub(crate) fn sick_dependencies(&self) -> Vec<String> {
        let known = self.lock();
        let own = known.sick.iter().filter(|((of, _), _)| of.is_none());
        own.map(|((_, name), why)| format!("dependency {name}: {why}")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The probes of a gateway, ready to run.
#[derive(Debug)]
pub(crate) struct Prober {
    prober: mainstay_probe::Prober,
    witness: Arc<Witness>,
}

/// Who is told.
#[derive(Debug)]
struct Witness {
    shared: Arc<Shared>,
    /// By subject.
    targets: Vec<Arc<Target>>,
    evidence: Arc<Evidence>,
}

impl Prober {
    pub(crate) fn new(
        config: &Config,
        shared: Arc<Shared>,
        watched: Vec<Watched>,
        seed: u64,
    ) -> Self {
        let subjects = watched.iter().map(|watched| subject(config, watched)).collect();
        let targets = watched.into_iter().map(|watched| watched.target).collect();
        let clock = shared.clock;
        let own = config.dependencies.clone();
        let witness = Arc::new(Witness { shared, targets, evidence: Arc::default() });
        Self { prober: mainstay_probe::Prober::new(subjects, own, clock, seed), witness }
    }

    /// Where what it finds is kept.
    pub(crate) fn evidence(&self) -> Arc<Evidence> {
        Arc::clone(&self.witness.evidence)
    }

    /// Probes until it is dropped.
    pub(crate) async fn run(self) {
        self.prober.run(self.witness).await;
    }
}

fn subject(config: &Config, watched: &Watched) -> Subject {
    let pool = &config.pools[watched.pool];
    let endpoint = &pool.endpoints[watched.endpoint];
    let key = &watched.target.key;
    let model = (&*key.model != "*")
        .then(|| ModelName { name: Arc::clone(&key.model), version: key.version.clone() });
    Subject {
        address: endpoint.url.clone(),
        model,
        check: pool.probe.check.clone(),
        settings: pool.probe.health.clone(),
        dependencies: endpoint.dependencies.clone(),
    }
}

impl Observer for Witness {
    fn probed(&self, subject: usize, found: &Found, took: Duration) {
        let target = &self.targets[subject];
        let result = found.check.as_str();
        let line =
            format!("probe {result} in {:.1} ms: {}", took.as_secs_f64() * 1e3, found.detail);
        self.evidence.lock().latest.insert(target.id, line);
    }

    fn changed(&self, subject: usize, change: &Change, now: Moment) {
        let target = &self.targets[subject];
        target.health.set(change.to, now);
        self.shared.telemetry.event(Event {
            kind: EventKind::Verdict,
            subject: target.key.to_string(),
            from: change.from.as_str().to_owned(),
            to: change.to.as_str().to_owned(),
            cause: change.evidence.to_string(),
        });
        if change.to == Verdict::Ready {
            // It is back, says the probe; real requests may prove it without waiting longer.
            target.load.forget();
            if let Some(transition) = target.breaker.end_wait(now) {
                self.shared.breaker_changed(target, &transition);
            }
        }
    }

    fn dependency(&self, subject: Option<usize>, name: &str, healthy: bool, why: &str) {
        let target = subject.map(|subject| &self.targets[subject]);
        let key = (target.map(|target| target.id), name.to_owned());
        let mut known = self.evidence.lock();
        if healthy {
            known.sick.remove(&key);
        } else {
            known.sick.insert(key, why.to_owned());
        }
        if let Some(target) = target {
            let still_sick = known.sick.keys().any(|(of, _)| *of == Some(target.id));
            target.health.set_deep(!still_sick);
        }
        drop(known);
        let whose = target.map_or_else(|| "gateway".to_owned(), |target| target.key.to_string());
        let word = |healthy: bool| if healthy { "healthy" } else { "sick" }.to_owned();
        self.shared.telemetry.event(Event {
            kind: EventKind::Dependency,
            subject: format!("{whose} needs {name}"),
            from: word(!healthy),
            to: word(healthy),
            cause: why.to_owned(),
        });
    }
}
