//! The configuration as it is written: every key, its documentation and its default.
//!
//! These structs are what the JSON Schema and the annotated example are generated from, so the
//! doc comments here speak to operators. Everything is optional; `crate::review` says what is
//! missing. Extensions that begin with `x-` steer the example only: `x-name` names the entry of
//! a mapping, `x-item` the element of a list that shows a key, `x-comment` leaves a key
//! commented out. A key with both a default and an example shows the example.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::spanned::{Entries, Spanned};
use crate::value::{Length, Share, Size};

mod balance;
mod check;
mod concurrency;
mod cors;
mod discover;
mod fallback;
mod groups;
mod guards;
mod keys;
mod language;
mod model;
mod outliers;
mod pool;
mod process;
mod signals;
mod tcp;
mod tls;

pub(crate) use balance::{RawBalance, RawKey, RawLocality, RawOnLoss, RawSequence, RawSequenceBy};
pub(crate) use check::{
    RawCheck, RawCommand, RawDependency, RawGolden, RawGrpc, RawHeader, RawHttp, RawProbe, RawTcp,
    RawUrlCheck,
};
pub(crate) use concurrency::{
    RawConcurrency, RawPriority, RawPriorityHeader, RawTargetConcurrency,
};
pub(crate) use cors::RawCors;
pub(crate) use discover::{RawDiscover, RawFamily, RawRegister};
pub(crate) use fallback::{RawAgreement, RawCallers, RawLastGood, RawRehearsal};
pub(crate) use groups::{RawActive, RawCall, RawDamping, RawMode, RawStandby, RawWarm, RawWindows};
pub(crate) use guards::{RawConstant, RawGuards, RawOutputGuard, RawShape, RawThen};
pub(crate) use keys::{RawCaller, RawJwt, RawKeys};
pub(crate) use language::{RawCause, RawContinuation, RawKeySource, RawStreams};
pub(crate) use model::{
    Literal, RawBatch, RawConfidence, RawDegrade, RawEmbedded, RawEngine, RawExhausted,
    RawLastResort, RawModel, RawModelDefaults, RawOutput, RawPoison, RawReduce, RawStep,
};
pub(crate) use outliers::{RawFailback, RawOutlierLatency, RawOutliers, RawSuccessRate};
pub(crate) use pool::{
    RawBackoff, RawBreaker, RawCallWindow, RawEndpoint, RawFlavour, RawHedge, RawPool, RawProtocol,
    RawRole, RawSlowCalls, RawSlowStart,
};
pub(crate) use process::{
    RawProcess, RawProcessLimits, RawProcessLog, RawReplicas, RawRestart, RawStop, RawSupervision,
};
pub(crate) use signals::{RawCounterKind, RawCounters, RawHeartbeat, RawProgress};
pub(crate) use tcp::{RawOnFailover, RawSend, RawTcpListener};
pub(crate) use tls::{RawClientCertificate, RawListenTls, RawTls};

/// A key that may be left out.
pub(crate) type Opt<T> = Option<Spanned<T>>;

