//! Requests that break whoever they meet, and servers that break every request.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::Request;
use crate::support::peer::{Manner, Peer, good};

const GOOD: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.0]}]}"#;
const POISON: &str = r#"{"inputs":[{"name":"poison","datatype":"FP32","shape":[1],"data":[9]}]}"#;

fn infer(body: &str) -> Request {
    Request::post("/v2/models/m/infer", body)
}

/// A gateway over these servers, with probes that pass.
async fn gateway(addresses: &[SocketAddr], model: &Value) -> Gateway {
    let mut pool = pool(addresses);
    pool["balance"] = json!("round-robin");
    let mut models = json!({"m": {"deadline": "3s", "chain": [{"pool": "p"}]}});
    for (key, value) in model.as_object().expect("keys") {
        models["m"][key] = value.clone();
    }
    Gateway::ready(config(&json!({"p": pool}), &models)).await
}

/// Servers that answer well but for one request, of which they die.
async fn allergic(count: usize) -> Vec<Peer> {
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(Peer::start(Manner::Allergic("poison", good(42.0))).await);
    }
    peers
}

fn addresses(peers: &[Peer]) -> Vec<SocketAddr> {
    peers.iter().map(|peer| peer.address).collect()
}

/// Servers that have met the poison.
fn poisoned(peers: &[Peer]) -> usize {
    let met = |peer: &&Peer| peer.received().iter().any(|got| got.body == POISON.as_bytes());
    peers.iter().filter(met).count()
}

async fn warm(gateway: &Gateway) {
    for _ in 0..12 {
        assert_eq!(gateway.ask(&infer(GOOD)).await.status(), 200);
    }
}

#[tokio::test]
async fn poison_meets_two_servers_at_most_and_nobody_is_blamed() {
    let peers = allergic(3).await;
    let gateway = gateway(&addresses(&peers), &json!({})).await;
    warm(&gateway).await;
    let answer = gateway.ask(&infer(POISON)).await;
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert_eq!(answer.header("x-mainstay-error"), Some("MS0221"));
    assert_eq!(answer.header("x-mainstay-retry"), Some("never"));
    assert!(answer.protocol_error().contains("MS0221"));
    assert_eq!(poisoned(&peers), 2);
    let record = gateway.record(&answer).await;
    assert_eq!((&record["reason"], &record["outcome"]), (&json!("poison"), &json!("client-fault")));
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(2), "{record}");

    for _ in 0..10 {
        assert_eq!(gateway.ask(&infer(POISON)).await.status(), 422, "remembered");
        assert_eq!(gateway.ask(&infer(GOOD)).await.status(), 200, "others are served");
    }
    assert_eq!(poisoned(&peers), 2);
    for breaker in gateway.breakers().await {
        assert_eq!((&breaker["state"], &breaker["failures"]), (&json!("closed"), &json!(0)));
    }
    assert_eq!(gateway.events("poison").await.len(), 1);
    assert_eq!(gateway.status().await["models"][0]["poisoned"], 11);
}

#[tokio::test]
async fn poison_is_found_across_requests_that_may_not_be_repeated() {
    let peers = allergic(3).await;
    let gateway = gateway(&addresses(&peers), &json!({"repeatable": false})).await;
    warm(&gateway).await;
    eventually("it is condemned", || async {
        (gateway.ask(&infer(POISON)).await.status() == 422).then_some(())
    })
    .await;
    assert_eq!(poisoned(&peers), 2);
    for peer in &peers {
        let bodies: Vec<_> = peer.received().into_iter().map(|got| got.body).collect();
        assert!(bodies.iter().filter(|body| *body == POISON.as_bytes()).count() <= 2);
    }
}

#[tokio::test]
async fn a_server_on_which_alone_a_request_fails_is_to_blame() {
    let peers = allergic(1).await;
    let well = Peer::good(42.0).await;
    let gateway = gateway(&[peers[0].address, well.address], &json!({})).await;
    warm(&gateway).await;
    while poisoned(&peers) == 0 {
        assert_eq!(gateway.ask(&infer(POISON)).await.status(), 200);
    }
    eventually("it is blamed", || async {
        let blamed = gateway.breakers().await.iter().any(|breaker| breaker["failures"] == 1);
        blamed.then_some(())
    })
    .await;
    assert!(gateway.events("poison").await.is_empty());
}

#[tokio::test]
async fn a_bad_deployment_is_never_taken_for_poison() {
    let (bad, worse) =
        (Peer::start(Manner::ResetBeforeBytes), Peer::start(Manner::ResetBeforeBytes));
    let (bad, worse, well) = (bad.await, worse.await, Peer::good(42.0).await);
    let gateway = gateway(&[bad.address, worse.address, well.address], &json!({})).await;
    for n in 0..40 {
        let body = GOOD.replace("1.0", &format!("{n}.5"));
        assert_eq!(gateway.ask(&infer(&body)).await.status(), 200);
    }
    let states: Vec<_> =
        gateway.breakers().await.iter().map(|breaker| breaker["state"].clone()).collect();
    assert_eq!(states, ["open", "open", "closed"]);
    assert!(gateway.events("poison").await.is_empty());

    // A deployment that was well before it went bad is blamed too, once its failures outweigh.
    well.set_manner(Manner::ResetBeforeBytes);
    eventually("the last breaker opens", || async {
        gateway.ask(&infer(GOOD)).await;
        let breakers = gateway.breakers().await;
        breakers.iter().all(|breaker| breaker["state"] != "closed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_guard_can_be_turned_off() {
    let peers = allergic(3).await;
    let gateway = gateway(&addresses(&peers), &json!({"poison": "off"})).await;
    warm(&gateway).await;
    assert_eq!(gateway.ask(&infer(POISON)).await.status(), 503);
    assert_eq!(poisoned(&peers), 3);
}
