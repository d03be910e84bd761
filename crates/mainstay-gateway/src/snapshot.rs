//! A configuration made ready for the way of a request: an immutable snapshot, shared by all
//! workers and swapped whole.
//!
//! Workers read it through a [`View`] of their own, so that a request which holds on to the
//! snapshot that it began with writes no count that another worker reads.

use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foldhash::fast::RandomState;
use http::{HeaderValue, Method};
use mainstay_config::{
    Concurrency, Config, Exhausted, Fixed, Guards, Key, Limits, PathRule, Priorities, Provider,
    Streams,
};
use mainstay_policy::balance::locality;
use mainstay_policy::budget::{HedgeBudget, RetryBudget};
use mainstay_policy::chain::Plan;
use mainstay_policy::limit::Priority;
use mainstay_policy::target::Target;
use mainstay_protocol::classify::Flavour;
use mainstay_protocol::form::Context;
use mainstay_protocol::oip::confidence;
use mainstay_protocol::oip::guard::constant::Sameness;
use mainstay_protocol::{Protocol, Tensor, TensorSpec};
use mainstay_tls::client::Speak;

use crate::build::Watched;
use crate::callers::Callers;
use crate::embedded::Embedded;
use crate::gate::{Gate, Gates};
use crate::last_good;
use crate::poison::PoisonTable;
use crate::rehearsal::Rehearsal;
use crate::request::{Sequences, Waiting};
use crate::slots::Slot;
use crate::tcp;
use crate::upstream;

/// Everything that a request needs to know of the configuration.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What it was made of, with the endpoints that came at run time.
    pub(crate) config: Arc<Config>,
    pub(crate) limits: Limits,
    pub(crate) priorities: Priorities,
    /// Who may ask; `None` where everybody may.
    pub(crate) callers: Option<Arc<Callers>>,
    /// How clients are met; `None` in clear text.
    pub(crate) tls: Option<Arc<mainstay_tls::Server>>,
    /// Every endpoint of every pool.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// Every embedded model once, to be looked after.
    pub(crate) embedded: Vec<Arc<Embedded>>,
    /// Every target with the endpoint that it lives on, to be probed.
    pub(crate) watched: Vec<Watched>,
    /// Which models wait for room at each target.
    pub(crate) gates: Gates,
    pub(crate) retries: Arc<RetryBudget>,
    /// By pool: the share of its requests that may be hedged, whichever chain they climb.
    pub(crate) hedges: Vec<Option<Arc<HedgeBudget>>>,
    pub(crate) routes: Vec<Arc<Route>>,
    /// In the order of the file.
    pub(crate) tcp: Vec<Arc<tcp::Listener>>,
    by_name: HashMap<Arc<str>, usize, RandomState>,
    /// The paths that models declare, longest first, with the place of the route.
    paths: Vec<(PathRule, usize)>,
    any: Option<usize>,
}

impl Snapshot {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { config, callers, upstreams, embedded, watched, retries, hedges, routes, tcp } =
            parts;
        let by_name: HashMap<_, _, _> = routes
            .iter()
            .enumerate()
            .filter(|(_, route)| &*route.name != "*")
            .map(|(at, route)| (Arc::clone(&route.name), at))
            .collect();
        let paths = paths(&config);
        let any = routes.iter().position(|route| &*route.name == "*");
        let gates = Gates::new(&routes);
        let (limits, priorities) = (config.limits.clone(), config.listen.priorities.clone());
        let tls = config.listen.tls.as_deref().map(mainstay_tls::Server::shared);
        Self {
            config,
            limits,
            priorities,
            callers,
            tls,
            upstreams,
            embedded,
            watched,
            gates,
            retries,
            hedges,
            routes,
            tcp,
            by_name,
            paths,
            any,
        }
    }

    /// The place of a model's route by its name, or of the one that takes any.
    fn place(&self, model: &str) -> Option<usize> {
        self.by_name.get(model).copied().or(self.any)
    }

    /// The place of the route that declares a path.
    fn place_of_path(&self, path: &str) -> Option<usize> {
        self.paths.iter().find(|(rule, _)| rule.holds(path)).map(|(_, at)| *at)
    }

    /// The route of exactly this name.
    pub(crate) fn route_named(&self, model: &str) -> Option<&Arc<Route>> {
        match model {
            "*" => self.any.map(|at| &self.routes[at]),
            _ => self.by_name.get(model).map(|at| &self.routes[*at]),
        }
    }

    /// The TCP listener of this name.
    pub(crate) fn tcp_listener(&self, name: &str) -> Option<&Arc<tcp::Listener>> {
        self.tcp.iter().find(|listener| *listener.settings.name == *name)
    }

    /// The names that a client may ask for.
    pub(crate) fn model_names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| &*route.name)
    }
}

