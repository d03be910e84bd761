//! Models and their chains as they are written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::{
    Opt, RawCause, RawConcurrency, RawContinuation, RawGuards, RawLastGood, RawPriority,
    RawRehearsal, RawSequence,
};
use crate::spanned::{Entries, Spanned};
use crate::value::{Length, Short, Shorthand, off_schema};

/// What clients ask for by name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a model; write its keys below its name, at least `chain:`")]
#[schemars(rename = "Model")]
pub(crate) struct RawModel {
    /// For everything that is done for one request, all attempts together. Set it to what your
    /// callers can wait; the default is far too long for most models.
    #[schemars(extend("default" = "10s", "examples" = ["500ms"]))]
    pub(crate) deadline: Opt<Length>,
    /// The input tensors by name, as the model's metadata gives them. Needed where clients and
    /// servers speak protocols of which one names and types its inputs and the other does not.
    #[schemars(extend("x-name" = "features"))]
    pub(crate) inputs: Opt<Entries<RawOutput>>,
    /// The output tensors by name, as the model's metadata gives them (`mainstay init` asks the
    /// servers for them). Needed for default predictions and confidence rules.
    #[schemars(extend("x-name" = "probabilities"))]
    pub(crate) outputs: Opt<Entries<RawOutput>>,
    /// `first-dimension` declares the first dimension of every input and output to be the batch,
    /// so that rows may be split and merged; `none` takes a request as one row.
    #[schemars(extend("default" = "none", "examples" = ["first-dimension"]))]
    pub(crate) batch: Opt<RawBatch>,
    /// For pools of plain HTTP: the paths under which the model is asked, `/score` for one or
    /// `/score/*` for all below it. They are passed on as they come.
    #[schemars(extend("examples" = [["/invocations", "/score/*"]], "x-comment" = true))]
    pub(crate) paths: Opt<Vec<Spanned<String>>>,
    /// The methods that its paths take; any, if it does not stand here.
    #[schemars(extend("examples" = [["POST"]], "x-comment" = true))]
    pub(crate) methods: Opt<Vec<Spanned<String>>>,
    /// The sources that may answer, best first: pools, then an embedded model, then the last good
    /// answer, then a default prediction. Each step has one of `pool`, `embedded`, `last-good` and
    /// `default`.
    pub(crate) chain: Opt<Vec<Spanned<RawStep>>>,
    /// What answers must keep to, of servers and of embedded models alike. One that does not is
    /// no answer: the next source is asked, and the server is blamed. Answers of models without
    /// guards are not looked into.
    pub(crate) guards: Opt<RawGuards>,
    /// When nobody is left in a pool: next-step asks the next step of the chain, and at the end
    /// once more whoever only health had ruled out; fail-fast tells the client at once; panic
    /// tries everybody, whatever is said against them; {wait: 500ms} waits for somebody to come
    /// back.
    #[schemars(extend("default" = "next-step"))]
    pub(crate) last_resort: Opt<Short<RawLastResort>>,
    /// When no answer was confident enough: best-answer gives the most confident one, default
    /// the default prediction, error an error.
    #[schemars(extend("default" = "best-answer"))]
    pub(crate) exhausted: Opt<RawExhausted>,
    /// `never` uses only the first step and those declared equivalent; a request can ask for
    /// the same by header.
    #[schemars(extend("default" = "allowed"))]
    pub(crate) degrade: Opt<RawDegrade>,
    /// Whether a request that may have been executed may be sent again. Inference changes
    /// nothing, so it may; say false for a model that has side effects. Of plain HTTP the default
    /// is false: only methods that promise to change nothing, or nothing more, are repeated.
    #[schemars(extend("default" = true))]
    pub(crate) repeatable: Opt<bool>,
    /// Attempts at servers for one request, over all pools; 1 never retries.
    #[schemars(extend("default" = 3, "minimum" = 1))]
    pub(crate) attempts: Opt<u8>,
    /// How many requests are served at once, and how many wait.
    pub(crate) concurrency: Opt<RawConcurrency>,
    /// How much its requests matter when not all can be served: critical, high, normal or low.
    /// Default: what the listener says.
    #[schemars(extend("examples" = ["normal"], "x-comment" = true))]
    pub(crate) priority: Opt<RawPriority>,
    /// Requests with an Idempotency-Key header are executed once: duplicates in flight wait for
    /// the first's answer, later ones get it again. Off unless it stands here.
    #[schemars(extend("examples" = [{"remember": "60s"}], "x-comment" = true))]
    pub(crate) idempotency: Opt<RawIdempotency>,
    /// How later steps and standbys are tried out before they are needed: a share of the live
    /// requests is sent to them in the shadow, after the client has its answer. A share alone may
    /// stand here; off unless it does.
    #[schemars(extend("examples" = [{"share": "1%"}], "x-comment" = true))]
    pub(crate) rehearsal: Opt<Short<RawRehearsal>>,
    /// A request that fails on several servers while others succeed on them is refused with 422,
    /// and blames no server; `off` turns it off.
    pub(crate) poison: Opt<Short<RawPoison>>,
    /// For stateful models: the requests of one sequence stay on one server, and its loss is told.
    /// Off unless it stands here.
    #[schemars(extend("examples" = [{"by": "sequence-id"}], "x-comment" = true))]
    pub(crate) sequence: Opt<RawSequence>,
    /// What becomes of a stream whose server is lost: none ends it with an error; prefix goes on at
    /// another server with what was already said, where the request allows it. For language models
    /// whose servers can continue a message.
    #[schemars(extend("default" = "none", "examples" = ["prefix"], "x-comment" = true))]
    pub(crate) continuation: Opt<RawContinuation>,
}

