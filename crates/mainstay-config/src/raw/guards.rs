//! Guards over a model's answers as they are written.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::{Literal, Opt};
use crate::spanned::{Entries, Spanned};
use crate::value::{Length, Short, Shorthand, off_schema};

/// What answers must keep to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {finite: true, shape: declared}")]
#[schemars(rename = "Guards")]
pub(crate) struct RawGuards {
    /// Refuses NaN and the infinities.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub(crate) finite: Opt<bool>,
    /// `declared` holds datatype and shape against `outputs`, and with a batch the number of rows
    /// against that of the request.
    #[schemars(extend("default" = "off", "examples" = ["declared"]))]
    pub(crate) shape: Opt<RawShape>,
    /// What the values of single outputs must keep to.
    #[schemars(extend("x-name" = "probabilities"))]
    pub(crate) outputs: Opt<Entries<RawOutputGuard>>,
    /// Looks for one server that gives everyone the same answer. `{answers: 100, for: 1m, outputs:
    /// [NAME], then: alarm}`: the same answer to so many different requests, for so long; then an
    /// event and a metric, or with `then: reject` no more answers until another one comes.
    #[schemars(extend("default" = "off", "examples" = [{"answers": 100, "for": "1m"}]))]
    pub(crate) constant: Opt<Short<RawConstant>>,
}

/// Whether shapes are looked at.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ShapeGuard", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawShape {
    /// As `outputs` declares.
    Declared,
    /// Any will do.
    Off,
}

/// What the values of one output must keep to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {range: [0, 1]} or {allowed: [a, b]}")]
#[schemars(rename = "OutputGuard")]
pub(crate) struct RawOutputGuard {
    /// The least and the largest value, both allowed, with room for rounding.
    #[schemars(extend("examples" = [[0, 1]], "minItems" = 2, "maxItems" = 2))]
    pub(crate) range: Opt<Vec<f64>>,
    /// The values that are allowed: texts for BYTES, numbers or booleans otherwise.
    #[schemars(extend("examples" = [["ok", "fraud"]], "x-comment" = true))]
    pub(crate) allowed: Opt<Vec<Literal>>,
}

/// When a row of equal answers is an alarm.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Constant")]
pub(crate) struct RawConstant {
    /// The outputs that are compared. Default: all of them.
    pub(crate) outputs: Opt<Vec<Spanned<String>>>,
    /// Equal answers to different requests.
    #[schemars(extend("default" = 100, "minimum" = 2))]
    pub(crate) answers: Opt<u32>,
    /// How long they have been equal at the least.
    #[schemars(extend("default" = "1m"))]
    pub(crate) r#for: Opt<Length>,
    /// alarm (an event and a metric) or reject (such answers count as none).
    #[schemars(extend("default" = "alarm"))]
    pub(crate) then: Opt<RawThen>,
}

impl Shorthand for RawConstant {
    const EXPECTING: &'static str =
        "a window; write `off`, or for example {answers: 100, for: 1m, then: alarm}";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// What follows from a constant output.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Then", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawThen {
    /// An event and a metric.
    Alarm,
    /// Such answers count as none.
    Reject,
}
