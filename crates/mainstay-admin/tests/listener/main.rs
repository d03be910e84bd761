//! The listener over real HTTP, before a gateway that is made up.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::time::Duration;

use mainstay_admin::{Admin, Beat, BreakerOverride, Code, Force, Readiness, Registration, Status};
use mainstay_policy::health::heartbeat;
use mainstay_policy::{Class, Moment, SentState};
use mainstay_telemetry::record::{Attempt, End, Reason, Record, RequestId, Skipped};
use mainstay_telemetry::{Event, EventKind};
use serde_json::{Value, json};

mod client;
mod fake;
mod orders;

use client::{Answer, Listener};

#[tokio::test]
async fn status_is_what_the_gateway_says() {
    let listener = Listener::start().await;
    let answer = listener.get("/api/status").await;
    assert_eq!(answer.status, 200);
    let status: Status = serde_json::from_value(answer.json()).unwrap();
    assert_eq!(status, fake::status());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn three_healths_are_three_verdicts() {
    let listener = Listener::start().await;
    listener.source.set_ready(Readiness::no(vec!["draining".to_owned()]));
    let live = listener.get("/livez").await;
    let ready = listener.get("/readyz").await;
    let deep = listener.get("/healthz/deep").await;
    assert_eq!((live.status, live.json()), (200, json!({"live": true, "reasons": []})));
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json(), json!({"ready": false, "reasons": ["draining"]}));
    assert_eq!((deep.status, deep.json()), (200, json!({"ready": true, "reasons": []})));
    listener.source.set_live(false);
    assert_eq!(listener.get("/livez").await.status, 503);
}

#[tokio::test]
async fn metrics_show_counts_and_the_present() {
    let listener = Listener::start().await;
    listener.source.telemetry.worker(0).finish(&retried());
    let answer = listener.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let target = r#"pool="fraud-v2",endpoint="b:8000",model="fraud""#;
    for line in [
        format!("mainstay_breaker_state{{{target}}} 1.0\n"),
        format!("mainstay_verdict{{{target},verdict=\"dead\"}} 1.0\n"),
        "mainstay_retries_total{model=\"fraud\"} 1\n".to_owned(),
        "mainstay_step_available{model=\"fraud\",step=\"default\"} 1.0\n".to_owned(),
        "# EOF\n".to_owned(),
    ] {
        assert!(answer.body.contains(&line), "{line}{}", answer.body);
    }
}

/// Tried at `a`, which timed out, then answered by the default.
fn retried() -> Record {
    let mut record = Record {
        id: RequestId(0xabc),
        started: Moment::from_millis(2_000),
        took: Duration::from_micros(12_500),
        deadline: Duration::from_millis(200),
        status: 200,
        step: 1,
        degraded: true,
        reason: Reason::AttemptsFailed,
        ..Record::default()
    };
    record.push(Attempt {
        why: 1,
        class: Some(Class::Timeout),
        sent: SentState::MaybeSent,
        took_us: 10_250,
        skipped: Skipped { breaker: 0b10, ..Skipped::default() },
        ..Attempt::default()
    });
    record.push(Attempt {
        target: 1,
        class: Some(Class::Unreachable),
        started_us: 10_300,
        took_us: 150,
        skipped: Skipped { tried: 0b1, verdict: 0b1000_0000, ..Skipped::default() },
        ..Attempt::default()
    });
    record
}