/// Answers are remembered for requests with an Idempotency-Key header.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {remember: 60s}")]
#[schemars(rename = "Idempotency")]
pub(crate) struct RawIdempotency {
    /// How long an answer is given again.
    #[schemars(extend("default" = "60s"))]
    pub(crate) remember: Opt<Length>,
}

/// When a request is taken to be poison.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Poison")]
pub(crate) struct RawPoison {
    /// Refused once it has failed in the same way on so many servers.
    #[schemars(extend("default" = 2, "minimum" = 2, "maximum" = 4))]
    pub(crate) endpoints: Opt<u8>,
    /// How long the same request is refused without being tried.
    #[schemars(extend("default" = "60s"))]
    pub(crate) remember: Opt<Length>,
}

impl Shorthand for RawPoison {
    const EXPECTING: &'static str = "a rule for poison; write its keys below it, or `off` for none";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// What may be laid under every model.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "ModelDefaults")]
#[expect(dead_code, reason = "read for its faults alone; the tree has been merged already")]
pub(crate) struct RawModelDefaults {
    /// See a model's deadline.
    pub(crate) deadline: Opt<Length>,
    /// See a model's last-resort.
    pub(crate) last_resort: Opt<Short<RawLastResort>>,
    /// See a model's exhausted.
    pub(crate) exhausted: Opt<RawExhausted>,
    /// See a model's degrade.
    pub(crate) degrade: Opt<RawDegrade>,
    /// See a model's repeatable.
    pub(crate) repeatable: Opt<bool>,
    /// See a model's attempts.
    pub(crate) attempts: Opt<u8>,
    /// See a model's idempotency.
    pub(crate) idempotency: Opt<RawIdempotency>,
    /// See a model's rehearsal.
    pub(crate) rehearsal: Opt<Short<RawRehearsal>>,
    /// See a model's poison.
    pub(crate) poison: Opt<Short<RawPoison>>,
    /// See a model's concurrency.
    pub(crate) concurrency: Opt<RawConcurrency>,
    /// See a model's priority.
    pub(crate) priority: Opt<RawPriority>,
}

/// One tensor.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a tensor; write for example {datatype: FP32, shape: [-1, 2]}")]
#[schemars(rename = "Output")]
pub(crate) struct RawOutput {
    /// BOOL, UINT8 to UINT64, INT8 to INT64, FP16, FP32, FP64, BF16 or BYTES.
    #[schemars(extend("examples" = ["FP32"]))]
    pub(crate) datatype: Opt<String>,
    /// The dimensions; -1 may be of any size.
    #[schemars(extend("examples" = [[-1, 2]]))]
    pub(crate) shape: Opt<Vec<Spanned<i64>>>,
}

/// Waits for somebody to come back to a pool that has nobody left.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "LastResort")]
pub(crate) struct RawLastResort {
    /// How long a request waits at most; never into the time that later steps need.
    #[schemars(extend("examples" = ["500ms"]))]
    pub(crate) wait: Opt<Length>,
    /// How many requests may wait; one more goes on to the next step at once.
    #[schemars(extend("default" = 1000, "minimum" = 1))]
    pub(crate) queue: Opt<u32>,
}

impl Shorthand for RawLastResort {
    const EXPECTING: &'static str =
        "a last resort; write next-step, fail-fast, panic or {wait: 500ms}";

    fn text_schema() -> Schema {
        json_schema!({ "enum": ["next-step", "fail-fast", "panic"] })
    }
}

/// What the first dimension means.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Batch", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawBatch {
    /// A request is one row.
    None,
    /// The first dimension counts the rows.
    FirstDimension,
}

