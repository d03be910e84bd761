//! All sources of all pools, while the gateway runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_config::{Config, Discover, Endpoint, Origin};
use mainstay_policy::Moment;
use mainstay_policy::discovery::{Became, Change, Said};
use mainstay_telemetry::{Clock, Event, EventKind, Telemetry};
use tokio::sync::Notify;

use crate::file::{self, File};
use crate::names;
use crate::pool::{Pool, Pools, SourceReport};
use crate::source::{Beat, Source, Unregistered, refusal};
use crate::state::{Known, Store};

/// Between two looks at who is to be let go or removed.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// A file system that takes longer is told of.
const FILE_PATIENCE: Duration = Duration::from_secs(5);
/// Changes that one cause names; more are counted.
const NAMED: usize = 3;

/// What discovery needs to know beside the configuration.
#[derive(Debug)]
pub struct Options {
    /// Where what was last known is kept.
    pub state_dir: PathBuf,
    /// The clock of the process.
    pub clock: Clock,
    /// For the jitter of looks.
    pub seed: u64,
}

/// The sources of all pools.
#[derive(Debug)]
pub struct Discovery {
    clock: Clock,
    store: Store,
    pools: Arc<dyn Pools>,
    telemetry: Arc<Telemetry>,
    state: Mutex<State>,
    /// Told after each look.
    looked: Notify,
}

#[derive(Debug)]
struct State {
    pools: Vec<Pool>,
    /// What is in the file, or will be.
    known: Known,
    unsaved: bool,
    rng: fastrand::Rng,
}

impl Discovery {
    /// Without any source yet.
    #[must_use]
    pub fn new(options: Options, pools: Arc<dyn Pools>, telemetry: Arc<Telemetry>) -> Arc<Self> {
        let Options { state_dir, clock, seed } = options;
        let store = Store::new(&state_dir);
        let state = State {
            pools: Vec::new(),
            known: store.load(),
            unsaved: false,
            rng: fastrand::Rng::with_seed(seed),
        };
        Arc::new(Self {
            clock,
            store,
            pools,
            telemetry,
            state: Mutex::new(state),
            looked: Notify::new(),
        })
    }

    /// Takes the sources of a configuration. One that was there before goes on as it stands; a new
    /// one begins with what was last known of it, and is asked at once. Must be called on a
    /// runtime.
    pub fn configure(self: &Arc<Self>, config: &Config) {
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut before = std::mem::take(&mut state.pools);
        for (at, declared) in config.pools.iter().enumerate() {
            let old = before.iter_mut().find(|pool| pool.name == declared.name);
            if declared.discover.is_empty() && old.is_none() {
                continue;
            }
            let mut pool = Pool::new(config, at);
            let mut old_sources = Vec::new();
            if let Some(old) = old {
                pool.set = std::mem::take(&mut old.set);
                old_sources = std::mem::take(&mut old.sources);
            }
            for discover in &declared.discover {
                let same = old_sources.iter().position(|source| source.discover == *discover);
                pool.sources.push(match same {
                    Some(same) => old_sources.swap_remove(same),
                    None => {
                        state.unsaved |= self.sift(&pool.name, discover, &mut state.known);
                        self.begin(&pool.name, discover, &state.known, now)
                    }
                });
            }
            if !pool.sources.is_empty() {
                state.pools.push(pool);
            } else if !pool.set.is_empty() {
                self.pools.set(&pool.name, Vec::new(), "it has no sources of endpoints any more");
            }
        }
        for at in 0..state.pools.len() {
            self.apply(state, at, "the configuration");
        }
    }

    /// Forgets who was known of a source, and may not be named by it any more; whether there was
    /// anybody.
    fn sift(&self, pool: &str, discover: &Discover, known: &mut Known) -> bool {
        let name = discover.to_string();
        let Some(all) = known.get_mut(&(pool.to_owned(), name.clone())) else { return false };
        let before = all.len();
        all.retain(|endpoint| {
            let Some(cause) = refusal(discover, endpoint) else { return true };
            let key = Arc::clone(&endpoint.name);
            self.tell(pool, &name, &Change { key, to: Became::Removed, cause });
            false
        });
        all.len() < before
    }

    fn begin(
        self: &Arc<Self>,
        pool: &Arc<str>,
        discover: &Discover,
        known: &Known,
        now: Moment,
    ) -> Source {
        let last_known = known.get(&(pool.to_string(), discover.to_string()));
        let last_known = last_known.cloned().unwrap_or_default();
        let mut source = Source::new(discover.clone(), last_known, now);
        if !source.is_registered() {
            let follow = Arc::clone(self).follow(Arc::clone(pool), discover.clone());
            source.task = Some(tokio::spawn(follow).abort_handle());
        }
        source
    }

