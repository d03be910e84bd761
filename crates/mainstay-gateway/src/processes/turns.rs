//! Another `process` section: servers are started anew one at a time, each drained first.
//!
//! Whose turn it is is decided by `mainstay_control::process::rolling`. Where others of the pool
//! serve, the one whose turn it is gets no new requests. It is stopped when nothing is under way
//! there or the gateway's `drain` is over, and gets requests again when its successor is there. A
//! reload that takes the change back ends the turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::process::Handle;
use mainstay_config::Pool;
use mainstay_control::process::rolling::{self, Doing, Server};
use mainstay_policy::target::Target;
use mainstay_policy::{Moment, Verdict};

use super::replicas::is_replica;
use crate::observe::Board;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// Why a server is started anew.
const CAUSE: &str = "its process section is another one, and it is its turn";

/// An order that was not carried out within this time is given again.
const AGAIN: Duration = Duration::from_secs(5);

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
    /// When it was told to.
    told: Option<Moment>,
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
            // One that serves only some of its models serves.
            let here = || targets(snapshot, at, *endpoint);
            let is_used = here().any(takes_traffic) || here().any(is_busy);
            let is_unknown = here().any(|it| it.health.verdict() == Verdict::Unknown);
            let doing = match status.state {
                // What is known of the one before does not speak for its successor.
                "starting" if !status.outdated || is_unknown => Doing::Unsure,
                "running" | "starting" if is_used => Doing::Serves,
                "running" | "starting" => Doing::Idle,
                _ => Doing::Unsure,
            };
            Server { outdated: status.outdated, doing }
        };
        let servers: Vec<_> = supervised.iter().map(server).collect();
        let next = rolling::next(&servers)?;
        let (endpoint, status) = &supervised[next];
        let others = (0..pool.endpoints.len()).filter(|other| other != endpoint);
        let is_drained = servers[next].doing == Doing::Serves
            && others.into_iter().any(|other| targets(snapshot, at, other).any(takes_traffic));
        let endpoint = Arc::clone(&pool.endpoints[*endpoint].name);
        let until = self.shared.clock.now() + snapshot.config.drain;
        if is_drained {
            self.board.leaves(&pool.name, &endpoint, true);
        }
        Some(Turn { endpoint, pid: status.pid, until, told: None })
    }

    /// The turn, as long as it lasts.
    fn go_on(&self, pool: &Pool, turn: Turn, snapshot: &Snapshot, at: usize) -> Option<Turn> {
        let status = self.handle.status(&pool.name, &turn.endpoint);
        let status = status.filter(|status| {
            let is_meant = status.outdated || status.state == "stopping";
            status.pid == turn.pid && is_meant && status.state != "elsewhere"
        });
        let Some(status) = status else {
            self.board.leaves(&pool.name, &turn.endpoint, false);
            return None;
        };
        let now = self.shared.clock.now();
        let is_busy = || {
            let named = |at: &usize| pool.endpoints[*at].name == turn.endpoint;
            let endpoint = (0..pool.endpoints.len()).find(named);
            endpoint.is_some_and(|endpoint| targets(snapshot, at, endpoint).any(is_busy))
        };
        let is_under_way =
            status.state == "stopping" || turn.told.is_some_and(|told| now < told + AGAIN);
        if is_under_way || (turn.told.is_none() && now < turn.until && is_busy()) {
            return Some(turn);
        }
        let told = self.handle.renew(&pool.name, &turn.endpoint, CAUSE);
        Some(Turn { told: told.ok().map(|()| now), ..turn })
    }
}

fn is_busy(target: &Arc<Target>) -> bool {
    target.load.in_flight() > 0
}

fn takes_traffic(target: &Arc<Target>) -> bool {
    target.health.verdict().takes_traffic()
}

/// The targets of one endpoint of a pool, by their places in the configuration.
fn targets(
    snapshot: &Snapshot,
    pool: usize,
    endpoint: usize,
) -> impl Iterator<Item = &Arc<Target>> {
    let here = snapshot.watched.iter();
    let here = here.filter(move |it| it.pool == pool && it.endpoint == endpoint);
    here.map(|watched| &watched.target)
}
