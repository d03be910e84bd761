//! From a valid configuration to what the data path runs on.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use mainstay_config::{self as config, Config, Degrade};
use mainstay_policy::balance::locality::Site;
use mainstay_policy::balance::{Distance, Locality};
use mainstay_policy::budget::{HedgeBudget, RetryBudget};
use mainstay_policy::chain::{self, Local, Plan};
use mainstay_policy::target::{self, Key, Registry, Target};
use mainstay_policy::{breaker, poison};
use mainstay_protocol::Protocol;
use mainstay_protocol::oip::guard::constant::Sameness;
use mainstay_telemetry::{Clock, Names, Settings, Shape, Shown, TargetName, Telemetry};

use crate::callers::Callers;
use crate::embedded::{Embedded, models, models::Loaded};
use crate::error::Error;
use crate::gate::Gate;
use crate::last_good;
use crate::poison::PoisonTable;
use crate::rehearsal::Rehearsal;
use crate::request::{Sequences, Waiting};
use crate::shared::Shared;
use crate::slots::{Slot, Slots};
use crate::snapshot::{Member, Parts, PoolSource, Route, Snapshot, Source, Step, Upstream};
use crate::tcp;
use crate::tls::Outward;

/// Time kept back for an embedded model: far more than its runs take, so that a short queue
/// before it does no harm.
const EMBEDDED_NEEDS: Duration = Duration::from_millis(20);

/// Time kept back to look a last good answer up: in memory, or one read of a disk.
const LAST_GOOD_NEEDS: Duration = Duration::from_millis(10);

/// Time kept back for a default prediction: to write the answer.
const DEFAULT_NEEDS: Duration = Duration::from_millis(2);

/// Attempts that a plan of TCP connections allows; listeners count their own.
const MOST_TRIES: u8 = chain::MAX_ATTEMPTS;

/// A target and where the configuration describes it.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) target: Arc<Target>,
    /// Index in [`Config::pools`].
    pub(crate) pool: usize,
    /// Index in the pool's endpoints.
    pub(crate) endpoint: usize,
}

/// What outlives configurations, and the snapshot before, from which everything is taken over
/// that stays the same.
pub(crate) struct Ground<'g> {
    pub(crate) registry: &'g Registry,
    pub(crate) slots: &'g Slots,
    pub(crate) telemetry: Option<&'g Arc<Telemetry>>,
    pub(crate) before: Option<&'g Snapshot>,
    pub(crate) clock: Clock,
}

/// Makes the first snapshot, and what all later ones share.
pub(crate) fn first(config: Arc<Config>, clock: Clock) -> Result<Shared, Error> {
    let mut embedded = models::load(&config, &[]);
    if config.strict_start {
        embedded.refuse_failed()?;
    }
    models::refuse_empty(&config, &embedded)?;
    let failed = std::mem::take(&mut embedded.failed);
    let (registry, slots) = (Registry::default(), Slots::default());
    let ground =
        Ground { registry: &registry, slots: &slots, telemetry: None, before: None, clock };
    let (snapshot, telemetry) = build(config, embedded, &ground);
    for (model, problem) in failed {
        model.tell(&telemetry, "new", problem.detail());
    }
    Ok(Shared::new(snapshot, (registry, slots), telemetry))
}

