//! Fallbacks tried out in the shadow: what would fail is known before it is needed, and no client
//! notices anything of it.

use serde_json::{Value, json};

use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::Request;
use crate::support::model_server::ModelServer;
use crate::support::peer::{Manner, Peer, Reply, good};
use crate::support::{demo, eventually};

fn ask() -> Request {
    let body = json!({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]
    });
    Request::post("/v2/models/m/infer", body.to_string())
}

/// A gateway with a fallback behind its pool, rehearsed as `rehearsal` says.
async fn gateway(first: &Peer, second: &Peer, rehearsal: Value) -> Gateway {
    let pools = json!({"first": pool([&first.address]), "second": pool([&second.address])});
    let model = json!({
        "deadline": "2s",
        "chain": [{"pool": "first"}, {"pool": "second"}],
        "rehearsal": rehearsal
    });
    Gateway::ready(config(&pools, &json!({"m": model}))).await
}

/// Asks so often, and sees nothing but good answers of the first pool.
async fn load(gateway: &Gateway, count: usize) {
    for _ in 0..count {
        let answer = gateway.ask(&ask()).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(!answer.is_degraded());
        assert_eq!(answer.json()["outputs"][0]["data"], json!([1.0]));
    }
}

/// What is known of a step.
async fn rehearsal(gateway: &Gateway, step: usize) -> Value {
    gateway.status().await["models"][0]["steps"][step]["rehearsals"][0].clone()
}

#[tokio::test]
async fn a_broken_fallback_is_an_alert_while_clients_see_nothing() {
    for reply in [Reply::new(500, "{}"), Reply::new(200, "what?")] {
        let first = Peer::good(1.0).await;
        let second = Peer::start(Manner::Reply(reply)).await;
        let gateway = gateway(&first, &second, json!({"share": "100%", "fall": 3})).await;
        eventually("an alert", || async {
            load(&gateway, 1).await;
            let events = gateway.events("rehearsal").await;
            events.iter().any(|event| event["to"] == "failing").then_some(())
        })
        .await;
        let found = rehearsal(&gateway, 1).await;
        assert_eq!(
            (&found["state"], &found["alert"]),
            (&json!("failing"), &json!(true)),
            "{found}"
        );
        // Nothing but the alert knows of it.
        let status = gateway.status().await;
        assert_eq!(status["models"][0]["failed"], 0);
        assert_eq!(status["models"][0]["amplification"], 1.0);
        assert_eq!(status["pools"][1]["endpoints"][0]["models"][0]["verdict"], "ready");
        assert!(gateway.breakers().await.iter().all(|it| it["calls"] == 0 || it["failures"] == 0));
        assert!(second.received().iter().all(|it| it.header("x-mainstay-shadow") == Some("1")));
        assert!(first.received().iter().all(|it| it.header("x-mainstay-shadow").is_none()));

        second.set_manner(Manner::Reply(good(1.0)));
        eventually("the alert is over", || async {
            load(&gateway, 1).await;
            let events = gateway.events("rehearsal").await;
            events.iter().any(|event| event["to"] == "proven").then_some(())
        })
        .await;
        let found = rehearsal(&gateway, 1).await;
        assert_eq!(
            (&found["state"], &found["agreement"]),
            (&json!("proven"), &json!(1.0)),
            "{found}"
        );
    }
}

#[tokio::test]
async fn how_far_a_fallback_agrees_is_known() {
    let server = ModelServer::start().await;
    let model = json!({
        "deadline": "2s",
        "batch": "first-dimension",
        "outputs": {"label": {"datatype": "INT64", "shape": [-1]}},
        "chain": [{"pool": "p"}, {"embedded": demo("digits-logistic.onnx")}],
        "rehearsal": "100%"
    });
    let pools = json!({"p": pool([&server.address])});
    let gateway = Gateway::ready(config(&pools, &json!({MODEL: model}))).await;
    let rows = digits::all();
    for batch in rows.chunks(20).take(10) {
        assert!(!gateway.ask(&digits::infer(batch)).await.is_degraded());
    }
    let found = eventually("every rehearsal is over", || async {
        let found = rehearsal(&gateway, 1).await;
        (found["tried"].as_u64() >= Some(5)).then_some(found)
    })
    .await;
    assert_eq!(found["state"], "proven", "{found}");
    let agreement = found["agreement"].as_f64().expect("labels were compared");
    assert!((0.8..1.0).contains(&agreement), "two models of one task: {found}");
    assert!(found["latency_ms"].as_f64() > Some(0.0), "{found}");
}

#[tokio::test]
async fn nothing_is_sent_where_it_is_off() {
    let (first, second) = (Peer::good(1.0).await, Peer::good(1.0).await);
    let gateway = gateway(&first, &second, json!("off")).await;
    load(&gateway, 50).await;
    assert!(second.received().is_empty());
    assert!(rehearsal(&gateway, 1).await.is_null());
}

#[tokio::test]
async fn shadows_stay_within_their_share() {
    let (first, second) = (Peer::good(1.0).await, Peer::good(1.0).await);
    let gateway = gateway(&first, &second, json!("10%")).await;
    load(&gateway, 200).await;
    // The 200th is the 20th sample.
    second.until_received(10).await;
    eventually("the last ones are over", || async {
        let found = rehearsal(&gateway, 1).await;
        (found["tried"].as_u64() == Some(second.received().len() as u64)).then_some(())
    })
    .await;
    let shadows = second.received().len();
    assert!((10..=21).contains(&shadows), "{shadows} of 200");
}

#[tokio::test]
async fn a_fallback_that_hangs_delays_nobody_and_gets_no_more() {
    let first = Peer::good(1.0).await;
    let second = Peer::start(Manner::BlackHole).await;
    let gateway = gateway(&first, &second, json!({"share": "100%", "concurrent": 2})).await;
    load(&gateway, 40).await;
    let shadows = second.received().len();
    // Two at a time, each for the two seconds of the deadline.
    let status = gateway.status().await;
    let most = 2 + status["uptime_seconds"].as_f64().expect("a number") as usize;
    assert!(shadows <= most, "{shadows} shadows, at most {most}");
}
