//! Probes and dependencies as they are written.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::Opt;
use crate::spanned::{Entries, Spanned};
use crate::value::{Length, Share, Short, Shorthand, Statuses};

/// The active check of each server and model.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {check: {http: {path: /health}}, interval: 2s}")]
#[schemars(rename = "Probe")]
pub(crate) struct RawProbe {
    /// What is asked. `oip-ready` asks GET /v2/models/NAME/ready for each model, `v1-ready` GET
    /// /v1/models/NAME, `ping` GET /ping: each is the default of the protocol that has it, and a
    /// connection that of http. `off` asks nothing and judges by the traffic alone, and with settings there are
    /// `http: {path, method, headers, body, status, contains, port}`, `tcp: {port}`,
    /// `grpc: {service, port}` (grpc.health.v1), `redis: {user, password, port}` (PING, and what it
    /// says of its role) and `command: [program, argument]` (exit code 0
    /// passes; run without a shell). Secret headers come from `{file: PATH}` or `{env: NAME}`.
    #[schemars(extend(
        "default" = "oip-ready",
        "examples" = [{"http": {"path": "/v2/health/ready", "status": [200]}}]
    ))]
    pub(crate) check: Opt<RawCheck>,
    /// Between two checks of a server whose state is settled.
    #[schemars(extend("default" = "2s"))]
    pub(crate) interval: Opt<Length>,
    /// While results are beginning to differ from the verdict. Where it is not written, it makes
    /// room for a longer timeout and keeps below the interval; so does down-interval.
    #[schemars(extend("default" = "500ms"))]
    pub(crate) fast_interval: Opt<Length>,
    /// While the server is down.
    #[schemars(extend("default" = "1s"))]
    pub(crate) down_interval: Opt<Length>,
    /// For one check; shorter than each interval.
    #[schemars(extend("default" = "400ms"))]
    pub(crate) timeout: Opt<Length>,
    /// So many passes in a row make it ready.
    #[schemars(extend("default" = 3, "minimum" = 1))]
    pub(crate) rise: Opt<u8>,
    /// So many failures in a row make it dead.
    #[schemars(extend("default" = 3, "minimum" = 1))]
    pub(crate) fall: Opt<u8>,
    /// Random share added to or taken from each interval, so that checks do not march in step.
    #[schemars(extend("default" = "20%"))]
    pub(crate) jitter: Opt<Share>,
    /// A request whose right answer is known, from a JSON file that `mainstay golden` records. A
    /// server that answers it wrongly gets no traffic, however ready and fast it is. `{files:
    /// [FILE], interval, timeout, rise, fall}` asks several, or in another rhythm.
    #[schemars(extend("examples" = ["probes/fraud.json"], "x-comment" = true))]
    pub(crate) golden: Opt<Short<RawGolden>>,
}

/// Requests whose right answers are known, and how often they are asked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Golden")]
pub(crate) struct RawGolden {
    /// The files, relative to this one; each is for the model that it names.
    pub(crate) files: Opt<Vec<Spanned<String>>>,
    /// Between two rounds at a server that answers rightly.
    #[schemars(extend("default" = "10s"))]
    pub(crate) interval: Opt<Length>,
    /// For one answer; shorter than the interval.
    #[schemars(extend("default" = "1s"))]
    pub(crate) timeout: Opt<Length>,
    /// So many right answers in a row bring it back.
    #[schemars(extend("default" = 2, "minimum" = 1))]
    pub(crate) rise: Opt<u8>,
    /// So many wrong answers in a row take it out.
    #[schemars(extend("default" = 2, "minimum" = 1))]
    pub(crate) fall: Opt<u8>,
}

impl Shorthand for RawGolden {
    const EXPECTING: &'static str =
        "a golden file; write its path, or a mapping with `files:` and a rhythm";
}

/// What a probe asks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Check", transform = with_names_alone)]
pub(crate) enum RawCheck {
    /// GET /v2/models/NAME/ready for each model.
    OipReady,
    /// GET /v1/models/NAME for each model.
    V1Ready,
    /// GET /ping.
    Ping,
    /// No check.
    Off,
    /// An HTTP request.
    Http(RawHttp),
    /// A TCP connection.
    Tcp(RawTcp),
    /// grpc.health.v1.
    Grpc(RawGrpc),
    /// A program and its arguments.
    Command(RawCommand),
    /// PING to a Redis server, and its role.
    Redis(RawRedis),
}

/// A check's name alone stands for all its defaults.
fn with_names_alone(schema: &mut Schema) {
    let names = json_schema!({
        "description": "The check with all its defaults.",
        "type": "string",
        "enum": ["http", "tcp", "grpc", "redis"],
    });
    if let Some(serde_json::Value::Array(forms)) = schema.get_mut("oneOf") {
        forms.push(names.to_value());
    }
}

