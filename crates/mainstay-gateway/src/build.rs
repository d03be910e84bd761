//! From a valid configuration to what the data path runs on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use mainstay_config::{self as config, Config, Degrade};
use mainstay_onnx::{Engine, Executor, Options};
use mainstay_policy::breaker;
use mainstay_policy::budget::{HedgeBudget, RetryBudget};
use mainstay_policy::chain::{self, Local, Plan};
use mainstay_policy::target::{self, Key, Registry, Target};
use mainstay_telemetry::{Clock, Names, Settings, TargetName, Telemetry};

use crate::embedded::Embedded;
use crate::error::Error;
use crate::gate::Gates;
use crate::idempotency::Answers;
use crate::memory::Memory;
use crate::poison::PoisonTable;
use crate::request::Waiting;
use crate::shared::{Pulse, Shared};
use crate::snapshot::{Member, PoolSource, Route, Snapshot, Source, Step, Upstream};

/// Time kept back for an embedded model: far more than its runs take, so that a short queue
/// before it does no harm.
const EMBEDDED_NEEDS: Duration = Duration::from_millis(20);

/// Time kept back for a default prediction: to write the answer.
const DEFAULT_NEEDS: Duration = Duration::from_millis(2);

/// What a configuration becomes.
pub(crate) struct Built {
    pub(crate) shared: Arc<Shared>,
    /// Every embedded model once, to be looked after.
    pub(crate) embedded: Vec<Arc<Embedded>>,
    /// Every target with the endpoint that it lives on, to be probed.
    pub(crate) watched: Vec<Watched>,
}

/// A target and where the configuration describes it.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) target: Arc<Target>,
    /// Index in [`Config::pools`].
    pub(crate) pool: usize,
    /// Index in the pool's endpoints.
    pub(crate) endpoint: usize,
}

/// Makes everything that the data path runs on; loads the embedded models.
pub(crate) fn build(config: &Config, clock: Clock) -> Result<Built, Error> {
    let mut builder = Builder {
        config,
        registry: Registry::default(),
        upstreams: upstreams(config),
        hedges: hedges(config),
        embedded: HashMap::new(),
        watched: Vec::new(),
    };
    let routes = config
        .models
        .iter()
        .enumerate()
        .map(|(id, model)| builder.route(id, model))
        .collect::<Vec<_>>();
    let telemetry = telemetry(config, &builder.registry, &routes, clock);
    let embedded: Vec<_> = builder.embedded.into_values().collect();
    load(config, &embedded, &telemetry)?;
    refuse_empty(&routes)?;
    let upstreams = builder.upstreams.into_iter().flatten().collect();
    let gates = Gates::new(&routes);
    let bounds = (config.limits.clone(), config.listen.priorities.clone());
    let snapshot = Snapshot::new(config.version.clone(), bounds, upstreams, routes);
    let shared = Arc::new(Shared {
        clock,
        snapshot: Arc::new(snapshot),
        registry: builder.registry,
        telemetry,
        gates,
        retries: RetryBudget::new(config.retry, config.workers).capped(config.amplification),
        executor: Executor::new(config.embedded.threads, config.embedded.queue),
        memory: Arc::new(Memory::new(config.limits.replay_memory)),
        answers: Arc::new(Answers::new(config.limits.idempotency_memory)),
        pulses: (0..config.workers).map(|_| Pulse::default()).collect(),
        draining: AtomicBool::default(),
    });
    Ok(Built { shared, embedded, watched: builder.watched })
}

struct Builder<'c> {
    config: &'c Config,
    registry: Registry,
    /// By pool, by endpoint.
    upstreams: Vec<Vec<Arc<Upstream>>>,
    /// By pool: the share of its requests that may be hedged, whichever chain they climb.
    hedges: Vec<Option<Arc<HedgeBudget>>>,
    embedded: HashMap<(PathBuf, bool), Arc<Embedded>>,
    watched: Vec<Watched>,
}

