//! Requests with an Idempotency-Key are executed once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Connection, Request};
use crate::support::peer::{Manner, Peer, Reply, good};

const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.0]}]}"#;

fn keyed(key: &str) -> Request {
    Request::post("/v2/models/m/infer", BODY).header("idempotency-key", key)
}

/// A gateway with two workers, so that duplicates meet across them.
async fn gateway(peers: &[&Peer], more: &Value) -> Gateway {
    let pools = json!({"p": pool(peers.iter().map(|peer| &peer.address))});
    let mut models = json!({"m": {
        "deadline": "5s", "chain": [{"pool": "p"}], "idempotency": {"remember": "30s"}
    }});
    for (key, value) in more.as_object().expect("keys") {
        models["m"][key] = value.clone();
    }
    let mut config = config(&pools, &models);
    config["workers"] = json!(2);
    Gateway::ready(config).await
}

#[tokio::test]
async fn duplicates_in_flight_wait_for_the_first_ones_answer() {
    let peer = Peer::start(Manner::Slow(Duration::from_millis(400), good(42.0))).await;
    let gateway = gateway(&[&peer], &json!({})).await;
    let request = keyed("k1");
    let ask = || gateway.ask(&request);
    let answers = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask());
    let answers = [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5];
    assert_eq!(peer.received().len(), 1, "it is executed once");
    assert!(answers.iter().all(|it| it.status() == 200 && it.body == good(42.0).body));
    let replays: Vec<_> =
        answers.iter().filter_map(|it| it.header("x-mainstay-replay-of")).collect();
    assert_eq!(replays.len(), 5);
    let first = answers.iter().find(|it| it.header("x-mainstay-replay-of").is_none());
    let id = first.and_then(|it| it.header("x-mainstay-request-id"));
    assert!(replays.iter().all(|of| Some(*of) == id), "each says whose answer it is");
}

#[tokio::test]
async fn an_answer_is_given_again_to_the_same_request_and_caller_alone() {
    let peer = Peer::good(42.0).await;
    let gateway = gateway(&[&peer], &json!({})).await;
    gateway.ask(&keyed("k1")).await;
    let again = gateway.ask(&keyed("k1")).await;
    assert_eq!((again.status(), peer.received().len()), (200, 1));
    assert_eq!(gateway.record(&again).await["replayed"], true);

    let mut other = keyed("k1");
    other.body = BODY.replace("1.0", "2.0").into();
    let refused = gateway.ask(&other).await;
    assert_eq!((refused.status(), refused.header("x-mainstay-error")), (422, Some("MS0220")));
    assert_eq!(peer.received().len(), 1);

    gateway.ask(&keyed("k2")).await;
    gateway.ask(&keyed("k1").header("authorization", "Bearer someone-else")).await;
    gateway.ask(&Request::post("/v2/models/m/infer", BODY)).await;
    assert_eq!(peer.received().len(), 4, "another key, another caller, no key");
    assert_eq!(gateway.status().await["models"][0]["replayed"], 1);
}

#[tokio::test]
async fn whoever_lost_its_connection_finds_its_answer() {
    let peer = Peer::start(Manner::Slow(Duration::from_millis(300), good(42.0))).await;
    let gateway = gateway(&[&peer], &json!({"repeatable": false})).await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    connection.send(&keyed("k1")).await.expect("it reads");
    peer.until_received(1).await;
    drop(connection);
    let answer = gateway.ask(&keyed("k1")).await;
    assert_eq!((answer.status(), peer.received().len()), (200, 1));
    assert!(answer.header("x-mainstay-replay-of").is_some());
}

#[tokio::test]
async fn failures_are_remembered_only_where_a_second_execution_does_harm() {
    let boom = || Manner::Reply(Reply::new(500, r#"{"error":"boom"}"#));
    let peer = Peer::start(boom()).await;
    let harmless = gateway(&[&peer], &json!({})).await;
    assert_eq!(harmless.ask(&keyed("k1")).await.status(), 500);
    peer.set_manner(Manner::Reply(good(42.0)));
    assert_eq!(harmless.ask(&keyed("k1")).await.status(), 200);

    let peer = Peer::start(boom()).await;
    let harmful = gateway(&[&peer], &json!({"repeatable": false})).await;
    assert_eq!(harmful.ask(&keyed("k1")).await.status(), 500);
    peer.set_manner(Manner::Reply(good(42.0)));
    let again = harmful.ask(&keyed("k1")).await;
    assert_eq!((again.status(), peer.received().len()), (500, 1), "executed, and it failed");
}
