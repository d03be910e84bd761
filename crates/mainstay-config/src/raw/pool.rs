//! Pools as they are written.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::{
    Opt, RawActive, RawBalance, RawCounters, RawDependency, RawDiscover, RawFailback, RawHeader,
    RawHeartbeat, RawKeySource, RawLocality, RawMode, RawOutliers, RawProbe, RawProcess,
    RawProgress, RawReplicas, RawStandby, RawStreams, RawTargetConcurrency, RawTls, RawWarm,
};
use crate::spanned::{Entries, Spanned};
use crate::value::{Length, Several, Share, Short, Shorthand, off_schema};

/// Interchangeable servers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a pool; write its keys below its name, at least `endpoints:`")]
#[schemars(rename = "Pool")]
pub(crate) struct RawPool {
    /// What the servers speak: oip is the Open Inference Protocol V2 over HTTP, oip-grpc the same
    /// over gRPC, v1 TensorFlow Serving's REST API and KServe's V1 protocol, torchserve
    /// TorchServe's inference API, openai the API of OpenAI, as many servers of language models
    /// have it, http anything at the paths that a model declares; tcp is any protocol at all,
    /// passed on as it is, for the listeners under `tcp`.
    #[schemars(extend("default" = "oip"))]
    pub(crate) protocol: Opt<RawProtocol>,
    /// Whose dialect of failures the servers speak: auto, triton, mlserver, torchserve,
    /// tensorflow-serving, openai or vllm. The same status means different things from different
    /// servers.
    #[schemars(extend("default" = "auto"))]
    pub(crate) flavour: Opt<RawFlavour>,
    /// The servers. A URL alone is enough for one.
    #[schemars(extend("x-more" = ["http://10.0.0.2:8000"]))]
    pub(crate) endpoints: Opt<Vec<Spanned<Short<RawEndpoint>>>>,
    /// Servers beside the endpoints, started and stopped as load asks for them: {min: 1, max: 4},
    /// or a number. Needs `process`.
    #[schemars(extend(
        "x-comment" = true,
        "examples" = [{"min": 1, "max": 4, "in-flight": 8.0, "up-after": "5s", "down-after": "5m"}]
    ))]
    pub(crate) replicas: Opt<Short<RawReplicas>>,
    /// The process of each replica; {port} in it stands for the port that it is to listen on.
    #[schemars(extend(
        "x-comment" = true,
        "examples" = [{"command": ["/usr/bin/server", "--port", "{port}"]}]
    ))]
    pub(crate) process: Opt<RawProcess>,
    /// How many of the endpoints are in use: `all` that are not marked as standbys, a number, or
    /// {min: 1, max: 3} as load asks for them. The others wait, and take over when one is lost.
    #[schemars(extend("default" = "all", "examples" = [1], "x-comment" = true))]
    pub(crate) active: Opt<Short<RawActive>>,
    /// automatic, or manual: a failover is proposed and waits for `mainstay failover POOL`, and
    /// so does the way back.
    #[schemars(extend("default" = "automatic"))]
    pub(crate) mode: Opt<RawMode>,
    /// Whether an endpoint may only be in use while no other gateway uses another one. Needs
    /// coordination between gateways, which this version does not have.
    #[schemars(extend("default" = false))]
    pub(crate) exclusive: Opt<bool>,
    /// How warm standbys are made ready.
    pub(crate) warm: Opt<RawWarm>,
    /// Where more servers come from while the gateway runs: DNS names, watched files, servers that
    /// register themselves. One source, or a list of them.
    #[schemars(extend(
        "examples" = [[{"dns": "models.internal", "port": 8000}]],
        "x-comment" = true
    ))]
    pub(crate) discover: Opt<Several<RawDiscover>>,
    /// How a server is picked: peak-ewma (the faster and less busy of two drawn at random),
    /// least-request, round-robin, or {ring-hash: {header: x-user}} to send the same key to the
    /// same server.
    #[schemars(extend("default" = "peak-ewma"))]
    pub(crate) balance: Opt<Short<RawBalance>>,
    /// Servers of the gateway's own zone first, then of its region, then others, each as far as
    /// those before it cannot carry everything; `off` takes all alike. Matters where the node and
    /// the endpoints say where they are.
    pub(crate) locality: Opt<Short<RawLocality>>,
    /// TLS with the servers, where their URLs begin with https: whom to trust, and what to show to
    /// them. Servers that are discovered are all spoken to by it.
    #[schemars(extend(
        "x-comment" = true,
        "examples" = [{"ca": "/etc/mainstay/servers-ca.pem", "server-name": "models.internal"}]
    ))]
    pub(crate) tls: Opt<RawTls>,
    /// To establish a connection, TLS included. Two lost packets inside a data centre take longer, and by then
    /// another server is the better bet.
    #[schemars(extend("default" = "250ms"))]
    pub(crate) connect_timeout: Opt<Length>,
    /// From the start of an attempt to the first byte of its answer. The model's deadline may
    /// leave an attempt less.
    #[schemars(extend("default" = "10s"))]
    pub(crate) first_byte_timeout: Opt<Length>,
    /// Between two parts of a body.
    #[schemars(extend("default" = "30s"))]
    pub(crate) idle_timeout: Opt<Length>,
    /// For a whole attempt, body included. Default: only the model's deadline bounds it.
    #[schemars(extend("examples" = ["10s"], "x-comment" = true))]
    pub(crate) total_timeout: Opt<Length>,
    /// Limits of streamed answers, for pools of language models.
    #[schemars(extend(
        "examples" = [{"first-token": "5s", "inter-token": "10s"}],
        "x-comment" = true
    ))]
    pub(crate) streams: Opt<RawStreams>,
    /// Idle connections that one worker keeps to one server.
    #[schemars(extend("default" = 64))]
    pub(crate) max_idle_connections: Opt<u16>,
    /// How long an idle connection is kept. Shorter than the servers keep theirs, so that a
    /// connection is rarely closed under a request.
    #[schemars(extend("default" = "60s"))]
    pub(crate) keep_alive: Opt<Length>,
    /// The active check of each server and model.
    pub(crate) probe: Opt<RawProbe>,
    /// Stops traffic to a server that fails, for each model apart; `off` turns it off.
    pub(crate) breaker: Opt<Short<RawBreaker>>,
    /// Takes a server out that is much worse than its peers, while they can do without it; `off`
    /// turns it off.
    pub(crate) outliers: Opt<Short<RawOutliers>>,
    /// How a server comes back that was taken out as an outlier, or whose place a standby took.
    pub(crate) failback: Opt<RawFailback>,
    /// How traffic returns to a server that was down, or whose breaker was open.
    pub(crate) slow_start: Opt<RawSlowStart>,
    /// The wait before the same server is tried again; another one is tried at once.
    pub(crate) backoff: Opt<RawBackoff>,
    /// How many requests each server is given at once, for each model apart, so that what it
    /// cannot do yet waits here and not there; `off` gives it whatever comes.
    pub(crate) concurrency: Opt<Short<RawTargetConcurrency>>,
    /// When a server that takes requests and answers none is stalled, whatever its probes say;
    /// `off` never finds one.
    pub(crate) progress: Opt<Short<RawProgress>>,
    /// Heartbeats that the servers send to the admin listener. Missed ones count only where they
    /// are expected.
    #[schemars(extend("default" = "off", "examples" = [{"interval": "1s", "misses": 3}]))]
    pub(crate) heartbeat: Opt<Short<RawHeartbeat>>,
    /// The servers' own counters, read from the page that they show to Prometheus: `auto` goes by
    /// the pool's flavour; or `kind` (triton, vllm, mlserver, torchserve) with `port`, `path` and
    /// `interval`.
    #[schemars(extend(
        "default" = "off",
        "examples" = [{"kind": "triton", "port": 8002, "path": "/metrics", "interval": "1s"}]
    ))]
    pub(crate) counters: Opt<Short<RawCounters>>,
    /// A second attempt at another server beside one that takes longer than usual; the first
    /// usable answer wins. Never for models with `repeatable: false`; `off` turns it off.
    pub(crate) hedge: Opt<Short<RawHedge>>,
    /// TCP alone: whether what a client has sent may be sent again to another server when the first
    /// one resets the connection before anything came back. Up to 16 KiB are held for it.
    #[schemars(extend("default" = false))]
    pub(crate) repeatable: Opt<bool>,
    /// TCP alone: which of the servers are used, by what they say of themselves when they are
    /// probed (`redis`): primary, of which there is never more than one, or replica.
    #[schemars(extend("examples" = ["primary"], "x-comment" = true))]
    pub(crate) role: Opt<RawRole>,
    /// TCP alone: all connections go to one server at a time, and move together when another one
    /// takes its post. For servers of which each could take writes, and only one should. Needs
    /// `active: 1`.
    #[schemars(extend("default" = false))]
    pub(crate) single_writer: Opt<bool>,
    /// TCP with `role: primary`: the Sentinels of the servers. Whom they name is the writer, once
    /// it says itself that it is primary.
    #[schemars(extend(
        "x-comment" = true,
        "examples" = [{"addresses": ["10.0.0.1:26379"], "master": "cache"}]
    ))]
    pub(crate) sentinel: Opt<RawSentinel>,
}