/// Makes a snapshot of a configuration whose embedded models have been loaded. Nothing here can
/// fail, so that a reload happens as a whole or not at all.
pub(crate) fn build(
    config: Arc<Config>,
    embedded: Loaded,
    ground: &Ground<'_>,
) -> (Snapshot, Arc<Telemetry>) {
    ground.registry.sweep();
    ground.slots.sweep();
    let hedges = hedges(&config, ground.before);
    let mut builder = Builder {
        config: &config,
        ground,
        upstreams: upstreams(&config, ground),
        hedges,
        embedded: &embedded,
        watched: Vec::new(),
        seen: HashSet::new(),
    };
    let chains: Vec<Vec<Step>> = config.models.iter().map(|it| builder.steps(it)).collect();
    let tcp = config.tcp.iter().map(|it| builder.listener(it)).collect();
    let names: Vec<_> = config.models.iter().zip(&chains).map(shape).collect();
    let telemetry = match ground.telemetry {
        Some(telemetry) => Arc::clone(telemetry),
        None => telemetry(&config, ground.registry, &names, ground.clock),
    };
    let numbers = telemetry.number_models(&names);
    let models = config.models.iter().zip(chains).zip(numbers);
    let routes = models
        .map(|((model, steps), number)| builder.route(number.unwrap_or(u16::MAX), model, steps))
        .collect();
    let Builder { upstreams, hedges, watched, .. } = builder;
    let known = ground.before.and_then(|before| before.callers.as_deref());
    let callers = config.keys.as_ref().map(|keys| Arc::new(Callers::new(keys, known)));
    let snapshot = Snapshot::new(Parts {
        callers,
        upstreams: upstreams.into_iter().flatten().collect(),
        embedded: embedded.models.into_values().collect(),
        watched,
        retries: retries(&config, ground.before),
        hedges,
        routes,
        tcp,
        config,
    });
    (snapshot, telemetry)
}

struct Builder<'c> {
    config: &'c Config,
    ground: &'c Ground<'c>,
    /// By pool, by endpoint.
    upstreams: Vec<Vec<Arc<Upstream>>>,
    /// By pool: the share of its requests that may be hedged, whichever chain they climb.
    hedges: Vec<Option<Arc<HedgeBudget>>>,
    embedded: &'c Loaded,
    watched: Vec<Watched>,
    /// The targets among the watched.
    seen: HashSet<u32>,
}

