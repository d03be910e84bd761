//! What is written of language models: streams, provider keys, causes, continuation.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::Opt;
use crate::value::{Length, Short, Shorthand};

/// Limits of streamed answers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {first-token: 5s, inter-token: 10s}")]
#[schemars(rename = "Streams")]
pub(crate) struct RawStreams {
    /// From the start of an attempt to the first content of its stream; role-only chunks, comments
    /// and keep-alives are none. Until then another server can take over unnoticed. Default: as
    /// long as the first byte may take.
    #[schemars(extend("examples" = ["5s"]))]
    pub(crate) first_token: Opt<Length>,
    /// Between two pieces of content. Default: as long as two parts of a body may be apart.
    #[schemars(extend("examples" = ["10s"]))]
    pub(crate) inter_token: Opt<Length>,
    /// A stream is held until so many events with content have come within this time of the first
    /// one; a slower server has failed. Off unless it stands here.
    #[schemars(extend("examples" = [{"events": 8, "within": "2s"}], "x-comment" = true))]
    pub(crate) prove: Opt<RawProve>,
}

/// A proof of throughput.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {events: 8, within: 2s}")]
#[schemars(rename = "Prove")]
pub(crate) struct RawProve {
    /// How many events with content.
    #[schemars(extend("default" = 8, "minimum" = 1, "maximum" = 64))]
    pub(crate) events: Opt<u32>,
    /// In what time from the first of them.
    #[schemars(extend("default" = "2s"))]
    pub(crate) within: Opt<Length>,
}

/// What a step of a chain is for.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Cause", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawCause {
    /// The request is longer than the model's context.
    ContextLength,
    /// The provider refuses the request for what it says.
    ContentPolicy,
    /// No room, or no more allowed for now.
    RateLimit,
    /// Anything else that went wrong, or nobody to ask.
    ServerError,
    /// No answer in time.
    Timeout,
}

/// Whether another server goes on with a stream that was cut.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Continuation", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawContinuation {
    /// No: the stream ends with an error.
    None,
    /// With what was already said as the beginning of its answer.
    Prefix,
}

/// Where a key comes from; never the key itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "where the key comes from; write {file: PATH} or {env: NAME}")]
#[schemars(rename = "ApiKey")]
pub(crate) struct RawApiKey {
    /// A file that holds the key; blank space at its end is dropped.
    #[schemars(extend("examples" = ["/run/secrets/provider"]))]
    pub(crate) file: Opt<String>,
    /// An environment variable that holds it.
    #[schemars(extend("examples" = ["PROVIDER_KEY"], "x-comment" = true))]
    pub(crate) env: Opt<String>,
}

impl Shorthand for RawApiKey {
    const EXPECTING: &'static str = "where the key comes from; write {file: PATH} or {env: NAME}";

    fn text_schema() -> Schema {
        json_schema!(false)
    }
}

/// A key as it is written: a text is refused.
pub(crate) type RawKeySource = Short<RawApiKey>;
