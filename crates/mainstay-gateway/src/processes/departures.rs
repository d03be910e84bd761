//! Servers that have left the configuration: each is stopped when what it had under way is done.
//!
//! A reload takes an endpoint out of its pool at once, and requests in flight finish on what they
//! began with. So its process runs on until nothing is under way there, or its time for that is
//! over: the `drain` of the pool's replicas, or that of the gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::process::Subject;
use mainstay_policy::Moment;
use mainstay_policy::target::Target;

use super::subject;
use crate::snapshot::Snapshot;

/// A process is named by its pool and its endpoint.
type Key = (String, String);

/// Who was there, and who is on its way out.
#[derive(Debug, Default)]
pub(super) struct Departures {
    present: BTreeMap<Key, Present>,
    leaving: Vec<Leaving>,
}

#[derive(Debug)]
struct Present {
    subject: Subject,
    targets: Vec<Arc<Target>>,
    drain: Duration,
}

#[derive(Debug)]
struct Leaving {
    subject: Subject,
    targets: Vec<Arc<Target>>,
    until: Moment,
}

impl Departures {
    /// Takes what is in effect now; gives every process that is to be there, those of who is
    /// leaving among them.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, now: Moment) -> Vec<Subject> {
        let present = present(snapshot);
        let before = std::mem::replace(&mut self.present, present);
        for (key, Present { subject, targets, drain }) in before {
            if !self.present.contains_key(&key) {
                self.leaving.push(Leaving { subject, targets, until: now + drain });
            }
        }
        // One that is back needs not go.
        let is_back = |it: &Leaving| {
            self.present.contains_key(&(it.subject.pool.clone(), it.subject.endpoint.clone()))
        };
        let back: Vec<_> = self.leaving.iter().map(is_back).collect();
        let mut back = back.into_iter();
        self.leaving.retain(|_| !back.next().unwrap_or_default());
        let present = self.present.values().map(|it| &it.subject);
        present.chain(self.leaving.iter().map(|it| &it.subject)).cloned().collect()
    }

    /// Whether somebody may be stopped now.
    pub(super) fn let_go(&mut self, now: Moment) -> bool {
        let before = self.leaving.len();
        self.leaving.retain(|it| {
            let is_busy = it.targets.iter().any(|target| target.load.in_flight() > 0);
            is_busy && now < it.until
        });
        self.leaving.len() < before
    }

    /// The names of those that are leaving.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.leaving.iter().map(|it| &*it.subject.endpoint)
    }
}

fn present(snapshot: &Snapshot) -> BTreeMap<Key, Present> {
    let config = &snapshot.config;
    let mut all = BTreeMap::new();
    for pool in &config.pools {
        let drain = pool.replicas.as_ref().map_or(config.drain, |replicas| replicas.drain);
        for endpoint in &pool.endpoints {
            let Some(subject) = subject(config, pool, endpoint) else { continue };
            let key = (subject.pool.clone(), subject.endpoint.clone());
            all.insert(key, Present { subject, targets: Vec::new(), drain });
        }
    }
    if all.is_empty() {
        return all;
    }
    for watched in &snapshot.watched {
        let pool = &config.pools[watched.pool];
        let key = (pool.name.to_string(), pool.endpoints[watched.endpoint].name.to_string());
        if let Some(present) = all.get_mut(&key) {
            present.targets.push(Arc::clone(&watched.target));
        }
    }
    all
}
