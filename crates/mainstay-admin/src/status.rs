//! What `GET /api/status` answers, and `mainstay status` reads: the state of everything.
//!
//! Times are seconds before or after the moment of the answer, so that reader and gateway need
//! no common clock.

use std::collections::BTreeMap;

use mainstay_policy::Verdict;
use serde::{Deserialize, Serialize};

use crate::instruction::OrderStatus;

mod verdict;

/// The whole gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The program's version.
    pub version: String,
    /// The configuration's short hash.
    pub config: String,
    /// Since the start.
    pub uptime_seconds: f64,
    /// Whether clients should be sent here.
    pub ready: bool,
    /// Requests sent to servers for each request that came, over the window of the retry budget.
    pub amplification: f64,
    /// The hard cap on it.
    pub amplification_cap: f64,
    /// The pools, in the order of the configuration.
    pub pools: Vec<PoolStatus>,
    /// The models, in the order of the configuration.
    pub models: Vec<ModelStatus>,
    /// The TCP listeners, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<TcpStatus>,
    /// Operators' orders that hold, the oldest first.
    #[serde(default)]
    pub orders: Vec<OrderStatus>,
    /// What is remembered of good answers; none where no chain has such a step.
    #[serde(default)]
    pub last_good: Option<LastGoodStatus>,
    /// The certificates that the gateway shows to clients, operators and servers.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Those who may ask; none where everybody may.
    #[serde(default)]
    pub callers: Vec<CallerStatus>,
    /// Requests of whom nobody knows; `None` where everybody may ask.
    #[serde(default)]
    pub strangers: Option<u64>,
}

/// One caller, as far as callers are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerStatus {
    /// Its name; `jwt` for the bearers of tokens who have none here.
    pub name: String,
    /// Its requests that were let through.
    pub asked: u64,
    /// Its requests that were refused for their model.
    pub refused_model: u64,
    /// For the rate.
    pub refused_rate: u64,
    /// For the number under way at once.
    pub refused_concurrency: u64,
}

/// A certificate that the gateway shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Where: `listen`, `admin`, or the pool to whose servers it is shown.
    pub name: String,
    /// Whose it is: the common name of its subject.
    pub subject: String,
    /// The second since 1970 after which it is not valid any more.
    pub expires_unix_seconds: u64,
}

/// Who of a pool with one writer that is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterStatus {
    /// The endpoint; none while there is none.
    pub endpoint: Option<String>,
    /// How often it has moved.
    pub epoch: u32,
    /// Another endpoint that claims to be primary, and is not used: an alert.
    pub rival: Option<String>,
    /// Why it is the writer, or why there is none.
    pub why: String,
    /// What each endpoint says of itself.
    pub roles: BTreeMap<String, String>,
}

/// One TCP listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpStatus {
    /// Its name.
    pub name: String,
    /// Where it listens, as configured.
    pub address: String,
    /// The pools behind it, the best first.
    pub pools: Vec<String>,
    /// Whether an endpoint could take a connection now.
    pub available: bool,
    /// Connections that are open.
    pub open: u32,
    /// Connections that were accepted since the start.
    pub accepted: u64,
    /// Attempts to find them an endpoint after one that failed.
    pub retried: u64,
    /// Bytes from clients.
    pub bytes_from_clients: u64,
    /// Bytes to clients.
    pub bytes_to_clients: u64,
    /// How many ended in each way: done, reset, idle and so on.
    pub ends: BTreeMap<String, u64>,
}

/// What is remembered of servers' good answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGoodStatus {
    /// Answers in memory.
    pub entries: usize,
    /// Their bytes.
    pub memory_bytes: usize,
    /// Bytes of the answers on disk.
    pub disk_bytes: u64,
    /// Good answers taken in since the start.
    pub stored: u64,
    /// Requests that were answered from there.
    pub hits: u64,
    /// Requests that looked there in vain.
    pub misses: u64,
    /// Answers that were not taken in, or not written, for want of time.
    pub lost: u64,
}

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// How many servers its load asks for.
    #[serde(default)]
    pub wanted_replicas: Option<u32>,
    /// Its endpoints, in the order of the configuration.
    pub endpoints: Vec<EndpointStatus>,
    /// Where more endpoints come from.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    /// Who of them is in use, and why; none where no model uses the pool.
    #[serde(default)]
    pub group: Option<GroupStatus>,
    /// Who alone may be written to; none where any may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<WriterStatus>,
    /// Where its requests go, for each model; empty where all endpoints are equally near.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locality: Vec<LocalityStatus>,
}

/// How near the requests for one model of a pool stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LocalityStatus {
    /// The model's name upstream.
    pub model: String,
    /// By distance, the nearest first, where there are endpoints.
    pub shares: Vec<ShareStatus>,
    /// Why the shares are what they are, in one line.
    pub why: String,
}

