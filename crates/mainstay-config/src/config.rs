//! What a valid configuration says, as the rest of the gateway reads it.
//!
//! Only this crate can construct these structs (`#[non_exhaustive]`), and only from a file that
//! passed every check: pool indices exist, defaults are typed, times fit into each other. The
//! defaults of the sections stand here beside their reasons; those of breaker, balance, budget
//! and health stand in `mainstay_policy`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::budget;

use crate::fault::Fault;

mod concurrency;
mod cors;
mod discover;
mod keys;
mod model;
mod pool;
mod process;
mod tcp;

pub use concurrency::{Concurrency, Network, Priorities};
pub use cors::{Cors, Origins};
pub use discover::{Discover, DnsName, Family, Origin, Register};
pub use keys::{Caller, Grant, Jwt, KeyHash, Keys};
pub(crate) use model::{ATTEMPTS, DEADLINE, LAST_GOOD_AGE, LAST_RESORT_QUEUE, REMEMBER};
pub use model::{
    Degrade, Engine, Exhausted, Fixed, Guards, Idempotency, LastGood, Model, PathRule, Rehearsal,
    Sequence, SequenceBy, Source, Step,
};
pub use pool::{
    BadUrl, Call, Check, Counters, Dependency, Endpoint, EndpointUrl, GoldenFile, GoldenProbe,
    HttpCheck, Key, Login, Pool, Probe, Prove, Provider, Site, Streams, Warm,
};
pub(crate) use pool::{
    CONNECT_TIMEOUT, FIRST_BYTE_TIMEOUT, IDLE_TIMEOUT, KEEP_ALIVE, MAX_IDLE_CONNECTIONS,
};
pub use process::{PORT, Process, ProcessLimits, ProcessLog, ProcessStop, Replicas, Supervision};
pub(crate) use tcp::{CONNECT_BUDGET, MAX_CONNECTIONS, TCP_ATTEMPTS, TCP_IDLE_TIMEOUT};
pub use tcp::{OnFailover, Sentinel, TcpListener, TcpRules};

/// One KiB, in bytes.
const KIB: usize = 1024;
/// One MiB, in bytes.
const MIB: usize = 1024 * KIB;

/// A whole valid configuration: an immutable snapshot, swapped as one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Who this gateway is.
    pub node: Node,
    /// Where clients are served.
    pub listen: Listen,
    /// Who may ask. Default none of this: everybody may.
    pub keys: Option<Keys>,
    /// Data-path workers, each a thread with a runtime of its own. Default: one for each core
    /// that the process may use.
    pub workers: usize,
    /// Bounds on what one client or one request may take.
    pub limits: Limits,
    /// How long requests in flight may take after SIGTERM. Default 30 s, as load balancers and
    /// orchestrators wait.
    pub drain: Duration,
    /// Whether the files are watched, and read again when one has changed. Default false: SIGHUP
    /// and `mainstay reload` say when.
    pub watch: bool,
    /// The files that this was read from, the first one first.
    pub files: Vec<PathBuf>,
    /// Where the gateway keeps what outlives it (the operator token). Default: `mainstay` under
    /// `$STATE_DIRECTORY`, `$XDG_STATE_HOME` or `~/.local/state`.
    pub state_dir: PathBuf,
    /// Refuse to start when an embedded model does not load. Default false: a gateway with one
    /// step less still answers.
    pub strict_start: bool,
    /// The listener for operators.
    pub admin: Admin,
    /// How the program logs.
    pub log: Log,
    /// How many decision records are kept.
    pub records: Records,
    /// The share of requests that may be retried, over the whole gateway.
    pub retry: budget::RetrySettings,
    /// The hard cap on retries, fallbacks to other servers and hedges together.
    pub amplification: budget::AmplificationSettings,
    /// The threads that run embedded models.
    pub embedded: EmbeddedPool,
    /// What the gateway itself depends on; asked by `/healthz/deep`. Default none.
    pub dependencies: Vec<Dependency>,
    /// What all supervised processes have in common.
    pub supervision: Supervision,
    /// The pools, in the order of the file.
    pub pools: Vec<Pool>,
    /// The TCP listeners, in the order of the file. Default none.
    pub tcp: Vec<TcpListener>,
    /// The models, in the order of the file; the name `*` matches any other.
    pub models: Vec<Model>,
    /// A short hash of the text that this was read from, includes and all.
    pub version: String,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Fault>,
}

/// Who this gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Shown in status, logs and metrics. Default: `$HOSTNAME`, `/etc/hostname` or "mainstay".
    pub name: Arc<str>,
    /// Where it runs. Default unknown.
    pub site: Site,
}

/// Where clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// Open Inference Protocol over HTTP. Default 0.0.0.0:8080: a gateway is there to be reached.
    pub http: SocketAddr,
    /// A further address for the same. Default none: gRPC is taken at the first one too.
    pub grpc: Option<SocketAddr>,
    /// TLS with clients. Default none: clear text.
    pub tls: Option<Arc<mainstay_tls::Listening>>,
    /// Pages of other sites that may ask from a browser. Default none.
    pub cors: Option<Cors>,
    /// How much its requests matter.
    pub priorities: Priorities,
}

