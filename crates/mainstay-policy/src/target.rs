//! A target: one model at one endpoint, the key of health and breaker state.
//!
//! A server that has lost one of its three models goes on answering for the other two, so the
//! state belongs to (pool, endpoint, model, version) and is rolled up from there. The registry
//! outlives configurations: a reload finds the state of every target that it keeps. An endpoint
//! that keeps its name and gets another address is another server: its targets begin anew, and
//! what requests of the configuration before find out does not reach them. Only configured targets
//! exist, so no client can make it grow.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::Moment;
use crate::balance::{Load, Locality};
use crate::breaker::{self, Breaker};
use crate::budget::Pause;
use crate::health::{Cell, Progress};
use crate::limit::{self, Limiter};
use crate::outlier::Stats;
use crate::role::WriterWord;
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
    /// Dense number within the registry: the index of metrics and records. Given to another
    /// target only when nobody holds this one any more.
    pub id: u32,
    /// Who it is.
    pub key: Key,
    /// Where its server is.
    pub server: Arc<str>,
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
    /// Where its server is. Another address is another server.
    pub server: Arc<str>,
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
            server: Arc::clone(&settings.server),
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
    /// By number, with those that were let go and that somebody may still hold.
    numbers: Vec<Weak<Target>>,
    /// Numbers that nobody holds any more.
    free: Vec<u32>,
    /// By pool and endpoint.
    places: HashMap<(Arc<str>, Arc<str>), Arc<Place>>,
    localities: HashMap<Supplier, Arc<Locality>>,
    /// By pool.
    writers: HashMap<Arc<str>, Arc<WriterWord>>,
    /// By the name that clients use for a model.
    sequences: HashMap<Arc<str>, (Arc<sequence::Table>, sequence::Settings)>,
}

impl Registry {
    /// The target of this key, which takes these settings; what is known of it stays, unless its
    /// server is another one now. Its endpoint's [place](Place) stays in any case: orders are about
    /// a place.
    ///
    /// `shards` is the number of workers that will record outcomes. Meant for building a
    /// configuration, not for the way of a request: it takes a lock.
    pub fn target(&self, key: Key, settings: &Settings, shards: usize) -> Arc<Target> {
        let mut known = self.lock();
        let same = known.targets.get(&key).filter(|target| target.server == settings.server);
        if let Some(target) = same {
            target.breaker.reconfigure(&settings.breaker, shards);
            target.limiter.reconfigure(settings.limit);
            return Arc::clone(target);
        }
        let place = known.places.entry((Arc::clone(&key.pool), Arc::clone(&key.endpoint)));
        let place = Arc::clone(place.or_default());
        let id = known.number();
        let target = Arc::new(Target { place, ..Target::new(id, key.clone(), settings, shards) });
        known.numbers[id as usize] = Arc::downgrade(&target);
        known.targets.insert(key, Arc::clone(&target));
        target
    }

    /// Lets go of every target that `keep` does not name. Its number is given to another only
    /// when nobody holds it any more.
    pub fn retain(&self, keep: impl Fn(&Target) -> bool) {
        let mut known = self.lock();
        known.targets.retain(|_, target| keep(target));
        let Known { targets, places, localities, .. } = &mut *known;
        let used: HashSet<_> = targets.keys().map(|key| (&key.pool, &key.endpoint)).collect();
        places.retain(|(pool, endpoint), _| used.contains(&(pool, endpoint)));
        let pools: HashSet<_> = targets.keys().map(|key| &key.pool).collect();
        localities.retain(|(pool, ..), _| pools.contains(pool));
        known.writers.retain(|_, word| Arc::strong_count(word) > 1);
    }

    /// Looks for numbers that nobody holds any more, so that new targets can have them.
    pub fn sweep(&self) {
        let known = &mut *self.lock();
        let dead = |at: &usize| known.numbers[*at].strong_count() == 0;
        known.free = (0..known.numbers.len()).rev().filter(dead).map(|at| at as u32).collect();
        // Whoever held it last has written its counters before.
        fence(Ordering::Acquire);
    }

