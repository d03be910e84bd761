//! `GET /api/events`: changes of state, to be followed from where one stopped.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use mainstay_telemetry::StampedEvent;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Gateway;
use crate::refusal::Refusal;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    /// The number after which to begin.
    #[serde(default)]
    since: u64,
    /// How many at most.
    #[serde(default = "all")]
    limit: usize,
}

const fn all() -> usize {
    usize::MAX
}

pub(super) async fn list(
    State(source): Gateway,
    query: Result<Query<From>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(From { since, limit }) = query?;
    let telemetry = source.telemetry();
    // A follower who is ahead of us followed a gateway that has been started again since.
    let since = if since > telemetry.last_event() { 0 } else { since };
    let events = telemetry.events_since(since, limit);
    let next = events.last().map_or(since, |event| event.seq);
    let events: Vec<_> = events.iter().map(event).collect();
    Ok(Json(json!({"events": events, "next": next})))
}

fn event(stamped: &StampedEvent) -> Value {
    let event = &stamped.event;
    json!({
        "seq": stamped.seq,
        "at": rfc3339(stamped.wall),
        "unix_ms": unix_ms(stamped.wall),
        "kind": event.kind.as_str(),
        "subject": event.subject,
        "from": event.from,
        "to": event.to,
        "cause": event.cause,
    })
}

pub(super) fn rfc3339(wall: SystemTime) -> String {
    humantime::format_rfc3339_millis(wall).to_string()
}

/// Milliseconds since 1970, with their fraction.
pub(super) fn unix_ms(wall: SystemTime) -> f64 {
    wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}
