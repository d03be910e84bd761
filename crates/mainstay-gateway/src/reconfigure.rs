//! What changes while the gateway runs: another configuration, and endpoints that come and go.
//!
//! All or nothing: whatever can fail (embedded models that do not load, keys that are fixed) is
//! done first and changes nothing; then a snapshot is built that takes over all that stays the
//! same, and takes the place of the old one in one step. Requests in flight finish on the snapshot
//! that they began with.
//!
//! One change follows the other. Endpoints that come at run time lie over those of the file, and
//! stay there when another file is read; where both have one of the same name, the file's counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_config::{Config, Difference, Endpoint};
use mainstay_telemetry::{Event, EventKind};
use tokio::sync::watch;

use crate::build::{self, Ground};
use crate::embedded::models::{self, Loaded};
use crate::error::Error;
use crate::groups::Groups;
use crate::observe::Prober;
use crate::outliers::Outliers;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// The source of endpoints that are started on this host. They speak as their URLs say, whatever
/// holds for the pool's other servers.
pub(crate) const REPLICAS: &str = "replicas";

/// The hand on everything that changes while the gateway runs. All hands change the same gateway.
#[derive(Clone)]
pub struct Reconfigure(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    outliers: Arc<Outliers>,
    groups: Arc<Groups>,
    state: tokio::sync::Mutex<State>,
    overlay: Mutex<Overlay>,
}

struct State {
    /// As it was read, without the overlay.
    file: Arc<Config>,
    prober: Prober,
    /// The number of the overlay that is in effect.
    laid: u64,
}

/// Endpoints that came at run time.
#[derive(Default)]
struct Overlay {
    /// By pool and by who brought them.
    sets: BTreeMap<(Arc<str>, Arc<str>), Vec<Endpoint>>,
    /// Counts the changes.
    number: u64,
}

impl Reconfigure {
    /// The first snapshot is in effect; now it is watched. Needs a runtime.
    pub(crate) fn new(
        shared: Arc<Shared>,
        mut prober: Prober,
        (outliers, groups): (Arc<Outliers>, Arc<Groups>),
    ) -> Self {
        let snapshot = shared.snapshot();
        prober.watch(&snapshot.config, &snapshot.watched);
        outliers.watch(&snapshot.config, &snapshot.watched);
        groups.set(&snapshot.config, &snapshot.watched);
        let state = State { file: Arc::clone(&snapshot.config), prober, laid: 0 };
        let (state, overlay) = (tokio::sync::Mutex::new(state), Mutex::default());
        Self(Arc::new(Inner { shared, outliers, groups, state, overlay }))
    }

