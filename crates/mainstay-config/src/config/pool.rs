//! Pools: interchangeable endpoints, how they are reached, checked and protected.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};
use mainstay_control::group;
use mainstay_policy::health::{counters, fusion, heartbeat};
use mainstay_policy::{balance, breaker, budget, failback, health, limit, outlier};
use mainstay_protocol::Protocol;
use mainstay_protocol::classify::Flavour;
use mainstay_protocol::oip::golden::Golden;

use super::{Discover, Process, Replicas, TcpRules};
use crate::review::address;
use crate::secret::Secret;

/// Interchangeable endpoints with a balancing rule.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pool {
    /// The name that chains use; unique.
    pub name: Arc<str>,
    /// What the servers speak. Default the Open Inference Protocol over HTTP.
    pub protocol: Protocol,
    /// Whose dialect of failures the servers speak. Default `auto`.
    pub flavour: Flavour,
    /// The servers that the file names; at least one, unless there are sources of others.
    pub endpoints: Vec<Endpoint>,
    /// Servers beside the endpoints, as load asks for them. Default none.
    pub replicas: Option<Replicas>,
    /// The process of each replica; present with them.
    pub process: Option<Process>,
    /// How many endpoints are in use, and who takes over. Default: all, automatically.
    pub group: group::Rule,
    /// How warm standbys are made ready.
    pub warm: Warm,
    /// Where more servers come from while the gateway runs. Default none.
    pub discover: Vec<Discover>,
    /// How a target is picked. Default peak-EWMA.
    pub balance: balance::Rule,
    /// What requests are kept together by, where the rule of balancing hashes keys.
    pub key: Option<Key>,
    /// How requests are kept near; `None` where all servers are alike. Default on; without effect
    /// where node and endpoints do not say where they are.
    pub locality: Option<balance::locality::Settings>,
    /// How TLS is spoken with its servers, those discovered among them. Default: those whose URL
    /// begins with https, trusting the authorities of the system.
    pub tls: Option<Arc<mainstay_tls::Settings>>,
    /// To establish a connection, TLS included. Default 250 ms: two lost SYNs inside a data centre would take
    /// longer, and by then another endpoint is the better bet.
    pub connect_timeout: Duration,
    /// From the start of an attempt to the first byte of the answer. Default 10 s.
    pub first_byte_timeout: Duration,
    /// Between two parts of a body. Default 30 s.
    pub idle_timeout: Duration,
    /// For a whole attempt, body included. Default none: the model's deadline bounds it.
    pub total_timeout: Option<Duration>,
    /// Limits of streamed answers.
    pub streams: Streams,
    /// Idle connections kept to one endpoint by one worker. Default 64.
    pub max_idle_connections: usize,
    /// How long an idle connection is kept. Default 60 s; shorter than what servers keep, so
    /// that they rarely close one that is about to be used.
    pub keep_alive: Duration,
    /// The active check of each endpoint and model.
    pub probe: Probe,
    /// The breaker of each target; `None` is off.
    pub breaker: Option<breaker::Settings>,
    /// When a target is worse than its peers. Default on.
    pub outliers: outlier::Settings,
    /// How an outlier comes back.
    pub failback: failback::Settings,
    /// How traffic returns to a recovered target.
    pub slow_start: balance::SlowStart,
    /// Second attempts beside late ones; `None` is off.
    pub hedge: Option<budget::HedgeSettings>,
    /// The wait before the same endpoint is tried again.
    pub backoff: budget::Backoff,
    /// How many attempts each target is given at once. Default adaptive, from 200.
    pub concurrency: limit::Settings,
    /// When silence is a stall.
    pub progress: fusion::Settings,
    /// The heartbeats that are expected; `None` if none are.
    pub heartbeat: Option<heartbeat::Settings>,
    /// The servers' own counters; `None` if they are not read.
    pub counters: Option<Counters>,
    /// What holds where the servers are of layer 4; `None` where they are not.
    pub tcp: Option<TcpRules>,
}

/// What requests are kept together by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The value of this header.
    Header(HeaderName),
    /// The first value of this input.
    Input(Arc<str>),
    /// The client's address; for TCP pools.
    Client,
    /// The first so many bytes of the messages or the prompt.
    PromptPrefix(usize),
}

