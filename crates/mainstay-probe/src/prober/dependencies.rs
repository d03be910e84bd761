//! What servers and the gateway depend on: each distinct dependency is asked once, whoever declared
//! it. Where two declarations differ in rhythm alone, the first one sets it.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_config::Dependency;
use mainstay_policy::Verdict;
use mainstay_policy::health::Streak;
use mainstay_telemetry::Clock;

use super::{Observer, Rhythm, Task, hash_check};
use crate::check::Probe;

/// Every dependency that is asked.
#[derive(Default)]
pub(super) struct Dependencies {
    /// By fingerprint.
    asked: HashMap<u64, Asked>,
}

/// One that is asked.
struct Asked {
    rhythm: String,
    shared: Arc<Shared>,
    _task: Task,
}

/// What its loop and its declarations share.
struct Shared {
    dependency: Dependency,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who declared it; `None` is the gateway itself.
    dependants: Vec<Option<usize>>,
    /// Why it is sick. Taken to be healthy before the first probe.
    sick: Option<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dependencies {
    /// From now on these are asked. Whoever comes to one that is sick is told so, and whoever
    /// leaves one is no longer held back by it.
    pub(super) fn set(
        &mut self,
        declared: Vec<(Option<usize>, &Dependency)>,
        observer: &Arc<dyn Observer>,
        (clock, seed): (Clock, u64),
    ) {
        let mut wanted: HashMap<u64, (&Dependency, Vec<Option<usize>>)> = HashMap::new();
        let mut order = Vec::new();
        for (dependant, dependency) in declared {
            let key = fingerprint(dependency);
            let entry = wanted.entry(key).or_insert_with(|| {
                order.push(key);
                (dependency, Vec::new())
            });
            entry.1.push(dependant);
        }
        self.asked.retain(|key, asked| {
            let kept = wanted.get(key).is_some_and(|(new, _)| asked.rhythm == rhythm(new));
            if !kept {
                asked.shared.leave(&HashSet::new(), &**observer);
            }
            kept
        });
        let count = order.len();
        for (at, key) in order.into_iter().enumerate() {
            let Some((dependency, dependants)) = wanted.remove(&key) else { continue };
            let asked = self.asked.entry(key).or_insert_with(|| {
                let rng = fastrand::Rng::with_seed(!seed.wrapping_add(at as u64));
                let beat = Rhythm::new((at, count), &dependency.health, clock, rng);
                Asked::start(dependency.clone(), beat, Arc::clone(observer))
            });
            asked.shared.leave(&dependants.iter().copied().collect(), &**observer);
            asked.shared.join(dependants, &**observer);
        }
    }
}

impl Asked {
    fn start(dependency: Dependency, beat: Rhythm, observer: Arc<dyn Observer>) -> Self {
        let rhythm = rhythm(&dependency);
        let shared = Arc::new(Shared { dependency, state: Mutex::default() });
        let task = Task::spawn(watch(Arc::clone(&shared), beat, observer));
        Self { rhythm, shared, _task: task }
    }
}

impl Shared {
    /// Whoever is not among those who `stay` is no longer held back by it.
    fn leave(&self, stay: &HashSet<Option<usize>>, observer: &dyn Observer) {
        let mut state = self.state();
        let sick = state.sick.is_some();
        state.dependants.retain(|dependant| {
            let stays = stay.contains(dependant);
            if sick && !stays {
                observer.dependency(*dependant, &self.dependency.name, true, "no longer declared");
            }
            stays
        });
    }

    /// Whoever is new is told where it is sick.
    fn join(&self, dependants: Vec<Option<usize>>, observer: &dyn Observer) {
        let mut state = self.state();
        if let Some(why) = &state.sick {
            let known: HashSet<_> = state.dependants.iter().collect();
            let new = dependants.iter().filter(|it| !known.contains(it));
            new.for_each(|it| observer.dependency(*it, &self.dependency.name, false, why));
        }
        state.dependants = dependants;
    }

    /// Notes whether it is healthy, and tells everyone when that changes.
    fn found(&self, sick: Option<String>, why: &str, observer: &dyn Observer) {
        let mut state = self.state();
        if state.sick.is_some() == sick.is_some() {
            return;
        }
        let healthy = sick.is_none();
        state.sick = sick;
        for dependant in &state.dependants {
            observer.dependency(*dependant, &self.dependency.name, healthy, why);
        }
    }
}

async fn watch(shared: Arc<Shared>, mut rhythm: Rhythm, observer: Arc<dyn Observer>) {
    let dependency = &shared.dependency;
    let asked = Probe {
        address: dependency.address.clone(),
        model: None,
        check: dependency.check.clone(),
        timeout: dependency.health.timeout,
    };
    let mut streak = Streak::default();
    tokio::time::sleep(rhythm.first).await;
    loop {
        let round = rhythm.round(&asked, streak).await;
        streak = round.streak;
        if let Some(change) = &round.change {
            let why = format!("{} ({})", change.evidence, round.found.detail);
            let sick = (change.to != Verdict::Ready).then(|| why.clone());
            shared.found(sick, &why, &*observer);
        }
        rhythm.pause(&round).await;
    }
}

/// What is asked of whom.
fn fingerprint(dependency: &Dependency) -> u64 {
    let Dependency { name, address, check, .. } = dependency;
    let mut hasher = DefaultHasher::new();
    format!("{name} {address:?}").hash(&mut hasher);
    hash_check(check, &mut hasher);
    hasher.finish()
}

fn rhythm(dependency: &Dependency) -> String {
    format!("{:?}", dependency.health)
}
