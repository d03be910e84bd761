//! SIGTERM: what is in flight is finished, and then the program ends with 0.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::support::LIMIT;
use crate::support::digits;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Connection, Request};
use crate::support::model_server::ModelServer;
use crate::support::peer::{Manner, Part, Peer, good};

async fn before(peer: &Peer, drain: &str) -> Gateway {
    let models = json!({"m": {"deadline": "20s", "chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&peer.address])}), &models);
    config["drain"] = json!(drain);
    Gateway::ready(config).await
}

fn infer() -> Request {
    Request::post("/v2/models/m/infer", "{\"inputs\":[]}")
}

#[tokio::test]
async fn what_is_in_flight_is_answered_and_the_code_is_0() {
    let peer = Peer::start(Manner::Slow(Duration::from_millis(1500), good(5.0))).await;
    let mut gateway = before(&peer, "10s").await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    connection.send(&infer()).await.expect("it reads");
    peer.until_received(1).await;
    gateway.terminate();

    let head = timeout(LIMIT, connection.head(false)).await.expect("in time").expect("an answer");
    assert_eq!(head.status, 200);
    assert!(connection.part().await.expect("a body").is_some());
    assert_eq!(gateway.process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_keep_alive_connection_does_not_hold_it_up() {
    let peer = Peer::good(1.0).await;
    let mut gateway = before(&peer, "20s").await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    assert_eq!(connection.ask(&infer()).await.expect("an answer").status(), 200);
    gateway.terminate();
    let ended = timeout(Duration::from_secs(10), gateway.process.ended()).await;
    assert_eq!(ended.expect("without waiting for the limit").code(), Some(0));
}

#[tokio::test]
async fn draining_has_a_limit() {
    let peer = Peer::start(Manner::BlackHole).await;
    let mut gateway = before(&peer, "500ms").await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    connection.send(&infer()).await.expect("it reads");
    peer.until_received(1).await;
    gateway.terminate();
    let ended = timeout(Duration::from_secs(10), gateway.process.ended()).await;
    ended.expect("it does not wait for the request's own 20 s");
}

#[tokio::test]
async fn a_stream_under_way_is_finished() {
    let parts = vec![Part::Text("data: {\"n\":1}\n\n"), Part::Gate, Part::Text("data: [DONE]\n\n")];
    let peer = Peer::start(Manner::Events(parts)).await;
    let mut gateway = before(&peer, "20s").await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    let request = Request::post("/v2/models/m/generate_stream", "{}");
    connection.send(&request).await.expect("it reads");
    connection.head(false).await.expect("a head");
    connection.part().await.expect("the first event").expect("which is not the end");
    gateway.terminate();
    peer.release();
    let mut rest = Vec::new();
    while let Some(part) = connection.part().await.expect("the rest of the stream") {
        rest.extend(part);
    }
    assert_eq!(rest, b"data: [DONE]\n\n");
    assert_eq!(gateway.process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_model_server_ends_with_0_as_well() {
    let mut server = ModelServer::start().await;
    let answer =
        crate::support::http::ask(server.address, &digits::infer(&digits::all()[..1])).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(server.terminate().await, Some(0));
}