impl Builder<'_> {
    fn route(&mut self, id: usize, model: &config::Model) -> Arc<Route> {
        let steps: Vec<Step> =
            model.chain.iter().enumerate().map(|(at, step)| self.step(at, step, model)).collect();
        let plan = self.plan(model, &steps, false);
        let strict = self.plan(model, &steps, true);
        Arc::new(Route {
            id: u16::try_from(id).unwrap_or(u16::MAX),
            name: Arc::clone(&model.name),
            deadline: model.deadline,
            plan,
            strict,
            steps,
            outputs: model.outputs.clone(),
            batch: model.batch,
            guards: model.guards.clone(),
            exhausted: model.exhausted,
            waiting: Waiting::new(model.last_resort_queue),
            never_degrade: model.degrade == Degrade::Never,
            repeatable: model.repeatable,
            concurrency: model.concurrency.clone(),
            priority: model.priority.unwrap_or(self.config.listen.priorities.usual),
            poison: model.poison.map(PoisonTable::new),
            remember: model.idempotency.map(|rule| rule.remember),
        })
    }

    fn step(&mut self, at: usize, step: &config::Step, model: &config::Model) -> Step {
        let (source, degraded) = match &step.source {
            config::Source::Pool { pool, model: name, version, equivalent } => {
                let source = PoolSource {
                    name: Arc::clone(&self.config.pools[*pool].name),
                    flavour: self.config.pools[*pool].flavour,
                    members: self.members(*pool, name.as_ref().unwrap_or(&model.name), version),
                    model: name.clone(),
                    version: version.clone(),
                };
                (Source::Pool(source), at > 0 && !equivalent)
            }
            config::Source::Embedded { path, engine } => {
                (Source::Embedded(self.embedded(path, *engine)), at > 0)
            }
            config::Source::Default { outputs } => (Source::Default(outputs.clone()), true),
        };
        Step { source, confidence: step.confidence.clone(), degraded }
    }

    fn members(
        &mut self,
        pool: usize,
        model: &Arc<str>,
        version: &Option<Arc<str>>,
    ) -> Vec<Member> {
        let declared = &self.config.pools[pool];
        let breaker = declared.breaker.clone().unwrap_or_else(breaker::Settings::off);
        let settings = target::Settings { breaker, limit: declared.concurrency };
        let mut members = Vec::with_capacity(declared.endpoints.len());
        for (at, endpoint) in declared.endpoints.iter().enumerate() {
            let key = Key {
                pool: Arc::clone(&declared.name),
                endpoint: Arc::clone(&endpoint.name),
                model: Arc::clone(model),
                version: version.clone(),
            };
            let target = self.registry.target(key, &settings, self.config.workers);
            if !self.watched.iter().any(|watched| watched.target.id == target.id) {
                let target = Arc::clone(&target);
                self.watched.push(Watched { target, pool, endpoint: at });
            }
            let upstream = Arc::clone(&self.upstreams[pool][at]);
            members.push(Member { upstream, target, sameness: Mutex::default() });
        }
        members
    }

    fn embedded(&mut self, path: &std::path::Path, engine: config::Engine) -> Arc<Embedded> {
        let native = engine == config::Engine::OnnxRuntime;
        let library = self.config.embedded.library.clone();
        let entry = self.embedded.entry((path.to_path_buf(), native));
        Arc::clone(entry.or_insert_with(|| {
            let engine = if native { Engine::OnnxRuntime } else { Engine::Tract };
            Arc::new(Embedded::new(path.to_path_buf(), Options { engine, library }))
        }))
    }

    /// The chain as the policy climbs it. A strict one keeps its shape, with the steps of lesser
    /// quality shut, so that a step has one number in both.
    fn plan(&self, model: &config::Model, steps: &[Step], strict: bool) -> Plan {
        let steps = steps
            .iter()
            .map(|step| match &step.source {
                _ if strict && step.degraded => shut(),
                Source::Pool(source) => chain::Step::Pool(self.pool(source)),
                Source::Embedded(embedded) => chain::Step::Local(Local {
                    available: Arc::clone(&embedded.available),
                    needs: EMBEDDED_NEEDS,
                }),
                Source::Default(_) => chain::Step::Local(Local {
                    available: Arc::new(AtomicBool::new(true)),
                    needs: DEFAULT_NEEDS,
                }),
            })
            .collect();
        Plan::new(steps, model.attempts, model.repeatable, model.deadline)
            .with_last_resort(model.last_resort)
    }

    fn pool(&self, source: &PoolSource) -> chain::Pool {
        let at = self.config.pools.iter().position(|pool| pool.name == source.name);
        let declared = at.map(|at| &self.config.pools[at]);
        let weights = declared.map(|pool| pool.endpoints.iter().map(|endpoint| endpoint.weight));
        let members = source
            .members
            .iter()
            .zip(weights.into_iter().flatten())
            .map(|(member, weight)| chain::Member::new(Arc::clone(&member.target), weight))
            .collect();
        chain::Pool {
            members,
            rule: declared.map(|pool| pool.balance).unwrap_or_default(),
            locality: None,
            slow_start: declared.map(|pool| pool.slow_start).unwrap_or_default(),
            limit: declared.map_or(Duration::MAX, |pool| pool.first_byte_timeout),
            backoff: declared.map(|pool| pool.backoff).unwrap_or_default(),
            hedges: at.and_then(|at| self.hedges[at].clone()),
        }
    }
}