/// Configuration of a Mainstay gateway.
///
/// Only `pools`, and `models` or `tcp`, are needed; everything else has a default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Config")]
pub(crate) struct RawConfig {
    /// Other files to read, relative to this one. Their pools and models join those here; every
    /// other section may stand in one file only.
    #[schemars(extend("examples" = [["pools.yaml"]], "x-comment" = true))]
    #[expect(dead_code, reason = "includes are merged before the structs are read")]
    pub(crate) include: Option<Vec<String>>,
    /// Who this gateway is.
    pub(crate) node: Opt<RawNode>,
    /// Where clients are served.
    pub(crate) listen: Opt<RawListen>,
    /// Data-path workers, each a thread with its own connections. Default: one for each core
    /// that the process may use.
    #[schemars(extend("examples" = [2], "x-comment" = true, "minimum" = 1, "maximum" = 256))]
    pub(crate) workers: Opt<u32>,
    /// Who may ask which models, how often, and how many at once. Without this section everybody
    /// may.
    #[schemars(extend("x-comment" = true, "examples" = [{
        "callers": {"team-a": {"key": {"file": "/run/secrets/team-a"}, "models": ["fraud"]}}
    }]))]
    pub(crate) keys: Opt<RawKeys>,
    /// Bounds on what one client or one request may take.
    pub(crate) limits: Opt<RawLimits>,
    /// How long requests in flight may take after SIGTERM.
    #[schemars(extend("default" = "30s"))]
    pub(crate) drain: Opt<Length>,
    /// How the gateway comes to another configuration while it runs.
    pub(crate) reload: Opt<RawReload>,
    /// Where the gateway keeps what outlives it, such as the operators' token. Default:
    /// `mainstay` under $STATE_DIRECTORY, $XDG_STATE_HOME or ~/.local/state.
    #[schemars(extend("examples" = ["/var/lib/mainstay"], "x-comment" = true))]
    pub(crate) state_dir: Opt<String>,
    /// Refuse to start when an embedded model does not load. Otherwise its step is skipped and
    /// an alert says so.
    #[schemars(extend("default" = false))]
    pub(crate) strict_start: Opt<bool>,
    /// The listener for operators: status, metrics, records and verbs.
    pub(crate) admin: Opt<RawAdmin>,
    /// How the program logs.
    pub(crate) log: Opt<RawLog>,
    /// How many decision records are kept, one for each request.
    pub(crate) records: Opt<RawRecords>,
    /// The share of requests that may be retried, over the whole gateway. It keeps retries from
    /// multiplying the load on servers that are failing under load. Embedded models and default
    /// predictions cost servers nothing and are not counted.
    pub(crate) retry: Opt<RawRetry>,
    /// The hard cap on what servers get beyond what clients ask: retries, fallbacks to other
    /// servers and hedges together.
    pub(crate) amplification: Opt<RawAmplification>,
    /// The threads that run embedded models.
    pub(crate) embedded: Opt<RawEmbeddedPool>,
    /// What the gateway itself depends on; asked by /healthz/deep.
    #[schemars(extend(
        "default" = [],
        "examples" = [[{"name": "features", "tcp": "10.0.2.1:6379"}]]
    ))]
    pub(crate) dependencies: Opt<Vec<Spanned<RawDependency>>>,
    /// What all supervised processes have in common.
    pub(crate) supervision: Opt<RawSupervision>,
    /// Settings laid under every pool and every model; an entry's own keys win. Sections of a
    /// pool (probe, breaker, slow-start, backoff) are merged key by key.
    pub(crate) defaults: Opt<RawDefaults>,
    /// Pools by name: interchangeable servers.
    #[schemars(extend("x-name" = "fraud-v2"))]
    pub(crate) pools: Opt<Entries<RawPool>>,
    /// TCP listeners by name: any protocol, passed on to pools with `protocol: tcp`.
    #[schemars(extend(
        "default" = {},
        "examples" = [{"cache": {"listen": "127.0.0.1:6379", "pool": "cache"}}],
        "x-comment" = true
    ))]
    pub(crate) tcp: Opt<Entries<RawTcpListener>>,
    /// Models by the name that clients use; "*" passes any other name through.
    #[schemars(extend("x-name" = "fraud"))]
    pub(crate) models: Opt<Entries<RawModel>>,
}

/// Who this gateway is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Node")]
pub(crate) struct RawNode {
    /// Shown in status, logs and metrics. Default: the host's name.
    #[schemars(extend("examples" = ["gw-a"]))]
    pub(crate) name: Opt<String>,
    /// The region that it runs in; endpoints of the same one are nearer.
    #[schemars(extend("examples" = ["eu-west"], "x-comment" = true))]
    pub(crate) region: Opt<String>,
    /// The zone of that region.
    #[schemars(extend("examples" = ["eu-west-1a"], "x-comment" = true))]
    pub(crate) zone: Opt<String>,
}