impl Builder<'_> {
    fn steps(&mut self, model: &config::Model) -> Vec<Step> {
        model.chain.iter().enumerate().map(|(at, step)| self.step(at, step, model)).collect()
    }

    fn route(&self, id: u16, model: &config::Model, steps: Vec<Step>) -> Arc<Route> {
        let before = self.before(model);
        let gate = before.map_or_else(|| Arc::new(Gate::new()), |route| Arc::clone(&route.gate));
        gate.reconfigure(&model.concurrency, &steps);
        let plan = self.plan(model, &steps, false);
        let strict = self.plan(model, &steps, true);
        let rehearsal = Rehearsal::new(model, &self.config.pools, &steps, self.ground.clock.now());
        let known = before.and_then(|route| route.rehearsal.as_ref());
        if let (Some(rehearsal), Some(known)) = (&rehearsal, known) {
            rehearsal.adopt(known);
        }
        let speaks = spoken(&steps);
        Arc::new(Route {
            id,
            name: Arc::clone(&model.name),
            deadline: model.deadline,
            plan,
            strict,
            steps,
            speaks,
            reads: !model.guards.is_empty()
                || model.chain.iter().any(|step| {
                    step.confidence.is_some() || matches!(step.source, config::Source::LastGood(_))
                }),
            methods: model.methods.clone(),
            inputs: model.inputs.clone(),
            outputs: model.outputs.clone(),
            batch: model.batch,
            guards: model.guards.clone(),
            exhausted: model.exhausted,
            waiting: Waiting::new(model.last_resort_queue),
            never_degrade: model.degrade == Degrade::Never,
            continues: model.continues,
            repeatable: model.repeatable,
            concurrency: model.concurrency.clone(),
            gate,
            priority: model.priority.unwrap_or(self.config.listen.priorities.usual),
            poison: model.poison.map(|settings| poison_table(settings, before)),
            last_good: last_good::rule(model),
            rehearsal,
            remember: model.idempotency.map(|rule| rule.remember),
            key: self.key(model),
            sequences: model.sequence.as_ref().map(|sequence| Sequences {
                by: sequence.by.clone(),
                settings: sequence.settings,
                table: self.ground.registry.sequences(&model.name, &sequence.settings),
            }),
        })
    }

    /// The same model's route in the snapshot before.
    fn before(&self, model: &config::Model) -> Option<&Route> {
        self.ground.before?.route_named(&model.name).map(|route| &**route)
    }

    fn step(&mut self, at: usize, step: &config::Step, model: &config::Model) -> Step {
        let (source, degraded) = match &step.source {
            config::Source::Pool { pool, model: name, version, equivalent } => {
                let source = PoolSource {
                    pool: *pool,
                    name: Arc::clone(&self.config.pools[*pool].name),
                    protocol: self.config.pools[*pool].protocol,
                    streams: self.config.pools[*pool].streams,
                    flavour: self.config.pools[*pool].flavour,
                    members: self.members((at, *pool), model, (name.as_ref(), version)),
                    model: name.clone(),
                    version: version.clone(),
                    near: self.config.pools[*pool].locality.unwrap_or_default(),
                };
                (Source::Pool(source), at > 0 && !equivalent)
            }
            config::Source::Embedded { path, engine } => {
                (Source::Embedded(self.embedded(path, *engine)), at > 0)
            }
            config::Source::LastGood(_) => (Source::LastGood, true),
            config::Source::Default { outputs } => (Source::Default(outputs.clone()), true),
            config::Source::Fixed(fixed) => (Source::Fixed(fixed.clone()), true),
        };
        Step { source, confidence: step.confidence.clone(), degraded }
    }

    /// What the requests of a model are kept together by: all its pools hash the same, if any do.
    fn key(&self, model: &config::Model) -> Option<config::Key> {
        model.chain.iter().find_map(|step| match step.source {
            config::Source::Pool { pool, .. } => self.config.pools[pool].key.clone(),
            config::Source::Embedded { .. }
            | config::Source::LastGood(_)
            | config::Source::Default { .. }
            | config::Source::Fixed(_) => None,
        })
    }

    /// The members of a pool, as step `at` of a model's chain uses it.
    fn members(
        &mut self,
        (at, pool): (usize, usize),
        model: &config::Model,
        (name, version): (Option<&Arc<str>>, &Option<Arc<str>>),
    ) -> Vec<Member> {
        let before = self.before(model).and_then(|route| route.steps.get(at));
        let rows = before.map(sameness).unwrap_or_default();
        self.members_for(pool, (name.unwrap_or(&model.name), version), &rows)
    }

    /// The members of a pool for the model of this name and version upstream, with their rows of
    /// equal answers by target.
    fn members_for(
        &mut self,
        pool: usize,
        (model, version): (&Arc<str>, &Option<Arc<str>>),
        rows: &HashMap<u32, Arc<Mutex<Sameness>>>,
    ) -> Vec<Member> {
        let config = self.config;
        let declared = &config.pools[pool];
        let breaker = declared.breaker.clone().unwrap_or_else(breaker::Settings::off);
        let settings = |endpoint: &config::Endpoint| target::Settings {
            server: endpoint.url.to_string().into(),
            breaker: breaker.clone(),
            limit: declared.concurrency,
        };
        let mut members = Vec::with_capacity(declared.endpoints.len());
        for (at, endpoint) in declared.endpoints.iter().enumerate() {
            let key = Key {
                pool: Arc::clone(&declared.name),
                endpoint: Arc::clone(&endpoint.name),
                model: Arc::clone(model),
                version: version.clone(),
            };
            let target = self.ground.registry.target(key, &settings(endpoint), config.workers);
            if self.seen.insert(target.id) {
                let target = Arc::clone(&target);
                self.watched.push(Watched { target, pool, endpoint: at });
            }
            let upstream = Arc::clone(&self.upstreams[pool][at]);
            let sameness = rows.get(&target.id).cloned().unwrap_or_default();
            members.push(Member { upstream, target, sameness });
        }
        members
    }

    /// A TCP listener with the pools behind it; what was counted of it goes on.
    fn listener(&mut self, listener: &config::TcpListener) -> Arc<tcp::Listener> {
        let before = self.ground.before.and_then(|before| before.tcp_listener(&listener.name));
        let account = before.map(|known| Arc::clone(&known.account)).unwrap_or_default();
        let sources: Vec<_> = listener.pools.iter().map(|pool| self.tcp_source(*pool)).collect();
        let steps = sources.iter().map(|source| {
            let limit = self.config.pools[source.pool].connect_timeout;
            chain::Step::Pool(chain::Pool { limit, hedges: None, ..self.pool(source) })
        });
        // Whether a connection may be sent again is for each pool to say.
        let plan = Plan::new(steps.collect(), MOST_TRIES, true, listener.connect_budget);
        let behind = sources.into_iter().map(|source| {
            let declared = &self.config.pools[source.pool];
            tcp::Behind {
                name: source.name,
                writer: declared
                    .tcp
                    .as_ref()
                    .and_then(|rules| rules.writer)
                    .map(|_| self.ground.registry.writer(&declared.name)),
                rules: declared.tcp.clone().unwrap_or_default(),
                by_client: declared.key == Some(config::Key::Client),
                members: source.members,
            }
        });
        let pools = behind.collect();
        Arc::new(tcp::Listener { settings: listener.clone(), plan, pools, account })
    }

    /// A pool as TCP listeners use it: there is one target at each endpoint.
    fn tcp_source(&mut self, pool: usize) -> PoolSource {
        let declared = &self.config.pools[pool];
        PoolSource {
            pool,
            name: Arc::clone(&declared.name),
            protocol: declared.protocol,
            streams: declared.streams,
            flavour: declared.flavour,
            members: self.members_for(pool, (&tcp::MODEL.into(), &None), &HashMap::new()),
            model: None,
            version: None,
            near: declared.locality.unwrap_or_default(),
        }
    }

    fn embedded(&self, path: &Path, engine: config::Engine) -> Arc<Embedded> {
        // Everything that the configuration names has been loaded, or tried to.
        self.embedded
            .get(path, engine)
            .unwrap_or_else(|| models::unloaded(self.config, path, engine))
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
                    may_decline: false,
                }),
                Source::LastGood => chain::Step::Local(Local {
                    available: Arc::new(AtomicBool::new(true)),
                    needs: LAST_GOOD_NEEDS,
                    may_decline: true,
                }),
                Source::Default(_) | Source::Fixed(_) => chain::Step::Local(Local {
                    available: Arc::new(AtomicBool::new(true)),
                    needs: DEFAULT_NEEDS,
                    may_decline: false,
                }),
            })
            .collect();
        // Requests of plain HTTP say for themselves whether they may be repeated.
        let repeatable = model.repeatable || !model.paths.is_empty();
        Plan::new(steps, model.attempts, repeatable, model.deadline)
            .with_last_resort(model.last_resort)
            .with_causes(model.chain.iter().map(|step| step.causes))
    }

    /// The shares of the distances, where the members have more than one.
    fn locality(&self, members: &[chain::Member]) -> Option<Arc<Locality>> {
        let first = members.first()?;
        let key = &first.target.key;
        members
            .iter()
            .any(|member| member.distance != first.distance)
            .then(|| self.ground.registry.locality(&key.pool, &key.model, key.version.as_ref()))
    }

    fn pool(&self, source: &PoolSource) -> chain::Pool {
        let declared = self.config.pools.get(source.pool);
        let endpoints = declared.map_or(&[][..], |pool| pool.endpoints.as_slice());
        let own = site(&self.config.node.site);
        let members: Vec<_> = source
            .members
            .iter()
            .zip(endpoints)
            .map(|(member, endpoint)| {
                let distance = Distance::between(own, site(&endpoint.site));
                chain::Member::new(Arc::clone(&member.target), endpoint.weight).at(distance)
            })
            .collect();
        chain::Pool {
            locality: declared
                .filter(|pool| pool.locality.is_some())
                .and_then(|_| self.locality(&members)),
            members,
            rule: declared.map(|pool| pool.balance).unwrap_or_default(),
            slow_start: declared.map(|pool| pool.slow_start).unwrap_or_default(),
            limit: declared.map_or(Duration::MAX, |pool| pool.first_byte_timeout),
            backoff: declared.map(|pool| pool.backoff).unwrap_or_default(),
            hedges: self.hedges.get(source.pool).cloned().flatten(),
        }
    }
}

