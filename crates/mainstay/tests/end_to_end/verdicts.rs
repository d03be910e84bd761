//! Health checks that lie: a hung server whose front passes probes, and a busy one that misses
//! them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::digits::{self, MODEL};
use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::Request;
use crate::support::load::Load;
use crate::support::model_server::ModelServer;
use crate::support::peer::{Manner, Peer, good};

const DEADLINE: Duration = Duration::from_secs(1);
/// In which a server must be out that answers its probes and nothing else.
const OUT_WITHIN: Duration = Duration::from_secs(3);

fn infer() -> Request {
    Request::post("/v2/models/m/infer", "{\"inputs\":[]}")
}

/// The events about the verdict on an endpoint.
async fn changes(gateway: &Gateway, endpoint: &str) -> Vec<Value> {
    let of = |event: &Value| event["subject"].as_str().is_some_and(|s| s.contains(endpoint));
    gateway.events("verdict").await.into_iter().filter(of).collect()
}

#[tokio::test]
async fn a_frozen_server_behind_a_front_that_passes_probes_is_out_and_comes_back() {
    let servers = ModelServer::several(3).await;
    let front = Peer::start(Manner::Forward(servers[0].address)).await;
    let mut pool = pool([&front.address, &servers[1].address, &servers[2].address]);
    // The verdict alone has to do it.
    pool["breaker"] = json!("off");
    pool["balance"] = json!("round-robin");
    let models = json!({MODEL: {"deadline": "1s", "chain": [{"pool": "forest"}]}});
    let gateway = Gateway::ready(config(&json!({"forest": pool}), &models)).await;
    let rows = digits::all();
    let load = Load::start(gateway.http, 100, move |number| {
        digits::infer(&rows[number % rows.len()..][..1])
    });
    load.more(150).await;

    let frozen = Instant::now();
    servers[0].freeze();
    let name = front.address.to_string();
    gateway.until_verdict(&name, "stalled").await;
    let out = frozen.elapsed();
    assert!(out < OUT_WITHIN, "out after {out:?}");
    let last = changes(&gateway, &name).await.pop().expect("an event");
    assert!(last["cause"].as_str().expect("a cause").starts_with("nothing came for"), "{last}");
    let evidence = gateway.targets().await[0].1["evidence"].clone();
    assert!(evidence.as_str().expect("evidence").contains("probe passed"), "{evidence}");
    load.more(400).await;
    let between: Vec<_> = changes(&gateway, &name).await;
    assert_eq!(between.last().expect("events")["to"], "stalled", "it does not flap: {between:?}");

    servers[0].thaw();
    gateway.until_verdict(&name, "ready").await;
    let last = changes(&gateway, &name).await.pop().expect("an event");
    assert_eq!(last["cause"], "a real request completed", "{last}");
    let asked = front.received().len();
    eventually("it has traffic again", || async {
        (front.received().len() > asked + 10).then_some(())
    })
    .await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}

#[tokio::test]
async fn a_server_too_busy_for_its_probes_never_leaves_traffic() {
    let slow = Manner::Slow(Duration::from_millis(30), good(1.0));
    let (busy, other) = (Peer::start(slow.clone()).await, Peer::start(slow).await);
    let mut pool = pool([&busy.address, &other.address]);
    pool["balance"] = json!("round-robin");
    pool["probe"] = json!({
        "interval": "300ms", "fast-interval": "200ms", "down-interval": "200ms", "timeout": "150ms"
    });
    let models = json!({"m": {"deadline": "1s", "chain": [{"pool": "p"}]}});
    let gateway = Gateway::ready(config(&json!({"p": pool}), &models)).await;
    let load = Load::start(gateway.http, 60, |_| infer());
    load.more(30).await;

    busy.ignore_probes();
    let name = busy.address.to_string();
    gateway.until_verdict(&name, "busy").await;
    // Many rounds of probes, none of which is answered.
    for _ in 0..8 {
        let asked = busy.received().len();
        load.more(30).await;
        assert!(busy.received().len() > asked + 5, "it has its share");
    }
    let changes = changes(&gateway, &name).await;
    let verdicts: Vec<_> = changes.iter().map(|event| event["to"].clone()).collect();
    assert_eq!(verdicts, [json!("ready"), json!("busy")], "{changes:?}");
    let cause = changes[1]["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("requests complete"), "{cause}");
    busy.set_ready(true);
    gateway.until_verdict(&name, "ready").await;
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    assert!(report.samples.iter().all(|sample| !sample.was_retried()), "and nothing failed");
}