/// Limits of streamed answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Streams {
    /// From the start of an attempt to the first content. Default: as long as the first byte.
    pub first_token: Option<Duration>,
    /// Between two pieces of content. Default: as long as two parts of a body.
    pub inter_token: Option<Duration>,
    /// The throughput to be shown before the answer is committed. Default none.
    pub prove: Option<Prove>,
}

/// A proof of throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prove {
    /// Events with content; from 1 to 64. Default 8.
    pub events: u32,
    /// The time for them, from the first one on. Default 2 s.
    pub within: Duration,
}

impl Default for Prove {
    fn default() -> Self {
        Self { events: 8, within: Duration::from_secs(2) }
    }
}

/// What is sent to an endpoint in the place of what the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provider {
    /// Sent instead of the client's headers of the same names; secrets are marked sensitive.
    pub headers: HeaderMap,
    /// Whether the credentials are the gateway's own, so that the client's are not passed on.
    pub has_key: bool,
    /// The model's name there; `None` keeps what the step says.
    pub model: Option<Arc<str>>,
}

/// Where the servers of a pool show their own counters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Whose names they have.
    pub kind: counters::Kind,
    /// Instead of the endpoint's own port.
    pub port: Option<u16>,
    /// The whole path and query. Default `/metrics`.
    pub path: String,
    /// Between two readings. Default 1 s.
    pub interval: Duration,
}

/// Default of [`Pool::connect_timeout`].
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// Default of [`Pool::first_byte_timeout`].
pub(crate) const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// Default of [`Pool::idle_timeout`].
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Default of [`Pool::max_idle_connections`].
pub(crate) const MAX_IDLE_CONNECTIONS: usize = 64;
/// Default of [`Pool::keep_alive`].
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// One server address.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Shown in status and trails; unique in its pool. Default `host:port`.
    pub name: Arc<str>,
    /// Where it is.
    pub url: EndpointUrl,
    /// Its share relative to the others, above 0 and at most 100. Default 1.
    pub weight: f32,
    /// What the server needs to answer well; asked for its deep health. Default none.
    pub dependencies: Vec<Dependency>,
    /// Where it runs. Default unknown, which counts as near.
    pub site: Site,
    /// The server itself, if it is started and stopped by Mainstay. Default none.
    pub process: Option<Process>,
    /// What it takes to use it, if it is marked as a standby. Default none: a member like others.
    pub standby: Option<group::Standby>,
    /// What is sent to it in the place of what the client sent. Default nothing.
    pub provider: Option<Provider>,
}

/// Where something runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// The region.
    pub region: Option<Arc<str>>,
    /// The zone of that region.
    pub zone: Option<Arc<str>>,
}

impl Site {
    /// How far another one is.
    #[must_use]
    pub fn distance(&self, other: &Self) -> group::Distance {
        let own = (self.region.as_deref(), self.zone.as_deref());
        group::Distance::between(own, (other.region.as_deref(), other.zone.as_deref()))
    }
}

/// How a warm standby is made ready, and let go again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warm {
    /// How a model is loaded. Default: by the repository API.
    pub load: Call,
    /// How a model is unloaded; `None` keeps it loaded. Default: by the repository API.
    pub unload: Option<Call>,
    /// How long one try may take. Default 2 min: large models load for so long.
    pub timeout: Duration,
}

impl Default for Warm {
    fn default() -> Self {
        let timeout = Duration::from_mins(2);
        Self { load: Call::repository("load"), unload: Some(Call::repository("unload")), timeout }
    }
}

/// One HTTP request for one model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Default `POST`.
    pub method: Method,
    /// Path and query behind the endpoint's prefix; `{model}` stands for the model's name.
    pub path: String,
    /// Sent as JSON. Default `{}`.
    pub body: String,
}

impl Call {
    /// The repository API of the Open Inference Protocol, as Triton and MLServer have it:
    /// `POST /v2/repository/models/NAME/load`.
    #[must_use]
    pub fn repository(verb: &str) -> Self {
        let path = format!("/v2/repository/models/{{model}}/{verb}");
        Self { method: Method::POST, path, body: "{}".to_owned() }
    }
}