/// Every declared path with the place of its model: the longer one holds where two do, and an
/// exact one before all that begins like it.
fn paths(config: &Config) -> Vec<(PathRule, usize)> {
    let all = config.models.iter().enumerate();
    let mut paths: Vec<_> = all
        .flat_map(|(at, model)| model.paths.iter().map(move |rule| (rule.clone(), at)))
        .collect();
    paths.sort_by_key(|(rule, _)| std::cmp::Reverse(rule.order()));
    paths
}

/// What a snapshot is made of.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) callers: Option<Arc<Callers>>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) embedded: Vec<Arc<Embedded>>,
    pub(crate) watched: Vec<Watched>,
    pub(crate) retries: Arc<RetryBudget>,
    pub(crate) hedges: Vec<Option<Arc<HedgeBudget>>>,
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) tcp: Vec<Arc<tcp::Listener>>,
}

/// A worker's own hold on a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct View(Rc<Held>);

/// The one count that all workers write, for all requests of one worker.
#[derive(Debug)]
struct Held(Arc<Snapshot>);

impl View {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(Rc::new(Held(snapshot)))
    }

    /// The route of a model by its name, or the one that takes any.
    pub(crate) fn route(&self, model: &str) -> Option<RouteView> {
        let at = self.place(model)?;
        Some(RouteView { view: self.clone(), at })
    }

    /// The route that declares a path.
    pub(crate) fn route_of_path(&self, path: &str) -> Option<RouteView> {
        let at = self.place_of_path(path)?;
        Some(RouteView { view: self.clone(), at })
    }
}

impl Deref for View {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0.0
    }
}

/// A route with the snapshot that it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct RouteView {
    view: View,
    at: usize,
}

impl RouteView {
    /// The snapshot that it belongs to.
    pub(crate) fn view(&self) -> &Snapshot {
        &self.view
    }

    /// The route alone, for another thread.
    pub(crate) fn share(&self) -> Arc<Route> {
        Arc::clone(&self.view.routes[self.at])
    }
}

impl Deref for RouteView {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.view.routes[self.at]
    }
}

/// A model as clients ask for it.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its number in records and metrics.
    pub(crate) id: u16,
    pub(crate) name: Arc<str>,
    pub(crate) deadline: Duration,
    /// The whole chain.
    pub(crate) plan: Plan,
    /// The same steps with those of lesser quality shut, for requests that refuse them.
    pub(crate) strict: Plan,
    /// Aligned with the plans' steps.
    pub(crate) steps: Vec<Step>,
    /// What its pools speak, where all speak the same.
    pub(crate) speaks: Option<Protocol>,
    /// Whether something looks into answers, whatever protocol they came in.
    pub(crate) reads: bool,
    /// The methods that it takes at paths of its own; none stands for any.
    pub(crate) methods: Vec<Method>,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) batch: bool,
    /// What every answer must keep to.
    pub(crate) guards: Guards,
    pub(crate) exhausted: Exhausted,
    /// Requests that wait for somebody to come back to a pool.
    pub(crate) waiting: Waiting,
    /// Whether only answers of full quality are allowed.
    pub(crate) never_degrade: bool,
    /// Whether another server goes on with a stream that was cut.
    pub(crate) continues: bool,
    pub(crate) repeatable: bool,
    /// Requests that fail wherever they go; `None` where nothing is taken for poison.
    pub(crate) poison: Option<Arc<PoisonTable>>,
    /// How many at once, and how many wait.
    pub(crate) concurrency: Concurrency,
    /// Who may go on to its servers.
    pub(crate) gate: Arc<Gate>,
    /// Of requests that name none.
    pub(crate) priority: Priority,
    /// How fallbacks are tried out; `None` where they are not.
    pub(crate) rehearsal: Option<Rehearsal>,
    /// How good answers are remembered; `None` where no step gives them again.
    pub(crate) last_good: Option<last_good::Rule>,
    /// How long answers are given again for an idempotency key; `None` where keys mean nothing.
    pub(crate) remember: Option<Duration>,
    /// What its requests are kept together by; `None` where each goes anywhere.
    pub(crate) key: Option<Key>,
    /// Its sequences; `None` where each request stands alone.
    pub(crate) sequences: Option<Sequences>,
}