/// A step that never answers.
fn shut() -> chain::Step {
    chain::Step::Local(Local { available: Arc::default(), needs: Duration::ZERO })
}

fn hedges(config: &Config) -> Vec<Option<Arc<HedgeBudget>>> {
    let budget = |settings| Arc::new(HedgeBudget::new(settings, config.workers));
    config.pools.iter().map(|pool| pool.hedge.map(budget)).collect()
}

fn upstreams(config: &Config) -> Vec<Vec<Arc<Upstream>>> {
    let mut index = 0..;
    config
        .pools
        .iter()
        .map(|pool| {
            let endpoints = pool.endpoints.iter();
            endpoints.zip(&mut index).map(|(endpoint, at)| upstream(pool, endpoint, at)).collect()
        })
        .collect()
}

fn upstream(pool: &config::Pool, endpoint: &config::Endpoint, index: usize) -> Arc<Upstream> {
    let url = &endpoint.url;
    Arc::new(Upstream {
        index,
        label: format!("{}/{}", pool.name, endpoint.name).into(),
        host: Arc::clone(&url.host),
        port: url.port,
        prefix: Arc::clone(&url.prefix),
        // The configuration refuses hosts that no header can carry.
        authority: HeaderValue::from_str(&url.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost")),
        connect_timeout: pool.connect_timeout,
        idle_timeout: pool.idle_timeout,
        total_timeout: pool.total_timeout,
        max_idle: pool.max_idle_connections,
        keep_alive: pool.keep_alive,
    })
}

fn telemetry(
    config: &Config,
    registry: &Registry,
    routes: &[Arc<Route>],
    clock: Clock,
) -> Arc<Telemetry> {
    let names = Names {
        models: routes.iter().map(|route| Arc::clone(&route.name)).collect(),
        steps: routes.iter().map(|route| route.steps.iter().map(step_name).collect()).collect(),
        targets: registry
            .all()
            .iter()
            .map(|target| TargetName {
                pool: Arc::clone(&target.key.pool),
                endpoint: Arc::clone(&target.key.endpoint),
                model: Arc::clone(&target.key.model),
            })
            .collect(),
        golden: golden(config, registry),
    };
    let settings = Settings {
        workers: config.workers,
        recent: config.records.recent,
        kept: config.records.kept,
    };
    Telemetry::new(settings, names, clock)
}

/// The targets that are asked golden requests.
fn golden(config: &Config, registry: &Registry) -> Vec<u32> {
    let asked = |target: &Arc<Target>| {
        config.pools.iter().any(|pool| pool.name == target.key.pool && pool.probe.golden.is_some())
    };
    registry.all().iter().filter(|target| asked(target)).map(|target| target.id).collect()
}

/// A step's name in metrics and status.
pub(crate) fn step_name(step: &Step) -> Arc<str> {
    match &step.source {
        Source::Pool(pool) => Arc::clone(&pool.name),
        Source::Embedded(embedded) => Arc::clone(&embedded.label),
        Source::Default(_) => "default".into(),
    }
}

/// Loads the embedded models. One that fails makes its step unavailable, and is told of.
fn load(config: &Config, embedded: &[Arc<Embedded>], telemetry: &Telemetry) -> Result<(), Error> {
    for model in embedded {
        match model.load() {
            Ok(()) => {}
            Err(source) if config.strict_start => {
                return Err(Error::EmbeddedModel { path: model.path.clone(), source });
            }
            Err(error) => model.tell(telemetry, "new", error.detail()),
        }
    }
    Ok(())
}

/// A chain of nothing but models that do not load could never answer.
fn refuse_empty(routes: &[Arc<Route>]) -> Result<(), Error> {
    let can_never_answer = |route: &&Arc<Route>| {
        route.steps.iter().all(|step| match &step.source {
            Source::Embedded(embedded) => embedded.model().is_none(),
            Source::Pool(_) | Source::Default(_) => false,
        })
    };
    match routes.iter().find(can_never_answer) {
        Some(route) => Err(Error::EmptyChain { model: route.name.to_string() }),
        None => Ok(()),
    }
}
