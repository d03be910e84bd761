//! Outliers and the way back as they are written.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::{Opt, RawDamping, RawMode, RawWindows};
use crate::value::{Length, Share, Short, Shorthand, off_schema};

/// Takes a server out that is much worse than its peers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Outliers")]
pub(crate) struct RawOutliers {
    /// After so many failures in a row; 0 is off. A server whose breaker has opened on them is
    /// out already.
    #[schemars(extend("default" = 5))]
    pub(crate) consecutive: Opt<u32>,
    /// For answering fewer requests well than its peers do; `off` turns it off.
    pub(crate) success_rate: Opt<Short<RawSuccessRate>>,
    /// For being slower than its peers and than it used to be; `off` turns it off.
    pub(crate) latency: Opt<Short<RawOutlierLatency>>,
    /// The largest share of the pool that is taken out so; one server may always be, and never
    /// one that the others could not do without. Servers that are down do not count.
    #[schemars(extend("default" = "50%"))]
    pub(crate) max_ejected: Opt<Share>,
}

impl Shorthand for RawOutliers {
    const EXPECTING: &'static str =
        "rules for outliers; write their keys below it, or `off` for none at all";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// The success rate of the last ten seconds against the peers'.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "OutlierSuccessRate")]
pub(crate) struct RawSuccessRate {
    /// Out when it is so many standard deviations below the mean of the others.
    #[schemars(extend("default" = 3.0, "minimum" = 0.5, "maximum" = 100))]
    pub(crate) deviations: Opt<f32>,
    /// And at least so far below it.
    #[schemars(extend("default" = "10%"))]
    pub(crate) margin: Opt<Share>,
    /// But only where so many servers have had enough requests.
    #[schemars(extend("default" = 3, "minimum" = 2))]
    pub(crate) minimum_hosts: Opt<u32>,
    /// So many requests are enough.
    #[schemars(extend("default" = 20, "minimum" = 1))]
    pub(crate) minimum_requests: Opt<u32>,
}

impl Shorthand for RawSuccessRate {
    const EXPECTING: &'static str =
        "a rule for success rates; write its keys below it, or `off` for none";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// The latest latencies against the peers' and its own usual one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "OutlierLatency")]
pub(crate) struct RawOutlierLatency {
    /// Out when most of its answers take more than so many times the median of its peers, and
    /// than so many times what it usually takes itself. When all become slower, none is out.
    #[schemars(extend("default" = 3.0, "minimum" = 1.5, "maximum" = 1000))]
    pub(crate) factor: Opt<f32>,
    /// And never for less than this.
    #[schemars(extend("default" = "10ms"))]
    pub(crate) floor: Opt<Length>,
    /// So many answers are enough to judge by.
    #[schemars(extend("default" = 10, "minimum" = 3))]
    pub(crate) minimum_requests: Opt<u32>,
}

impl Shorthand for RawOutlierLatency {
    const EXPECTING: &'static str =
        "a rule for latencies; write its keys below it, or `off` for none";

    fn text_schema() -> Schema {
        off_schema()
    }
}

/// How a server comes back that was taken out as an outlier, or whose place a standby took.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write the section's keys below it, one on a line")]
#[schemars(rename = "Failback")]
pub(crate) struct RawFailback {
    /// Real requests that it must answer well first, while the others stay with its peers.
    #[schemars(extend("default" = 3, "minimum" = 1, "maximum" = 100))]
    pub(crate) successes: Opt<u32>,
    /// How long its share then grows until it is whole; 0s gives it at once. The share waits
    /// while the server is slower than its peers. It begins with slow-start's minimum. Default:
    /// 10s for an outlier, 60s for one that takes its place back from a stand-in.
    #[schemars(extend("default" = "10s", "x-comment" = true))]
    pub(crate) ramp: Opt<Length>,
    /// How long it is held out the first time; doubled with each relapse.
    #[schemars(extend("default" = "10s"))]
    pub(crate) hold: Opt<Length>,
    /// The longest that it is held out, and how long it must go well for its relapses to be
    /// forgotten.
    #[schemars(extend("default" = "5m"))]
    pub(crate) hold_max: Opt<Length>,
    /// Whether a server takes its place back from its stand-in by itself (automatic), or waits
    /// for `mainstay failback POOL` (manual). Default: as the pool's mode.
    #[schemars(extend("examples" = ["automatic"], "x-comment" = true))]
    pub(crate) mode: Opt<RawMode>,
    /// How long it must have been well before it takes its place back.
    #[schemars(extend("default" = "30s"))]
    pub(crate) stable_for: Opt<Length>,
    /// When it may take its place back, in UTC. Default: always.
    #[schemars(extend("examples" = [["Mon-Fri 08:00-18:00", "02:00-04:00"]], "x-comment" = true))]
    pub(crate) windows: Opt<RawWindows>,
    /// What is held against a server that comes and goes.
    pub(crate) damping: Opt<RawDamping>,
}
