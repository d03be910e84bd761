//! Another `process` section: servers are started anew one at a time, each drained first.
//!
//! Whose turn it is is decided by `mainstay_control::process::rolling`. Where others of the pool
//! serve, the one whose turn it is gets no new requests, and is stopped when nothing is under way
//! there or the gateway's `drain` is over; it gets requests again when its successor is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_cluster::process::Handle;
use mainstay_config::Pool;
use mainstay_control::process::rolling::{self, Doing, Server};
use mainstay_policy::Moment;
use mainstay_policy::target::Target;

use super::replicas::is_replica;
use crate::observe::Board;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// Why a server is started anew.
const CAUSE: &str = "its process section is another one, and it is its turn";

/// The turns of all pools.
pub(super) struct Turns {
    shared: Arc<Shared>,
    board: Arc<Board>,
    handle: Handle,
    /// Whose turn it is, by pool.
    turns: BTreeMap<Arc<str>, Turn>,
}

/// One server that is started anew.
struct Turn {
    endpoint: Arc<str>,
    /// The process that is to end.
    pid: Option<u32>,
    until: Moment,
    /// Whether it was told to.
    told: bool,
}

impl Turns {
    pub(super) const fn new(shared: Arc<Shared>, board: Arc<Board>, handle: Handle) -> Self {
        Self { shared, board, handle, turns: BTreeMap::new() }
    }

    /// Goes on with whose turn it is. Costs nothing where nobody is outdated.
    pub(super) fn look(&mut self) {
        let outdated = self.handle.outdated_pools();
        if outdated.is_empty() && self.turns.is_empty() {
            return;
        }
        let snapshot = self.shared.snapshot();
        self.turns.retain(|name, _| snapshot.config.pools.iter().any(|pool| pool.name == *name));
        for (at, pool) in snapshot.config.pools.iter().enumerate() {
            let turn = self.turns.remove(&pool.name);
            let turn = match turn {
                Some(turn) => self.go_on(pool, turn, &snapshot, at),
                None if outdated.contains(&*pool.name) => self.begin(pool, &snapshot, at),
                None => None,
            };
            if let Some(turn) = turn {
                self.turns.insert(Arc::clone(&pool.name), turn);
            }
        }
    }

    fn begin(&self, pool: &Pool, snapshot: &Snapshot, at: usize) -> Option<Turn> {
        let supervised: Vec<_> = (0..pool.endpoints.len())
            .filter_map(|endpoint| {
                let name = &pool.endpoints[endpoint].name;
                let status = self.handle.status(&pool.name, name)?;
                (status.wanted && !is_replica(pool, name)).then_some((endpoint, status))
            })
            .collect();
        let server = |(endpoint, status): &(usize, mainstay_cluster::process::Status)| {
            let takes = takes_traffic(snapshot, at, *endpoint);
            let doing = match (status.state, takes) {
                ("running", true) => Doing::Serves,
                ("running" | "starting", false) => Doing::Idle,
                _ => Doing::Unsure,
            };
            Server { outdated: status.outdated, doing }
        };
        let servers: Vec<_> = supervised.iter().map(server).collect();
        let next = rolling::next(&servers)?;
        let (endpoint, status) = &supervised[next];
        let others = (0..pool.endpoints.len()).filter(|other| other != endpoint);
        let is_drained = servers[next].doing == Doing::Serves
            && others.into_iter().any(|other| takes_traffic(snapshot, at, other));
        let endpoint = Arc::clone(&pool.endpoints[*endpoint].name);
        let now = self.shared.clock.now();
        let until = if is_drained { now + snapshot.config.drain } else { now };
        if is_drained {
            self.board.leaves(&pool.name, &endpoint, true);
        }
        Some(Turn { endpoint, pid: status.pid, until, told: false })
    }

    /// The turn, as long as it lasts.
    fn go_on(&self, pool: &Pool, turn: Turn, snapshot: &Snapshot, at: usize) -> Option<Turn> {
        let status = self.handle.status(&pool.name, &turn.endpoint);
        let is_over =
            status.is_none_or(|status| status.pid != turn.pid || status.state == "elsewhere");
        if is_over {
            self.board.leaves(&pool.name, &turn.endpoint, false);
            return None;
        }
        let is_busy = || targets(snapshot, at, &pool.endpoints, &turn.endpoint).any(is_busy);
        if turn.told || (self.shared.clock.now() < turn.until && is_busy()) {
            return Some(turn);
        }
        let told = self.handle.renew(&pool.name, &turn.endpoint, CAUSE);
        Some(Turn { told: told.is_ok(), ..turn })
    }
}

fn is_busy(target: &Arc<Target>) -> bool {
    target.load.in_flight() > 0
}

fn targets<'s>(
    snapshot: &'s Snapshot,
    pool: usize,
    endpoints: &'s [mainstay_config::Endpoint],
    name: &'s str,
) -> impl Iterator<Item = &'s Arc<Target>> {
    let here = snapshot.watched.iter().filter(move |watched| watched.pool == pool);
    here.filter(move |watched| *endpoints[watched.endpoint].name == *name).map(|it| &it.target)
}

/// Whether requests come to an endpoint, for all of the models that it is there for.
fn takes_traffic(snapshot: &Snapshot, pool: usize, endpoint: usize) -> bool {
    let here = |it: &&crate::build::Watched| it.pool == pool && it.endpoint == endpoint;
    let mut targets = snapshot.watched.iter().filter(here);
    targets.all(|watched| watched.target.health.verdict().takes_traffic())
}
