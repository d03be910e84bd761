//! Servers that stop without a word: SIGSTOP, and a black hole that passes its probes.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::Request;
use crate::support::load::Load;
use crate::support::model_server::ModelServer;
use crate::support::peer::{Manner, Peer};

const DEADLINE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_frozen_server_costs_no_request_and_no_deadline() {
    let servers = ModelServer::several(3).await;
    let mut pool = pool(servers.iter().map(|server| &server.address));
    // So that the frozen one is asked for sure, and its silence is waited for.
    pool["balance"] = json!("round-robin");
    pool["hedge"] = json!("off");
    let models = json!({MODEL: {"deadline": "1s", "chain": [{"pool": "forest"}]}});
    let gateway = Gateway::ready(config(&json!({"forest": pool}), &models)).await;
    let rows = digits::all();
    let load = Load::start(gateway.http, 200, move |number| {
        digits::infer(&rows[number % rows.len()..][..1])
    });
    load.more(200).await;

    let frozen = Instant::now();
    servers[2].freeze();
    let retried = load.until("a retried request", frozen, |sample| sample.was_retried()).await;
    gateway.until_verdict(&servers[2].name(), "dead").await;
    load.more(200).await;
    servers[2].thaw();
    gateway.until_verdict(&servers[2].name(), "ready").await;
    load.more(200).await;
    let report = load.stop().await;

    report.assert_all_answered_within(DEADLINE);
    let answer = retried.answer().expect("it was answered");
    let trail = answer.header("x-mainstay-trail").expect("a retried answer has a trail");
    // Its time ran out, or a second attempt beside it was faster.
    let frozen = format!("forest/{} ", servers[2].name());
    let what = trail.split_once(&frozen).map(|(_, rest)| rest).unwrap_or_default();
    assert!(["timeout", "overtaken"].iter().any(|class| what.starts_with(class)), "{trail}");
}

#[tokio::test]
async fn a_black_hole_that_passes_its_probes_is_opened_by_its_breaker() {
    let (hole, good) = (Peer::start(Manner::BlackHole).await, Peer::good(1.0).await);
    let mut pool = pool([&hole.address, &good.address]);
    // The usual rule notices the slow answers and keeps away before the breaker needs to.
    pool["balance"] = json!("round-robin");
    let models = json!({"m": {"deadline": "1s", "chain": [{"pool": "p"}]}});
    let gateway = Gateway::ready(config(&json!({"p": pool}), &models)).await;
    let load =
        Load::start(gateway.http, 100, |_| Request::post("/v2/models/m/infer", "{\"inputs\":[]}"));
    load.more(300).await;
    load.stop().await.assert_all_answered_within(DEADLINE);

    let opened = gateway.events("breaker").await;
    let hole = hole.address.to_string();
    let of_hole = |event: &&serde_json::Value| {
        event["subject"].as_str().is_some_and(|subject| subject.contains(&hole))
    };
    let first = opened.iter().find(of_hole).expect("its breaker opened");
    assert_eq!((&first["from"], &first["to"]), (&json!("closed"), &json!("open")), "{first}");
}

#[tokio::test]
async fn with_every_server_frozen_the_fallback_still_has_its_time() {
    let (hole, good) = (Peer::start(Manner::BlackHole).await, Peer::good(7.0).await);
    let pools = json!({"first": pool([&hole.address]), "second": pool([&good.address])});
    let chain = json!([{"pool": "first"}, {"pool": "second"}]);
    let models = json!({"m": {"deadline": "500ms", "chain": chain}});
    let gateway = Gateway::ready(config(&pools, &models)).await;

    let asked = Instant::now();
    let answer = gateway.ask(&Request::post("/v2/models/m/infer", "{\"inputs\":[]}")).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(asked.elapsed() < Duration::from_millis(500), "took {:?}", asked.elapsed());
    assert!(answer.is_degraded());
    assert_eq!(answer.json()["outputs"][0]["data"][0], 7.0);
}