    /// The target with this number.
    pub fn get(&self, id: u32) -> Option<Arc<Target>> {
        self.lock().numbers.get(id as usize)?.upgrade()
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

    /// Where the sequences of a model are, which are kept like this from now on.
    pub fn sequences(
        &self,
        model: &Arc<str>,
        settings: &sequence::Settings,
    ) -> Arc<sequence::Table> {
        let mut known = self.lock();
        let (table, kept) =
            known.sequences.entry(Arc::clone(model)).or_insert_with(|| (Arc::default(), *settings));
        *kept = *settings;
        Arc::clone(table)
    }

    /// Forgets sequences that were idle for too long, and the tables of models that are gone once
    /// nothing is in them: a model that comes back within that time finds its sequences.
    pub fn sweep_sequences(&self, now: Moment) {
        let tables: Vec<_> = self.lock().sequences.values().cloned().collect();
        tables.iter().for_each(|(table, settings)| table.sweep(settings, now));
        drop(tables);
        let unused = |table: &Arc<sequence::Table>| Arc::strong_count(table) == 1;
        self.lock().sequences.retain(|_, (table, _)| !(unused(table) && table.is_empty()));
    }

    /// The word on who writes to a pool.
    pub fn writer(&self, pool: &Arc<str>) -> Arc<WriterWord> {
        Arc::clone(self.lock().writers.entry(Arc::clone(pool)).or_default())
    }

    /// Every target of the configuration, by its number.
    pub fn all(&self) -> Vec<Arc<Target>> {
        let mut all: Vec<_> = self.lock().targets.values().cloned().collect();
        all.sort_by_key(|target| target.id);
        all
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// A number for a new target: one that nobody holds, or the next.
    fn number(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.numbers.push(Weak::new());
            u32::try_from(self.numbers.len() - 1).unwrap_or(u32::MAX)
        })
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
    fn a_number_is_given_again_only_when_nobody_holds_it() {
        let registry = Registry::default();
        let settings = Settings::default();
        let first = registry.target(key("a"), &settings, 1);
        registry.target(key("b"), &settings, 1);
        registry.retain(|target| &*target.key.model == "b");
        registry.sweep();
        assert_eq!(registry.target(key("c"), &settings, 1).id, 2, "the first is still held");
        assert!(registry.get(0).is_some());
        drop(first);
        registry.sweep();
        assert_eq!(registry.target(key("d"), &settings, 1).id, 0);
        assert_eq!(registry.all().iter().map(|t| t.id).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_known_target_takes_new_settings_and_keeps_its_state() {
        let registry = Registry::default();
        let now = Moment::from_millis(5);
        let target = registry.target(key("a"), &Settings::default(), 1);
        let forced = (breaker::Forced::Open, now + std::time::Duration::from_secs(1));
        target.breaker.force(Some(forced), now);
        assert!(target.limiter.try_acquire());
        let limit = limit::Settings { adaptive: false, min: 1, initial: 1, max: 1 };
        let breaker = breaker::Settings { consecutive: 9, ..breaker::Settings::default() };
        let again =
            registry.target(key("a"), &Settings { breaker, limit, ..Settings::default() }, 1);
        assert!(Arc::ptr_eq(&target, &again));
        assert_eq!(target.breaker.settings().consecutive, 9);
        assert!(target.breaker.would_admit(now).is_err());
        assert!(!target.limiter.try_acquire(), "the one under way still counts");
    }

    #[test]
    fn another_address_under_the_same_name_is_another_server() {
        let registry = Registry::default();
        let at = |server: &str| Settings { server: server.into(), ..Settings::default() };
        let now = Moment::from_millis(5);
        let old = registry.target(key("a"), &at("http://h:1"), 1);
        old.health.set(crate::Verdict::Ready, now);
        old.place.stand(crate::Standing::Drained);
        old.breaker
            .force(Some((breaker::Forced::Open, now + std::time::Duration::from_secs(9))), now);
        let new = registry.target(key("a"), &at("http://h:2"), 1);
        assert!(!Arc::ptr_eq(&old, &new) && old.id != new.id);
        assert_eq!(new.health.verdict(), crate::Verdict::Unknown);
        assert!(new.breaker.would_admit(now).is_ok());
        assert_eq!(new.place.standing(), crate::Standing::Drained, "an order is about the place");
        assert!(Arc::ptr_eq(&new, &registry.target(key("a"), &at("http://h:2"), 1)));
        assert_eq!(registry.all().len(), 1);
    }

    #[test]
    fn sequences_of_a_model_that_is_gone_are_kept_for_their_idle_time() {
        let registry = Registry::default();
        let settings = sequence::Settings::default();
        let (model, now) = (Arc::<str>::from("m"), Moment::from_millis(1_000_000));
        let target = registry.target(key("m"), &Settings::default(), 1);
        let table = registry.sequences(&model, &settings);
        table.begin(7, sequence::Seat::at(&target), &settings, now);
        let later = now + settings.idle / 2;
        registry.sweep_sequences(later);
        assert_eq!(table.len(), 1);
        drop(table);
        registry.sweep_sequences(later);
        assert_eq!(registry.sequences(&model, &settings).len(), 1, "it came back in time");
        registry.sweep_sequences(now + settings.idle);
        assert!(registry.lock().sequences.is_empty(), "nothing is left of it");
    }

    #[test]
    fn a_key_reads_as_a_path() {
        let pinned = Key { version: Some("3".into()), ..key("fraud") };
        assert_eq!(pinned.to_string(), "p/e:1/fraud@3");
    }
}
