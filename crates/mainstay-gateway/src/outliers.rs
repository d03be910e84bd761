//! The watch over the pools: once a second every target is compared with its peers, and those
//! who were out are brought back. What is decided is the policy's; here it is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_config::Config;
use mainstay_policy::outlier::{self, State, Watch};
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

impl Rotations {
    /// What is known of a target; `None` before the first look.
    pub(crate) fn of(&self, target: u32) -> Option<State> {
        self.lock().get(&target).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watch over all pools, ready to run.
#[derive(Debug)]
pub(crate) struct Outliers {
    shared: Arc<Shared>,
    watches: Vec<Watch>,
    rotations: Arc<Rotations>,
}

impl Outliers {
    /// One watch for each pool and model: who answers for the same model is a peer.
    pub(crate) fn new(config: &Config, shared: Arc<Shared>, watched: &[Watched]) -> Self {
        let mut groups: Vec<(usize, Vec<_>)> = Vec::new();
        let mut places = HashMap::new();
        for Watched { target, pool, .. } in watched {
            let key = (*pool, target.key.model.clone(), target.key.version.clone());
            let at = *places.entry(key).or_insert_with(|| {
                groups.push((*pool, Vec::new()));
                groups.len() - 1
            });
            groups[at].1.push(Arc::clone(target));
        }
        let watch = |(pool, targets): (usize, Vec<_>)| {
            let pool = &config.pools[pool];
            Watch::new(pool.outliers.clone(), pool.failback.clone(), pool.slow_start, targets)
        };
        let watches = groups.into_iter().map(watch).collect();
        Self { shared, watches, rotations: Arc::default() }
    }

    /// Where what it finds is kept.
    pub(crate) fn rotations(&self) -> Arc<Rotations> {
        Arc::clone(&self.rotations)
    }

    /// Looks once a second until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(outlier::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.look();
        }
    }

    fn look(&mut self) {
        let now = self.shared.clock.now();
        for watch in &mut self.watches {
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