/// The Sentinels of a set of Redis servers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write {addresses: [\"10.0.0.1:26379\"], master: NAME}")]
#[schemars(rename = "Sentinel")]
pub(crate) struct RawSentinel {
    /// Where they are, as host:port; of several the one with the latest configuration counts.
    pub(crate) addresses: Opt<Vec<Spanned<String>>>,
    /// What they call the set.
    pub(crate) master: Opt<String>,
    /// The user that logs in there, where there is a password.
    pub(crate) user: Opt<String>,
    /// Its password, from `{file: PATH}` or `{env: NAME}`.
    pub(crate) password: Opt<RawHeader>,
}

/// Which of the servers are used.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Role", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawRole {
    /// The one that takes writes.
    Primary,
    /// Those that follow it.
    Replica,
}

/// What the servers of a pool speak.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Protocol", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawProtocol {
    /// Anything at the paths that a model declares.
    Http,
    /// The Open Inference Protocol V2 over HTTP.
    Oip,
    /// The same over gRPC.
    OipGrpc,
    /// The OpenAI API.
    #[serde(rename = "openai")]
    OpenAi,
    /// Any protocol over TCP, passed on as it is.
    Tcp,
    /// TorchServe's inference API.
    #[serde(rename = "torchserve")]
    TorchServe,
    /// TensorFlow Serving's REST API and KServe's V1 protocol.
    V1,
}