/// What goes to one distance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShareStatus {
    /// `own-zone`, `own-region` or `other-regions`.
    pub distance: String,
    /// The zones and regions of its endpoints.
    pub sites: Vec<String>,
    /// Of the requests that look for somebody, from 0.0 to 1.0.
    pub share: f64,
    /// The weight of its endpoints that can be asked.
    pub usable: f64,
    /// The weight of all its endpoints that are meant to be in use.
    pub all: f64,
}

/// One source of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// `dns NAME:PORT`, `srv NAME`, `file PATH` or `registered`.
    pub name: String,
    /// Endpoints that it names.
    pub endpoints: usize,
    /// Endpoints that it no longer names and that are drained.
    pub leaving: usize,
    /// Whether nothing has come from it since the start, so that what was known before holds.
    pub restored: bool,
    /// Since its last usable answer; none before the first, and where nobody is asked.
    pub since_success_seconds: Option<f64>,
    /// What is wrong with it, in one line.
    pub trouble: Option<String>,
    /// Looks that brought something, or heartbeats that were taken.
    pub succeeded: u64,
    /// Looks that brought nothing, or heartbeats that were refused.
    pub failed: u64,
}

/// Who of a pool is in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// `automatic`, or `manual`: a failover is proposed and waits for an operator.
    pub mode: String,
    /// The same for the way back.
    pub failback: String,
    /// How many are to be in use now.
    pub wanted: usize,
    /// And at least.
    pub wanted_least: usize,
    /// And at most.
    pub wanted_most: usize,
    /// How many are; one on its way back and its stand-in count as one.
    pub in_use: usize,
    /// How many may fail at once, whichever they are, with the present load and nothing missing.
    pub failures: usize,
    /// Standbys beside, that have to be loaded or started first.
    pub later: usize,
    /// Requests a second now.
    pub load: f64,
    /// Requests a second that those in use can bear; none before anything is known of it.
    pub capacity: Option<f64>,
    /// Whether all of that was measured while they were busy; otherwise it is, or has in it, an
    /// estimate by their latency.
    #[serde(default)]
    pub capacity_measured: bool,
    /// What waits for an operator.
    pub proposed: Option<String>,
    /// The endpoints, in the order of the configuration.
    pub members: Vec<MemberStatus>,
}

/// What one endpoint is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its name.
    pub endpoint: String,
    /// `active`, `spare`, `drained` or `away`.
    pub standing: String,
    /// Why, in one line.
    pub why: String,
    /// What it takes to use it: `hot`, `warm` or `cold`.
    pub standby: String,
    /// Whether it is on its way back.
    pub returning: bool,
    /// Its share meanwhile.
    pub share: f64,
    /// What it waits for before it takes its post back.
    pub failback_waits: Option<String>,
    /// How far it is made ready.
    pub preparation: Option<String>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name within the pool.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The source that named it; empty for one of the configuration.
    #[serde(default)]
    pub source: String,
    /// Its process, if Mainstay supervises one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessStatus>,
    /// The models that are asked of it.
    pub models: Vec<TargetStatus>,
    /// Where it is.
    #[serde(default)]
    pub zone: Option<String>,
    /// And its zone.
    #[serde(default)]
    pub region: Option<String>,
    /// What it is for: `active`, `spare`, `drained` or `away`.
    #[serde(default)]
    pub standing: String,
    /// What its weight is multiplied by, by operators and failbacks: 1 is all of it.
    #[serde(default)]
    pub factor: f64,
    /// The order that it stands under, with its reason.
    #[serde(default)]
    pub order: Option<OrderStatus>,
}

/// A supervised process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// `stopped`, `starting`, `running`, `stopping`, `backing-off` or `crash-loop`; `elsewhere`
    /// while another gateway supervises.
    pub state: String,
    /// Whether it is meant to run.
    pub wanted: bool,
    /// Whether what runs was made from another `process` section than the one that holds.
    #[serde(default)]
    pub outdated: bool,
    /// Whether it keeps ending, so that it is tried at long intervals only.
    pub crash_looping: bool,
    /// Its process id, while it is there.
    pub pid: Option<u32>,
    /// Since its start, while it is there.
    pub up_seconds: Option<f64>,
    /// Until its next start, while it waits for one.
    pub until_seconds: Option<f64>,
    /// Ends that nobody asked for.
    pub failures: u64,
    /// How its last run ended.
    pub last_exit: Option<ExitStatus>,
    /// Why it is in this state.
    pub why: String,
    /// How its limits are kept, and which are not.
    pub limits: String,
    /// The file of its output.
    pub log: String,
    /// Its last lines of output.
    pub last_lines: Vec<String>,
}

/// The end of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// What ended it.
    pub cause: String,
    /// What that is concluded from.
    pub evidence: String,
    /// How long ago.
    pub ago_seconds: f64,
    /// How long it had run.
    pub ran_seconds: f64,
}

