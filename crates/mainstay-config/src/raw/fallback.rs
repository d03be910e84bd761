//! What is remembered for the day without servers, and how it is tried out before.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::Opt;
use crate::value::{Length, Share, Shorthand};

/// The last good answer to the same inputs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "LastGood")]
pub(crate) struct RawLastGood {
    /// An older answer is none.
    #[schemars(extend("default" = "10m"))]
    pub(crate) max_age: Opt<Length>,
    /// apart: a caller, as its Authorization, API key or Cookie header names it, gets only what it
    /// got itself. shared: whoever asks the same gets the same, also with a renewed token.
    #[schemars(extend("default" = "apart"))]
    pub(crate) callers: Opt<RawCallers>,
}

impl Shorthand for RawLastGood {
    const EXPECTING: &'static str =
        "a last good answer; write the age up to which it is one, such as 10m, or {max-age: 10m}";
}

/// Whose answers are given again.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Callers", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawCallers {
    /// The caller's own.
    Apart,
    /// Anybody's.
    Shared,
}

/// How fallbacks are tried out before they are needed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Rehearsal")]
pub(crate) struct RawRehearsal {
    /// Of the live requests, what each later step and each pool's standbys get in the shadow.
    #[schemars(extend("default" = "1%"))]
    pub(crate) share: Opt<Share>,
    /// Shadow requests under way at once, for this model.
    #[schemars(extend("default" = 4, "minimum" = 1, "maximum" = 256))]
    pub(crate) concurrent: Opt<u32>,
    /// Failures in a row that are an alert.
    #[schemars(extend("default" = 3, "minimum" = 1, "maximum" = 100))]
    pub(crate) fall: Opt<u32>,
    /// What did not answer for so long is not known to work any more: an alert.
    #[schemars(extend("default" = "10m"))]
    pub(crate) stale_after: Opt<Length>,
    /// When an answer counts as the same as that of the source in use.
    pub(crate) agreement: Opt<RawAgreement>,
}

impl Shorthand for RawRehearsal {
    const EXPECTING: &'static str =
        "a rehearsal; write a share of the requests such as 1%, {share: 1%, ...}, or `off`";

    fn text_schema() -> Schema {
        json_schema!({ "type": ["string", "boolean"] })
    }
}

/// When answers agree.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {at-least: 90%}")]
#[schemars(rename = "Agreement")]
pub(crate) struct RawAgreement {
    /// The share of rows that must agree; less is an alert. Only shown unless it is given.
    #[schemars(extend("examples" = ["90%"], "x-comment" = true))]
    pub(crate) at_least: Opt<Share>,
    /// Numbers may lie so far apart, in the unit of the output. Where there are labels (integers,
    /// booleans, texts), they alone are compared, and must be equal.
    #[schemars(extend("default" = 0.01, "minimum" = 0))]
    pub(crate) absolute: Opt<f64>,
    /// And besides so far as a part of the value.
    #[schemars(extend("default" = 0.05, "minimum" = 0))]
    pub(crate) relative: Opt<f64>,
}