#[tokio::test]
async fn a_record_says_why_with_names() {
    let listener = Listener::start().await;
    listener.source.telemetry.worker(0).finish(&retried());
    let answer = listener.get("/api/requests/0000000000000abc").await;
    assert_eq!(answer.status, 200);
    let mut record = answer.json();
    assert!(record["at"].as_str().unwrap().ends_with('Z'));
    assert!(record["unix_ms"].as_f64().unwrap() > 1e12);
    for key in ["at", "unix_ms"] {
        record.as_object_mut().unwrap().remove(key);
    }
    let expected = json!({
        "id": "0000000000000abc", "model": "fraud", "took_ms": 12.5, "deadline_ms": 200.0,
        "budget_left_ms": 187.5, "outcome": "answered", "status": 200, "step": "default",
        "degraded": true, "reason": "attempts-failed", "replayed": false,
        "priority": "normal", "queued_ms": 0.0, "rows": 0, "rows_moved": 0, "guard": null,
        "attempts": [
            {
                "step": "fraud-v2", "pool": "fraud-v2", "endpoint": "a:8000", "model": "fraud",
                "why": "cheaper-of-two",
                "skipped": {"verdict": [], "breaker": ["b:8000"], "ejected": [], "limit": [], "tried": [], "paused": []},
                "class": "timeout", "guard": null, "sent": "maybe-sent", "status": null,
                "started_ms": 0.0, "took_ms": 10.25
            },
            {
                "step": "fraud-v2", "pool": "fraud-v2", "endpoint": "b:8000", "model": "fraud",
                "why": "only",
                "skipped": {"verdict": ["#7"], "breaker": [], "ejected": [], "limit": [], "tried": ["a:8000"], "paused": []},
                "class": "unreachable", "guard": null, "sent": "not-sent", "status": null,
                "started_ms": 10.3, "took_ms": 0.15
            }
        ]
    });
    assert_eq!(record, expected);
}

#[tokio::test]
async fn requests_are_listed_latest_first() {
    let listener = Listener::start().await;
    let worker = listener.source.telemetry.worker(0);
    for id in 1..=5 {
        let end = if id == 2 { End::Failed } else { End::Answered };
        let started = Moment::from_millis(id);
        worker.finish(&Record { id: RequestId(id), started, end, ..Record::default() });
    }
    let ids = |answer: &Answer| -> Vec<u64> {
        let records = answer.json()["requests"].as_array().unwrap().clone();
        let id = |record: &Value| u64::from_str_radix(record["id"].as_str().unwrap(), 16).unwrap();
        records.iter().map(id).collect()
    };
    assert_eq!(ids(&listener.get("/api/requests?limit=2").await), [5, 4]);
    assert_eq!(ids(&listener.get("/api/requests?kept=true").await), [2]);
    assert_eq!(listener.get("/api/requests?limit=many").await.refusal(), (400, Code::BadRequest));
}

#[tokio::test]
async fn an_id_without_a_record_is_not_found() {
    let listener = Listener::start().await;
    for id in ["00000000000000ff", "no-id", "%2e%2e"] {
        let answer = listener.get(&format!("/api/requests/{id}")).await;
        assert_eq!(answer.refusal(), (404, Code::UnknownRequest), "{id}");
    }
}

#[tokio::test]
async fn events_are_followed_from_where_one_stopped() {
    let listener = Listener::start().await;
    for cause in ["first", "second", "third"] {
        listener.source.telemetry.event(Event {
            kind: EventKind::Verdict,
            subject: "fraud-v2/a:8000/fraud".to_owned(),
            from: "ready".to_owned(),
            to: "dead".to_owned(),
            cause: cause.to_owned(),
        });
    }
    let all = listener.get("/api/events").await.json();
    assert_eq!(all["next"], 3);
    let first = &all["events"][0];
    assert_eq!((&first["seq"], &first["kind"]), (&json!(1), &json!("verdict")));
    assert_eq!((&first["from"], &first["to"]), (&json!("ready"), &json!("dead")));
    let rest = listener.get("/api/events?since=1&limit=1").await.json();
    assert_eq!((&rest["next"], &rest["events"][0]["cause"]), (&json!(2), &json!("second")));
    let none = listener.get("/api/events?since=3").await.json();
    assert_eq!(none, json!({"events": [], "next": 3}));
    let restarted = listener.get("/api/events?since=900").await.json();
    assert_eq!(restarted["events"].as_array().unwrap().len(), 3);
}

fn order() -> Value {
    json!({
        "pool": "fraud-v2", "endpoint": "a:8000", "force": "open",
        "reason": "replacing a disk", "for": "5m"
    })
}

