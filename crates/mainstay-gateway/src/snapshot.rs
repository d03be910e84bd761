//! A configuration made ready for the way of a request: an immutable snapshot, shared by all
//! workers and swapped whole.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foldhash::fast::RandomState;
use http::HeaderValue;
use mainstay_config::{Concurrency, Exhausted, Guards, Limits, Priorities};
use mainstay_policy::chain::Plan;
use mainstay_policy::limit::Priority;
use mainstay_policy::target::Target;
use mainstay_protocol::classify::Flavour;
use mainstay_protocol::oip::confidence;
use mainstay_protocol::oip::guard::constant::Sameness;
use mainstay_protocol::{Tensor, TensorSpec};

use crate::embedded::Embedded;
use crate::poison::PoisonTable;
use crate::request::Waiting;

/// Everything that a request needs to know of the configuration.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The configuration's own short hash.
    pub(crate) version: String,
    pub(crate) limits: Limits,
    pub(crate) priorities: Priorities,
    /// Every endpoint of every pool; [`Upstream::index`] leads here.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) routes: Vec<Arc<Route>>,
    by_name: HashMap<Arc<str>, usize, RandomState>,
    any: Option<usize>,
}

impl Snapshot {
    pub(crate) fn new(
        version: String,
        (limits, priorities): (Limits, Priorities),
        upstreams: Vec<Arc<Upstream>>,
        routes: Vec<Arc<Route>>,
    ) -> Self {
        let by_name: HashMap<_, _, _> = routes
            .iter()
            .enumerate()
            .filter(|(_, route)| &*route.name != "*")
            .map(|(at, route)| (Arc::clone(&route.name), at))
            .collect();
        let any = routes.iter().position(|route| &*route.name == "*");
        Self { version, limits, priorities, upstreams, routes, by_name, any }
    }

    /// The route of a model by its name, or the one that takes any.
    pub(crate) fn route(&self, model: &str) -> Option<&Arc<Route>> {
        self.by_name.get(model).copied().or(self.any).map(|at| &self.routes[at])
    }

    /// The names that a client may ask for.
    pub(crate) fn model_names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| &*route.name)
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
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) batch: bool,
    /// What every answer must keep to.
    pub(crate) guards: Guards,
    pub(crate) exhausted: Exhausted,
    /// Requests that wait for somebody to come back to a pool.
    pub(crate) waiting: Waiting,
    /// Whether only answers of full quality are allowed.
    pub(crate) never_degrade: bool,
    pub(crate) repeatable: bool,
    /// Requests that fail wherever they go; `None` where nothing is taken for poison.
    pub(crate) poison: Option<PoisonTable>,
    /// How many at once, and how many wait.
    pub(crate) concurrency: Concurrency,
    /// Of requests that name none.
    pub(crate) priority: Priority,
    /// How long answers are given again for an idempotency key; `None` where keys mean nothing.
    pub(crate) remember: Option<Duration>,
}

impl Route {
    /// The members of all its pools.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        let pools = self.steps.iter().filter_map(|step| match &step.source {
            Source::Pool(pool) => Some(pool),
            Source::Embedded(_) | Source::Default(_) => None,
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

/// Who answers.
#[derive(Debug)]
pub(crate) enum Source {
    Pool(PoolSource),
    Embedded(Arc<Embedded>),
    Default(Vec<Tensor>),
}

/// A pool as one route uses it.
#[derive(Debug)]
pub(crate) struct PoolSource {
    pub(crate) name: Arc<str>,
    pub(crate) flavour: Flavour,
    /// Aligned with the members of the plan's pool.
    pub(crate) members: Vec<Member>,
    /// The name upstream, where it differs.
    pub(crate) model: Option<Arc<str>>,
    /// The version upstream, where the chain pins one.
    pub(crate) version: Option<Arc<str>>,
}

/// One endpoint of a pool with the state of this route's model there.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) target: Arc<Target>,
    /// Its row of equal answers; touched only where the route looks for one.
    pub(crate) sameness: Mutex<Sameness>,
}

/// How an endpoint is reached.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Dense number: the key of each worker's idle connections.
    pub(crate) index: usize,
    /// `pool/endpoint`: who served, as answers say it.
    pub(crate) label: Arc<str>,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    /// Put before every path; empty or `/base`.
    pub(crate) prefix: Arc<str>,
    /// The Host header of requests to it.
    pub(crate) authority: HeaderValue,
    pub(crate) connect_timeout: Duration,
    /// Between two parts of a body.
    pub(crate) idle_timeout: Duration,
    /// For a whole answer that is passed on as it comes.
    pub(crate) total_timeout: Option<Duration>,
    pub(crate) max_idle: usize,
    pub(crate) keep_alive: Duration,
}

impl Upstream {
    /// Whether somebody listens there: a connection can be opened, within `limit` at most.
    pub(crate) async fn takes_connections(&self, limit: Duration) -> bool {
        let opening = tokio::net::TcpStream::connect((&*self.host, self.port));
        let opened = tokio::time::timeout(self.connect_timeout.min(limit), opening).await;
        matches!(opened, Ok(Ok(_)))
    }
}