/// Where clients are served.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Listen")]
pub(crate) struct RawListen {
    /// Address and port for the Open Inference Protocol over HTTP.
    #[schemars(extend("default" = "0.0.0.0:8080"))]
    pub(crate) http: Opt<String>,
    /// A further address, for clients of gRPC by custom. Either address takes both HTTP and gRPC.
    #[schemars(extend("examples" = ["0.0.0.0:8081"], "x-comment" = true))]
    pub(crate) grpc: Opt<String>,
    /// TLS with clients: the certificate that is shown to them, and whether they must show one.
    /// HTTP/2 is agreed on in the handshake. Without this section they are served in clear text.
    #[schemars(extend(
        "x-comment" = true,
        "examples" = [{"certificate": "/etc/mainstay/tls.pem", "key": "/etc/mainstay/tls-key.pem"}]
    ))]
    pub(crate) tls: Opt<RawListenTls>,
    /// Which pages of other sites may ask from a browser.
    #[schemars(extend("x-comment" = true, "examples" = [{"origins": ["https://app.example"]}]))]
    pub(crate) cors: Opt<RawCors>,
    /// How much requests matter when not all can be served: critical, high, normal or low. A
    /// model, and a trusted client, may say otherwise.
    #[schemars(extend("default" = "normal"))]
    pub(crate) priority: Opt<RawPriority>,
    /// A header in which trusted clients name the priority of each request. Without this
    /// section no header is looked at.
    pub(crate) priority_header: Opt<RawPriorityHeader>,
}

/// Bounds on what one client or one request may take.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Limits")]
pub(crate) struct RawLimits {
    /// Request line and headers together; more is answered with 431.
    #[schemars(extend("default" = "32KiB"))]
    pub(crate) header: Opt<Size>,
    /// One request body; more is answered with 413.
    #[schemars(extend("default" = "64MiB"))]
    pub(crate) body: Opt<Size>,
    /// The largest request body that is kept to repeat it elsewhere. Larger ones stream through
    /// with one attempt.
    #[schemars(extend("default" = "8MiB"))]
    pub(crate) replay: Opt<Size>,
    /// All kept bodies together.
    #[schemars(extend("default" = "256MiB"))]
    pub(crate) replay_memory: Opt<Size>,
    /// All answers together that are remembered for an Idempotency-Key; beyond it the oldest
    /// are forgotten before their time.
    #[schemars(extend("default" = "64MiB"))]
    pub(crate) idempotency_memory: Opt<Size>,
    /// Good answers remembered in memory for steps with `last-good`, all together.
    #[schemars(extend("default" = "64MiB"))]
    pub(crate) last_good_memory: Opt<Size>,
    /// The same on disk, below state-dir, over a restart; 0 keeps nothing there.
    #[schemars(extend("default" = "256MiB"))]
    pub(crate) last_good_disk: Opt<Size>,
    /// Requests with their answers that wait to be remembered as last good ones, or are sent in the
    /// shadow (rehearsal), all together; beyond it samples are dropped.
    #[schemars(extend("default" = "64MiB"))]
    pub(crate) shadow_memory: Opt<Size>,
    /// Client connections at once.
    #[schemars(extend("default" = 10000, "minimum" = 1))]
    pub(crate) connections: Opt<u32>,
    /// How long a client may take to send its headers, and for the TLS handshake before them.
    #[schemars(extend("default" = "10s"))]
    pub(crate) header_timeout: Opt<Length>,
    /// How long a client's connection is kept without a request. Longer than clients keep
    /// theirs (commonly 60s), so that they close first.
    #[schemars(extend("default" = "75s"))]
    pub(crate) idle_timeout: Opt<Length>,
    /// An answer is held back until it is complete or so much of it has come; until then another
    /// source can still replace it.
    #[schemars(extend("default" = "64KiB"))]
    pub(crate) hold: Opt<Size>,
}

/// The listener for operators.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Admin")]
pub(crate) struct RawAdmin {
    /// Address and port; on loopback by default, so that nobody reaches it by accident.
    #[schemars(extend("default" = "127.0.0.1:9901"))]
    pub(crate) address: Opt<String>,
    /// The file with the operators' token. Default: admin-token in the state directory, made on
    /// the first start and readable by its owner alone.
    #[schemars(extend("examples" = ["/run/secrets/mainstay-token"], "x-comment" = true))]
    pub(crate) token_file: Opt<String>,
    /// The file with the viewers' token, made on the first start. Where it is named, reading needs
    /// this token or the operators', but for /livez, /readyz and /healthz/deep. Needed where the
    /// address is not on loopback.
    #[schemars(extend("examples" = ["/run/secrets/mainstay-viewers"], "x-comment" = true))]
    pub(crate) viewer_token_file: Opt<String>,
    /// Names that operators ask it by, beside its addresses and localhost.
    #[schemars(extend("examples" = [["gw-a.internal"]], "x-comment" = true))]
    pub(crate) names: Opt<Vec<Spanned<String>>>,
    /// TLS with operators; needed where the address is not on loopback.
    #[schemars(extend(
        "x-comment" = true,
        "examples" = [{"certificate": "/etc/mainstay/tls.pem", "key": "/etc/mainstay/tls-key.pem"}]
    ))]
    pub(crate) tls: Opt<RawListenTls>,
}

