//! The watch over the pools: once a second every target is compared with its peers, and those
//! who were out are brought back. What is decided is the policy's; here it is told.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_config::Config;
use mainstay_policy::outlier::{self, Capacity, State, Watch};
use mainstay_telemetry::{Event, EventKind};
use tokio::time::MissedTickBehavior;

use crate::build::Watched;
use crate::shared::Shared;

/// Why each target has the share that it has.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    /// By target.
    known: Mutex<BTreeMap<u32, State>>,
}

/// Who is watched together: a pool, and a model with its version.
type Group = (Arc<str>, Arc<str>, Option<Arc<str>>);

impl Rotations {
    /// What is known of a target; `None` before the first look.
    pub(crate) fn of(&self, target: u32) -> Option<State> {
        self.lock().get(&target).cloned()
    }

    /// Attempts at a target in a second, how many it is taken to bear, and whether that was
    /// measured.
    pub(crate) fn rates(&self, target: u32) -> Option<(f64, Capacity)> {
        self.lock().get(&target).map(|state| {
            let capacity = Capacity { rate: state.capacity, measured: state.measured };
            (state.load, capacity)
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watch over all pools.
#[derive(Debug)]
pub(crate) struct Outliers {
    shared: Arc<Shared>,
    watches: Mutex<HashMap<Group, Watch>>,
    rotations: Arc<Rotations>,
}

impl Outliers {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, watches: Mutex::default(), rotations: Arc::default() }
    }

    /// From now on these are watched, one watch for each pool and model: who answers for the same
    /// model is a peer. Who was watched before goes on from where it is.
    pub(crate) fn watch(&self, config: &Config, watched: &[Watched]) {
        let mut groups: HashMap<Group, (usize, Vec<_>)> = HashMap::new();
        for Watched { target, pool, .. } in watched {
            let key = &target.key;
            let group = (Arc::clone(&key.pool), Arc::clone(&key.model), key.version.clone());
            let (_, targets) = groups.entry(group).or_insert_with(|| (*pool, Vec::new()));
            targets.push(Arc::clone(target));
        }
        let mut watches = self.watches();
        watches.retain(|group, _| groups.contains_key(group));
        for (group, (pool, targets)) in groups {
            let pool = &config.pools[pool];
            let rules = (pool.outliers.clone(), pool.failback.clone(), pool.slow_start);
            match watches.entry(group) {
                Entry::Occupied(mut known) => {
                    known.get_mut().reconfigure(rules.0, rules.1, rules.2, targets);
                }
                Entry::Vacant(new) => {
                    new.insert(Watch::new(rules.0, rules.1, rules.2, targets));
                }
            }
        }
        let known: HashSet<_> = watched.iter().map(|watched| watched.target.id).collect();
        self.rotations.lock().retain(|target, _| known.contains(target));
    }

    fn watches(&self) -> MutexGuard<'_, HashMap<Group, Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where what it finds is kept.
    pub(crate) fn rotations(&self) -> Arc<Rotations> {
        Arc::clone(&self.rotations)
    }

    /// Looks once a second until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(outlier::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        let now = self.shared.clock.now();
        for watch in self.watches().values_mut() {
            for change in watch.tick(now) {
                if let Some(kind) = change.ejection {
                    self.shared.telemetry.ejected(kind);
                }
                self.shared.telemetry.event(Event {
                    kind: EventKind::Rotation,
                    subject: change.target.key.to_string(),
                    from: change.from.to_owned(),
                    to: change.to.to_owned(),
                    cause: change.cause,
                });
            }
            self.rotations.lock().extend(watch.states().map(|state| (state.target, state)));
        }
    }
}