impl Route {
    /// What messages do not say of the model by themselves.
    pub(crate) fn context(&self) -> Context<'_> {
        Context { model: &self.name, inputs: &self.inputs, outputs: &self.outputs }
    }

    /// Whether one of its pools speaks this.
    pub(crate) fn has_pool_of(&self, protocol: Protocol) -> bool {
        self.steps.iter().any(|step| match &step.source {
            Source::Pool(pool) => pool.protocol == protocol,
            Source::Embedded(_) | Source::LastGood | Source::Default(_) | Source::Fixed(_) => false,
        })
    }

    /// Whether its messages are tensors; so they are where no pool says otherwise.
    pub(crate) fn has_tensors(&self) -> bool {
        self.steps.iter().all(|step| match &step.source {
            Source::Pool(pool) => pool.protocol.has_tensors(),
            Source::Embedded(_) | Source::LastGood | Source::Default(_) | Source::Fixed(_) => true,
        })
    }

    /// Whether something is made of its answers afterwards.
    pub(crate) const fn is_heard(&self) -> bool {
        self.last_good.is_some() || self.rehearsal.is_some()
    }

    /// The members of all its pools.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        let pools = self.steps.iter().filter_map(|step| match &step.source {
            Source::Pool(pool) => Some(pool),
            Source::Embedded(_) | Source::LastGood | Source::Default(_) | Source::Fixed(_) => None,
        });
        pools.flat_map(|pool| &pool.members)
    }
}

/// One source of a route's chain.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) source: Source,
    pub(crate) confidence: Option<confidence::Rule>,
    /// Whether its answers are of lesser quality than the first step's.
    pub(crate) degraded: bool,
}

impl Step {
    /// What its servers speak; a source inside the gateway answers in whatever was `asked`.
    pub(crate) fn speaks(&self, asked: Protocol) -> Protocol {
        match &self.source {
            Source::Pool(pool) => pool.protocol,
            Source::Embedded(_) | Source::LastGood | Source::Default(_) | Source::Fixed(_) => asked,
        }
    }
}

/// Who answers.
#[derive(Debug)]
pub(crate) enum Source {
    Pool(PoolSource),
    Embedded(Arc<Embedded>),
    /// By the route's rule.
    LastGood,
    Default(Vec<Tensor>),
    /// One and the same body, for protocols without tensors.
    Fixed(Fixed),
}

/// A pool as one route uses it.
#[derive(Debug)]
pub(crate) struct PoolSource {
    /// Index in [`Config::pools`].
    pub(crate) pool: usize,
    pub(crate) name: Arc<str>,
    /// What its servers speak.
    pub(crate) protocol: Protocol,
    /// Limits of their streams.
    pub(crate) streams: Streams,
    pub(crate) flavour: Flavour,
    /// Aligned with the members of the plan's pool.
    pub(crate) members: Vec<Member>,
    /// The name upstream, where it differs.
    pub(crate) model: Option<Arc<str>>,
    /// The version upstream, where the chain pins one.
    pub(crate) version: Option<Arc<str>>,
    /// How its requests are kept near, where its endpoints are not all equally so.
    pub(crate) near: locality::Settings,
}

/// One endpoint of a pool with the state of this route's model there.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) target: Arc<Target>,
    /// Its row of equal answers; touched only where the route looks for one.
    pub(crate) sameness: Arc<Mutex<Sameness>>,
}

/// How an endpoint is reached.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// The key of each worker's idle connections.
    pub(crate) slot: Arc<Slot>,
    /// `pool/endpoint`: who served, as answers say it.
    pub(crate) label: Arc<str>,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    /// Put before every path; empty or `/base`.
    pub(crate) prefix: Arc<str>,
    /// The Host header of requests to it.
    pub(crate) authority: HeaderValue,
    /// What is sent to it in the place of what the client sent.
    pub(crate) provider: Option<Box<Provider>>,
    pub(crate) connect_timeout: Duration,
    /// Between two parts of a body.
    pub(crate) idle_timeout: Duration,
    /// For a whole answer that is passed on as it comes.
    pub(crate) total_timeout: Option<Duration>,
    /// Whether it is in another region than the gateway.
    pub(crate) elsewhere: bool,
    pub(crate) max_idle: usize,
    pub(crate) keep_alive: Duration,
    /// How it is spoken to; `None` in clear text.
    pub(crate) tls: Option<crate::tls::Outward>,
}

impl Upstream {
    /// Where it is, as the configuration has it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority.to_str().unwrap_or_default(), self.prefix)
    }

    /// Whether `other` is at the same place.
    pub(crate) fn is_where(&self, other: &Self) -> bool {
        (self.port, &self.host, &self.prefix, self.tls.is_some())
            == (other.port, &other.host, &other.prefix, other.tls.is_some())
    }

    /// Whether somebody listens there: a connection can be opened, within `limit` at most.
    pub(crate) async fn takes_connections(&self, limit: Duration) -> bool {
        let opened = tokio::time::timeout(limit, upstream::open(self, Speak::Http1)).await;
        matches!(opened, Ok(Ok(_)))
    }
}