/// Whose dialect of failures the servers speak.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Flavour", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawFlavour {
    /// Found out from the answers.
    Auto,
    /// NVIDIA Triton Inference Server.
    Triton,
    /// Seldon MLServer.
    #[serde(rename = "mlserver")]
    MlServer,
    /// PyTorch TorchServe.
    #[serde(rename = "torchserve")]
    TorchServe,
    /// TensorFlow Serving.
    #[serde(rename = "tensorflow-serving")]
    TfServing,
    /// OpenAI, and providers that speak as it does.
    #[serde(rename = "openai")]
    OpenAi,
    /// vLLM, and servers that speak as it does.
    Vllm,
}

/// One server.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Endpoint")]
pub(crate) struct RawEndpoint {
    /// `http://host:port` or `https://host:port`, with a path if the server has one before /v2;
    /// `tcp://host:port` in pools with `protocol: tcp`.
    #[schemars(extend("examples" = ["http://10.0.0.1:8000"]))]
    pub(crate) url: Opt<String>,
    /// Shown in status and trails. Default: host:port.
    #[schemars(extend("examples" = ["a"]))]
    pub(crate) name: Opt<String>,
    /// Its share relative to the others.
    #[schemars(extend("default" = 1.0, "exclusiveMinimum" = 0, "maximum" = 100))]
    pub(crate) weight: Opt<f32>,
    /// The region that it runs in.
    #[schemars(extend("examples" = ["eu-west"], "x-comment" = true))]
    pub(crate) region: Opt<String>,
    /// The zone of that region.
    #[schemars(extend("examples" = ["eu-west-1a"], "x-comment" = true))]
    pub(crate) zone: Opt<String>,
    /// That it is a standby, and what it takes to use it: hot (nothing), warm (its models are
    /// loaded first) or cold (it is started first).
    #[schemars(extend("examples" = ["hot"], "x-comment" = true))]
    pub(crate) standby: Opt<RawStandby>,
    /// The key that is sent to it as `Authorization: Bearer`, from a file or the environment. What
    /// the client sends as its own is not passed on then.
    #[schemars(extend("examples" = [{"file": "/run/secrets/provider"}], "x-comment" = true))]
    pub(crate) api_key: Opt<RawKeySource>,
    /// Headers sent with every request, instead of the client's of the same name: a text, or
    /// `{file: PATH}` or `{env: NAME}` for a secret.
    #[schemars(extend("examples" = [{"x-team": "search"}], "x-comment" = true))]
    pub(crate) headers: Opt<Entries<Short<RawHeader>>>,
    /// The model's name at this server, if it differs from the one that the step says.
    #[schemars(extend("examples" = ["meta-llama/Llama-3.1-8B-Instruct"], "x-comment" = true))]
    pub(crate) model: Opt<String>,
    /// The server itself, if Mainstay is to start, watch and stop it.
    #[schemars(extend(
        "x-comment" = true,
        "examples" = [{
            "command": ["/usr/bin/server", "--port", "8000"],
            "env": {"LOG_LEVEL": "info"},
            "limits": {"memory": "4GiB", "files": 4096},
            "start-timeout": "5m",
            "stop": {"signal": "TERM", "grace": "10s"},
            "restart": {"base": "500ms", "max": "30s", "exits": 5, "window": "60s", "retry": "5m"},
            "log": {"size": "10MiB", "files": 3},
        }]
    ))]
    pub(crate) process: Opt<RawProcess>,
    /// What the server needs to answer well. While one of them fails, the server is asked only
    /// when no better one is left.
    #[schemars(extend(
        "default" = [],
        "examples" = [[{"name": "features", "http": "http://10.0.2.1:6566/health"}]]
    ))]
    pub(crate) dependencies: Opt<Vec<Spanned<RawDependency>>>,
}

