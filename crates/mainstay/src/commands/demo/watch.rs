//! What the gateway tells of itself, read from its admin listener like anybody could.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use mainstay_policy::Moment;
use mainstay_telemetry::Clock;
use serde_json::Value;

use super::client::Client;
use super::journal::{Change, Journal};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Reads events and decision records into the journal, without end.
pub(super) async fn watch(clock: Clock, admin: Client, journal: Rc<RefCell<Journal>>) {
    let mut looks = tokio::time::interval(LOOK);
    let mut next = 0;
    loop {
        looks.tick().await;
        // A look that fails is made up for by the next one: nothing is lost in between.
        if let Ok(events) = admin.get(&format!("/api/events?since={next}")).await {
            next = events["next"].as_u64().unwrap_or(next);
            read_events(clock, &events, &mut journal.borrow_mut());
        }
        if let Ok(records) = admin.get("/api/requests?limit=100").await {
            read_records(&records, &mut journal.borrow_mut());
        }
    }
}

fn read_events(clock: Clock, events: &Value, journal: &mut Journal) {
    for event in events["events"].as_array().into_iter().flatten() {
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        let (kind, to) = (text("kind"), text("to"));
        journal.changes.push(Change {
            at: moment(clock, event["unix_ms"].as_f64().unwrap_or_default()),
            subject: text("subject").to_owned(),
            worse: is_worse(kind, to),
            text: format!(
                "{}: {} -> {to} ({})",
                if kind == text("subject") {
                    kind.to_owned()
                } else {
                    format!("{kind} {}", text("subject"))
                },
                text("from"),
                text("cause")
            ),
        });
    }
}

fn is_worse(kind: &str, to: &str) -> bool {
    match kind {
        "verdict" => !matches!(to, "ready" | "unknown"),
        "breaker" => to == "open",
        _ => false,
    }
}

/// A wall-clock time on our own clock.
fn moment(clock: Clock, unix_ms: f64) -> Moment {
    let at = UNIX_EPOCH + Duration::try_from_secs_f64(unix_ms / 1e3).unwrap_or_default();
    Moment::ZERO + at.duration_since(clock.wall(Moment::ZERO)).unwrap_or_default()
}

/// Names the servers that answered without a word.
fn read_records(records: &Value, journal: &mut Journal) {
    for record in records["requests"].as_array().into_iter().flatten() {
        let last = record["attempts"].as_array().and_then(|attempts| attempts.last());
        let Some((id, last)) = record["id"].as_str().zip(last) else { continue };
        let name = |key: &str| last[key].as_str().unwrap_or_default();
        if last["class"].is_null() {
            journal.attribute(id, format!("{}/{}", name("pool"), name("endpoint")));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::journal::{Played, Source};
    use super::*;

    #[test]
    fn a_record_names_the_server_of_an_answer() {
        let mut journal = Journal::default();
        let played = Played {
            at: Moment::ZERO,
            source: Some(Source::Forest),
            degraded: false,
            right: true,
            failed_at: Vec::new(),
            server: None,
        };
        journal.add(played, Some("00ff".to_owned()));
        let attempt = json!({"pool": "forest", "endpoint": "forest-2", "class": null});
        read_records(&json!({"requests": [{"id": "00ff", "attempts": [attempt]}]}), &mut journal);
        assert_eq!(journal.played[0].server.as_deref(), Some("forest/forest-2"));
    }

    #[test]
    fn wall_time_comes_back_as_the_same_moment() {
        let clock = Clock::start();
        let now = clock.now();
        let unix = clock.wall(now).duration_since(UNIX_EPOCH).unwrap();
        let back = moment(clock, unix.as_secs_f64() * 1e3);
        assert!(back.since(now).max(now.since(back)) < Duration::from_millis(1));
    }

    #[test]
    fn only_changes_for_the_worse_detect_a_fault() {
        assert!(is_worse("verdict", "dead") && is_worse("breaker", "open"));
        assert!(!is_worse("verdict", "ready") && !is_worse("breaker", "half-open"));
        assert!(!is_worse("gateway", "draining"));
    }
}