impl Endpoint {
    /// An endpoint of which nothing is said but where it is.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, url: EndpointUrl) -> Self {
        Self {
            name: name.into(),
            url,
            weight: 1.0,
            dependencies: Vec::new(),
            site: Default::default(),
            process: None,
            standby: Default::default(),
            provider: None,
        }
    }
}

/// The address of a server: `http://host:port/prefix`, or `https`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct EndpointUrl {
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: Arc<str>,
    /// Default 80, with TLS 443.
    pub port: u16,
    /// Put before every path: empty, or `/base` without a slash at its end.
    pub prefix: Arc<str>,
    /// How TLS is spoken there; `None` in clear text.
    pub tls: Option<Arc<mainstay_tls::Settings>>,
}

impl EndpointUrl {
    /// `host:port`, with brackets around an IPv6 address: the Host header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A text that is not the URL of a server; says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUrl(String);

impl FromStr for EndpointUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        address::endpoint(text).map_err(|(_, message, help)| BadUrl(format!("{message}: {help}")))
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// An active check and its rhythm.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Probe {
    /// What is asked. Default what the pool's protocol has for it: [`Check::OipReady`],
    /// [`Check::V1Ready`], [`Check::Ping`] for `TorchServe`, a connection for plain HTTP.
    pub check: Check,
    /// How often, how long, and how many results decide.
    pub health: health::Settings,
    /// Requests whose right answers are known. Default none.
    pub golden: Option<GoldenProbe>,
}

/// Golden requests and their rhythm.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GoldenProbe {
    /// The requests; at least one.
    pub files: Vec<GoldenFile>,
    /// How often, how long, and how many answers decide. Default every 10 s, a limit of 1 s, two
    /// in a row.
    pub health: health::Settings,
}

/// One golden request with the file that it came from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GoldenFile {
    /// The file, made absolute or relative to the working directory.
    pub path: PathBuf,
    /// What it says.
    pub golden: Arc<Golden>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// `GET /v2/models/NAME/ready` for each model behind the endpoint.
    OipReady,
    /// The same over gRPC.
    OipGrpcReady,
    /// `GET /v1/models/NAME` for each model: AVAILABLE or ready.
    V1Ready,
    /// `GET /ping`.
    Ping,
    /// An HTTP request whose status and body must match.
    Http(HttpCheck),
    /// A TCP connection that is accepted.
    Tcp {
        /// Instead of the endpoint's own port.
        port: Option<u16>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service asked for; `None` asks for the server as a whole.
        service: Option<String>,
        /// Instead of the endpoint's own port.
        port: Option<u16>,
    },
    /// `PING` to a Redis server, and what it says of its role.
    Redis {
        /// Whom to log in as; `None` where nobody has to.
        login: Option<Login>,
        /// Instead of the endpoint's own port.
        port: Option<u16>,
    },
    /// A program that exits with 0. An argument list, run without a shell.
    Command {
        /// The program and its arguments; at least one entry.
        argv: Vec<String>,
    },
    /// No check: the verdict comes from the traffic alone.
    Off,
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Login {
    /// `None` for the server's default user.
    pub user: Option<String>,
    /// Never shown.
    pub password: Secret,
}

/// An HTTP request whose status and body must match.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpCheck {
    /// Default `GET`.
    pub method: Method,
    /// The whole path and query; the endpoint's prefix is not put before it. Default `/`.
    pub path: String,
    /// Sent as they are; secret values are marked sensitive, so that no log shows them.
    pub headers: HeaderMap,
    /// Sent as it is. Default none.
    pub body: Option<String>,
    /// The statuses that pass. Default 200 to 299.
    pub status: Vec<RangeInclusive<u16>>,
    /// Text that the answer's body must hold. Default none.
    pub contains: Option<String>,
    /// Instead of the endpoint's own port.
    pub port: Option<u16>,
}

/// Something that a server, or the gateway itself, needs to answer well.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Dependency {
    /// Shown in status; unique in its list.
    pub name: Arc<str>,
    /// Where it is; `None` only for a command. Its prefix is empty: an HTTP check carries the
    /// whole path.
    pub address: Option<EndpointUrl>,
    /// HTTP, TCP, gRPC or a command.
    pub check: Check,
    /// How often, how long, and how many results decide.
    pub health: health::Settings,
}
