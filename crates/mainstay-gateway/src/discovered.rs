//! Endpoints that sources name, on their way into the snapshot and into the status.
//!
//! Discovery decides at once, a snapshot takes a moment to build: what a pool is to have waits here,
//! the latest for each pool, so that ten answers in a row cost one snapshot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_admin::Beat;
use mainstay_admin::status::SourceStatus;
use mainstay_config::{Config, Endpoint};
use mainstay_discovery::{self as discovery, Discovery, Pools, SourceReport, Unregistered};
use mainstay_policy::Verdict;
use tokio::sync::Notify;

use crate::observe::Board;
use crate::reconfigure::Reconfigure;
use crate::shared::Shared;

/// Who sets the endpoints, beside others that do.
const SOURCE: &str = "discovery";
/// How long the gateway waits before it listens for sources that were never asked: a lookup takes
/// milliseconds, and a resolver that is down must not keep other pools from being served.
const FIRST: Duration = Duration::from_secs(3);

/// What pools are to have, until it is in effect.
#[derive(Debug)]
struct Discovered {
    shared: Arc<Shared>,
    board: Arc<Board>,
    waiting: Mutex<BTreeMap<String, (Vec<Endpoint>, String)>>,
    wake: Notify,
}

impl Discovered {
    /// Puts what waits into effect.
    async fn lay(&self, reconfigure: &Reconfigure) {
        while let Some((pool, (endpoints, cause))) = self.next() {
            if let Err(error) = reconfigure.set_endpoints(&pool, SOURCE, endpoints, &cause).await {
                tracing::warn!(%error, pool, "discovered endpoints are not in effect");
            }
        }
    }

    /// Puts what comes into effect for as long as it is polled.
    async fn run(&self, reconfigure: Reconfigure) {
        loop {
            self.lay(&reconfigure).await;
            self.wake.notified().await;
        }
    }

    fn next(&self) -> Option<(String, (Vec<Endpoint>, String))> {
        self.waiting().pop_first()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, (Vec<Endpoint>, String)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pools for Discovered {
    fn set(&self, pool: &str, endpoints: Vec<Endpoint>, cause: &str) {
        self.waiting().insert(pool.to_owned(), (endpoints, cause.to_owned()));
        self.wake.notify_one();
    }

    fn drain(&self, pool: &str, endpoint: &str, drained: bool) {
        self.board.leaves(pool, endpoint, drained);
    }

    fn answers(&self, pool: &str, endpoint: &str) -> bool {
        let all = self.shared.registry.all();
        let mut here = all
            .iter()
            .filter(|target| *target.key.pool == *pool && *target.key.endpoint == *endpoint)
            .peekable();
        here.peek().is_none() || here.any(|target| target.health.verdict() != Verdict::Dead)
    }
}

/// The sources of endpoints, joined to the gateway.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) discovery: Arc<Discovery>,
    discovered: Arc<Discovered>,
}

impl Sources {
    pub(crate) fn new(shared: &Arc<Shared>, board: Arc<Board>, seed: u64) -> Self {
        let discovered = Arc::new(Discovered {
            shared: Arc::clone(shared),
            board,
            waiting: Mutex::default(),
            wake: Notify::new(),
        });
        let state_dir = shared.snapshot().config.state_dir.clone();
        let options = discovery::Options { state_dir, clock: shared.clock, seed };
        let pools = Arc::clone(&discovered) as Arc<dyn Pools>;
        let discovery = Discovery::new(options, pools, Arc::clone(&shared.telemetry));
        Self { discovery, discovered }
    }

    /// Asks every source once and puts into effect what they say, before anybody is served.
    pub(crate) async fn begin(&self, config: &Config, reconfigure: &Reconfigure) {
        self.discovery.configure(config);
        self.discovery.asked_once(FIRST).await;
        self.discovered.lay(reconfigure).await;
    }

    /// Follows sources and configurations for as long as it is polled.
    pub(crate) async fn run(self, reconfigure: Reconfigure) {
        tokio::join!(
            Arc::clone(&self.discovery).run(),
            self.discovered.run(reconfigure.clone()),
            follow(&self.discovery, reconfigure),
        );
    }
}

/// Gives discovery every other configuration that is read while the gateway runs.
async fn follow(discovery: &Arc<Discovery>, reconfigure: Reconfigure) {
    let mut changes = reconfigure.changes();
    let mut file = reconfigure.file().await;
    while changes.changed().await.is_ok() {
        let now = reconfigure.file().await;
        if !Arc::ptr_eq(&file, &now) {
            discovery.configure(&now);
            file = now;
        }
    }
}

/// An endpoint registers itself by this beat, where its pool lets it.
pub(crate) fn register(
    discovery: &Discovery,
    beat: &Beat,
    lifetime: Duration,
) -> Result<(), Unregistered> {
    let who = &beat.registration;
    discovery.beat(&discovery::Beat {
        pool: beat.pool.clone(),
        name: beat.endpoint.clone(),
        url: who.url.clone(),
        weight: who.weight,
        region: who.region.clone(),
        zone: who.zone.clone(),
        lifetime,
    })
}

/// A source as the status shows it.
pub(crate) fn source_status(report: &SourceReport) -> SourceStatus {
    SourceStatus {
        name: report.name.clone(),
        endpoints: report.endpoints.len(),
        leaving: report.leaving.len(),
        restored: report.restored,
        since_success_seconds: report.since_success.map(|age| age.as_secs_f64()),
        trouble: report.trouble.clone(),
        succeeded: report.succeeded,
        failed: report.failed,
    }
}

/// The source that named an endpoint; empty for one of the configuration.
pub(crate) fn source_of(reports: &[SourceReport], endpoint: &str) -> String {
    let names = |report: &&SourceReport| {
        report.endpoints.iter().chain(&report.leaving).any(|name| **name == *endpoint)
    };
    reports.iter().find(names).map(|report| report.name.clone()).unwrap_or_default()
}