impl Default for Listen {
    fn default() -> Self {
        let http = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080));
        let (grpc, tls, cors) = (None, None, None);
        Self { http, grpc, tls, cors, priorities: Priorities::default() }
    }
}

/// Bounds on what one client or one request may take; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Request line and headers together. Default 32 KiB: four times what servers usually take,
    /// and still small beside the buffers of one connection.
    pub header: usize,
    /// One request body. Default 64 MiB: a batch of 100 uncompressed images.
    pub body: usize,
    /// The part of a request body that is kept to repeat it elsewhere. Default 8 MiB: nearly all
    /// inference requests; larger ones stream through with one attempt.
    pub replay: usize,
    /// All kept bodies together. Default 256 MiB.
    pub replay_memory: usize,
    /// Client connections at once. Default 10 000.
    pub connections: usize,
    /// From the connection (or the last answer's end) to the end of the next request's headers.
    /// Default 10 s.
    pub header_timeout: Duration,
    /// Answers remembered for idempotency keys, all together. Default 64 MiB: at 1 KiB each, a
    /// thousand a second for a minute.
    pub idempotency_memory: usize,
    /// Good answers remembered in memory for steps with `last-good`, all together. Default 64 MiB.
    pub last_good_memory: usize,
    /// The same on disk; 0 keeps nothing there. Default 256 MiB: four times the memory, and small
    /// beside any disk.
    pub last_good_disk: usize,
    /// Requests with their answers that wait to be remembered, or are sent in the shadow, all
    /// together. Default 64 MiB: apart from [`replay_memory`](Self::replay_memory), which is for
    /// clients' requests alone.
    pub shadow_memory: usize,
    /// A client connection without a request is closed after this. Default 75 s: longer than the
    /// 60 s for which clients and load balancers commonly keep theirs, so that they close first.
    pub idle_timeout: Duration,
    /// An answer is held until it is complete or so many bytes have come; until then another
    /// source may replace it. Default 64 KiB.
    pub hold: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: 32 * KIB,
            body: 64 * MIB,
            replay: 8 * MIB,
            replay_memory: 256 * MIB,
            idempotency_memory: 64 * MIB,
            last_good_memory: 64 * MIB,
            last_good_disk: 256 * MIB,
            shadow_memory: 64 * MIB,
            connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            hold: 64 * KIB,
        }
    }
}

/// The listener for operators: status, metrics, records and verbs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admin {
    /// Default 127.0.0.1:9901: on loopback, so that nobody reaches it by accident.
    pub address: SocketAddr,
    /// The file with the operators' token. Default none: `admin-token` in the state directory,
    /// made on the first start with mode 0600.
    pub token_file: Option<PathBuf>,
    /// The file with the viewers' token. Default none: reading needs no token.
    pub viewer_token_file: Option<PathBuf>,
    /// Names that it is asked by, beside addresses and `localhost`. Default none.
    pub names: Vec<String>,
    /// TLS with operators. Default none: clear text, on loopback only.
    pub tls: Option<Arc<mainstay_tls::Listening>>,
}

impl Default for Admin {
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9901));
        Self { address, token_file: None, viewer_token_file: None, names: Vec::new(), tls: None }
    }
}

/// How the program logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// The least severe level that is written. Default `info`.
    pub level: LogLevel,
    /// The form of a line. Default `auto`.
    pub format: LogFormat,
}

/// The least severe level that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// And what may fail soon.
    Warn,
    /// And every change of state.
    #[default]
    Info,
    /// And each retried, degraded or failed request.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The level in lower case, as `tracing` filters name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `pretty` on a terminal, `json` otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line, for collectors.
    Json,
}

/// How many decision records are kept, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Records {
    /// The latest requests, whatever became of them. Default 4096.
    pub recent: usize,
    /// The latest requests that were retried, degraded or failed. Default 4096. They have a ring
    /// of their own because the first turns over in seconds under full load.
    pub kept: usize,
}

impl Default for Records {
    fn default() -> Self {
        Self { recent: 4096, kept: 4096 }
    }
}

/// The threads that run embedded models.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedPool {
    /// Threads. Default 1: an embedded model is the small one.
    pub threads: usize,
    /// Runs that may wait; one more is refused and the chain goes on. Default 256.
    pub queue: usize,
    /// The onnxruntime shared library for steps with `engine: onnxruntime`. Default none.
    pub library: Option<PathBuf>,
}

impl Default for EmbeddedPool {
    fn default() -> Self {
        Self { threads: 1, queue: 256, library: None }
    }
}

/// Default of [`Config::drain`].
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// Default of [`Config::workers`]: one for each core that the process may use.
pub(crate) fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Default of [`Config::state_dir`]: `mainstay` under the first state directory that the
/// environment names. Commands look there for the operators' token.
#[must_use]
pub fn default_state_dir() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = || variable("HOME").map(|home| home.join(".local/state"));
    let base = variable("STATE_DIRECTORY").or_else(|| variable("XDG_STATE_HOME")).or_else(home);
    base.unwrap_or_else(|| PathBuf::from(".")).join("mainstay")
}
