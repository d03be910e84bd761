//! What clients do wrong is told to them, and never held against a server.

use serde_json::json;
use tokio::time::{Duration, timeout};

use crate::support::digits::MODEL;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Connection, Request};
use crate::support::load::Load;
use crate::support::model_server::ModelServer;
use crate::support::peer::{Manner, Peer, good};
use crate::support::{LIMIT, eventually};

/// Two real servers and one model over them.
async fn two_servers() -> (Vec<ModelServer>, Gateway) {
    let servers = ModelServer::several(2).await;
    let pool = pool(servers.iter().map(|server| &server.address));
    let models = json!({MODEL: {"deadline": "2s", "chain": [{"pool": "forest"}]}});
    let gateway = Gateway::ready(config(&json!({"forest": pool}), &models)).await;
    (servers, gateway)
}

/// A gateway before one peer.
async fn before(peer: &Peer) -> Gateway {
    let models = json!({"m": {"deadline": "20s", "chain": [{"pool": "p"}]}});
    Gateway::ready(config(&json!({"p": pool([&peer.address])}), &models)).await
}

#[tokio::test]
async fn broken_bodies_get_400_and_move_no_breaker() {
    let (_servers, gateway) = two_servers().await;
    let broken = ["{", "[]", "{}", r#"{"inputs":[{"name":"x","shape":[1,64],"datatype":"FP32"}]}"#];
    let load = Load::start(gateway.http, 200, move |number| {
        Request::post("/v2/models/digits/infer", broken[number % broken.len()])
    });
    load.more(200).await;
    for sample in load.stop().await.samples {
        let answer = sample.answer().expect("an answer comes");
        assert_eq!(answer.status(), 400, "{}", answer.text());
        assert!(!answer.protocol_error().is_empty());
    }
    for breaker in gateway.breakers().await {
        assert_eq!((&breaker["state"], &breaker["failures"]), (&json!("closed"), &json!(0)));
    }
    assert_eq!(gateway.events("breaker").await, [] as [serde_json::Value; 0]);
}

#[tokio::test]
async fn a_wrong_shape_is_told_by_the_server_and_passed_back() {
    let (_servers, gateway) = two_servers().await;
    let body = json!({
        "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]
    });
    let answer = gateway.ask(&Request::post("/v2/models/digits/infer", body.to_string())).await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert!(!answer.protocol_error().is_empty());
    assert_eq!(answer.header("x-mainstay-trail"), None, "it was asked once");
}

#[tokio::test]
async fn an_oversized_body_gets_413() {
    let peer = Peer::good(1.0).await;
    let models = json!({"m": {"deadline": "20s", "chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&peer.address])}), &models);
    config["limits"] = json!({"body": "64KiB", "replay": "32KiB"});
    let gateway = Gateway::ready(config).await;
    let oversized = vec![b' '; 65 * 1024];
    let answer = gateway.ask(&Request::post("/v2/models/m/infer", oversized)).await;
    assert_eq!(answer.status(), 413, "{}", answer.text());
    assert!(answer.protocol_error().contains("65536"));
    assert!(peer.received().is_empty());

    let largest = vec![b' '; 64 * 1024];
    let answer = gateway.ask(&Request::post("/v2/models/m/infer", largest.clone())).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(peer.received()[0].body, largest, "too large to be kept, and passed on whole");
}

#[tokio::test]
async fn an_unknown_model_gets_404_with_the_known_names() {
    let peer = Peer::good(1.0).await;
    let gateway = before(&peer).await;
    let answer = gateway.ask(&Request::post("/v2/models/nobody/infer", "{}")).await;
    assert_eq!(answer.status(), 404);
    let error = answer.protocol_error();
    assert!(error.contains("nobody") && error.contains("known models: m"), "{error}");
    assert!(peer.received().is_empty());
}

#[tokio::test]
async fn oversized_headers_are_refused() {
    let peer = Peer::good(1.0).await;
    let gateway = before(&peer).await;
    let request = Request::get("/v2").header("x-long", &"x".repeat(64 * 1024));
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    // The refusal may come while the request is still being written.
    let _ = connection.send(&request).await;
    if let Ok(head) = connection.head(false).await {
        assert_eq!(head.status, 431);
    }
    assert_eq!(gateway.ask(&Request::get("/v2")).await.status(), 200, "others are served");
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_the_work_upstream() {
    let peer = Peer::start(Manner::BlackHole).await;
    let gateway = before(&peer).await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    let infer = Request::post("/v2/models/m/infer", "{\"inputs\":[]}");
    connection.send(&infer).await.expect("it reads");
    peer.until_received(1).await;
    drop(connection);
    timeout(Duration::from_secs(5), peer.until_hung_up(1)).await.expect("cancelled at once");

    let cancelled = eventually("the record of it", || async {
        let records = gateway.admin("/api/requests?kept=true&limit=5").await;
        let records = records["requests"].as_array().expect("records").clone();
        records.into_iter().find(|record| record["outcome"] == "cancelled")
    })
    .await;
    assert_eq!(cancelled["model"], "m", "{cancelled}");
    let breaker = &gateway.breakers().await[0];
    assert_eq!(breaker["failures"], 0, "a client that leaves blames nobody: {breaker}");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_has_left() {
    let peer = Peer::start(Manner::BlackHole).await;
    let gateway = before(&peer).await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    let infer = Request::post("/v2/models/m/infer", "{\"inputs\":[]}");
    connection.send(&infer).await.expect("it reads");
    peer.until_received(1).await;
    connection.end_sending().await.expect("it is open");
    timeout(LIMIT, peer.until_hung_up(1)).await.expect("cancelled at once");
    assert!(connection.head(false).await.is_err(), "there is no answer for whoever left");
}

#[tokio::test]
async fn a_request_sent_ahead_of_an_answer_waits_its_turn() {
    let slow = Duration::from_millis(300);
    let peer = Peer::start(Manner::Slow(slow, good(1.0))).await;
    let gateway = before(&peer).await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    let infer = Request::post("/v2/models/m/infer", "{\"inputs\":[]}");
    connection.send(&infer).await.expect("it reads");
    peer.until_received(1).await;
    // One by itself, while the first is under way, and two at once behind it.
    connection.send(&infer).await.expect("it reads");
    let metadata = Request::get("/v2");
    for request in [&metadata, &infer] {
        connection.send(request).await.expect("it reads");
    }
    for number in 1..=4 {
        let head = connection.head(false).await.expect("an answer comes");
        assert_eq!(head.status, 200, "answer {number}");
        while connection.part().await.expect("a whole body").is_some() {}
    }
    assert_eq!(peer.received().len(), 3);
}

#[tokio::test]
async fn a_body_that_is_cut_short_reaches_no_server() {
    let peer = Peer::good(1.0).await;
    let gateway = before(&peer).await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\ncontent-length: 100\r\n\r\n{";
    connection.write(head.as_bytes()).await.expect("it reads");
    drop(connection);
    let whole = Request::post("/v2/models/m/infer", "{\"inputs\":[]}");
    let answer = timeout(LIMIT, gateway.ask(&whole)).await.expect("others are served");
    assert_eq!(answer.status(), 200);
    assert_eq!(peer.received().len(), 1, "only the whole one");
}

#[tokio::test]
async fn a_client_may_shorten_its_deadline() {
    let peer = Peer::start(Manner::BlackHole).await;
    let gateway = before(&peer).await;
    let request = Request::post("/v2/models/m/infer", "{}").header("x-request-timeout", "200ms");
    let answer = timeout(Duration::from_secs(5), gateway.ask(&request)).await;
    assert_eq!(answer.expect("long before the route's 20 s").status(), 504);
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_let_go() {
    let peer = Peer::good(1.0).await;
    let models = json!({"m": {"deadline": "20s", "chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&peer.address])}), &models);
    config["limits"] = json!({"header-timeout": "500ms"});
    let gateway = Gateway::ready(config).await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    connection.write(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\n").await.expect("it reads");
    let end = timeout(Duration::from_secs(5), connection.head(false)).await.expect("let go");
    assert!(end.map_or(true, |head| head.status == 408));
}
