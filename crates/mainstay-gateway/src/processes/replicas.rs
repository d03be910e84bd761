//! How many servers each pool has: the wanted number by load, and replicas started and let go.
//!
//! A replica is an endpoint like any other, with a process, laid over the configuration at run
//! time. One that is let go leaves the pool first, so that no new request comes to it; its process
//! is stopped when what it had under way is finished, or its time for that is over. The ports in
//! use are kept in the state directory: a gateway that comes back finds its replicas by them.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_cluster::process::{Handle, Subject};
use mainstay_config::{Config, Endpoint, Pool};
use mainstay_control::process::Replicas as Decision;
use mainstay_control::process::replicas::Settings;
use mainstay_policy::Moment;
use mainstay_policy::target::Target;
use mainstay_telemetry::{Event, EventKind};
use tokio::time::{MissedTickBehavior, interval};

use super::subjects;
use crate::reconfigure::Reconfigure;
use crate::shared::Shared;
use crate::snapshot::Source;

/// Between two looks at the load. Ten of them are one step of the decision.
const LOOK: Duration = Duration::from_millis(100);
/// Looks that a step averages over: the load of one moment says little.
const LOOKS: u32 = 10;
/// Who brings the endpoints.
const SOURCE: &str = "replicas";

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
    looks: u32,
}

/// One pool.
struct Scaled {
    decision: Decision,
    /// In flight and waiting, summed over the looks of this step.
    load: f64,
    /// Ports of the replicas that are in the pool, in the order of their starts.
    ports: Vec<u16>,
    leaving: Vec<Leaving>,
}

/// A replica that is let go.
struct Leaving {
    subject: Subject,
    until: Moment,
    targets: Vec<Arc<Target>>,
}

impl Replicas {
    pub(super) fn new(
        shared: Arc<Shared>,
        reconfigure: Reconfigure,
        handle: Handle,
        wanted: Arc<Wanted>,
    ) -> Self {
        Self { shared, reconfigure, handle, wanted, pools: BTreeMap::new(), looks: 0 }
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
                    self.tell_supervisor(&format!("configuration {}", config.version));
                }
            }
        }
    }

    /// Pools come and go with the configuration.
    fn follow(&mut self, config: &Config) {
        self.pools.retain(|name, _| config.pools.iter().any(|pool| pool.name == *name));
        for pool in &config.pools {
            let settings = settings(pool);
            let scaled = self.pools.entry(Arc::clone(&pool.name)).or_insert_with(|| Scaled {
                decision: Decision::new(settings),
                load: 0.0,
                ports: Vec::new(),
                leaving: Vec::new(),
            });
            scaled.decision.set(settings);
        }
    }

    fn tell_supervisor(&self, cause: &str) {
        let mut all = subjects(&self.shared.snapshot().config);
        let leaving = self.pools.values().flat_map(|scaled| &scaled.leaving);
        all.extend(leaving.map(|leaving| leaving.subject.clone()));
        if let Err(error) = self.handle.set(all, cause) {
            tracing::warn!(%error, cause, "the supervisor was not told");
        }
    }

    async fn look(&mut self) {
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
            }
        }
        self.let_go();
        self.publish();
    }

    /// Adds what is under way now, and what waits for room, to the load of each pool.
    fn measure(&mut self) {
        let snapshot = self.shared.snapshot();
        for target in self.shared.registry.all() {
            if let Some(scaled) = self.pools.get_mut(&target.key.pool) {
                scaled.load += f64::from(target.load.in_flight());
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

    /// As many replicas as are wanted.
    async fn fit(&mut self, pool: &Pool, cause: &str) {
        let Some(scaled) = self.pools.get_mut(&pool.name) else { return };
        let wanted = usize::try_from(scaled.decision.wanted()).unwrap_or(usize::MAX);
        let before = scaled.ports.clone();
        while scaled.ports.len() > wanted {
            let Some(port) = scaled.ports.pop() else { break };
            let leaving = leaving(&self.shared, pool, port);
            scaled.leaving.extend(leaving);
        }
        let missing = wanted.saturating_sub(scaled.ports.len());
        if missing > 0 {
            let taken = self.taken();
            let free = free(&self.shared.snapshot().config, &taken, missing);
            if let Some(scaled) = self.pools.get_mut(&pool.name) {
                scaled.ports.extend(free);
            }
        }
        let ports = self.pools.get(&pool.name).map(|it| it.ports.clone()).unwrap_or_default();
        if ports != before || self.is_unlaid(pool, &ports) {
            self.lay(pool, &ports, cause).await;
        }
    }

    /// Whether the pool lacks replicas that it is to have.
    fn is_unlaid(&self, pool: &Pool, ports: &[u16]) -> bool {
        let snapshot = self.shared.snapshot();
        let known = snapshot.config.pools.iter().find(|known| known.name == pool.name);
        let has = |port: &u16| {
            known.is_some_and(|pool| pool.endpoints.iter().any(|it| *it.name == *name(*port)))
        };
        !ports.iter().all(has)
    }

    async fn lay(&self, pool: &Pool, ports: &[u16], cause: &str) {
        let endpoints = ports.iter().filter_map(|port| endpoint(pool, *port)).collect();
        let laid = self.reconfigure.set_endpoints(&pool.name, SOURCE, endpoints, cause).await;
        if let Err(error) = laid {
            tracing::error!(%error, pool = %pool.name, "replicas cannot join their pool");
        }
        self.keep();
    }

    /// Ports of all pools, those of replicas that are leaving among them.
    fn taken(&self) -> HashSet<u16> {
        let pools = self.pools.values();
        pools
            .flat_map(|scaled| {
                let leaving = scaled.leaving.iter().filter_map(|it| port_of(&it.subject.endpoint));
                scaled.ports.iter().copied().chain(leaving)
            })
            .collect()
    }

    /// Stops replicas that have nothing under way any more.
    fn let_go(&mut self) {
        let now = self.shared.clock.now();
        let mut gone = false;
        for scaled in self.pools.values_mut() {
            scaled.leaving.retain(|it| {
                let busy = it.targets.iter().any(|target| target.load.in_flight() > 0);
                let stays = busy && now < it.until;
                gone |= !stays;
                stays
            });
        }
        if gone {
            self.tell_supervisor("not needed any more, and drained");
        }
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

fn port_of(name: &str) -> Option<u16> {
    name.strip_prefix("replica-")?.parse().ok()
}

fn endpoint(pool: &Pool, port: u16) -> Option<Endpoint> {
    let url = format!("http://127.0.0.1:{port}").parse().ok()?;
    let mut endpoint = Endpoint::named(name(port), url);
    endpoint.process = Some(pool.process.as_ref()?.at_port(port));
    Some(endpoint)
}

/// A replica on its way out, with what it has under way.
fn leaving(shared: &Shared, pool: &Pool, port: u16) -> Option<Leaving> {
    let drain = pool.replicas.as_ref()?.drain;
    let snapshot = shared.snapshot();
    let mut all = subjects(&snapshot.config).into_iter();
    let subject = all.find(|it| *it.pool == *pool.name && *it.endpoint == *name(port))?;
    let mut targets = shared.registry.all();
    targets.retain(|it| it.key.pool == pool.name && *it.key.endpoint == *name(port));
    Some(Leaving { subject, until: shared.clock.now() + drain, targets })
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
