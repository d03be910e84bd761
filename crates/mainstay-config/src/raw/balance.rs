//! Balancing as it is written: who is picked, how near, and what is kept together.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::Opt;
use crate::value::{Length, Short, Shorthand, Size, off_schema};

/// How a server is picked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Balance")]
pub(crate) struct RawBalance {
    /// Requests with the same key go to the same server, on every gateway; a server that is lost
    /// moves only its own keys. Requests without the key go by peak-ewma.
    pub(crate) ring_hash: Opt<RawKey>,
    /// How much more than its part of the requests in flight a server may have before some of its
    /// keys go to the next one.
    #[schemars(extend("default" = 1.25, "minimum" = 1.01, "maximum" = 100))]
    pub(crate) load_factor: Opt<f32>,
}

impl Shorthand for RawBalance {
    const EXPECTING: &'static str = "a rule of balancing; write peak-ewma, least-request, round-robin, tokens or {ring-hash: {header: x-user}}";

    fn text_schema() -> Schema {
        json_schema!({ "enum": ["peak-ewma", "least-request", "round-robin", "tokens"] })
    }
}

/// What the key of a request is: a header, an input or a prefix.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a key; write {header: x-user}, {input: user_id} or {prompt-prefix: 1KiB}")]
#[schemars(rename = "Key")]
pub(crate) struct RawKey {
    /// The value of this header.
    #[schemars(extend("examples" = ["x-user"]))]
    pub(crate) header: Opt<String>,
    /// The first value of this input tensor. Requests are parsed for it.
    #[schemars(extend("examples" = ["user_id"], "x-comment" = true))]
    pub(crate) input: Opt<String>,
    /// The first so many bytes of the messages or the prompt: requests that begin alike go to the
    /// server that has their beginning in its cache. For pools with `protocol: openai`.
    #[schemars(extend("examples" = ["1KiB"], "x-comment" = true))]
    pub(crate) prompt_prefix: Opt<Size>,
    /// Where the client is, for pools with `protocol: tcp`.
    #[schemars(extend("examples" = ["address"], "x-comment" = true))]
    pub(crate) client: Opt<RawClientKey>,
}

/// What of a client is hashed.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ClientKey", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawClientKey {
    /// Its address, without the port.
    Address,
}

/// Near servers first.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Locality")]
pub(crate) struct RawLocality {
    /// How much more than its part each server near by can carry. With 1.4 a zone takes everything
    /// while 72% of its servers are well, and 70% of it with half of them; the rest goes to the
    /// next distance.
    #[schemars(extend("default" = 1.4, "minimum" = 1, "maximum" = 100))]
    pub(crate) overprovisioning: Opt<f32>,
    /// How long nothing may have been lost before requests come back nearer.
    #[schemars(extend("default" = "5s"))]
    pub(crate) hold: Opt<Length>,
    /// The time in which all of them come back.
    #[schemars(extend("default" = "10s"))]
    pub(crate) back: Opt<Length>,
}

impl Shorthand for RawLocality {
    const EXPECTING: &'static str =
        "how requests are kept near; write its keys below it, or `off` to take all servers alike";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// Requests that belong together, in order, at one server that keeps their state.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {by: sequence-id}")]
#[schemars(rename = "Sequence")]
pub(crate) struct RawSequence {
    /// How a sequence is known: `sequence-id` by Triton's parameters sequence_id, sequence_start
    /// and sequence_end; or {header: x-session} by a header, each new value of which begins one.
    #[schemars(extend("default" = "sequence-id"))]
    pub(crate) by: Opt<Short<RawSequenceBy>>,
    /// When the server of a sequence is lost: fail tells the client, which begins anew; restart
    /// begins anew on another server, for models that do no harm by forgetting what went before.
    #[schemars(extend("default" = "fail"))]
    pub(crate) on_loss: Opt<RawOnLoss>,
    /// A sequence without a request for so long is forgotten.
    #[schemars(extend("default" = "60s"))]
    pub(crate) idle: Opt<Length>,
    /// The most that are known at once; beyond it whichever was idle the longest is forgotten.
    #[schemars(extend("default" = 65536, "minimum" = 16, "maximum" = 16_777_216))]
    pub(crate) most: Opt<u32>,
}

/// How a sequence is known.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "SequenceBy")]
pub(crate) struct RawSequenceBy {
    /// By the value of this header.
    #[schemars(extend("examples" = ["x-session"]))]
    pub(crate) header: Opt<String>,
}

impl Shorthand for RawSequenceBy {
    const EXPECTING: &'static str =
        "how a sequence is known; write sequence-id or {header: x-session}";

    fn text_schema() -> Schema {
        json_schema!({ "enum": ["sequence-id"] })
    }
}

/// What becomes of a sequence whose server is lost.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "OnLoss", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawOnLoss {
    /// The client is told.
    Fail,
    /// It begins anew elsewhere.
    Restart,
}