/// Where something runs, as the policy reads it.
fn site(site: &config::Site) -> Site<'_> {
    Site { region: site.region.as_deref(), zone: site.zone.as_deref() }
}

/// What the pools of a chain speak, where all speak the same.
fn spoken(steps: &[Step]) -> Option<Protocol> {
    let mut spoken = steps.iter().filter_map(|step| match &step.source {
        Source::Pool(pool) => Some(pool.protocol),
        _ => None,
    });
    let first = spoken.next()?;
    spoken.all(|other| other == first).then_some(first)
}

/// A step that never answers.
fn shut() -> chain::Step {
    let needs = Duration::ZERO;
    chain::Step::Local(Local { available: Arc::default(), needs, may_decline: false })
}

/// The rows of equal answers of a step's members.
fn sameness(step: &Step) -> HashMap<u32, Arc<Mutex<Sameness>>> {
    let Source::Pool(pool) = &step.source else { return HashMap::new() };
    pool.members.iter().map(|it| (it.target.id, Arc::clone(&it.sameness))).collect()
}

/// What a model remembers of poison, with what it knew before under the same rules.
fn poison_table(settings: poison::Settings, before: Option<&Route>) -> Arc<PoisonTable> {
    let known = before.and_then(|route| route.poison.as_ref());
    let known = known.filter(|table| table.settings() == settings);
    known.map_or_else(|| Arc::new(PoisonTable::new(settings)), Arc::clone)
}