/// One source of a chain: one of `pool`, `embedded`, `last-good` and `default`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(
    expecting = "a step; write for example {pool: NAME}, {embedded: FILE.onnx}, {last-good: 10m} or {default: {OUTPUT: VALUE}}"
)]
#[schemars(rename = "Step")]
pub(crate) struct RawStep {
    /// A pool by its name.
    #[schemars(extend("examples" = ["fraud-v2"]))]
    pub(crate) pool: Opt<String>,
    /// The model's name upstream, if it differs from the client's.
    #[schemars(extend("examples" = ["fraud"]))]
    pub(crate) model: Opt<String>,
    /// The model's version upstream, if the client's does not hold.
    #[schemars(extend("examples" = ["1"]))]
    pub(crate) version: Opt<String>,
    /// As good as the first step: its answers are not marked degraded.
    #[schemars(extend("default" = false))]
    pub(crate) equivalent: Opt<bool>,
    /// The failures after which this step is asked: context-length, content-policy, rate-limit,
    /// server-error, timeout. Default: all of them but the first two, which every other model would
    /// repeat.
    #[schemars(extend("examples" = [["context-length"]], "x-comment" = true))]
    pub(crate) on: Opt<Vec<Spanned<RawCause>>>,
    /// An answer below this counts as no answer and the next step is asked.
    pub(crate) confidence: Opt<RawConfidence>,
    /// An ONNX file, relative to this one, that runs inside the gateway. `{path: FILE, engine:
    /// onnxruntime}` runs it by the onnxruntime library instead of the built-in engine.
    #[schemars(extend("examples" = ["models/fraud-lite.onnx"], "x-item" = 2))]
    pub(crate) embedded: Opt<Short<RawEmbedded>>,
    /// The last good answer of the servers to the same inputs, if it is remembered and no older
    /// than this: in memory, and on disk over a restart.
    #[schemars(extend("examples" = ["10m"], "x-item" = 3))]
    pub(crate) last_good: Opt<Short<RawLastGood>>,
    /// A fixed prediction: for each output one row, typed by `outputs`. In a protocol without
    /// tensors the body of the answer: {json: VALUE}, or {body: TEXT, content-type: TYPE}.
    #[schemars(extend("examples" = [{"probabilities": [0.5, 0.5]}], "x-item" = 4))]
    pub(crate) default: Opt<Entries<Literal>>,
}

/// A model that runs inside the gateway.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Embedded")]
pub(crate) struct RawEmbedded {
    /// The ONNX file, relative to this one.
    pub(crate) path: Opt<String>,
    /// tract (built in) or onnxruntime (a shared library, see `embedded.library`).
    #[schemars(extend("default" = "tract"))]
    pub(crate) engine: Opt<RawEngine>,
}

impl Shorthand for RawEmbedded {
    const EXPECTING: &'static str =
        "an embedded model; write the path of an ONNX file, or {path: FILE, engine: NAME}";
}

/// Who runs an embedded model.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Engine", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawEngine {
    /// Built in.
    #[default]
    Tract,
    /// A shared library.
    #[serde(rename = "onnxruntime")]
    OnnxRuntime,
}

/// What an answer must reach to count.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {output: probabilities, at-least: 0.3}")]
#[schemars(rename = "Confidence")]
pub(crate) struct RawConfidence {
    /// The numeric output that is looked at, for each row.
    #[schemars(extend("examples" = ["probabilities"]))]
    pub(crate) output: Opt<String>,
    /// The least value that counts as an answer.
    #[schemars(extend("examples" = [0.3]))]
    pub(crate) at_least: Opt<f64>,
    /// How a row becomes one value: max (its largest) or margin (its largest less its second).
    #[schemars(extend("default" = "max"))]
    pub(crate) reduce: Opt<RawReduce>,
}

/// How a row becomes one value.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Reduce", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawReduce {
    /// Its largest.
    Max,
    /// Its largest less its second.
    Margin,
}

/// What is answered when no step was good enough.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Exhausted", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawExhausted {
    /// The most confident answer.
    BestAnswer,
    /// The default prediction.
    Default,
    /// An error.
    Error,
}

/// Whether answers of lesser quality are allowed.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Degrade", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawDegrade {
    /// Yes, and marked.
    Allowed,
    /// Only the first step and those declared equivalent.
    Never,
}

/// A value of a default prediction, not yet typed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
    Null,
}

impl Literal {
    /// The same as JSON; a number that JSON has no word for becomes null.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => {
                let number = i64::try_from(*value).map(serde_json::Value::from);
                number.or_else(|_| u64::try_from(*value).map(Into::into)).unwrap_or_default()
            }
            Self::Float(value) => (*value).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(members) => {
                members.iter().map(|(name, value)| (name.clone(), value.to_json())).collect()
            }
            Self::Null => serde_json::Value::Null,
        }
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LiteralVisitor)
    }
}

struct LiteralVisitor;

impl<'de> Visitor<'de> for LiteralVisitor {
    type Value = Literal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of an output; write a number, a text, a boolean, or lists of them")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Literal, E> {
        Ok(Literal::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Literal, E> {
        Ok(Literal::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Literal, E> {
        Ok(Literal::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Literal, E> {
        Ok(Literal::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Literal, E> {
        Ok(Literal::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Literal, E> {
        Ok(Literal::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Literal, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Literal::Map(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Literal, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Literal::List(items))
    }
}

impl JsonSchema for Literal {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Literal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "string", "boolean", "array", "object", "null"] })
    }
}
