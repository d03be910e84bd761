//! Pools with one writer: who it is, and that the last one's connections are closed before the
//! next one has any.
//!
//! What is decided is `mainstay_control::writer`'s; here it is seen and done. A move has three
//! steps: the word that all workers read says "nobody", which ends every connection of the epoch
//! before at the next byte that would be passed on; the workers are woken, so that those on which
//! nothing moves end too; and when the last one is gone the word names the next writer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_admin::status::WriterStatus;
use mainstay_config::Sentinel;
use mainstay_control::writer::{Change, Rule, Sight, Writer};
use mainstay_policy::Moment;
use mainstay_policy::role::{Claim, WriterWord};
use mainstay_policy::target::Target;
use mainstay_probe::sentinel;
use mainstay_protocol::redis::Named;
use mainstay_telemetry::{Event, EventKind};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::shared::Shared;

/// Between two looks when nothing happens.
const LOOK: Duration = Duration::from_millis(100);
/// The same while connections of the epoch before are being closed.
const LOOK_CLOSING: Duration = Duration::from_millis(2);
/// Before a Sentinel that could not be asked is asked again.
const SENTINEL_AGAIN: Duration = Duration::from_secs(1);
/// A connection that is not gone by then belongs to a worker that is stuck. It passes nothing on
/// any more either: the word is read before every byte.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// What servers say of their roles, and who writes.
#[derive(Debug)]
pub(crate) struct Claims {
    /// By target, as of its last probe.
    known: Mutex<HashMap<u32, Claim>>,
    /// By pool and by Sentinel, whom it names.
    named: Mutex<HashMap<(Arc<str>, usize), Named>>,
    /// By pool.
    status: Mutex<HashMap<Arc<str>, WriterStatus>>,
    changed: Notify,
    /// Wakes the workers: connections are to be closed.
    nudges: watch::Sender<u64>,
}

impl Default for Claims {
    fn default() -> Self {
        let (nudges, _) = watch::channel(0);
        Self {
            known: Mutex::default(),
            named: Mutex::default(),
            status: Mutex::default(),
            changed: Notify::new(),
            nudges,
        }
    }
}

impl Claims {
    /// Notes what a probe found of a target's role; `None` where it found nothing.
    pub(crate) fn note(&self, target: &Target, claim: Option<Claim>) {
        let mut known = lock(&self.known);
        let before = match claim {
            Some(claim) => known.insert(target.id, claim),
            None => known.remove(&target.id),
        };
        drop(known);
        let role = claim.map(|claim| claim.role);
        if before.map(|before| before.role) != role {
            target.place.set_role(role);
            self.changed.notify_one();
        }
    }

    /// Tells when connections are to be closed.
    pub(crate) fn nudges(&self) -> watch::Receiver<u64> {
        self.nudges.subscribe()
    }

    /// Who writes to a pool; `None` where any may.
    pub(crate) fn status(&self, pool: &str) -> Option<WriterStatus> {
        lock(&self.status).get(pool).cloned()
    }

    /// Notes whom a Sentinel of a pool names; `None` where it cannot be asked, or knows none.
    fn name(&self, (pool, sentinel): (&Arc<str>, usize), named: Option<Named>) {
        let key = (Arc::clone(pool), sentinel);
        let mut known = lock(&self.named);
        let before = match named {
            Some(named) => known.insert(key, named),
            None => known.remove(&key),
        };
        if before != named {
            self.changed.notify_one();
        }
    }

    /// Whom the Sentinel with the latest configuration names.
    fn named(&self, pool: &str) -> Option<SocketAddr> {
        let known = lock(&self.named);
        let here = known.iter().filter(|((name, _), _)| **name == *pool);
        here.max_by_key(|(_, named)| named.epoch).map(|(_, named)| named.address)
    }