fn retries(config: &Config, before: Option<&Snapshot>) -> Arc<RetryBudget> {
    let same = |before: &&Snapshot| {
        before.config.retry == config.retry && before.config.amplification == config.amplification
    };
    before.filter(same).map_or_else(
        || Arc::new(RetryBudget::new(config.retry, config.workers).capped(config.amplification)),
        |before| Arc::clone(&before.retries),
    )
}

fn hedges(config: &Config, before: Option<&Snapshot>) -> Vec<Option<Arc<HedgeBudget>>> {
    let known: HashMap<_, _> = before
        .into_iter()
        .flat_map(|before| before.config.pools.iter().zip(&before.hedges))
        .filter_map(|(pool, budget)| Some((&pool.name, budget.as_ref()?)))
        .collect();
    let budget = |pool: &config::Pool| {
        let settings = pool.hedge?;
        let same = known.get(&pool.name).filter(|known| *known.settings() == settings);
        Some(same.map_or_else(
            || Arc::new(HedgeBudget::new(settings, config.workers)),
            |known| Arc::clone(known),
        ))
    };
    config.pools.iter().map(budget).collect()
}

/// How every endpoint of every pool is reached. One that is where it was keeps its number, and with
/// it every worker's connections.
fn upstreams(config: &Config, ground: &Ground<'_>) -> Vec<Vec<Arc<Upstream>>> {
    let before = ground.before.map_or(&[][..], |before| &before.upstreams);
    let known: HashMap<_, _> = before.iter().map(|known| (&*known.label, known)).collect();
    let slot = |label: &str, url: &config::EndpointUrl| {
        let same = known.get(label).filter(|it| {
            let tls = it.tls.as_ref().map(|tls| tls.client.settings());
            it.host == url.host && it.port == url.port && tls == url.tls.as_deref()
        });
        same.map_or_else(|| ground.slots.take(), |known| Arc::clone(&known.slot))
    };
    let of_pool = |pool: &config::Pool| {
        let each = |endpoint: &config::Endpoint| {
            let label = format!("{}/{}", pool.name, endpoint.name);
            let slot = slot(&label, &endpoint.url);
            upstream(&config.node, (pool, endpoint), label, slot)
        };
        pool.endpoints.iter().map(each).collect()
    };
    config.pools.iter().map(of_pool).collect()
}