/// One model at one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// The model's name upstream, with its version where one is pinned.
    pub model: String,
    /// What it is held to be.
    #[serde(with = "verdict")]
    pub verdict: Verdict,
    /// How long the verdict has stood.
    pub since_seconds: f64,
    /// What the verdict rests on, in one line.
    pub evidence: String,
    /// Whether what the endpoint depends on is healthy.
    pub deep: bool,
    /// Its breaker.
    pub breaker: BreakerStatus,
    /// Attempts under way.
    pub in_flight: u32,
    /// Recent latency (a decaying peak), as the balancer sees it; 0 before the first answer.
    pub latency_ms: f64,
    /// The attempts that may be under way at once; none where nothing bounds them.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Its share of the traffic.
    #[serde(default)]
    pub rotation: RotationStatus,
}

/// The share of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RotationStatus {
    /// `serving`, `ejected`, `probation` or `ramp`.
    pub phase: String,
    /// From 0.0 to 1.0: what it gets of what it would get otherwise.
    pub share: f64,
    /// Why, with figures; empty for one that serves and has nothing said against it.
    pub why: String,
}

impl Default for RotationStatus {
    fn default() -> Self {
        Self { phase: "serving".to_owned(), share: 1.0, why: String::new() }
    }
}

/// One breaker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// Its own state, whatever it is forced to.
    pub state: BreakerState,
    /// An operator's word, while it lasts.
    pub forced: Option<ForcedStatus>,
    /// Calls in its window.
    pub calls: u32,
    /// Failures among them.
    pub failures: u32,
    /// How long it stays open.
    pub until_seconds: Option<f64>,
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Requests pass.
    #[default]
    Closed,
    /// No request passes.
    Open,
    /// A few requests pass, to see.
    HalfOpen,
}

/// An operator's word on a breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForcedStatus {
    /// `open` or `closed`.
    pub to: BreakerState,
    /// How long it lasts.
    pub until_seconds: f64,
    /// What the operator said.
    pub reason: String,
}

/// One model as clients ask for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// Whether any step could answer now.
    pub available: bool,
    /// Its chain.
    pub steps: Vec<StepStatus>,
    /// Requests since the start.
    pub requests: u64,
    /// Answers of lesser quality among them.
    pub degraded: u64,
    /// Errors among them that were not the client's own.
    pub failed: u64,
    /// Attempts for each request that reached a server; 1.0 when nothing is retried.
    pub amplification: f64,
    /// Attempts made beside a late one, since the start.
    pub hedges: u64,
    /// Those of them whose answer came first.
    pub hedges_won: u64,
    /// Requests refused because they fail wherever they go while others do not.
    pub poisoned: u64,
    /// Answers given again for an idempotency key.
    pub replayed: u64,
    /// Its sequences, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequences: Option<SequencesStatus>,
    /// Requests under way at servers.
    #[serde(default)]
    pub in_flight: u32,
    /// Requests that wait for room.
    #[serde(default)]
    pub queued: u32,
    /// Requests that found no room in time since the start.
    #[serde(default)]
    pub shed: ShedStatus,
}

/// The sequences of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequencesStatus {
    /// Known now.
    pub known: usize,
    /// Lost with their server since the start.
    pub lost: u64,
}

/// Requests that found no room in time, by priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShedStatus {
    /// Of priority critical.
    pub critical: u64,
    /// Of priority high.
    pub high: u64,
    /// Of priority normal.
    pub normal: u64,
    /// Of priority low.
    pub low: u64,
}

/// One step of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStatus {
    /// What kind of source it is.
    pub kind: StepKind,
    /// The pool's or the embedded model's name.
    pub name: String,
    /// Whether it could answer now.
    pub available: bool,
    /// Why, or why not, in one line.
    pub why: String,
    /// What rehearsals have shown of it; of a pool, endpoint by endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rehearsals: Vec<RehearsalStatus>,
}

/// What rehearsals have shown of one fallback.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RehearsalStatus {
    /// The endpoint's name; none where the step is no pool.
    pub endpoint: Option<String>,
    /// `unproven`, `proven`, `failing`, `stale` or `disagreeing`.
    pub state: String,
    /// Whether somebody should look after it before it is needed.
    pub alert: bool,
    /// Since it last answered; none before it has.
    pub age_seconds: Option<f64>,
    /// Shadow requests that ended.
    pub tried: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// A moving average over about the last ten.
    pub latency_ms: f64,
    /// The share of rows that say what the source in use said; none where none was compared.
    pub agreement: Option<f64>,
    /// Why the last failure was one; empty after an answer.
    pub why: String,
}

/// What kind of source a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Servers.
    Pool,
    /// A model inside the gateway.
    Embedded,
    /// What is remembered of servers' good answers.
    LastGood,
    /// A default prediction.
    Default,
}

impl BreakerState {
    /// The state in kebab case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl StepKind {
    /// The kind in kebab case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Embedded => "embedded",
            Self::LastGood => "last-good",
            Self::Default => "default",
        }
    }
}

#[cfg(test)]
mod tests;
