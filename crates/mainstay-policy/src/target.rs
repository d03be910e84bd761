//! A target: one model at one endpoint, the key of health and breaker state.
//!
//! A server that has lost one of its three models goes on answering for the other two, so the
//! state belongs to (pool, endpoint, model, version) and is rolled up from there. The registry
//! outlives configurations: a reload finds the state of every target that it keeps. Only
//! configured targets exist, so no client can make it grow.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::balance::{Load, Locality};
use crate::breaker::{self, Breaker};
use crate::budget::Pause;
use crate::health::{Cell, Progress};
use crate::limit::{self, Limiter};
use crate::outlier::Stats;
use crate::sequence;
use crate::standing::Place;

/// What makes two targets the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The pool's name.
    pub pool: Arc<str>,
    /// The endpoint's name within its pool.
    pub endpoint: Arc<str>,
    /// The model's name upstream; `*` where a pool takes any.
    pub model: Arc<str>,
    /// The model's version upstream, where the chain pins one.
    pub version: Option<Arc<str>>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pool, self.endpoint, self.model)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

/// The shared state of one target; every worker reads and writes the same one.
#[derive(Debug)]
pub struct Target {
    /// Dense number within the registry: the index of metrics and records.
    pub id: u32,
    /// Who it is.
    pub key: Key,
    /// What its endpoint is for; shared by all models there.
    pub place: Arc<Place>,
    /// Whether attempts may be made.
    pub breaker: Breaker,
    /// How much it has to do and how fast it answers.
    pub load: Load,
    /// What it is held to be, and its share of the traffic.
    pub health: Cell,
    /// What its requests show.
    pub progress: Progress,
    /// Whether it asked not to be asked for a while.
    pub pause: Pause,
    /// How many attempts may be under way.
    pub limiter: Limiter,
    /// What its attempts came to, to be compared with its peers'.
    pub stats: Stats,
    /// How often its server was found gone: whatever the server held in memory is gone with each.
    lives: AtomicU32,
}

/// What a new target begins with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Its breaker's.
    pub breaker: breaker::Settings,
    /// Its limit's.
    pub limit: limit::Settings,
}

impl Target {
    /// A target that was never asked, for so many workers.
    #[must_use]
    pub fn new(id: u32, key: Key, settings: &Settings, shards: usize) -> Self {
        Self {
            id,
            key,
            place: Arc::default(),
            breaker: Breaker::new(settings.breaker.clone(), shards),
            load: Load::new(),
            health: Cell::default(),
            progress: Progress::default(),
            pause: Pause::default(),
            limiter: Limiter::new(settings.limit),
            stats: Stats::new(shards),
            lives: AtomicU32::new(0),
        }
    }
}

impl Target {
    /// Its server was found gone.
    pub fn found_gone(&self) {
        self.lives.fetch_add(1, Ordering::Relaxed);
    }

    /// How often its server was found gone.
    #[must_use]
    pub fn lives(&self) -> u32 {
        self.lives.load(Ordering::Relaxed)
    }
}

/// All targets of a process.
#[derive(Debug, Default)]
pub struct Registry {
    known: Mutex<Known>,
}

/// Pool, model and version upstream.
type Supplier = (Arc<str>, Arc<str>, Option<Arc<str>>);

#[derive(Debug, Default)]
struct Known {
    targets: HashMap<Key, Arc<Target>>,
    /// By pool and endpoint.
    places: HashMap<(Arc<str>, Arc<str>), Arc<Place>>,
    localities: HashMap<Supplier, Arc<Locality>>,
    /// By the name that clients use for a model.
    sequences: HashMap<Arc<str>, Arc<sequence::Table>>,
}

impl Registry {
    /// The target of this key, made with these settings if it is new.
    ///
    /// `shards` is the number of workers that will record outcomes. Meant for building a
    /// configuration, not for the way of a request: it takes a lock.
    pub fn target(&self, key: Key, settings: &Settings, shards: usize) -> Arc<Target> {
        let mut known = self.lock();
        if let Some(target) = known.targets.get(&key) {
            return Arc::clone(target);
        }
        let id = u32::try_from(known.targets.len()).unwrap_or(u32::MAX);
        let place = known.places.entry((Arc::clone(&key.pool), Arc::clone(&key.endpoint)));
        let place = Arc::clone(place.or_default());
        let target = Arc::new(Target { place, ..Target::new(id, key.clone(), settings, shards) });
        known.targets.insert(key, Arc::clone(&target));
        target
    }

    /// What the endpoint of a pool is for; `None` before it has a target.
    pub fn place(&self, pool: &str, endpoint: &str) -> Option<Arc<Place>> {
        self.lock().places.get(&(pool.into(), endpoint.into())).cloned()
    }

    /// The shares of a pool's distances for one model.
    pub fn locality(
        &self,
        pool: &Arc<str>,
        model: &Arc<str>,
        version: Option<&Arc<str>>,
    ) -> Arc<Locality> {
        let key = (Arc::clone(pool), Arc::clone(model), version.cloned());
        Arc::clone(self.lock().localities.entry(key).or_default())
    }

    /// Where the sequences of a model are.
    pub fn sequences(&self, model: &Arc<str>) -> Arc<sequence::Table> {
        Arc::clone(self.lock().sequences.entry(Arc::clone(model)).or_default())
    }

    /// Every target, by its number.
    pub fn all(&self) -> Vec<Arc<Target>> {
        let mut all: Vec<_> = self.lock().targets.values().cloned().collect();
        all.sort_by_key(|target| target.id);
        all
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(model: &str) -> Key {
        Key { pool: "p".into(), endpoint: "e:1".into(), model: model.into(), version: None }
    }

    #[test]
    fn a_key_leads_to_one_target_with_a_dense_number() {
        let registry = Registry::default();
        let settings = Settings::default();
        let first = registry.target(key("a"), &settings, 1);
        let second = registry.target(key("b"), &settings, 1);
        let again = registry.target(key("a"), &settings, 1);
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!((first.id, second.id), (0, 1));
        assert_eq!(registry.all().len(), 2);
    }

    #[test]
    fn models_at_one_endpoint_share_its_place() {
        let registry = Registry::default();
        let settings = Settings::default();
        let first = registry.target(key("a"), &settings, 1);
        let second = registry.target(key("b"), &settings, 1);
        registry.place("p", "e:1").unwrap().stand(crate::Standing::Away);
        assert!([first, second].iter().all(|t| t.place.standing() == crate::Standing::Away));
        assert!(registry.place("p", "e:2").is_none());
    }

    #[test]
    fn a_key_reads_as_a_path() {
        let pinned = Key { version: Some("3".into()), ..key("fraud") };
        assert_eq!(pinned.to_string(), "p/e:1/fraud@3");
    }
}
