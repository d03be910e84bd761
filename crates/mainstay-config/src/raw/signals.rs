//! What is known of servers beside their probes, as it is written: progress, heartbeats, counters.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::Opt;
use crate::value::{Length, Shorthand, off_schema};

/// When a server that takes requests and answers none is stalled.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Progress")]
pub(crate) struct RawProgress {
    /// The shortest silence that is a stall.
    #[schemars(extend("default" = "1s"))]
    pub(crate) stall_after: Opt<Length>,
    /// And it must be so many times the server's usual 95th percentile.
    #[schemars(extend("default" = 4.0, "minimum" = 0, "maximum" = 1000))]
    pub(crate) factor: Opt<f32>,
}

impl Shorthand for RawProgress {
    const EXPECTING: &'static str =
        "a rule for stalled servers; write its keys below it, or `off` for none";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// Heartbeats that servers send of themselves.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Heartbeat")]
pub(crate) struct RawHeartbeat {
    /// Between two beats.
    #[schemars(extend("default" = "1s"))]
    pub(crate) interval: Opt<Length>,
    /// Beats that may be missed before the signal is gone.
    #[schemars(extend("default" = 3, "minimum" = 1, "maximum" = 100))]
    pub(crate) misses: Opt<u8>,
}

impl Shorthand for RawHeartbeat {
    const EXPECTING: &'static str =
        "heartbeats; write for example {interval: 1s, misses: 3}, or `off` where none are expected";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// The servers' own counters, as they show them to Prometheus.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Counters")]
pub(crate) struct RawCounters {
    /// Whose names they have: triton, vllm, mlserver or torchserve. Default: by the pool's
    /// flavour.
    #[schemars(extend("examples" = ["triton"]))]
    pub(crate) kind: Opt<RawCounterKind>,
    /// The port of the page. Default: 8002 for triton, 8082 for mlserver and torchserve, the
    /// endpoint's own for vllm.
    #[schemars(extend("examples" = [8002]))]
    pub(crate) port: Opt<u16>,
    /// The path of the page.
    #[schemars(extend("default" = "/metrics"))]
    pub(crate) path: Opt<String>,
    /// Between two readings.
    #[schemars(extend("default" = "1s"))]
    pub(crate) interval: Opt<Length>,
}

impl Shorthand for RawCounters {
    const EXPECTING: &'static str = "counters; write `auto` to go by the pool's flavour, \
        {kind: triton, port: 8002}, or `off` for none";

    fn text_schema() -> Schema {
        json_schema!({ "enum": ["auto", "off", false] })
    }
}

/// Whose names a server's counters have.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "CounterKind", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawCounterKind {
    /// NVIDIA Triton Inference Server.
    Triton,
    /// vLLM.
    Vllm,
    /// Seldon MLServer.
    #[serde(rename = "mlserver")]
    MlServer,
    /// PyTorch TorchServe.
    #[serde(rename = "torchserve")]
    TorchServe,
}