    fn claim(&self, target: u32) -> Option<Claim> {
        lock(&self.known).get(&target).copied()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writers of all pools that have one.
#[derive(Debug)]
pub(crate) struct Writers {
    shared: Arc<Shared>,
    pools: Vec<Pool>,
}

/// A pool with one writer.
#[derive(Debug)]
struct Pool {
    name: Arc<str>,
    rule: Rule,
    writer: Writer,
    /// In the order of the configuration.
    targets: Vec<Arc<Target>>,
    word: Arc<WriterWord>,
    /// Whom the word names, or named last.
    published: Option<Arc<Target>>,
    /// Writers before, whose connections are being closed, and since when.
    closing: Vec<(Arc<Target>, Moment)>,
    why: &'static str,
    sentinel: Option<Sentinel>,
    /// Who follows them.
    following: JoinSet<()>,
}

impl Writers {
    /// The writers of the snapshot that is in effect.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let mut writers = Self { shared, pools: Vec::new() };
        writers.rebuild();
        writers
    }

    /// Looks until it is dropped.
    pub(crate) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut swaps = shared.swaps();
        loop {
            let closing = self.pools.iter().any(|pool| !pool.closing.is_empty());
            let pause = if closing { LOOK_CLOSING } else { LOOK };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shared.claims.changed.notified() => {}
                Ok(()) = swaps.changed() => self.rebuild(),
            }
            self.look();
        }
    }

    /// These are the pools from now on; who keeps its name keeps its writer.
    fn rebuild(&mut self) {
        let snapshot = self.shared.snapshot();
        let mut before: HashMap<_, _> =
            self.pools.drain(..).map(|pool| (Arc::clone(&pool.name), pool)).collect();
        for (at, declared) in snapshot.config.pools.iter().enumerate() {
            let Some(rule) = declared.tcp.as_ref().and_then(|rules| rules.writer) else { continue };
            let here = snapshot.watched.iter().filter(|watched| watched.pool == at);
            let targets: Vec<_> = here.map(|watched| Arc::clone(&watched.target)).collect();
            let mut known = before.remove(&declared.name);
            let sentinel = declared.tcp.as_ref().and_then(|rules| rules.sentinel.clone());
            let same = known.as_mut().filter(|known| known.sentinel == sentinel);
            let following = match same {
                Some(known) => std::mem::take(&mut known.following),
                None => follow(&self.shared, &declared.name, sentinel.as_ref()),
            };
            let place = |known: &Pool, at: usize| {
                let name = &known.targets.get(at)?.key.endpoint;
                targets.iter().position(|target| target.key.endpoint == *name)
            };
            let writer = known
                .as_ref()
                .map_or_else(Writer::default, |known| known.writer.moved(|at| place(known, at)));
            self.pools.push(Pool {
                name: Arc::clone(&declared.name),
                rule,
                writer,
                word: self.shared.registry.writer(&declared.name),
                published: known.as_mut().and_then(|known| known.published.take()),
                closing: known
                    .as_mut()
                    .map(|it| std::mem::take(&mut it.closing))
                    .unwrap_or_default(),
                why: known.map_or("", |known| known.why),
                sentinel,
                following,
                targets,
            });
        }
        let now = self.shared.clock.now();
        self.pools.iter_mut().for_each(|pool| pool.let_moved_go(&self.shared, now));
        let names: Vec<_> = self.pools.iter().map(|pool| &pool.name).collect();
        lock(&self.shared.claims.status).retain(|name, _| names.contains(&name));
    }

    /// Sees, decides and does.
    fn look(&mut self) {
        let now = self.shared.clock.now();
        for pool in &mut self.pools {
            pool.step(&self.shared, now);
            pool.publish(&self.shared, now);
            lock(&self.shared.claims.status).insert(Arc::clone(&pool.name), pool.status());
        }
    }
}

/// Follows each of a pool's Sentinels, for as long as the result is kept.
fn follow(shared: &Arc<Shared>, pool: &Arc<str>, sentinel: Option<&Sentinel>) -> JoinSet<()> {
    let mut following = JoinSet::new();
    let Some(sentinel) = sentinel else { return following };
    for (at, address) in sentinel.addresses.iter().enumerate() {
        let (shared, pool) = (Arc::clone(shared), Arc::clone(pool));
        let (address, sentinel) = (address.clone(), sentinel.clone());
        following.spawn(async move {
            loop {
                let tell = |named| shared.claims.name((&pool, at), named);
                if let Err(error) = sentinel::follow(&address, &sentinel, tell).await {
                    tracing::debug!(%error, %address, "a Sentinel cannot be asked");
                }
                shared.claims.name((&pool, at), None);
                tokio::time::sleep(SENTINEL_AGAIN).await;
            }
        });
    }
    following
}

