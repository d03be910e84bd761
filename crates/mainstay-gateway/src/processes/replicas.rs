//! How many servers each pool has: the wanted number by load, and replicas started and let go.
//!
//! A replica is an endpoint like any other, with a process, laid over the configuration at run
//! time. One that is let go leaves the pool first, so that no new request comes to it; its process
//! is stopped when what it had under way is finished, or its time for that is over
//! ([`Departures`]). Where the template is another one, a replica that was made from it is ready
//! before one of the others goes. The ports in use are kept in the state directory: a gateway that
//! comes back finds its replicas by them.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_cluster::process::{Command, Handle};
use mainstay_config::{Config, Endpoint, Pool};
use mainstay_control::process::Replicas as Decision;
use mainstay_control::process::replicas::Settings;
use mainstay_control::process::rolling::{self, Fit, Replica};
use mainstay_telemetry::{Event, EventKind};
use tokio::time::{MissedTickBehavior, interval};

use super::departures::Departures;
use super::turns::Turns;
use crate::observe::Board;
use crate::reconfigure::{REPLICAS, Reconfigure};
use crate::shared::Shared;
use crate::snapshot::Source;

/// Between two looks at the load. Ten of them are one step of the decision.
const LOOK: Duration = Duration::from_millis(100);
/// Looks that a step averages over: the load of one moment says little.
const LOOKS: u32 = 10;

/// The wanted number of servers of every pool.
#[derive(Debug, Default)]
pub(crate) struct Wanted(Mutex<BTreeMap<Arc<str>, u32>>);

