//! A decision record with names in place of numbers.

use mainstay_policy::SentState;
use mainstay_policy::balance::Why;
use mainstay_telemetry::record::{Attempt, Record, Skipped};
use mainstay_telemetry::{Telemetry, record};
use serde_json::{Value, json};

use super::events::{rfc3339, unix_ms};
use crate::source::Source;
use crate::status::Status;

/// Knows the names.
pub(super) struct View<'a> {
    telemetry: &'a Telemetry,
    /// Names the members of a pool by their position.
    status: Status,
}

impl<'a> View<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Self {
        Self { telemetry: source.telemetry(), status: source.status() }
    }

    /// The record as people and scripts read it; times in milliseconds.
    pub(super) fn show(&self, record: &Record) -> Value {
        let names = self.telemetry.names();
        let wall = self.telemetry.clock().wall(record.started);
        let attempts = record.attempts().iter();
        json!({
            "id": record.id.to_string(),
            "model": names.model(record.model),
            "at": rfc3339(wall),
            "unix_ms": unix_ms(wall),
            "took_ms": millis(record.took.as_micros()),
            "deadline_ms": millis(record.deadline.as_micros()),
            "budget_left_ms": millis(record.deadline.saturating_sub(record.took).as_micros()),
            "outcome": record.end.as_str(),
            "status": record.status,
            "step": names.step(record.model, record.step),
            "degraded": record.degraded,
            "reason": reason(record),
            "replayed": record.replayed,
            "priority": record.priority.as_str(),
            "queued_ms": millis(record.queued.as_micros()),
            "rows": record.rows,
            "rows_moved": record.rows_moved,
            "guard": record.guard.map(|guard| guard.as_str()),
            "attempts": attempts.map(|attempt| self.attempt(record, attempt)).collect::<Vec<_>>(),
        })
    }

    fn attempt(&self, record: &Record, attempt: &Attempt) -> Value {
        let names = self.telemetry.names();
        let target = names.target(attempt.target, record.started);
        let pool = target.map(|target| &*target.pool);
        json!({
            "step": names.step(record.model, attempt.step),
            "pool": pool,
            "endpoint": target.map(|target| &target.endpoint),
            "model": target.map(|target| &target.model),
            "why": Why::from_code(attempt.why).map(Why::as_str),
            "skipped": self.skipped(pool, attempt.skipped),
            "class": attempt.class.map(|class| class.as_str()),
            "guard": attempt.guard.map(|guard| guard.as_str()),
            "sent": sent(attempt.sent),
            "status": (attempt.status != 0).then_some(attempt.status),
            "started_ms": millis(attempt.started_us.into()),
            "took_ms": millis(attempt.took_us.into()),
        })
    }

    fn skipped(&self, pool: Option<&str>, skipped: Skipped) -> Value {
        json!({
            "verdict": self.members(pool, skipped.verdict),
            "breaker": self.members(pool, skipped.breaker),
            "ejected": self.members(pool, skipped.ejected),
            "limit": self.members(pool, skipped.limit),
            "tried": self.members(pool, skipped.tried),
            "paused": self.members(pool, skipped.paused),
        })
    }

    /// The names of the members whose bits are set.
    fn members(&self, pool: Option<&str>, bits: u16) -> Vec<String> {
        let pool = self.status.pools.iter().find(|known| Some(&*known.name) == pool);
        let name = |at: usize| pool.and_then(|pool| pool.endpoints.get(at)).map(|e| e.name.clone());
        let set = (0..16).filter(|at| bits & 1 << at != 0);
        set.map(|at| name(at).unwrap_or_else(|| format!("#{at}"))).collect()
    }
}

fn reason(record: &Record) -> Option<&'static str> {
    (record.reason != record::Reason::None).then(|| record.reason.as_str())
}

const fn sent(sent: SentState) -> &'static str {
    match sent {
        SentState::NotSent => "not-sent",
        SentState::MaybeSent => "maybe-sent",
        SentState::Sent => "sent",
    }
}

fn millis(micros: u128) -> f64 {
    micros as f64 / 1e3
}