impl Pool {
    fn step(&mut self, shared: &Shared, now: Moment) {
        let named = self.sentinel.as_ref().and_then(|_| shared.claims.named(&self.name));
        let sight = |target: &Arc<Target>| Sight {
            claim: shared.claims.claim(target.id),
            standing: target.place.standing(),
            named: named.map(|address| *target.server == *format!("http://{address}")),
        };
        let sights: Vec<_> = self.targets.iter().map(sight).collect();
        for change in self.writer.step(self.rule, &sights) {
            match change {
                Change::Moved(from, _, why) => {
                    self.why = why.as_str();
                    self.let_go(shared, now);
                    self.tell(shared, from, ("writer", "let go"), why.as_str());
                }
                Change::Conflict(rival) => {
                    let cause = "it claims to be primary beside the writer, and is not used";
                    self.tell(shared, Some(rival), ("primary", "conflict"), cause);
                }
                Change::Settled => {
                    let cause = "one alone claims to be primary";
                    self.tell(shared, self.writer.at(), ("conflict", "settled"), cause);
                }
            }
        }
    }

    /// Ends every connection to whom the word names.
    fn let_go(&mut self, shared: &Shared, now: Moment) {
        self.word.set(self.writer.epoch(), None);
        shared.claims.nudges.send_modify(|number| *number += 1);
        self.closing.extend(self.published.take().map(|last| (last, now)));
    }

    /// The same where a reload took the writer away, or put another server in its place.
    fn let_moved_go(&mut self, shared: &Shared, now: Moment) {
        let writer = self.writer.at().and_then(|at| self.targets.get(at));
        let is_writer = |last: &Arc<Target>| writer.is_some_and(|it| Arc::ptr_eq(it, last));
        if self.published.as_ref().is_some_and(|last| !is_writer(last)) {
            self.let_go(shared, now);
        }
    }

    /// Names the writer, once the connections to the one before are closed.
    fn publish(&mut self, shared: &Shared, now: Moment) {
        let waited = self.closing.iter().map(|(_, since)| now.since(*since)).max();
        let waited = waited.unwrap_or_default();
        self.closing
            .retain(|(last, since)| last.load.in_flight() > 0 && now.since(*since) < CLOSED_WITHIN);
        if !self.closing.is_empty() {
            return;
        }
        let target = self.writer.at().and_then(|at| self.targets.get(at)).cloned();
        let id = target.as_ref().map(|target| target.id);
        if self.word.read().target != id {
            self.word.set(self.writer.epoch(), id);
            self.published = target;
            let cause = format!(
                "{}; epoch {}, connections to the one before were closed within {:.1} ms",
                self.why,
                self.writer.epoch(),
                waited.as_secs_f64() * 1e3
            );
            self.tell(shared, self.writer.at(), ("not in use", "writer"), &cause);
        }
    }

    fn tell(&self, shared: &Shared, at: Option<usize>, (from, to): (&str, &str), cause: &str) {
        let Some(target) = at.and_then(|at| self.targets.get(at)) else { return };
        shared.telemetry.event(Event {
            kind: EventKind::Group,
            subject: format!("{}/{}", self.name, target.key.endpoint),
            from: from.to_owned(),
            to: to.to_owned(),
            cause: cause.to_owned(),
        });
    }

    fn status(&self) -> WriterStatus {
        let name = |at: usize| Some(self.targets.get(at)?.key.endpoint.to_string());
        let roles = self.targets.iter().filter_map(|target| {
            let role = target.place.role()?.as_str().to_owned();
            Some((target.key.endpoint.to_string(), role))
        });
        WriterStatus {
            endpoint: self.word.read().target.and_then(|_| self.writer.at()).and_then(name),
            epoch: self.writer.epoch(),
            rival: self.writer.rival().and_then(name),
            why: self.why.to_owned(),
            roles: roles.collect(),
        }
    }
}