/// How the program logs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Log")]
pub(crate) struct RawLog {
    /// The least severe level that is written: error, warn, info, debug or trace.
    #[schemars(extend("default" = "info"))]
    pub(crate) level: Opt<RawLevel>,
    /// pretty for people, json for collectors, auto for pretty on a terminal only.
    #[schemars(extend("default" = "auto"))]
    pub(crate) format: Opt<RawFormat>,
}

/// The least severe level that is written.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LogLevel", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawLevel {
    /// Only what failed.
    Error,
    /// And what may fail soon.
    Warn,
    /// And every change of state.
    Info,
    /// And each retried, degraded or failed request.
    Debug,
    /// Everything.
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LogFormat", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawFormat {
    /// pretty on a terminal, json otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// How the gateway comes to another configuration while it runs. SIGHUP and `mainstay reload` always
/// work.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Reload")]
pub(crate) struct RawReload {
    /// Reload when this file, or one that it includes, has changed.
    #[schemars(extend("default" = false))]
    pub(crate) watch: Opt<bool>,
}

/// How many decision records are kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Records")]
pub(crate) struct RawRecords {
    /// The latest requests, whatever became of them.
    #[schemars(extend("default" = 4096))]
    pub(crate) recent: Opt<u32>,
    /// The latest requests that were retried, degraded or failed; they outlast the others.
    #[schemars(extend("default" = 4096))]
    pub(crate) kept: Opt<u32>,
}

/// The share of requests that may be retried.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Retry")]
pub(crate) struct RawRetry {
    /// Retries as a share of the requests of the window.
    #[schemars(extend("default" = "20%"))]
    pub(crate) ratio: Opt<Share>,
    /// Retries a second that are allowed beside that share, so that a quiet gateway can retry.
    #[schemars(extend("default" = 3))]
    pub(crate) per_second: Opt<u32>,
    /// The time over which requests and retries are counted.
    #[schemars(extend("default" = "10s"))]
    pub(crate) window: Opt<Length>,
}

/// The hard cap on what servers get beyond what clients ask.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Amplification")]
pub(crate) struct RawAmplification {
    /// Requests sent to servers for each request that came, over the window of `retry`.
    #[schemars(extend("default" = 1.5, "minimum" = 1, "maximum" = 10))]
    pub(crate) cap: Opt<f64>,
    /// Repetitions a second that are allowed beside that, so that a quiet gateway can repeat.
    #[schemars(extend("default" = 3))]
    pub(crate) per_second: Opt<u32>,
}

/// The threads that run embedded models.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "EmbeddedPool")]
pub(crate) struct RawEmbeddedPool {
    /// Threads.
    #[schemars(extend("default" = 1, "minimum" = 1, "maximum" = 256))]
    pub(crate) threads: Opt<u32>,
    /// Runs that may wait for a thread; one more moves on to the next step.
    #[schemars(extend("default" = 256, "minimum" = 1))]
    pub(crate) queue: Opt<u32>,
    /// The onnxruntime shared library, for steps with `engine: onnxruntime`.
    #[schemars(extend("examples" = ["/usr/lib/libonnxruntime.so"], "x-comment" = true))]
    pub(crate) library: Opt<String>,
}

/// Settings laid under every entry.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write `pool:` or `model:` below it, and their keys below those")]
#[schemars(rename = "Defaults")]
pub(crate) struct RawDefaults {
    /// Under every pool; any key of a pool but its endpoints.
    #[schemars(extend("examples" = [{"connect-timeout": "250ms"}], "x-whole" = true))]
    pub(crate) pool: Opt<RawPool>,
    /// Under every model: deadline, attempts, degrade, repeatable, exhausted.
    #[schemars(extend("examples" = [{"deadline": "10s"}], "x-whole" = true))]
    #[expect(dead_code, reason = "laid under the models before the structs are read")]
    pub(crate) model: Opt<RawModelDefaults>,
}
