//! Model servers killed by SIGKILL under load.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::demo;
use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::load::Load;
use crate::support::model_server::ModelServer;

const RATE: u32 = 300;
const DEADLINE: Duration = Duration::from_secs(1);
/// In which a server that was started again must have its share of the traffic.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Three model servers, the embedded model behind them, and a default behind that.
fn three_servers_and_a_fallback(servers: &[ModelServer]) -> Value {
    let pool = pool(servers.iter().map(|server| &server.address));
    let model = json!({
        "deadline": "1s",
        "outputs": {
            "label": {"datatype": "INT64", "shape": [-1]},
            "probabilities": {"datatype": "FP32", "shape": [-1, 10]}
        },
        "batch": "first-dimension",
        "chain": [
            {"pool": "forest"},
            {"embedded": demo("digits-logistic.onnx")},
            {"default": {"label": -1, "probabilities": vec![0.1; 10]}}
        ]
    });
    config(&json!({"forest": pool}), &json!({MODEL: model}))
}

/// Digits at [`RATE`], one row each.
fn load(gateway: &Gateway) -> Load {
    let rows = digits::all();
    Load::start(gateway.http, RATE, move |number| digits::infer(&rows[number % rows.len()..][..1]))
}

/// The number of the server that answered most of the last requests: killing it is sure to be
/// noticed by requests before probes notice it.
async fn busiest(gateway: &Gateway, servers: &[ModelServer]) -> usize {
    let records = gateway.admin("/api/requests?limit=50").await;
    let records = records["requests"].as_array().expect("records");
    let answered_by = |name: &str| {
        let last = |record: &&Value| record["attempts"].as_array()?.last().cloned();
        records.iter().filter_map(|record| last(&record)).filter(|a| a["endpoint"] == name).count()
    };
    let indexes = 0..servers.len();
    indexes.max_by_key(|index| answered_by(&servers[*index].name())).expect("there are some")
}

#[tokio::test]
async fn one_of_three_killed_costs_no_request() {
    let mut servers = ModelServer::several(3).await;
    let gateway = Gateway::ready(three_servers_and_a_fallback(&servers)).await;
    let load = load(&gateway);
    load.more(300).await;

    let victim = busiest(&gateway, &servers).await;
    let killed = Instant::now();
    let name = servers[victim].name();
    servers[victim].kill().await;
    let retried = load.until("a retried request", killed, |sample| sample.was_retried()).await;
    load.more(900).await;
    let report = load.stop().await;

    report.assert_all_answered_within(DEADLINE);
    assert!(report.samples.iter().all(|sample| !sample.is_degraded()), "two servers were left");
    let answer = retried.answer().expect("it was answered");
    let trail = answer.header("x-mainstay-trail").expect("a retried answer has a trail");
    assert!(trail.contains(&format!("forest/{name} unreachable")), "{trail}");
    assert_eq!(gateway.record(answer).await["outcome"], "answered");
}

#[tokio::test]
async fn the_record_of_a_retried_request_says_why() {
    let mut servers = ModelServer::several(3).await;
    let gateway = Gateway::ready(three_servers_and_a_fallback(&servers)).await;
    let load = load(&gateway);
    load.more(100).await;
    let victim = busiest(&gateway, &servers).await;
    let killed = Instant::now();
    let name = servers[victim].name();
    servers[victim].kill().await;
    let retried = load.until("a retried request", killed, |sample| sample.was_retried()).await;

    let record = gateway.record(retried.answer().expect("it was answered")).await;
    load.stop().await;
    assert_eq!(record["model"], MODEL, "{record}");
    let attempts = record["attempts"].as_array().expect("attempts");
    assert!(attempts.len() >= 2, "{record}");
    assert_eq!(attempts[0]["endpoint"], name.as_str(), "{record}");
    assert_eq!(attempts[0]["class"], "unreachable", "{record}");
    let last = attempts.last().expect("there are some");
    assert_eq!(last["class"], Value::Null, "{record}");
    assert_ne!(last["endpoint"], name.as_str(), "{record}");
}

#[tokio::test]
async fn all_killed_and_the_embedded_model_answers() {
    let mut servers = ModelServer::several(3).await;
    let gateway = Gateway::ready(three_servers_and_a_fallback(&servers)).await;
    let load = load(&gateway);
    load.more(100).await;
    for server in &mut servers {
        server.kill().await;
    }
    let dead = Instant::now();
    load.more(900).await;
    let report = load.stop().await;

    report.assert_all_answered_within(DEADLINE);
    for sample in report.since(dead) {
        let answer = sample.answer().expect("it was answered");
        assert!(answer.is_degraded(), "nobody else could have answered: {answer:?}");
        let served_by = answer.header("x-mainstay-served-by").expect("degraded answers say it");
        assert!(served_by.starts_with("embedded:digits-logistic"), "{served_by}");
        let reason = answer.header("x-mainstay-reason").expect("degraded answers say it");
        assert!(["no-endpoint", "attempts-failed"].contains(&reason), "{reason}");
        let body = answer.json();
        assert_eq!(body["parameters"]["degraded"], true, "{body}");
        assert_eq!(body["parameters"]["served_by"], served_by, "{body}");
        assert_eq!(body["parameters"]["reason"], reason, "{body}");
    }
}

#[tokio::test]
async fn restarted_servers_are_back_within_ten_seconds() {
    let mut servers = ModelServer::several(3).await;
    let gateway = Gateway::ready(three_servers_and_a_fallback(&servers)).await;
    let load = load(&gateway);
    load.more(100).await;
    for server in &mut servers {
        server.kill().await;
    }
    load.until("embedded answers", Instant::now(), |sample| sample.is_degraded()).await;
    for server in &servers {
        gateway.until_verdict(&server.name(), "dead").await;
    }
    for server in &mut servers {
        server.restart().await;
    }
    let restarted = Instant::now();
    let first = load.until("an undegraded answer", restarted, |s| !s.is_degraded()).await;
    assert!(first.sent.duration_since(restarted) < BACK_WITHIN, "{first:?}");
    for server in &servers {
        gateway.until_verdict(&server.name(), "ready").await;
    }
    let back = Instant::now();
    assert!(back.duration_since(restarted) < BACK_WITHIN, "all three are ready");
    load.more(900).await;
    let report = load.stop().await;

    report.assert_all_answered_within(DEADLINE);
    let after: Vec<_> = report.since(back);
    let degraded = after.iter().filter(|sample| sample.is_degraded()).count();
    assert_eq!(degraded, 0, "of {} after everything was back", after.len());
}

#[tokio::test]
async fn a_restarted_server_takes_its_share_again() {
    let mut servers = ModelServer::several(2).await;
    let gateway = Gateway::ready(three_servers_and_a_fallback(&servers)).await;
    let load = load(&gateway);
    load.more(100).await;
    servers[0].kill().await;
    gateway.until_verdict(&servers[0].name(), "dead").await;
    servers[0].restart().await;
    let restarted = Instant::now();
    gateway.until_verdict(&servers[0].name(), "ready").await;

    let name = servers[0].name();
    loop {
        let sample = load.until("an answer", Instant::now(), |sample| sample.is_ok()).await;
        let record = gateway.record(sample.answer().expect("it was answered")).await;
        let attempts = record["attempts"].as_array().expect("attempts");
        if attempts.last().is_some_and(|last| last["endpoint"] == name.as_str()) {
            break;
        }
        assert!(restarted.elapsed() < BACK_WITHIN, "no answer from {name} yet");
    }
    load.stop().await.assert_all_answered_within(DEADLINE);
}