    /// The configuration that holds, with the endpoints that came at run time.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.shared.snapshot().config)
    }

    /// The same as it was read.
    pub(crate) fn file(&self) -> impl Future<Output = Arc<Config>> + Send + use<> {
        let own = self.clone();
        async move { Arc::clone(&own.0.state.lock().await.file) }
    }

    /// What another configuration would change. Changes nothing.
    pub async fn compare(&self, config: &Config) -> Difference {
        Difference::between(&self.0.state.lock().await.file, config)
    }

    /// Makes another configuration the one that holds, as a whole; `cause` says who asked for it.
    ///
    /// # Errors
    /// Nothing has changed: a key differs that is fixed while the gateway runs, or an embedded
    /// model does not load.
    pub async fn apply(&self, config: Config, cause: &str) -> Result<Difference, Error> {
        let (own, cause) = (self.clone(), cause.to_owned());
        // To its end, though whoever asked for it goes away meanwhile.
        let applying = tokio::spawn(async move { own.apply_whole(config, &cause).await });
        applying.await.map_err(|panic| Error::Worker(panic.into()))?
    }

    async fn apply_whole(&self, config: Config, cause: &str) -> Result<Difference, Error> {
        let mut state = self.0.state.lock().await;
        let difference = Difference::between(&state.file, &config);
        let applied = self.install(&mut state, Arc::new(config), &difference).await;
        match &applied {
            Ok(()) => self.tell("in effect", &format!("{cause}: {}", brief(&difference))),
            Err(error) => self.refused(cause, &crate::error::told(error)),
        }
        applied.map(|()| difference)
    }

    /// Tells that a configuration was refused, and why. Everything goes on as before.
    pub fn refused(&self, cause: &str, why: &str) {
        tracing::error!(cause, "the configuration is refused: {why}");
        self.tell("refused", &format!("{cause}: {why}"));
    }

    /// Tells what becomes of this process.
    pub(crate) fn tell_process(&self, to: &str, cause: &str) {
        self.0.shared.telemetry.event(Event {
            kind: EventKind::Gateway,
            subject: "gateway".to_owned(),
            from: "serving".to_owned(),
            to: to.to_owned(),
            cause: cause.to_owned(),
        });
    }

    fn tell(&self, to: &str, cause: &str) {
        self.0.shared.telemetry.event(Event {
            kind: EventKind::Gateway,
            subject: "configuration".to_owned(),
            from: self.0.shared.snapshot().config.version.clone(),
            to: to.to_owned(),
            cause: cause.to_owned(),
        });
    }

    async fn install(
        &self,
        state: &mut State,
        file: Arc<Config>,
        difference: &Difference,
    ) -> Result<(), Error> {
        if !difference.restart.is_empty() {
            return Err(Error::Fixed { keys: difference.restart.clone() });
        }
        self.swap(state, &file).await?;
        // What was known of a pool that is gone must not come back with one of the same name.
        let here = |pool: &Arc<str>| file.pools.iter().any(|known| known.name == *pool);
        self.overlay().sets.retain(|(pool, _), _| here(pool));
        state.file = file;
        Ok(())
    }

    /// These are the endpoints of `pool` that `source` knows of from now on, beside those of the
    /// file and of other sources; what it said before no longer holds. In effect when this
    /// returns.
    ///
    /// # Errors
    /// Nothing has changed: there is no such pool.
    pub async fn set_endpoints(
        &self,
        pool: &str,
        source: &str,
        endpoints: Vec<Endpoint>,
        cause: &str,
    ) -> Result<(), Error> {
        if !self.0.shared.snapshot().config.pools.iter().any(|known| *known.name == *pool) {
            return Err(Error::NoPool { pool: pool.to_owned() });
        }
        let Some(number) = self.lay(pool, source, endpoints, cause) else { return Ok(()) };
        let mut state = self.0.state.lock().await;
        // Whoever had the turn before may have brought this one along.
        if state.laid >= number {
            return Ok(());
        }
        let file = Arc::clone(&state.file);
        self.swap(&mut state, &file).await
    }

    /// Notes what a source knows; the number of the overlay, or `None` where it is nothing new.
    fn lay(&self, pool: &str, source: &str, endpoints: Vec<Endpoint>, cause: &str) -> Option<u64> {
        let mut overlay = self.overlay();
        let key = (Arc::from(pool), Arc::from(source));
        let before = overlay.sets.get(&key).map_or(&[][..], |known| known);
        if before == endpoints {
            return None;
        }
        let names = |of: &[Endpoint]| of.iter().map(|it| Arc::clone(&it.name)).collect();
        let (old, new): (HashSet<_>, HashSet<_>) = (names(before), names(&endpoints));
        let word = |known: bool| if known { "known" } else { "unknown" }.to_owned();
        for (name, is_known) in new
            .difference(&old)
            .map(|name| (name, true))
            .chain(old.difference(&new).map(|name| (name, false)))
        {
            self.0.shared.telemetry.event(Event {
                kind: EventKind::Gateway,
                subject: format!("{pool}/{name}"),
                from: word(!is_known),
                to: word(is_known),
                cause: format!("{source}: {cause}"),
            });
        }
        if endpoints.is_empty() {
            overlay.sets.remove(&key);
        } else {
            overlay.sets.insert(key, endpoints);
        }
        overlay.number += 1;
        Some(overlay.number)
    }

    /// Puts a snapshot of this file, and of the endpoints laid over it, into effect.
    async fn swap(&self, state: &mut State, file: &Arc<Config>) -> Result<(), Error> {
        let (config, number) = {
            let overlay = self.overlay();
            (overlay.over(file), overlay.number)
        };
        let shared = &self.0.shared;
        let before = shared.snapshot();
        let embedded = load(&config, &before.embedded).await?;
        // Apart from the loop that probes and judges: thousands of endpoints take their time.
        let (own, known) = (Arc::clone(shared), Arc::clone(&before));
        let building = tokio::task::spawn_blocking(move || {
            let ground = Ground {
                registry: &own.registry,
                slots: &own.slots,
                telemetry: Some(&own.telemetry),
                before: Some(&known),
                clock: own.clock,
            };
            let (snapshot, telemetry) = build::build(config, embedded, &ground);
            // All that the new snapshot's requests will find is there before they can come.
            telemetry.show(build::shown(&snapshot));
            snapshot
        });
        let snapshot = building.await.map_err(|panic| Error::Worker(panic.into()))?;
        self.tell_moved(&before, &snapshot);
        let known: HashSet<_> = snapshot.watched.iter().map(|it| it.target.id).collect();
        state.prober.watch(&snapshot.config, &snapshot.watched);
        self.0.outliers.watch(&snapshot.config, &snapshot.watched);
        self.0.groups.set(&snapshot.config, &snapshot.watched);
        shared.registry.retain(|target| known.contains(&target.id));
        shared.swap(snapshot);
        state.laid = number;
        Ok(())
    }

    /// Tells which endpoints have another address: other servers, of which nothing is known.
    fn tell_moved(&self, before: &Snapshot, after: &Snapshot) {
        let known: HashMap<_, _> = before.upstreams.iter().map(|it| (&it.label, it)).collect();
        for upstream in &after.upstreams {
            let Some(old) = known.get(&upstream.label) else { continue };
            if !old.is_where(upstream) {
                self.0.shared.telemetry.event(Event {
                    kind: EventKind::Gateway,
                    subject: upstream.label.to_string(),
                    from: old.url(),
                    to: upstream.url(),
                    cause: "another address is another server: it begins anew".to_owned(),
                });
            }
        }
    }

    /// Tells of each swap, with the number of the snapshot that is in effect.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.shared.swaps()
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.0.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Overlay {
    /// A configuration with the endpoints laid over it.
    fn over(&self, file: &Arc<Config>) -> Arc<Config> {
        if self.sets.is_empty() {
            return Arc::clone(file);
        }
        let mut config = Config::clone(file);
        for pool in &mut config.pools {
            let mut names: HashSet<_> =
                pool.endpoints.iter().map(|endpoint| Arc::clone(&endpoint.name)).collect();
            let from = (Arc::clone(&pool.name), Arc::from(""));
            let sets = self.sets.range(from..).take_while(|((name, _), _)| *name == pool.name);
            for ((_, source), endpoints) in sets {
                for endpoint in endpoints {
                    if names.insert(Arc::clone(&endpoint.name)) {
                        let mut endpoint = endpoint.clone();
                        if **source != *REPLICAS {
                            endpoint.url.tls = pool.tls.clone().or(endpoint.url.tls);
                        }
                        pool.endpoints.push(endpoint);
                    }
                }
            }
        }
        Arc::new(config)
    }
}

/// The embedded models of a configuration, those that are known taken over.
async fn load(
    config: &Arc<Config>,
    known: &[Arc<crate::embedded::Embedded>],
) -> Result<Loaded, Error> {
    let mut loaded = if models::are_known(config, known) {
        models::load(config, known)
    } else {
        // Loading takes as long as it takes; probes and the admin listener go on meanwhile.
        let (config, known) = (Arc::clone(config), known.to_vec());
        let loading = tokio::task::spawn_blocking(move || models::load(&config, &known));
        loading.await.map_err(|panic| Error::Worker(panic.into()))?
    };
    loaded.refuse_failed()?;
    models::refuse_empty(config, &loaded)?;
    Ok(loaded)
}

/// A difference in one line.
fn brief(difference: &Difference) -> String {
    let lines: Vec<_> = difference.to_string().lines().take(8).map(str::to_owned).collect();
    lines.join(", ")
}
