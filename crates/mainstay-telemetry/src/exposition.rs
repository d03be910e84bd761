//! The page that Prometheus scrapes, in the OpenMetrics text format.
//!
//! Everything is summed up when it is asked for. `prometheus-client`'s own metric types would
//! share each counter between the workers; its encoder is used over our arrays instead.

use std::fmt;
use std::time::Duration;

use mainstay_policy::limit::Priority;
use mainstay_policy::{Standing, Verdict};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::names::TargetName;
use crate::telemetry::Telemetry;

mod collect;
pub mod family;
mod page;

/// The content type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is true now and cannot be read from what has been counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// The program's version.
    pub version: String,
    /// Since the gateway started.
    pub uptime: Duration,
    /// Whether clients should be sent here.
    pub ready: bool,
    /// Requests sent to servers for each request that came, over the window of the retries.
    pub amplification: f64,
    /// The hard cap on it.
    pub amplification_cap: f64,
    /// Every target.
    pub targets: Vec<TargetGauges>,
    /// Every model.
    pub models: Vec<ModelGauges>,
    /// What is remembered of good answers; `None` where nothing is meant to be.
    pub last_good: Option<LastGoodGauges>,
    /// Every source of endpoints.
    pub sources: Vec<SourceGauges>,
    /// Every supervised process.
    pub processes: Vec<ProcessGauges>,
    /// How many servers the load of each pool asks for.
    pub wanted_replicas: Vec<(String, u32)>,
    /// Every pool that a model uses.
    pub groups: Vec<GroupGauges>,
    /// Every TCP listener.
    pub tcp: Vec<TcpGauges>,
    /// Every share of a distance.
    pub localities: Vec<LocalityGauge>,
    /// Every certificate that the gateway shows, with the second since 1970 after which it is not
    /// valid any more.
    pub certificates: Vec<(String, u64)>,
    /// Everybody who may ask, where that has to be known.
    pub callers: Vec<CallerGauges>,
    /// Requests of whom nobody knows; `None` where everybody may ask.
    pub strangers: Option<u64>,
}

/// One caller's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerGauges {
    /// Its name.
    pub name: String,
    /// Let through.
    pub asked: u64,
    /// Refused for the model, the rate, the number at once.
    pub refused: [u64; 3],
}

/// What of a pool's requests for a model goes to one distance.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalityGauge {
    /// The pool's name.
    pub pool: String,
    /// The model's name upstream.
    pub model: String,
    /// How far: `own-zone`, `own-region` or `other-regions`.
    pub distance: String,
    /// From 0.0 to 1.0.
    pub share: f64,
}

/// What was counted at one TCP listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpGauges {
    /// Its name.
    pub listener: String,
    /// Connections that are open.
    pub open: u32,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Attempts after one that failed.
    pub retried: u64,
    /// From clients, and to them.
    pub bytes: [u64; 2],
    /// How many ended in each way.
    pub ends: Vec<(String, u64)>,
}

/// What is remembered of servers' good answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastGoodGauges {
    /// Answers in memory.
    pub entries: usize,
    /// Their bytes.
    pub memory_bytes: usize,
    /// Bytes of the answers on disk.
    pub disk_bytes: u64,
    /// Taken in since the start.
    pub stored: u64,
    /// Requests that were answered from there.
    pub hits: u64,
    /// Requests that looked there in vain.
    pub misses: u64,
    /// Not taken in, or not written, for want of time.
    pub lost: u64,
}

/// The state of one source of endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceGauges {
    /// The pool that it brings endpoints to.
    pub pool: String,
    /// The source.
    pub source: String,
    /// Endpoints that it names, and those that it no longer names and that are drained.
    pub endpoints: [u64; 2],
    /// Whether nothing is wrong with it.
    pub fine: bool,
    /// Since its last usable answer; `None` where there was none, or where nobody is asked.
    pub age: Option<Duration>,
    /// Looks that brought something, and those that brought nothing.
    pub looks: [u64; 2],
}

/// The state of one supervised process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessGauges {
    /// Its pool.
    pub pool: String,
    /// Its endpoint.
    pub endpoint: String,
    /// Whether it runs and is ready.
    pub running: bool,
    /// Ends that nobody asked for.
    pub failures: u64,
}

/// Who of a pool is in use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupGauges {
    /// The pool's name.
    pub pool: String,
    /// How many are to be in use.
    pub wanted: usize,
    /// How many are.
    pub in_use: usize,
    /// How many may fail.
    pub tolerates: usize,
    /// Whether an operator is to decide.
    pub proposed: bool,
    /// Endpoints that wait before they take their post back.
    pub failbacks: usize,
    /// Every endpoint, and what it is for.
    pub members: Vec<(String, Standing)>,
}

/// The state of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGauges {
    /// Who it is.
    pub name: TargetName,
    /// 0 closed, 1 open, 2 half-open.
    pub breaker: u8,
    /// What it is held to be.
    pub verdict: Verdict,
    /// Whether what its endpoint depends on is healthy.
    pub deep: bool,
    /// Attempts under way.
    pub in_flight: u32,
    /// As the balancer sees it.
    pub latency: Duration,
    /// The attempts that may be under way at once; `None` where nothing bounds them.
    pub limit: Option<u32>,
    /// Whether it is out by ejection, or on probation after it.
    pub ejected: bool,
    /// What it gets of what it would get otherwise, from 0.0 to 1.0.
    pub share: f64,
}

/// The state of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelGauges {
    /// Its name.
    pub name: String,
    /// Requests that wait for room.
    pub queued: u32,
    /// Requests that found no room in time, by priority.
    pub shed: [u64; Priority::ALL.len()],
    /// The steps of its chain, and whether each could answer.
    pub steps: Vec<(String, bool)>,
    /// Sequences known now, and lost since the start; `None` where it has none.
    pub sequences: Option<(u64, u64)>,
    /// What rehearsals have shown of its fallbacks.
    pub rehearsals: Vec<RehearsalGauges>,
}

/// What rehearsals have shown of one fallback.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RehearsalGauges {
    /// The step's name.
    pub step: String,
    /// The endpoint's name; empty where the step is no pool.
    pub endpoint: String,
    /// Whether it is an alert.
    pub alert: bool,
    /// Rehearsals that were answered.
    pub answered: u64,
    /// Rehearsals that failed.
    pub failed: u64,
    /// Since the last answer, in seconds.
    pub age: Option<f64>,
    /// Recent, in seconds.
    pub latency: f64,
    /// The share of rows that agree with the source in use.
    pub agreement: Option<f64>,
}

impl Telemetry {
    /// Appends the page to `out`.
    ///
    /// # Errors
    /// Those of `out`; a `String` has none.
    pub fn encode(&self, gauges: &Gauges, out: &mut impl fmt::Write) -> fmt::Result {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collect::page(self, gauges)));
        text::encode(out, &registry)
    }
}

#[cfg(test)]
mod tests;
