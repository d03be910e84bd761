//! Limits, queues and priorities as they are written.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::Opt;
use crate::spanned::Spanned;
use crate::value::{Length, Shorthand, off_schema};

/// How many requests one server is given at once.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "TargetConcurrency")]
pub(crate) struct RawTargetConcurrency {
    /// Whether the limit follows what the server can do, by how its latency grows; otherwise it
    /// is `max`.
    #[schemars(extend("default" = true))]
    pub(crate) adaptive: Opt<bool>,
    /// The least that the limit falls to.
    #[schemars(extend("default" = 4, "minimum" = 1))]
    pub(crate) min: Opt<u32>,
    /// What it begins with, and returns to while nobody needs it.
    #[schemars(extend("default" = 200, "minimum" = 1))]
    pub(crate) initial: Opt<u32>,
    /// The most that it grows to.
    #[schemars(extend("default" = 2000, "minimum" = 1))]
    pub(crate) max: Opt<u32>,
}

impl Shorthand for RawTargetConcurrency {
    const EXPECTING: &'static str =
        "a limit; write its keys below it, for example {adaptive: false, max: 32}, or `off`";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// How many requests of a model are served at once, and how many wait.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {max: 64, queue: 100, wait: 1s}")]
#[schemars(rename = "ModelConcurrency")]
pub(crate) struct RawConcurrency {
    /// Requests of this model at servers at once, over all of them, so that a flood on it leaves
    /// room for other models. Default: only the servers' own limits bound it.
    #[schemars(extend("examples" = [64], "x-comment" = true, "minimum" = 1))]
    pub(crate) max: Opt<u32>,
    /// Requests that may wait for room; 0 lets none wait. The highest priority is served first,
    /// then the earliest deadline; low priority may fill half of it, normal four fifths.
    #[schemars(extend("default" = 100, "maximum" = 100_000))]
    pub(crate) queue: Opt<u32>,
    /// The longest that a request waits, before a source inside the gateway answers in a
    /// server's place, or the client is told when to come back. Its deadline may leave it less.
    #[schemars(extend("default" = "1s", "examples" = ["100ms"]))]
    pub(crate) wait: Opt<Length>,
}

/// How much a request matters when not all can be served.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Priority", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawPriority {
    /// Before everything else.
    Critical,
    /// Before ordinary requests.
    High,
    /// Ordinary requests.
    Normal,
    /// What can come again later.
    Low,
}

/// A header in which clients name the priority of their requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {name: x-priority, trusted: [10.0.0.0/8]}")]
#[schemars(rename = "PriorityHeader")]
pub(crate) struct RawPriorityHeader {
    /// Its name; the values are critical, high, normal and low.
    #[schemars(extend("default" = "x-priority"))]
    pub(crate) name: Opt<String>,
    /// Whom it is believed from: addresses and networks of clients. From all others it is
    /// dropped.
    #[schemars(extend("examples" = [["10.0.0.0/8"]]))]
    pub(crate) trusted: Opt<Vec<Spanned<String>>>,
}