impl Shorthand for RawEndpoint {
    const EXPECTING: &'static str =
        "an endpoint; write a URL such as http://10.0.0.1:8000, or a mapping with `url:`";
}

/// Stops traffic to a target that fails.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub(crate) struct RawBreaker {
    /// Opens when this share of the window's calls failed.
    #[schemars(extend("default" = "50%"))]
    pub(crate) failure_rate: Opt<Share>,
    /// But not before the window holds so many calls.
    #[schemars(extend("default" = 20, "minimum" = 1))]
    pub(crate) minimum_calls: Opt<u32>,
    /// What is counted: the calls of the last so many seconds, or `{calls: 50}` for the last 50
    /// (at most 64).
    #[schemars(extend("default" = "10s"))]
    pub(crate) window: Opt<Short<RawCallWindow>>,
    /// Opens after so many failures in a row, however few calls there are; 0 is off.
    #[schemars(extend("default" = 5))]
    pub(crate) consecutive: Opt<u8>,
    /// Opens when too many calls are slow; `off` turns it off.
    pub(crate) slow: Opt<Short<RawSlowCalls>>,
    /// How long it stays open the first time; doubled each time it opens again.
    #[schemars(extend("default" = "2s"))]
    pub(crate) open: Opt<Length>,
    /// The longest that it stays open.
    #[schemars(extend("default" = "60s"))]
    pub(crate) open_max: Opt<Length>,
    /// Random share added to or taken from the open time, so that targets do not return at once.
    #[schemars(extend("default" = "20%"))]
    pub(crate) jitter: Opt<Share>,
    /// Real requests let through when the open time is over; all must succeed to close it.
    #[schemars(extend("default" = 3, "minimum" = 1, "maximum" = 31))]
    pub(crate) permits: Opt<u8>,
}

impl Shorthand for RawBreaker {
    const EXPECTING: &'static str =
        "a breaker; write its keys below it, or `off` for no breaker at all";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// A second attempt beside one that takes longer than usual.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Hedge")]
pub(crate) struct RawHedge {
    /// Hedges as a share of the pool's requests of the last 10 s.
    #[schemars(extend("default" = "5%"))]
    pub(crate) share: Opt<Share>,
    /// How long the first attempt may take: `p95` for the 95th percentile of the server's own
    /// latency, or a time such as 20ms. Timed to 4 ms.
    #[schemars(extend("default" = "p95", "pattern" = r"^(p95|[0-9.]+ ?(us|µs|ms|s|m|min|h|d))$"))]
    pub(crate) after: Opt<String>,
}

impl Shorthand for RawHedge {
    const EXPECTING: &'static str = "a rule for hedges; write its keys below it, or `off` for none";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// A window over the last calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "CallWindow")]
pub(crate) struct RawCallWindow {
    /// How many calls.
    #[schemars(extend("examples" = [50], "minimum" = 1, "maximum" = 64))]
    pub(crate) calls: Opt<u8>,
}

impl Shorthand for RawCallWindow {
    const EXPECTING: &'static str =
        "a window; write a duration such as 10s, or {calls: 50} for the last 50 calls";
}

/// When a call counts as slow, and how many may be.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "SlowCalls")]
pub(crate) struct RawSlowCalls {
    /// Opens when this share of the window's calls was slow.
    #[schemars(extend("default" = "80%"))]
    pub(crate) rate: Opt<Share>,
    /// Slow is more than so many times the target's usual 95th percentile; 0 looks at the floor
    /// alone.
    #[schemars(extend("default" = 3.0, "minimum" = 0, "maximum" = 1000))]
    pub(crate) factor: Opt<f32>,
    /// And never less than this.
    #[schemars(extend("default" = "1s"))]
    pub(crate) floor: Opt<Length>,
}

impl Shorthand for RawSlowCalls {
    const EXPECTING: &'static str =
        "a rule for slow calls; write its keys below it, or `off` for none";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// How traffic returns to a recovered target.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "SlowStart")]
pub(crate) struct RawSlowStart {
    /// How long until it has its full share again; 0s gives it at once.
    #[schemars(extend("default" = "10s"))]
    pub(crate) window: Opt<Length>,
    /// The share it starts with.
    #[schemars(extend("default" = "10%"))]
    pub(crate) minimum: Opt<Share>,
}

/// The wait before the same server is tried again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Backoff")]
pub(crate) struct RawBackoff {
    /// The wait is random between nothing and this, doubled with each retry.
    #[schemars(extend("default" = "25ms"))]
    pub(crate) base: Opt<Length>,
    /// But never longer.
    #[schemars(extend("default" = "1s"))]
    pub(crate) max: Opt<Length>,
}