/// An HTTP request whose status and body must match.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {path: /health}")]
#[schemars(rename = "HttpCheck")]
pub(crate) struct RawHttp {
    /// Path and query; an endpoint's own path is not put before it.
    #[schemars(extend("default" = "/"))]
    pub(crate) path: Opt<String>,
    /// The method.
    #[schemars(extend("default" = "GET"))]
    pub(crate) method: Opt<String>,
    /// Headers by name: a text, or `{file: PATH}` or `{env: NAME}` for a secret.
    pub(crate) headers: Opt<Entries<Short<RawHeader>>>,
    /// A body to send.
    pub(crate) body: Opt<String>,
    /// The statuses that pass.
    #[schemars(extend("default" = ["200-299"]))]
    pub(crate) status: Option<Vec<Statuses>>,
    /// Text that the answer must hold.
    pub(crate) contains: Opt<String>,
    /// Another port than the endpoint's.
    pub(crate) port: Opt<u16>,
}

/// Where a secret value comes from.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "SecretSource")]
pub(crate) struct RawHeader {
    /// A file that holds the value; blank space at its end is dropped.
    pub(crate) file: Opt<String>,
    /// An environment variable that holds the value.
    pub(crate) env: Opt<String>,
}

impl Shorthand for RawHeader {
    const SCALARS: bool = true;

    const EXPECTING: &'static str =
        "a header's value; write a text, or {file: PATH} or {env: NAME} for a secret";
}

/// A TCP connection that is accepted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write `tcp` alone or {port: 9000}")]
#[schemars(rename = "TcpCheck")]
pub(crate) struct RawTcp {
    /// Another port than the endpoint's.
    pub(crate) port: Opt<u16>,
}

/// PING to a Redis server, and its role.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write `redis` alone or {password: {file: PATH}}")]
#[schemars(rename = "RedisCheck")]
pub(crate) struct RawRedis {
    /// The user that logs in, where there is a password; without one, the default user.
    pub(crate) user: Opt<String>,
    /// Its password, from `{file: PATH}` or `{env: NAME}`.
    pub(crate) password: Opt<RawHeader>,
    /// Another port than the endpoint's.
    pub(crate) port: Opt<u16>,
}

/// grpc.health.v1.Health/Check.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write `grpc` alone or {service: NAME, port: 8001}")]
#[schemars(rename = "GrpcCheck")]
pub(crate) struct RawGrpc {
    /// The service asked for; without one, the server as a whole.
    pub(crate) service: Opt<String>,
    /// Another port than the endpoint's.
    pub(crate) port: Opt<u16>,
}

/// A program and its arguments.
pub(crate) type RawCommand = Vec<Spanned<String>>;

/// Something that a server, or the gateway, needs to answer well; one of http, tcp, grpc and
/// command says how it is checked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a dependency; write for example {name: features, tcp: \"10.0.2.1:6379\"}")]
#[schemars(rename = "Dependency")]
pub(crate) struct RawDependency {
    /// Shown in status.
    #[schemars(extend("examples" = ["features"]))]
    pub(crate) name: Opt<String>,
    /// A URL that must answer with 200 to 299, or a mapping with its expectations.
    pub(crate) http: Opt<Short<RawUrlCheck>>,
    /// host:port that must accept a connection.
    pub(crate) tcp: Opt<String>,
    /// host:port that must answer grpc.health.v1 with SERVING.
    pub(crate) grpc: Opt<String>,
    /// The gRPC service asked for.
    pub(crate) service: Opt<String>,
    /// A program and its arguments; exit code 0 passes.
    pub(crate) command: Opt<RawCommand>,
    /// Between two checks.
    #[schemars(extend("default" = "2s"))]
    pub(crate) interval: Opt<Length>,
    /// For one check; shorter than the interval.
    #[schemars(extend("default" = "400ms"))]
    pub(crate) timeout: Opt<Length>,
    /// So many passes in a row make it healthy.
    #[schemars(extend("default" = 3, "minimum" = 1))]
    pub(crate) rise: Opt<u8>,
    /// So many failures in a row make it unhealthy.
    #[schemars(extend("default" = 3, "minimum" = 1))]
    pub(crate) fall: Opt<u8>,
}

/// A URL and what its answer must be.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "UrlCheck")]
pub(crate) struct RawUrlCheck {
    /// The whole URL.
    pub(crate) url: Opt<String>,
    /// The method.
    #[schemars(extend("default" = "GET"))]
    pub(crate) method: Opt<String>,
    /// Headers by name: a text, or `{file: PATH}` or `{env: NAME}` for a secret.
    pub(crate) headers: Opt<Entries<Short<RawHeader>>>,
    /// A body to send.
    pub(crate) body: Opt<String>,
    /// The statuses that pass.
    #[schemars(extend("default" = ["200-299"]))]
    pub(crate) status: Option<Vec<Statuses>>,
    /// Text that the answer must hold.
    pub(crate) contains: Opt<String>,
}

impl Shorthand for RawUrlCheck {
    const EXPECTING: &'static str =
        "a URL; write http://10.0.2.1:6566/health, or a mapping with `url:` and expectations";

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^http://" })
    }
}