impl Wanted {
    pub(super) fn of(&self, pool: &str) -> Option<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pool).copied()
    }

    fn set(&self, all: BTreeMap<Arc<str>, u32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// The replicas of all pools.
pub(super) struct Replicas {
    shared: Arc<Shared>,
    reconfigure: Reconfigure,
    handle: Handle,
    wanted: Arc<Wanted>,
    pools: BTreeMap<Arc<str>, Scaled>,
    departures: Departures,
    turns: Turns,
    looks: u32,
}

/// One pool.
struct Scaled {
    decision: Decision,
    /// In flight and waiting, summed over the looks of this step.
    load: f64,
    /// Ports of the replicas that are in the pool, in the order of their starts.
    ports: Vec<u16>,
}

impl Replicas {
    pub(super) fn new(
        (shared, board): (Arc<Shared>, Arc<Board>),
        reconfigure: Reconfigure,
        handle: Handle,
        wanted: Arc<Wanted>,
    ) -> Self {
        let turns = Turns::new(Arc::clone(&shared), board, handle.clone());
        let (pools, departures) = (BTreeMap::new(), Departures::default());
        Self { shared, reconfigure, handle, wanted, pools, departures, turns, looks: 0 }
    }

    /// Takes up the replicas of an earlier gateway, and starts the least of the others.
    pub(super) async fn restore(&mut self) {
        let snapshot = self.shared.snapshot();
        let kept = kept(&snapshot.config);
        self.follow(&snapshot.config);
        for pool in &snapshot.config.pools {
            let Some(scaled) = self.pools.get_mut(&pool.name) else { continue };
            if pool.replicas.is_some() {
                scaled.ports = kept.get(&*pool.name).cloned().unwrap_or_default();
                scaled.decision.found(u32::try_from(scaled.ports.len()).unwrap_or(u32::MAX));
                self.fit(pool, "from the start").await;
            }
        }
        self.tell_supervisor("the start");
        self.publish();
    }

    pub(super) async fn run(mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = self.reconfigure.changes();
        loop {
            tokio::select! {
                _ = looks.tick() => self.look().await,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let config = Arc::clone(&self.shared.snapshot().config);
                    self.follow(&config);
                    if self.handle.command() == Command::Ours {
                        self.tell_supervisor(&format!("configuration {}", config.version));
                    }
                }
            }
        }
    }

    /// Pools come and go with the configuration.
    fn follow(&mut self, config: &Config) {
        let names: HashSet<_> = config.pools.iter().map(|pool| &pool.name).collect();
        self.pools.retain(|name, _| names.contains(name));
        for pool in &config.pools {
            let settings = settings(pool);
            let scaled = self.pools.entry(Arc::clone(&pool.name)).or_insert_with(|| Scaled {
                decision: Decision::new(settings),
                load: 0.0,
                ports: Vec::new(),
            });
            scaled.decision.set(settings);
        }
    }

    fn tell_supervisor(&mut self, cause: &str) {
        let all = self.departures.follow(&self.shared.snapshot(), self.shared.clock.now());
        if let Err(error) = self.handle.set(all, cause) {
            tracing::warn!(%error, cause, "the supervisor was not told");
        }
    }

    async fn look(&mut self) {
        match self.handle.command() {
            Command::Ours => {}
            // Who has taken over starts and stops replicas, and keeps their ports.
            Command::Others => return,
            Command::Vacant => return self.restore().await,
        }
        self.turns.look();
        self.measure();
        self.looks += 1;
        if self.looks < LOOKS {
            return;
        }
        self.looks = 0;
        let config = Arc::clone(&self.shared.snapshot().config);
        for pool in &config.pools {
            let cause = self.decide(pool);
            if pool.replicas.is_some() {
                self.fit(pool, cause.as_deref().unwrap_or("as many as are wanted")).await;
            } else if let Some(scaled) = self.pools.get_mut(&pool.name)
                && !std::mem::take(&mut scaled.ports).is_empty()
            {
                self.lay(pool, &[], "the configuration has no replicas here any more").await;
            }
        }
        if self.departures.let_go(self.shared.clock.now()) {
            self.tell_supervisor("not needed any more, and drained");
        }
        self.publish();
    }

    /// Adds what is under way now, and what waits for room, to the load of each pool.
    fn measure(&mut self) {
        let snapshot = self.shared.snapshot();
        // Summed by the pools' places first: there may be ten thousand targets, ten times a second.
        let mut in_flight = vec![0_u64; snapshot.config.pools.len()];
        for watched in &snapshot.watched {
            in_flight[watched.pool] += u64::from(watched.target.load.in_flight());
        }
        for (pool, in_flight) in snapshot.config.pools.iter().zip(in_flight) {
            if let Some(scaled) = self.pools.get_mut(&pool.name) {
                scaled.load += in_flight as f64;
            }
        }
        for route in &snapshot.routes {
            // Those that wait are counted at the first step, for which they wait.
            let Some(Source::Pool(pool)) = route.steps.first().map(|step| &step.source) else {
                continue;
            };
            if let Some(scaled) = self.pools.get_mut(&pool.name) {
                scaled.load += f64::from(route.gate.waiting());
            }
        }
    }

    /// One step of the decision; the cause where it changed.
    fn decide(&mut self, pool: &Pool) -> Option<String> {
        let now = self.shared.clock.now();
        let scaled = self.pools.get_mut(&pool.name)?;
        let load = std::mem::take(&mut scaled.load) / f64::from(LOOKS);
        let change = scaled.decision.step(load, now)?;
        // Where Mainstay starts nothing the number is for others, as a metric.
        if pool.replicas.is_some() {
            self.shared.telemetry.event(Event {
                kind: EventKind::Process,
                subject: format!("{}/replicas", pool.name),
                from: change.from.to_string(),
                to: change.to.to_string(),
                cause: change.cause.clone(),
            });
        }
        Some(change.cause)
    }

    /// As many replicas as are wanted, of the template that holds.
    async fn fit(&mut self, pool: &Pool, cause: &str) {
        let Some(scaled) = self.pools.get(&pool.name) else { return };
        let wanted = usize::try_from(scaled.decision.wanted()).unwrap_or(usize::MAX);
        let before = scaled.ports.clone();
        let all: Vec<_> = before.iter().map(|port| self.replica(&pool.name, *port)).collect();
        let is_outdated = all.iter().any(|replica| replica.outdated);
        let Fit { add, remove } = rolling::fit(&all, wanted);
        let stays = |at: &usize| !remove.contains(at);
        let mut ports: Vec<_> = (0..before.len()).filter(stays).map(|at| before[at]).collect();
        if add > 0 {
            ports.extend(free(&self.shared.snapshot().config, &self.taken(), add));
        }
        if let Some(scaled) = self.pools.get_mut(&pool.name) {
            scaled.ports.clone_from(&ports);
        }
        if ports != before || self.is_unlaid(pool, &ports) {
            let cause = if is_outdated { "another template" } else { cause };
            self.lay(pool, &ports, cause).await;
        }
    }

    fn replica(&self, pool: &str, port: u16) -> Replica {
        let status = self.handle.status(pool, &name(port));
        Replica {
            outdated: status.as_ref().is_some_and(|status| status.outdated),
            ready: status.is_some_and(|status| status.state == "running"),
        }
    }

    /// Whether the pool lacks replicas that it is to have, or has them from another template.
    fn is_unlaid(&self, pool: &Pool, ports: &[u16]) -> bool {
        let snapshot = self.shared.snapshot();
        let known = snapshot.config.pools.iter().find(|known| known.name == pool.name);
        let has = |port: &u16| {
            let wanted = endpoint(pool, *port);
            let mut all = known.iter().flat_map(|pool| &pool.endpoints);
            let is_it = |it: &Endpoint, wanted: &Endpoint| {
                (&it.name, &it.process) == (&wanted.name, &wanted.process)
            };
            wanted.is_none_or(|wanted| all.any(|it| is_it(it, &wanted)))
        };
        !ports.iter().all(has)
    }

    async fn lay(&self, pool: &Pool, ports: &[u16], cause: &str) {
        let endpoints = ports.iter().filter_map(|port| endpoint(pool, *port)).collect();
        let laid = self.reconfigure.set_endpoints(&pool.name, REPLICAS, endpoints, cause).await;
        if let Err(error) = laid {
            tracing::error!(%error, pool = %pool.name, "replicas cannot join their pool");
        }
        self.keep();
    }

    /// Ports of all pools, those of replicas that are leaving among them.
    fn taken(&self) -> HashSet<u16> {
        let ports = self.pools.values().flat_map(|scaled| scaled.ports.iter().copied());
        ports.chain(self.departures.endpoints().filter_map(port_of)).collect()
    }

    fn publish(&self) {
        let wanted =
            |(name, scaled): (&Arc<str>, &Scaled)| (Arc::clone(name), scaled.decision.wanted());
        self.wanted.set(self.pools.iter().map(wanted).collect());
    }

    fn keep(&self) {
        let ports: BTreeMap<&str, &[u16]> =
            self.pools.iter().map(|(name, scaled)| (&**name, &*scaled.ports)).collect();
        let path = file(&self.shared.snapshot().config);
        let written = serde_json::to_vec(&ports)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&path, text));
        if let Err(error) = written {
            tracing::warn!(%error, path = %path.display(), "a gateway after this one will not find the replicas");
        }
    }
}