#[tokio::test]
async fn an_operator_forces_a_breaker() {
    let listener = Listener::start().await;
    let answer = listener.post("/api/breakers", &order()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let expected = json!({
        "targets": 1, "force": "open", "for_seconds": 300.0, "reason": "replacing a disk"
    });
    assert_eq!(answer.json(), expected);
    let forced = BreakerOverride {
        pool: "fraud-v2".to_owned(),
        endpoint: "a:8000".to_owned(),
        model: None,
        force: Force::Open,
        reason: "replacing a disk".to_owned(),
        lasts: Duration::from_secs(300),
    };
    assert_eq!(listener.source.forced(), [forced]);
}

#[tokio::test]
async fn a_breaker_is_given_back_without_an_expiry() {
    let listener = Listener::start().await;
    let mut order = order();
    order["force"] = json!("none");
    order.as_object_mut().unwrap().remove("for");
    assert_eq!(listener.post("/api/breakers", &order).await.status, 200);
    assert_eq!(listener.source.forced()[0].lasts, Duration::ZERO);
}

#[tokio::test]
async fn an_order_that_is_not_whole_changes_nothing() {
    let listener = Listener::start().await;
    let wrong = [
        ("for", Value::Null),
        ("for", json!("25h")),
        ("for", json!("0s")),
        ("for", json!("soon")),
        ("reason", json!("  ")),
        ("reason", json!("two\nlines")),
        ("reason", json!("x".repeat(201))),
        ("reason", Value::Null),
        ("force", json!("ajar")),
        ("modle", json!("fraud")),
        ("pool", json!(3)),
    ];
    for (key, value) in wrong {
        let mut order = order();
        order[key] = value;
        let answer = listener.post("/api/breakers", &order).await;
        assert_eq!(answer.refusal(), (400, Code::BadRequest), "{order}");
    }
    assert_eq!(listener.source.forced(), []);
}

#[tokio::test]
async fn an_unknown_endpoint_is_answered_with_the_known_ones() {
    let listener = Listener::start().await;
    let mut order = order();
    order["endpoint"] = json!("c:8000");
    let answer = listener.post("/api/breakers", &order).await;
    assert_eq!(answer.refusal(), (404, Code::UnknownTarget));
    assert!(answer.body.contains("a:8000, b:8000"), "{}", answer.body);
}

#[tokio::test]
async fn a_stranger_changes_nothing() {
    let listener = Listener::start().await;
    let body = order().to_string();
    let cases: [(&[(&str, &str)], _); 3] = [
        (&[], (401, Code::Unauthorized)),
        (
            &[("authorization", "Bearer 00000000000000000000000000000000")],
            (401, Code::Unauthorized),
        ),
        (&[("host", "evil.example")], (421, Code::ForeignHost)),
    ];
    for (headers, expected) in cases {
        let answer = listener.send("POST", "/api/breakers", headers, &body).await;
        assert_eq!(answer.refusal(), expected);
    }
    let token = listener.bearer();
    let foreign = [("authorization", token.as_str()), ("origin", "http://evil.example")];
    let answer = listener.send("POST", "/api/breakers", &foreign, &body).await;
    assert_eq!(answer.refusal(), (403, Code::ForeignOrigin));
    assert_eq!(listener.source.forced(), []);
}

#[tokio::test]
async fn a_rebound_name_reads_nothing() {
    let listener = Listener::start().await;
    for path in ["/api/status", "/metrics", "/livez", "/nowhere"] {
        let answer = listener.send("GET", path, &[("host", "evil.example:9901")], "").await;
        assert_eq!(answer.refusal(), (421, Code::ForeignHost), "{path}");
    }
}

#[tokio::test]
async fn a_body_has_its_limit() {
    let listener = Listener::start().await;
    let mut order = order();
    order["reason"] = json!("x".repeat(20_000));
    let answer = listener.post("/api/breakers", &order).await;
    assert_eq!(answer.refusal(), (413, Code::BadRequest));
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_json() {
    let listener = Listener::start().await;
    assert_eq!(listener.get("/").await.refusal(), (404, Code::NoSuchPath));
    assert_eq!(listener.get("/api/breakers").await.refusal(), (405, Code::NoSuchPath));
    assert_eq!(listener.post("/api/status", &json!({})).await.refusal(), (405, Code::NoSuchPath));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let listener = Listener::start().await;
    let source = listener.source.clone();
    let taken = Admin::bind(listener.address, &listener.token_path, source).await;
    let error = taken.unwrap_err();
    assert_eq!(error.code(), Code::Listen);
    assert!(error.to_string().contains(&listener.address.to_string()), "{error}");
}

#[tokio::test]
async fn a_shutdown_ends_the_listener_and_its_idle_connections() {
    let mut listener = Listener::start().await;
    let _idle = tokio::net::TcpStream::connect(listener.address).await.unwrap();
    assert_eq!(listener.get("/livez").await.status, 200);
    listener.stop().await;
    assert!(tokio::net::TcpStream::connect(listener.address).await.is_err());
}

#[tokio::test]
async fn an_endpoint_says_how_it_is_and_is_told_when_to_speak_again() {
    let listener = Listener::start().await;
    let token = listener.bearer();
    let put = async |path: &str, body: &str| {
        listener.send("PUT", path, &[("authorization", &token)], body).await
    };
    let path = "/v1/heartbeats/fraud-v2/10.0.0.1%3A8000";
    let answer = put(path, r#"{"lifetime": "3s", "state": "draining", "load": 0.4}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json(), json!({"renew_seconds": 1.0, "lifetime_seconds": 3.0}));
    let beat = Beat {
        pool: "fraud-v2".to_owned(),
        endpoint: "10.0.0.1:8000".to_owned(),
        state: heartbeat::State::Draining,
        load: Some(0.4),
        lifetime: Some(Duration::from_secs(3)),
        registration: Registration::default(),
    };
    assert_eq!(listener.source.beats(), [beat]);
    assert_eq!(put(path, "{}").await.status, 200, "everything has a default");
    for wrong in [
        r#"{"state": "asleep"}"#,
        r#"{"load": -1}"#,
        r#"{"load": 1e9}"#,
        r#"{"lifetime": "2d"}"#,
        r#"{"lifetime": "1ms"}"#,
        r#"{"lifetimes": "3s"}"#,
        "nonsense",
    ] {
        let answer = put(path, wrong).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (400, json!("MS0308")),
            "{wrong}"
        );
    }
    let unknown = put("/v1/heartbeats/elsewhere/a", "{}").await;
    assert_eq!((unknown.status, unknown.json()["code"].clone()), (404, json!("MS0309")));
    assert_eq!(listener.send("PUT", path, &[], "{}").await.status, 401);
    assert_eq!(listener.source.beats().len(), 2);
}

#[tokio::test]
async fn an_endpoint_says_who_it_is_and_that_it_goes() {
    let listener = Listener::start().await;
    let token = listener.bearer();
    let send = async |method: &str, path: &str, body: &str| {
        listener.send(method, path, &[("authorization", &token)], body).await
    };
    let path = "/v1/heartbeats/fraud-v2/a%3A8000";
    let who = r#"{"url": "http://10.0.0.1:8000", "weight": 2, "zone": "z", "region": "r"}"#;
    assert_eq!(send("PUT", path, who).await.status, 200);
    let registration = Registration {
        url: Some("http://10.0.0.1:8000".to_owned()),
        weight: Some(2.0),
        region: Some("r".to_owned()),
        zone: Some("z".to_owned()),
    };
    assert_eq!(listener.source.beats()[0].registration, registration);
    assert_eq!(send("DELETE", path, "").await.status, 204);
    let refused = send("DELETE", "/v1/heartbeats/fraud-v2/b", "").await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (409, json!("MS0322")));
    assert_eq!(listener.send("DELETE", path, &[], "").await.status, 401);
}