    /// Waits until every source was asked once, for `limit` at most.
    pub async fn asked_once(&self, limit: Duration) {
        let all = async {
            loop {
                let looked = self.looked.notified();
                let mut looked = std::pin::pin!(looked);
                looked.as_mut().enable();
                let asked = |pool: &Pool| pool.sources.iter().all(Source::was_asked);
                if self.lock().pools.iter().all(asked) {
                    return;
                }
                looked.await;
            }
        };
        // Who was not heard of by then is asked on.
        drop(tokio::time::timeout(limit, all).await);
    }

    /// Lets go, removes and saves for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SWEEP_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.sweep();
            let Some(known) = self.to_save() else { continue };
            let this = Arc::clone(&self);
            let saved = tokio::task::spawn_blocking(move || this.store.save(&known)).await;
            if let Ok(Err(error)) = saved {
                tracing::warn!(%error, "the last known endpoints cannot be kept");
            }
        }
    }

    /// A server registers, or renews its word.
    ///
    /// # Errors
    /// The pool takes nobody but those in its file, of whom this may be one; or not this one.
    pub fn beat(&self, beat: &Beat) -> Result<(), Unregistered> {
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let at = state.pools.iter().position(|pool| *pool.name == *beat.pool);
        let (at, pool) = at.map(|at| (at, &mut state.pools[at])).ok_or(Unregistered::Closed)?;
        let source = pool.sources.iter().position(Source::is_registered);
        let source = source.ok_or(Unregistered::Closed)?;
        if pool.is_written(&beat.name) {
            return Err(Unregistered::Closed);
        }
        let url = beat.url.as_ref().and_then(|url| url.parse().ok());
        if url.is_some_and(|url| pool.is_fixed(&url)) {
            let why = "the configuration has an endpoint with this address already";
            return Err(Unregistered::Refused(why.to_owned()));
        }
        let change = pool.sources[source].beat(beat, now)?;
        self.changed(state, at, source, change.as_slice());
        Ok(())
    }

    /// A server says that it goes; whether it was registered.
    pub fn leave(&self, pool: &str, name: &str) -> bool {
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(at) = state.pools.iter().position(|known| *known.name == *pool) else {
            return false;
        };
        let Some(source) = state.pools[at].sources.iter().position(Source::is_registered) else {
            return false;
        };
        let source_of = &mut state.pools[at].sources[source];
        let known = source_of.members().any(|(endpoint, _)| *endpoint.name == *name);
        let change = source_of.leave(name, now);
        self.changed(state, at, source, change.as_slice());
        known
    }

    /// How the sources of every pool stand, by the pools' names.
    #[must_use]
    pub fn report(&self) -> Vec<(Arc<str>, Vec<SourceReport>)> {
        let now = self.clock.now();
        let state = self.lock();
        let of = |pool: &Pool| pool.sources.iter().map(|source| source.report(now)).collect();
        state.pools.iter().map(|pool| (Arc::clone(&pool.name), of(pool))).collect()
    }

    /// Asks one source for as long as it is polled.
    async fn follow(self: Arc<Self>, pool: Arc<str>, discover: Discover) {
        match &discover.origin {
            Origin::Register(_) => {}
            Origin::Dns(dns) => loop {
                let said = names::look(&discover, dns).await;
                let next = self.take(&pool, &discover, said);
                tokio::time::sleep(next.remaining(self.clock.now())).await;
            },
            Origin::File(path) => {
                let mut file = File::new(path.clone());
                loop {
                    let said;
                    (file, said) = self.look_into(file, &pool, &discover).await;
                    if let Some(said) = said {
                        let found = matches!(said, Said::Found { .. });
                        self.take(&pool, &discover, said);
                        if found && self.doubts(&pool, &discover) {
                            file.again();
                        }
                    }
                    tokio::time::sleep(file::LOOK_EVERY).await;
                }
            }
        }
    }

    /// Looks at a file where nobody else has to wait for it.
    async fn look_into(
        &self,
        mut file: File,
        pool: &str,
        discover: &Discover,
    ) -> (File, Option<Said<Endpoint>>) {
        let (asked, path) = (discover.clone(), file.path().to_owned());
        let mut looking = tokio::task::spawn_blocking(move || {
            let said = file.look(&asked);
            (file, said)
        });
        loop {
            match tokio::time::timeout(FILE_PATIENCE, &mut looking).await {
                Ok(Ok(looked)) => return looked,
                Ok(Err(error)) => {
                    let why = format!("reading {} panicked: {error}", path.display());
                    return (File::new(path), Some(Said::Failed(why)));
                }
                Err(_) => {
                    let why = format!("{} is not read within {FILE_PATIENCE:?}", path.display());
                    self.take(pool, discover, Said::Failed(why));
                }
            }
        }
    }

    /// Takes what a look brought; gives when to look again.
    fn take(&self, pool: &str, discover: &Discover, said: Said<Endpoint>) -> Moment {
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(at) = state.pools.iter().position(|known| *known.name == *pool) else {
            return Moment::MAX;
        };
        let sources = &mut state.pools[at].sources;
        let Some(source) = sources.iter().position(|source| source.discover == *discover) else {
            return Moment::MAX;
        };
        let before = sources[source].trouble().is_some();
        let (changes, next) = sources[source].take(said, now, &mut state.rng);
        self.tell_trouble(&state.pools[at], source, before);
        self.changed(state, at, source, &changes);
        self.looked.notify_waiters();
        next
    }

    /// Whether what a source said last waits for a second look that says so too.
    fn doubts(&self, pool: &str, discover: &Discover) -> bool {
        let state = self.lock();
        let pool = state.pools.iter().find(|known| *known.name == *pool);
        let mut sources = pool.iter().flat_map(|pool| &pool.sources);
        sources.any(|source| source.discover == *discover && source.doubts())
    }

    fn sweep(&self) {
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        for at in 0..state.pools.len() {
            for source in 0..state.pools[at].sources.len() {
                let pool = &mut state.pools[at];
                let before = pool.sources[source].trouble().is_some();
                let answers = |endpoint: &str| self.pools.answers(&pool.name, endpoint);
                let changes = pool.sources[source].sweep(now, answers);
                self.tell_trouble(&state.pools[at], source, before);
                self.changed(state, at, source, &changes);
            }
        }
    }

    /// What changed takes effect, is told and will be kept.
    fn changed(&self, state: &mut State, at: usize, source: usize, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let pool = &state.pools[at];
        let name = &pool.sources[source].name;
        for change in changes {
            self.tell(&pool.name, name, change);
        }
        let mut cause: Vec<_> = changes.iter().take(NAMED).map(ToString::to_string).collect();
        if changes.len() > NAMED {
            cause.push(format!("and {} more", changes.len() - NAMED));
        }
        let cause = format!("{name}: {}", cause.join("; "));
        let members = pool.sources[source].members().filter(|(_, leaving)| !leaving);
        let present = members.map(|(endpoint, _)| endpoint.clone()).collect();
        state.known.insert((pool.name.to_string(), name.clone()), present);
        state.unsaved = true;
        self.apply(state, at, &cause);
    }

    /// Gives the pool the endpoints that its sources come to, where they differ from what it has.
    fn apply(&self, state: &mut State, at: usize, cause: &str) {
        let pool = &mut state.pools[at];
        let merged = pool.merged();
        if merged == pool.set {
            return;
        }
        let same = merged.len() == pool.set.len()
            && merged.iter().zip(&pool.set).all(|((one, _), (other, _))| one == other);
        if !same {
            let endpoints = merged.iter().map(|(endpoint, _)| endpoint.clone()).collect();
            self.pools.set(&pool.name, endpoints, cause);
        }
        for (endpoint, leaving) in &merged {
            let was = pool.set.iter().find(|(other, _)| other.name == endpoint.name);
            if was.is_some_and(|(_, was)| was != leaving) || (was.is_none() && *leaving) {
                self.pools.drain(&pool.name, &endpoint.name, *leaving);
            }
        }
        pool.set = merged;
    }

    fn tell(&self, pool: &str, source: &str, change: &Change) {
        let from = match change.to {
            Became::Added => "absent",
            Became::Changed | Became::Leaving => "present",
            Became::Returned | Became::Removed => "leaving",
        };
        self.telemetry.event(Event {
            kind: EventKind::Discovery,
            subject: format!("{pool}/{}", change.key.trim_start_matches("http://")),
            from: from.to_owned(),
            to: change.to.as_str().to_owned(),
            cause: format!("{source}: {}", change.cause),
        });
    }

    fn tell_trouble(&self, pool: &Pool, source: usize, before: bool) {
        let source = &pool.sources[source];
        let words = |trouble: bool| if trouble { "troubled" } else { "fine" }.to_owned();
        if source.trouble().is_some() != before {
            self.telemetry.event(Event {
                kind: EventKind::Discovery,
                subject: format!("{}/{}", pool.name, source.name),
                from: words(before),
                to: words(!before),
                cause: source.trouble().unwrap_or("it names its endpoints again").to_owned(),
            });
        }
    }

    fn to_save(&self) -> Option<Known> {
        let mut state = self.lock();
        std::mem::take(&mut state.unsaved).then(|| state.known.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
