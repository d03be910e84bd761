//! The names of all metrics, in one place; `docs/metrics.md` is made from here.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: one prefix, base units, the unit
//! at the end. The encoder adds `_total`, `_seconds` and `_info` by kind and unit.

use prometheus_client::metrics::MetricType;

/// A metric and what its labels are.
#[derive(Debug)]
pub struct Family {
    pub(super) stem: &'static str,
    pub(super) kind: MetricType,
    /// Whether its values are seconds.
    pub(super) seconds: bool,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Labels of one model at one endpoint.
const TARGET: &[&str] = &["pool", "endpoint", "model"];

/// Labels of one source of endpoints.
const SOURCE: &[&str] = &["pool", "source"];

pub(super) const BUILD: Family = Family {
    stem: "mainstay_build",
    kind: MetricType::Info,
    seconds: false,
    labels: &["version"],
    help: "The program's version.",
};
pub(super) const UPTIME: Family =
    Family { seconds: true, ..gauge("mainstay_uptime", &[], "Time since the gateway started.") };
pub(super) const READY: Family =
    gauge("mainstay_ready", &[], "1 while clients should be sent here, 0 otherwise.");
pub(super) const REQUESTS: Family = counter(
    "mainstay_requests",
    &["model", "step", "outcome"],
    "Finished requests, by the step that answered and by how they ended.",
);
pub(super) const REQUEST_DURATION: Family = histogram(
    "mainstay_request_duration",
    &["model"],
    "From a request's head to the end of its answer.",
);
pub(super) const DEGRADED: Family = counter(
    "mainstay_degraded",
    &["model", "step", "reason"],
    "Answers of lesser quality, by the step that gave them and why the first did not.",
);
pub(super) const ROWS_MOVED: Family = counter(
    "mainstay_rows_moved",
    &["model"],
    "Rows of batches that another source than the first answered.",
);
pub(super) const GUARD_BROKEN: Family = counter(
    "mainstay_guard_broken",
    &["model", "guard"],
    "Answers that broke a guard, in some of their rows at the least.",
);
pub(super) const RETRIES: Family =
    counter("mainstay_retries", &["model"], "Attempts after one that failed, hedges not counted.");
pub(super) const HEDGES: Family =
    counter("mainstay_hedges", &["model"], "Attempts made beside one that was late.");
pub(super) const HEDGES_WON: Family =
    counter("mainstay_hedges_won", &["model"], "Hedges whose answer came first.");
pub(super) const POISONED: Family = counter(
    "mainstay_poison_requests",
    &["model"],
    "Requests refused because they fail wherever they go while others do not.",
);
pub(super) const REPLAYED: Family = counter(
    "mainstay_replayed_answers",
    &["model"],
    "Answers given again for the same Idempotency-Key, without asking a server.",
);
pub(super) const FORWARDED: Family = counter(
    "mainstay_forwarded_requests",
    &["model"],
    "Requests that reached at least one server.",
);
pub(super) const SENT: Family = counter(
    "mainstay_sent_attempts",
    &["model"],
    "Attempts that may have reached a server; over forwarded requests, the amplification.",
);
pub(super) const AMPLIFICATION: Family = gauge(
    "mainstay_amplification_ratio",
    &[],
    "Requests sent to servers for each request that came, retries, fallbacks and hedges \
     included, over the window of the retry budget; 1 when nothing is repeated.",
);
pub(super) const AMPLIFICATION_CAP: Family = gauge(
    "mainstay_amplification_cap_ratio",
    &[],
    "The hard cap on the amplification, as configured.",
);
pub(super) const STEP_AVAILABLE: Family = gauge(
    "mainstay_step_available",
    &["model", "step"],
    "1 while this step of the model's chain could answer, 0 otherwise.",
);
pub(super) const ATTEMPTS: Family = counter(
    "mainstay_attempts",
    &["pool", "endpoint", "model", "class"],
    "Attempts at a target, by what became of them; class ok is a usable answer.",
);
pub(super) const ATTEMPT_DURATION: Family = histogram(
    "mainstay_attempt_duration",
    TARGET,
    "From the start of an attempt to its end, whatever became of it.",
);
pub(super) const TOKENS: Family = counter(
    "mainstay_tokens",
    &["model", "of"],
    "Tokens of language models, of prompts and of answers: as servers counted them, or the pieces \
     of streams where they did not.",
);
pub(super) const FIRST_TOKEN: Family = histogram(
    "mainstay_first_token",
    TARGET,
    "From the start of an attempt to the first content of its stream.",
);
pub(super) const TOKEN_GAP: Family = histogram(
    "mainstay_token_gap",
    TARGET,
    "Between two pieces of content of a stream, while its client takes them.",
);
pub(super) const BREAKER_STATE: Family =
    gauge("mainstay_breaker_state", TARGET, "A target's breaker: 0 closed, 1 open, 2 half-open.");
pub(super) const VERDICT: Family = gauge(
    "mainstay_verdict",
    &["pool", "endpoint", "model", "verdict"],
    "1 for the verdict that stands on a target, 0 for all others.",
);
pub(super) const GOLDEN: Family = counter(
    "mainstay_golden_requests",
    &["pool", "endpoint", "model", "result"],
    "Rounds of golden requests, by what came of them: passed, wrong, or no answer and why.",
);
pub(super) const DEPENDENCIES_HEALTHY: Family = gauge(
    "mainstay_dependencies_healthy",
    TARGET,
    "1 while what the target's endpoint depends on is healthy, 0 otherwise.",
);
pub(super) const IN_FLIGHT: Family =
    gauge("mainstay_in_flight", TARGET, "Attempts at a target that are under way.");
pub(super) const LATENCY: Family = Family {
    seconds: true,
    ..gauge("mainstay_latency", TARGET, "A target's recent latency, as the balancer sees it.")
};
pub(super) const EJECTED: Family = gauge(
    "mainstay_ejected",
    TARGET,
    "1 while a target is out by ejection or on probation after it, 0 otherwise.",
);
pub(super) const SHARE: Family = gauge(
    "mainstay_share",
    TARGET,
    "What a target gets of what it would get otherwise: 1 unless it is out or on its way back.",
);
pub(super) const EJECTIONS: Family = counter(
    "mainstay_ejections",
    &["cause"],
    "Targets that were taken out for being worse than their peers, by what was worse.",
);
pub(super) const DISCOVERY_ENDPOINTS: Family = gauge(
    "mainstay_discovery_endpoints",
    &["pool", "source", "state"],
    "Endpoints that a source names (present), or no longer names and that are drained (leaving).",
);
pub(super) const DISCOVERY_FINE: Family = gauge(
    "mainstay_discovery_fine",
    SOURCE,
    "1 while a source of endpoints says what it should, 0 while its last good set is kept.",
);
pub(super) const DISCOVERY_AGE: Family = Family {
    seconds: true,
    ..gauge("mainstay_discovery_age", SOURCE, "Time since a source's last usable answer.")
};
pub(super) const DISCOVERY_LOOKS: Family = counter(
    "mainstay_discovery_looks",
    &["pool", "source", "result"],
    "Looks at a source, or heartbeats of servers that register, by what came of them.",
);
pub(super) const EVENTS: Family =
    counter("mainstay_events", &["kind"], "Changes of state, by what changed.");
pub(super) const LOG_LINES_LOST: Family = counter(
    "mainstay_log_lines_lost",
    &[],
    "Log lines that were dropped because nobody read them fast enough.",
);

pub(super) const LIMIT: Family = gauge(
    "mainstay_limit",
    TARGET,
    "Attempts at a target that may be under way at once; left out where nothing bounds them.",
);
pub(super) const QUEUED: Family =
    gauge("mainstay_queued", &["model"], "Requests that wait for room at a server.");
pub(super) const SHED: Family = counter(
    "mainstay_shed",
    &["model", "priority"],
    "Requests that found no room at a server in time; a step inside the gateway may have answered.",
);
pub(super) const PROCESS_RUNNING: Family = gauge(
    "mainstay_process_running",
    &["pool", "endpoint"],
    "1 while the supervised process of an endpoint runs and is ready, 0 otherwise.",
);
pub(super) const PROCESS_FAILURES: Family = counter(
    "mainstay_process_failures",
    &["pool", "endpoint"],
    "Ends of the supervised process of an endpoint that nobody asked for.",
);
pub(super) const WANTED_REPLICAS: Family = gauge(
    "mainstay_wanted_replicas",
    &["pool"],
    "Servers that the load of a pool asks for; for outside autoscalers too.",
);

pub(super) const GROUP_WANTED: Family =
    gauge("mainstay_group_wanted", &["pool"], "Endpoints of a pool that are to be in use.");
pub(super) const GROUP_IN_USE: Family = gauge(
    "mainstay_group_in_use",
    &["pool"],
    "Endpoints of a pool that are; one on its way back and its stand-in count as one.",
);
pub(super) const GROUP_TOLERATES: Family = gauge(
    "mainstay_group_tolerates",
    &["pool"],
    "Endpoints that may fail at once, whichever they are, with the present load and nothing missing.",
);
pub(super) const GROUP_STANDING: Family = gauge(
    "mainstay_group_standing",
    &["pool", "endpoint", "standing"],
    "What an endpoint is for: 1 for active, spare, drained or away, 0 for the others.",
);
pub(super) const GROUP_WAITING: Family = gauge(
    "mainstay_group_waiting",
    &["pool", "for"],
    "Decisions that wait: proposals for an operator, and failbacks for whatever the status says.",
);

pub(super) const TCP_OPEN: Family = gauge(
    "mainstay_tcp_open_connections",
    &["listener"],
    "Connections that are open at a TCP listener.",
);
pub(super) const TCP_ACCEPTED: Family =
    counter("mainstay_tcp_connections", &["listener"], "Connections that came to a TCP listener.");
pub(super) const TCP_ENDED: Family = counter(
    "mainstay_tcp_ended_connections",
    &["listener", "end"],
    "Connections of a TCP listener that are over, by how they ended.",
);
pub(super) const TCP_RETRIES: Family = counter(
    "mainstay_tcp_retries",
    &["listener"],
    "Attempts to find a TCP connection an endpoint after one that failed.",
);
pub(super) const TCP_BYTES: Family =
    counter("mainstay_tcp_bytes", &["listener", "direction"], "Bytes passed on by a TCP listener.");

pub(super) const LAST_GOOD_ENTRIES: Family =
    gauge("mainstay_last_good_entries", &[], "Good answers remembered in memory.");
pub(super) const LAST_GOOD_BYTES: Family = gauge(
    "mainstay_last_good_bytes",
    &["layer"],
    "Bytes of the good answers that are remembered, in memory and on disk.",
);
pub(super) const LAST_GOOD: Family = counter(
    "mainstay_last_good_answers",
    &["result"],
    "Good answers: stored, given again (hit), looked for in vain (miss), and not kept for want of \
     time (lost).",
);

/// Labels of one fallback of a model; the endpoint is empty where the step is no pool.
const FALLBACK: &[&str] = &["model", "step", "endpoint"];

pub(super) const REHEARSALS: Family = counter(
    "mainstay_rehearsal_requests",
    &["model", "step", "endpoint", "result"],
    "Shadow requests to standbys and later steps, by result: answered or failed.",
);
pub(super) const REHEARSAL_AGE: Family = Family {
    seconds: true,
    ..gauge(
        "mainstay_rehearsal_age",
        FALLBACK,
        "Since a fallback last answered a rehearsal; left out before it has.",
    )
};
pub(super) const REHEARSAL_LATENCY: Family = Family {
    seconds: true,
    ..gauge("mainstay_rehearsal_latency", FALLBACK, "A fallback's recent latency in rehearsals.")
};
pub(super) const REHEARSAL_AGREEMENT: Family = gauge(
    "mainstay_rehearsal_agreement_ratio",
    FALLBACK,
    "The share of rows in which a fallback says what the source in use says, over about the last \
     500; left out where none was compared.",
);
pub(super) const REHEARSAL_ALERT: Family = gauge(
    "mainstay_rehearsal_alert",
    FALLBACK,
    "1 while a fallback would most likely fail: it fails rehearsals, was not proven for long, or \
     disagrees; 0 otherwise.",
);

pub(super) const LOCALITY_SHARE: Family = gauge(
    "mainstay_locality_share",
    &["pool", "model", "distance"],
    "The share of the requests that look first at this distance; left out where all are near.",
);
pub(super) const CALLER_REQUESTS: Family = counter(
    "mainstay_caller_requests",
    &["caller"],
    "Requests of a caller that were let through; left out where everybody may ask.",
);
pub(super) const CALLER_REFUSED: Family = counter(
    "mainstay_caller_refused",
    &["caller", "reason"],
    "Requests of a caller that were refused: model, rate or concurrency.",
);
pub(super) const STRANGERS: Family = counter(
    "mainstay_strangers",
    &[],
    "Requests that showed nothing, or nothing good, to know their caller by.",
);
pub(super) const CERTIFICATE_EXPIRY: Family = gauge(
    "mainstay_certificate_expiry_timestamp_seconds",
    &["certificate"],
    "The second since 1970 after which a certificate that the gateway shows is not valid any more.",
);
pub(super) const SEQUENCES: Family = gauge(
    "mainstay_sequences",
    &["model"],
    "Sequences that are known now; left out for models without.",
);
pub(super) const SEQUENCES_LOST: Family =
    counter("mainstay_sequences_lost", &["model"], "Sequences that were lost with their server.");

/// Every metric, in the order of the page.
pub const ALL: [&Family; 69] = [
    &BUILD,
    &UPTIME,
    &READY,
    &REQUESTS,
    &REQUEST_DURATION,
    &DEGRADED,
    &ROWS_MOVED,
    &GUARD_BROKEN,
    &RETRIES,
    &HEDGES,
    &HEDGES_WON,
    &POISONED,
    &REPLAYED,
    &FORWARDED,
    &SENT,
    &AMPLIFICATION,
    &AMPLIFICATION_CAP,
    &STEP_AVAILABLE,
    &QUEUED,
    &SHED,
    &LOCALITY_SHARE,
    &CALLER_REQUESTS,
    &CALLER_REFUSED,
    &STRANGERS,
    &CERTIFICATE_EXPIRY,
    &SEQUENCES,
    &SEQUENCES_LOST,
    &ATTEMPTS,
    &ATTEMPT_DURATION,
    &TOKENS,
    &FIRST_TOKEN,
    &TOKEN_GAP,
    &BREAKER_STATE,
    &VERDICT,
    &DEPENDENCIES_HEALTHY,
    &IN_FLIGHT,
    &LIMIT,
    &LATENCY,
    &EJECTED,
    &SHARE,
    &PROCESS_RUNNING,
    &PROCESS_FAILURES,
    &WANTED_REPLICAS,
    &GROUP_WANTED,
    &GROUP_IN_USE,
    &GROUP_TOLERATES,
    &GROUP_STANDING,
    &GROUP_WAITING,
    &TCP_OPEN,
    &TCP_ACCEPTED,
    &TCP_ENDED,
    &TCP_RETRIES,
    &TCP_BYTES,
    &GOLDEN,
    &DISCOVERY_ENDPOINTS,
    &DISCOVERY_FINE,
    &DISCOVERY_AGE,
    &DISCOVERY_LOOKS,
    &REHEARSALS,
    &REHEARSAL_AGE,
    &REHEARSAL_LATENCY,
    &REHEARSAL_AGREEMENT,
    &REHEARSAL_ALERT,
    &LAST_GOOD_ENTRIES,
    &LAST_GOOD_BYTES,
    &LAST_GOOD,
    &EVENTS,
    &EJECTIONS,
    &LOG_LINES_LOST,
];

const fn counter(
    stem: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { stem, kind: MetricType::Counter, seconds: false, labels, help }
}

const fn gauge(stem: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { stem, kind: MetricType::Gauge, seconds: false, labels, help }
}

const fn histogram(
    stem: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { stem, kind: MetricType::Histogram, seconds: true, labels, help }
}

impl Family {
    /// The name to query; a histogram's series add `_bucket`, `_sum` and `_count` to it.
    #[must_use]
    pub fn name(&self) -> String {
        let unit = if self.seconds { "_seconds" } else { "" };
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        format!("{}{unit}{suffix}", self.stem)
    }

    /// Counter, gauge, histogram or info.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.kind {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::Info => "info",
            MetricType::Unknown => "unknown",
        }
    }
}
