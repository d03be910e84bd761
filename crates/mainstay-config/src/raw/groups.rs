//! Redundancy as it is written: how many are in use, what a standby needs, the way back.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::Opt;
use crate::spanned::Spanned;
use crate::value::{Length, Share, Short, Shorthand};

/// How many endpoints of a pool are in use.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Active")]
pub(crate) struct RawActive {
    /// The fewest that are in use.
    #[schemars(extend("examples" = [1], "minimum" = 1))]
    pub(crate) min: Opt<u16>,
    /// The most that are in use, as load asks for them.
    #[schemars(extend("examples" = [3], "minimum" = 1))]
    pub(crate) max: Opt<u16>,
    /// One more is used when the load has been above this share of what those in use can bear.
    #[schemars(extend("default" = "80%"))]
    pub(crate) above: Opt<Share>,
    /// One fewer is used when the others would have been below this share.
    #[schemars(extend("default" = "50%"))]
    pub(crate) below: Opt<Share>,
    /// How long the load must have been above.
    #[schemars(extend("default" = "5s"))]
    pub(crate) rise: Opt<Length>,
    /// How long the load must have been below.
    #[schemars(extend("default" = "5m"))]
    pub(crate) calm: Opt<Length>,
}

impl Shorthand for RawActive {
    const EXPECTING: &'static str =
        "how many endpoints are in use; write all, a number, or {min: 1, max: 3}";
    const SCALARS: bool = true;

    fn text_schema() -> Schema {
        json_schema!({ "anyOf": [{ "const": "all" }, { "type": "integer", "minimum": 1 }] })
    }
}

/// Whether Mainstay acts by itself or proposes and waits.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Mode", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawMode {
    /// It acts.
    Automatic,
    /// It proposes, and an operator tells it to.
    Manual,
}

/// What it takes to use an endpoint that is not in use.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Standby", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawStandby {
    /// Nothing.
    Hot,
    /// Its models are loaded first.
    Warm,
    /// It is started first.
    Cold,
}

/// What is held against an endpoint that comes and goes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Damping")]
pub(crate) struct RawDamping {
    /// Each loss counts one; the sum halves in this time.
    #[schemars(extend("default" = "1m"))]
    pub(crate) half_life: Opt<Length>,
    /// Above this sum the endpoint does not take its post back.
    #[schemars(extend("default" = 1.5, "minimum" = 0.1, "maximum" = 100))]
    pub(crate) suppress: Opt<f32>,
    /// Below this sum it may again.
    #[schemars(extend("default" = 0.75, "minimum" = 0.05, "maximum" = 100))]
    pub(crate) reuse: Opt<f32>,
    /// The longest that it is held back after its last loss.
    #[schemars(extend("default" = "10m"))]
    pub(crate) max: Opt<Length>,
}

/// How a warm standby is made ready, and let go again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Warm")]
pub(crate) struct RawWarm {
    /// How a model is loaded: `repository` (POST /v2/repository/models/NAME/load, as Triton and
    /// MLServer have it), or a request of its own.
    #[schemars(extend("default" = "repository"))]
    pub(crate) load: Opt<Short<RawCall>>,
    /// How a model is unloaded when it is no longer needed: `repository`, a request of its own, or
    /// `off` to keep it loaded.
    #[schemars(extend("default" = "repository"))]
    pub(crate) unload: Opt<Short<RawCall>>,
    /// How long one try to load a model, or to start a server, may take; then it is tried again.
    #[schemars(extend("default" = "2m"))]
    pub(crate) timeout: Opt<Length>,
}

/// One HTTP request for one model.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Call")]
pub(crate) struct RawCall {
    /// The method.
    #[schemars(extend("default" = "POST"))]
    pub(crate) method: Opt<String>,
    /// Path and query; `{model}` stands for the model's name.
    #[schemars(extend("examples" = ["/models/{model}/load"]))]
    pub(crate) path: Opt<String>,
    /// Sent as JSON.
    #[schemars(extend("examples" = ["{}"], "x-comment" = true))]
    pub(crate) body: Opt<String>,
}

impl Shorthand for RawCall {
    const EXPECTING: &'static str = "a call; write repository, off, or {path: \"/models/{model}\"}";

    fn text_schema() -> Schema {
        json_schema!({ "enum": ["repository", "off", false] })
    }
}

/// Parts of the week.
pub(crate) type RawWindows = Vec<Spanned<String>>;