fn settings(pool: &Pool) -> Settings {
    pool.replicas.as_ref().map_or_else(Settings::default, |replicas| replicas.settings)
}

fn file(config: &Config) -> PathBuf {
    config.state_dir.join("replicas.json")
}

/// What an earlier gateway kept; ports outside of the range are not taken up.
fn kept(config: &Config) -> BTreeMap<String, Vec<u16>> {
    let text = std::fs::read(file(config)).unwrap_or_default();
    let mut kept: BTreeMap<String, Vec<u16>> = serde_json::from_slice(&text).unwrap_or_default();
    for ports in kept.values_mut() {
        ports.retain(|port| config.supervision.ports.contains(port));
    }
    kept
}

fn name(port: u16) -> String {
    format!("replica-{port}")
}

/// Whether an endpoint of this name is a replica, wherever its pool has some.
pub(super) fn is_replica(pool: &Pool, endpoint: &str) -> bool {
    pool.replicas.is_some() && port_of(endpoint).is_some()
}

fn port_of(name: &str) -> Option<u16> {
    name.strip_prefix("replica-")?.parse().ok()
}

fn endpoint(pool: &Pool, port: u16) -> Option<Endpoint> {
    let url = format!("http://127.0.0.1:{port}").parse().ok()?;
    let mut endpoint = Endpoint::named(name(port), url);
    endpoint.process = Some(pool.process.as_ref()?.at_port(port));
    Some(endpoint)
}

/// Ports of the range that nobody has, at most so many.
fn free(config: &Config, taken: &HashSet<u16>, most: usize) -> Vec<u16> {
    let written: HashSet<u16> =
        config.pools.iter().flat_map(|pool| &pool.endpoints).map(|end| end.url.port).collect();
    let is_free = |port: &u16| {
        let known = taken.contains(port) || written.contains(port);
        !known && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
    };
    let found: Vec<_> = config.supervision.ports.clone().filter(is_free).take(most).collect();
    if found.len() < most {
        tracing::error!(missing = most - found.len(), "no free port is left for replicas");
    }
    found
}