fn upstream(
    node: &config::Node,
    (pool, endpoint): (&config::Pool, &config::Endpoint),
    label: String,
    slot: Arc<Slot>,
) -> Arc<Upstream> {
    let url = &endpoint.url;
    Arc::new(Upstream {
        slot,
        label: label.into(),
        host: Arc::clone(&url.host),
        port: url.port,
        prefix: Arc::clone(&url.prefix),
        // The configuration refuses hosts that no header can carry.
        authority: HeaderValue::from_str(&url.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost")),
        provider: endpoint.provider.clone().map(Box::new),
        connect_timeout: pool.connect_timeout,
        idle_timeout: pool.idle_timeout,
        total_timeout: pool.total_timeout,
        elsewhere: Distance::between(site(&node.site), site(&endpoint.site)) == Distance::Elsewhere,
        max_idle: pool.max_idle_connections,
        keep_alive: pool.keep_alive,
        tls: url
            .tls
            .as_deref()
            .map(|settings| Outward::new(mainstay_tls::Client::shared(settings))),
    })
}

/// A model with its steps, as they are counted.
fn shape((model, steps): (&config::Model, &Vec<Step>)) -> Shape {
    let steps = steps.iter().map(step_name).collect();
    Shape { model: Arc::clone(&model.name), steps }
}

fn telemetry(
    config: &Config,
    registry: &Registry,
    shapes: &[Shape],
    clock: Clock,
) -> Arc<Telemetry> {
    let targets = registry.all();
    let names = Names {
        models: shapes.iter().map(|shape| Arc::clone(&shape.model)).collect(),
        steps: shapes.iter().map(|shape| shape.steps.clone()).collect(),
        targets: targets.iter().map(|target| target_name(target)).collect(),
        golden: golden(config, &targets),
    };
    let settings = Settings {
        workers: config.workers,
        recent: config.records.recent,
        kept: config.records.kept,
    };
    Telemetry::new(settings, names, clock)
}

/// What telemetry shows of a snapshot.
pub(crate) fn shown(snapshot: &Snapshot) -> Shown {
    let targets: Vec<_> = snapshot.watched.iter().map(|it| Arc::clone(&it.target)).collect();
    Shown {
        models: snapshot.routes.iter().map(|route| route.id).collect(),
        golden: golden(&snapshot.config, &targets),
        targets: targets.iter().map(|target| (target.id, target_name(target))).collect(),
    }
}

fn target_name(target: &Target) -> TargetName {
    TargetName {
        pool: Arc::clone(&target.key.pool),
        endpoint: Arc::clone(&target.key.endpoint),
        model: Arc::clone(&target.key.model),
    }
}

/// The targets that are asked golden requests.
fn golden(config: &Config, targets: &[Arc<Target>]) -> Vec<u32> {
    let asked = config.pools.iter().filter(|pool| pool.probe.golden.is_some());
    let asked: HashSet<_> = asked.map(|pool| &pool.name).collect();
    let targets = targets.iter().filter(|target| asked.contains(&target.key.pool));
    targets.map(|target| target.id).collect()
}

/// A step's name in metrics and status.
pub(crate) fn step_name(step: &Step) -> Arc<str> {
    match &step.source {
        Source::Pool(pool) => Arc::clone(&pool.name),
        Source::Embedded(embedded) => Arc::clone(&embedded.label),
        Source::LastGood => "last-good".into(),
        Source::Default(_) | Source::Fixed(_) => "default".into(),
    }
}
