//! Supervised processes as they are written.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::{Opt, RawHeader};
use crate::spanned::{Entries, Spanned};
use crate::value::{Length, Share, Short, Shorthand, Size, off_schema};

/// A server that Mainstay starts, watches and stops.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a process; write at least `command: [/usr/bin/server, --port, \"8000\"]`")]
#[schemars(rename = "Process")]
pub(crate) struct RawProcess {
    /// The program and its arguments, without a shell. In the process of a pool, {port} stands
    /// for the port that the replica is to listen on.
    #[schemars(extend("examples" = [["/usr/bin/server", "--port", "8000"]]))]
    pub(crate) command: Opt<Vec<Spanned<String>>>,
    /// More arguments, behind those of the command.
    pub(crate) args: Opt<Vec<Spanned<String>>>,
    /// Its environment by name: a text, or `{file: PATH}` or `{env: NAME}`. Nothing else is
    /// passed on but a search path; write `PATH` for another one.
    pub(crate) env: Opt<Entries<Short<RawHeader>>>,
    /// The user to run as: a name, or numbers as `1000:1000`. Needs a gateway that runs as root.
    pub(crate) user: Opt<String>,
    /// Its working directory. Default: /.
    pub(crate) dir: Opt<String>,
    /// What it may take. Kept by cgroup v2 where it is writable; status says how.
    pub(crate) limits: Opt<RawProcessLimits>,
    /// How long it may take from its start to the verdict ready; then it is stopped and started
    /// again.
    #[schemars(extend("default" = "5m"))]
    pub(crate) start_timeout: Opt<Length>,
    /// How it is stopped.
    pub(crate) stop: Opt<RawStop>,
    /// How it is started again after it ended; `off` never does.
    pub(crate) restart: Opt<Short<RawRestart>>,
    /// Where its output goes.
    pub(crate) log: Opt<RawProcessLog>,
}

/// What a process may take.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {memory: 4GiB, files: 4096}")]
#[schemars(rename = "ProcessLimits")]
pub(crate) struct RawProcessLimits {
    /// Memory, with all that it starts (cgroup v2), or the data segment of each of its processes
    /// (RLIMIT_DATA).
    #[schemars(extend("examples" = ["4GiB"]))]
    pub(crate) memory: Opt<Size>,
    /// Open files of each of its processes.
    #[schemars(extend("examples" = [4096], "minimum" = 16, "maximum" = 1_048_576))]
    pub(crate) files: Opt<u32>,
    /// Processors, such as 1.5. Kept by cgroup v2 only.
    #[schemars(extend("examples" = [1.5], "exclusiveMinimum" = 0, "maximum" = 4096))]
    pub(crate) cpu: Opt<f64>,
}

/// How a process is stopped.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {signal: TERM, grace: 10s}")]
#[schemars(rename = "ProcessStop")]
pub(crate) struct RawStop {
    /// The signal that asks it to end: TERM, INT, QUIT, HUP, USR1 or USR2.
    #[schemars(extend("default" = "TERM"))]
    pub(crate) signal: Opt<String>,
    /// How long it may take then, before it is killed with everything that it started.
    #[schemars(extend("default" = "10s"))]
    pub(crate) grace: Opt<Length>,
}

/// How a process is started again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Restart")]
pub(crate) struct RawRestart {
    /// The pause after the first end; doubled with each further one.
    #[schemars(extend("default" = "500ms"))]
    pub(crate) base: Opt<Length>,
    /// The longest pause.
    #[schemars(extend("default" = "30s"))]
    pub(crate) max: Opt<Length>,
    /// Random share added to or taken from a pause.
    #[schemars(extend("default" = "20%"))]
    pub(crate) jitter: Opt<Share>,
    /// So many ends within the window are a crash loop.
    #[schemars(extend("default" = 5, "minimum" = 1, "maximum" = 1000))]
    pub(crate) exits: Opt<u32>,
    /// The window; also how long it has to run until its ends are forgotten.
    #[schemars(extend("default" = "60s"))]
    pub(crate) window: Opt<Length>,
    /// Between two tries in a crash loop.
    #[schemars(extend("default" = "5m"))]
    pub(crate) retry: Opt<Length>,
}

impl Shorthand for RawRestart {
    const EXPECTING: &'static str =
        "a rule for restarts; write its keys below it, or `off` for none at all";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// Where output goes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {size: 10MiB, files: 3}")]
#[schemars(rename = "ProcessLog")]
pub(crate) struct RawProcessLog {
    /// The file. Default: logs/POOL_ENDPOINT.log in the state directory.
    pub(crate) file: Opt<String>,
    /// Beyond this size another file is begun.
    #[schemars(extend("default" = "10MiB"))]
    pub(crate) size: Opt<Size>,
    /// So many older files are kept.
    #[schemars(extend("default" = 3, "minimum" = 0, "maximum" = 100))]
    pub(crate) files: Opt<u32>,
}

/// How many servers of a pool there are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Replicas")]
pub(crate) struct RawReplicas {
    /// Never fewer.
    #[schemars(extend("default" = 1, "minimum" = 0, "maximum" = 1024))]
    pub(crate) min: Opt<u32>,
    /// Never more.
    #[schemars(extend("examples" = [4], "minimum" = 1, "maximum" = 1024))]
    pub(crate) max: Opt<u32>,
    /// Requests in flight that one server is meant to have.
    #[schemars(extend("default" = 8.0, "exclusiveMinimum" = 0, "maximum" = 100_000))]
    pub(crate) in_flight: Opt<f64>,
    /// How long the load must ask for more.
    #[schemars(extend("default" = "5s"))]
    pub(crate) up_after: Opt<Length>,
    /// How long the load must ask for fewer.
    #[schemars(extend("default" = "5m"))]
    pub(crate) down_after: Opt<Length>,
    /// How long requests in flight may take at a server that is let go.
    #[schemars(extend("default" = "30s"))]
    pub(crate) drain: Opt<Length>,
}

impl Shorthand for RawReplicas {
    const EXPECTING: &'static str =
        "how many servers there are; write for example {min: 1, max: 4}, or a number";
    const SCALARS: bool = true;

    fn text_schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 1024 })
    }
}

/// What all supervised processes have in common.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Supervision")]
pub(crate) struct RawSupervision {
    /// How long supervised processes are kept while no gateway is there: a gateway that comes
    /// back within it finds them running. Then they are stopped.
    #[schemars(extend("default" = "10m"))]
    pub(crate) linger: Opt<Length>,
    /// Where the replicas of pools get their ports from.
    #[schemars(extend("default" = "20000-20999"))]
    pub(crate) ports: Opt<String>,
}
