//! Where endpoints come from beside the file, as it is written.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::Opt;
use crate::spanned::Spanned;
use crate::value::{Length, Short, Shorthand};

/// One source of endpoints: `dns`, `srv`, `file` or `register`, and the keys that go with it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Discover")]
pub(crate) struct RawDiscover {
    /// A DNS name; each of its addresses (A and AAAA) is an endpoint. Goes with `port`.
    #[schemars(extend("examples" = ["models.internal"]))]
    pub(crate) dns: Opt<String>,
    /// The port of every server behind the DNS name.
    #[schemars(extend("examples" = [8000], "minimum" = 1))]
    pub(crate) port: Opt<u16>,
    /// The DNS name of a service (SRV), which names servers with ports, weights and priorities.
    /// Those of the lowest priority are used, the others are hot standbys.
    #[schemars(extend("examples" = ["_oip._tcp.models.internal"], "x-comment" = true))]
    pub(crate) srv: Opt<String>,
    /// A file with a list of endpoints, written as in a pool; it is read again when it changes.
    #[schemars(extend("examples" = ["endpoints.yaml"], "x-comment" = true))]
    pub(crate) file: Opt<String>,
    /// Servers register themselves by heartbeats to the admin listener: true, or from which
    /// networks and how many.
    #[schemars(extend("examples" = [{"from": ["10.0.0.0/8"]}], "x-comment" = true))]
    pub(crate) register: Opt<Short<RawRegister>>,
    /// A path that the servers behind a DNS name have before /v2.
    #[schemars(extend("examples" = ["/base"], "x-comment" = true))]
    pub(crate) path: Opt<String>,
    /// Which addresses of a DNS name count: both, ipv4 or ipv6.
    #[schemars(extend("default" = "both"))]
    pub(crate) family: Opt<RawFamily>,
    /// The DNS servers that are asked, as address or address:port. Default: those of
    /// /etc/resolv.conf.
    #[schemars(extend("examples" = [["10.0.0.2:53"]], "x-comment" = true))]
    pub(crate) resolver: Opt<Vec<Spanned<String>>>,
    /// The shortest time between two lookups, whatever the answer's TTL.
    #[schemars(extend("default" = "5s"))]
    pub(crate) min_refresh: Opt<Length>,
    /// The longest time between two lookups.
    #[schemars(extend("default" = "60s"))]
    pub(crate) max_refresh: Opt<Length>,
    /// How long an endpoint that is no longer named and still answers its probes is drained
    /// before it is removed.
    #[schemars(extend("default" = "30s"))]
    pub(crate) linger: Opt<Length>,
    /// The share of each endpoint relative to the pool's others.
    #[schemars(extend("default" = 1.0, "exclusiveMinimum" = 0, "maximum" = 100))]
    pub(crate) weight: Opt<f32>,
    /// The region that the endpoints run in.
    #[schemars(extend("examples" = ["eu-west"], "x-comment" = true))]
    pub(crate) region: Opt<String>,
    /// The zone of that region.
    #[schemars(extend("examples" = ["eu-west-1a"], "x-comment" = true))]
    pub(crate) zone: Opt<String>,
}

/// Servers register themselves by heartbeats.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Register")]
pub(crate) struct RawRegister {
    /// The networks whose addresses may be registered. Default: private ones, without loopback
    /// and without addresses of cloud metadata.
    #[schemars(extend("examples" = [["10.0.0.0/8"]]))]
    pub(crate) from: Opt<Vec<Spanned<String>>>,
    /// Endpoints that may be registered at once.
    #[schemars(extend("default" = 64, "minimum" = 1, "maximum" = 1024))]
    pub(crate) most: Opt<u32>,
    /// How long after the end of its last heartbeat's lifetime an endpoint is kept.
    #[schemars(extend("default" = "10s"))]
    pub(crate) grace: Opt<Length>,
}

impl Shorthand for RawRegister {
    const EXPECTING: &'static str =
        "who may register; write true, or {from: [10.0.0.0/8], most: 64, grace: 10s}";
    const SCALARS: bool = true;

    fn text_schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// Which addresses of a DNS name count.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Family", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawFamily {
    /// All of them.
    Both,
    /// A records.
    Ipv4,
    /// AAAA records.
    Ipv6,
}
