//! Connections that break at every place where they can.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Connection, Request};
use crate::support::peer::{Manner, Peer, Reply, closed_port, good};

const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.0]}]}"#;

fn infer() -> Request {
    Request::post("/v2/models/m/infer", BODY)
}

/// A gateway whose first pool is `broken` and whose second is `good`; the second counts as
/// equal, so that its answers are whole and unmarked.
async fn before(broken: &SocketAddr, good: &Peer) -> Gateway {
    let pools = json!({"first": without_probes(broken), "second": pool([&good.address])});
    let chain = json!([{"pool": "first"}, {"pool": "second", "equivalent": true}]);
    let models = json!({"m": {"deadline": "2s", "chain": chain}});
    Gateway::start(config(&pools, &models)).await
}

/// Nobody looks at it before the request does.
fn without_probes(address: &SocketAddr) -> Value {
    let mut pool = pool([address]);
    pool["probe"] = json!({"check": "off"});
    pool
}

/// The answer must be the good server's own; gives the class of the first attempt.
async fn survives(broken: &SocketAddr) -> String {
    let good = Peer::good(42.0).await;
    let gateway = before(broken, &good).await;
    let answer = gateway.ask(&infer()).await;
    assert_is_from(&good, &answer);
    let record = gateway.record(&answer).await;
    record["attempts"][0]["class"].as_str().expect("the first attempt failed").to_owned()
}

fn assert_is_from(peer: &Peer, answer: &Answer) {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.body, good(42.0).body);
    let received = peer.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].body, BODY.as_bytes(), "the body is repeated whole");
}

#[tokio::test]
async fn a_refused_connection_moves_on() {
    assert_eq!(survives(&closed_port().await).await, "unreachable");
}

#[tokio::test]
async fn a_reset_before_the_first_byte_moves_on() {
    let peer = Peer::start(Manner::ResetBeforeBytes).await;
    assert_eq!(survives(&peer.address).await, "unreachable");
}

#[tokio::test]
async fn a_reset_in_the_held_part_of_the_body_is_never_seen() {
    let manner = Manner::ResetMidBody { announced: 60_000, sent: 30_000, gated: false };
    let peer = Peer::start(manner).await;
    assert_eq!(survives(&peer.address).await, "truncated");
}

#[tokio::test]
async fn a_black_hole_moves_on() {
    let peer = Peer::start(Manner::BlackHole).await;
    assert_eq!(survives(&peer.address).await, "timeout");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_moves_on() {
    let peer = Peer::start(Manner::Slow(Duration::from_secs(20), good(1.0))).await;
    assert_eq!(survives(&peer.address).await, "timeout");
}

#[tokio::test]
async fn a_server_error_moves_on() {
    let peer = Peer::start(Manner::Reply(Reply::new(500, r#"{"error":"boom"}"#))).await;
    assert_eq!(survives(&peer.address).await, "server-fault");
}

#[tokio::test]
async fn tritons_400_for_a_model_that_is_not_ready_moves_on() {
    let body = r#"{"error":"Request for unknown model: 'm' has no available versions"}"#;
    let peer = Peer::start(Manner::Reply(Reply::new(400, body))).await;
    assert_eq!(survives(&peer.address).await, "not-ready");
}

#[tokio::test]
async fn too_many_requests_move_on_without_blame() {
    let busy = Reply::new(429, r#"{"error":"busy"}"#).header("retry-after", "1");
    let peer = Peer::start(Manner::Reply(busy)).await;
    assert_eq!(survives(&peer.address).await, "capacity");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_breaks_the_guard() {
    let (bad, good) = (Peer::start(Manner::Reply(Reply::new(200, "{nonsense"))), Peer::good(42.0));
    let (bad, good) = (bad.await, good.await);
    let pools = json!({"first": pool([&bad.address]), "second": pool([&good.address])});
    let chain = json!([
        {"pool": "first", "confidence": {"output": "y", "at-least": 0.5}},
        {"pool": "second", "equivalent": true}
    ]);
    let outputs = json!({"y": {"datatype": "FP64", "shape": [1]}});
    let models = json!({"m": {"deadline": "2s", "outputs": outputs, "chain": chain}});
    let gateway = Gateway::ready(config(&pools, &models)).await;
    let answer = gateway.ask(&infer()).await;
    assert_is_from(&good, &answer);
    assert_eq!(gateway.record(&answer).await["attempts"][0]["class"], "bad-answer");
}

#[tokio::test]
async fn a_cut_after_the_commit_is_never_taken_for_a_whole_answer() {
    let manner = Manner::ResetMidBody { announced: 500_000, sent: 100_000, gated: true };
    let (peer, good) = (Peer::start(manner).await, Peer::good(42.0).await);
    let gateway = before(&peer.address, &good).await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    connection.send(&infer()).await.expect("it reads");
    let head = connection.head(false).await.expect("the answer was committed");
    assert_eq!(head.status, 200);
    connection.part().await.expect("a first part").expect("which is not the end");
    peer.release();
    let end = loop {
        match connection.part().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the cut answer was taken for a whole one"),
            Err(error) => break error,
        }
    };
    println!("as it must: {end}");
    assert!(good.received().is_empty(), "no other source may write into a committed answer");
}

#[tokio::test]
async fn what_may_have_been_executed_is_not_repeated_where_that_would_harm() {
    let (bad, good) = (Peer::start(Manner::ResetBeforeBytes).await, Peer::good(42.0).await);
    let pools = json!({"first": pool([&bad.address]), "second": pool([&good.address])});
    let chain = json!([{"pool": "first"}, {"pool": "second", "equivalent": true}]);
    let models = json!({"m": {"deadline": "2s", "repeatable": false, "chain": chain}});
    let gateway = Gateway::ready(config(&pools, &models)).await;
    let answer = gateway.ask(&infer()).await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    answer.protocol_error();
    assert!(good.received().is_empty());
}

/// What becomes of one request for a model whose requests may not be repeated: the answer's
/// status, how much had left of the first attempt, and how many requests the second server got.
async fn unrepeatable(broken: &SocketAddr) -> (u16, String, usize) {
    let good = Peer::good(42.0).await;
    let pools = json!({"first": without_probes(broken), "second": pool([&good.address])});
    let chain = json!([{"pool": "first"}, {"pool": "second", "equivalent": true}]);
    let models = json!({"m": {"deadline": "1s", "repeatable": false, "chain": chain}});
    let gateway = Gateway::start(config(&pools, &models)).await;
    let answer = gateway.ask(&infer()).await;
    let record = gateway.record(&answer).await;
    let sent = record["attempts"][0]["sent"].as_str().expect("an attempt").to_owned();
    (answer.status(), sent, good.received().len())
}

#[tokio::test]
async fn how_much_was_sent_decides_whether_a_harmful_request_is_repeated() {
    let refused = unrepeatable(&closed_port().await).await;
    assert_eq!(refused, (200, "not-sent".to_owned(), 1));
    let silent = Peer::start(Manner::BlackHole).await;
    assert_eq!(unrepeatable(&silent.address).await, (504, "maybe-sent".to_owned(), 0));
    let reset = Peer::start(Manner::ResetBeforeBytes).await;
    assert_eq!(unrepeatable(&reset.address).await, (503, "maybe-sent".to_owned(), 0));
    let failing = Peer::start(Manner::Reply(Reply::new(500, r#"{"error":"boom"}"#))).await;
    assert_eq!(unrepeatable(&failing.address).await, (500, "sent".to_owned(), 0));
    for peer in [&silent, &reset, &failing] {
        assert_eq!(peer.received().len(), 1, "executed once at most");
    }
    // A server that says that it is full or not ready has not executed it.
    let full = Peer::start(Manner::Reply(Reply::new(429, r#"{"error":"busy"}"#))).await;
    assert_eq!(unrepeatable(&full.address).await, (200, "sent".to_owned(), 1));
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_has_one_attempt() {
    let (bad, good) = (Peer::start(Manner::ResetBeforeBytes).await, Peer::good(42.0).await);
    let pools = json!({"first": pool([&bad.address]), "second": pool([&good.address])});
    let chain = json!([{"pool": "first"}, {"pool": "second", "equivalent": true}]);
    let mut config = config(&pools, &json!({"m": {"deadline": "2s", "chain": chain}}));
    config["limits"] = json!({"replay": "1KiB"});
    let gateway = Gateway::ready(config).await;
    let large = Request::post("/v2/models/m/infer", vec![b' '; 64 * 1024]);
    let answer = gateway.ask(&large).await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    answer.protocol_error();
    assert!(good.received().is_empty(), "it could only have got a part");
    assert_eq!(gateway.ask(&infer()).await.status(), 200, "a small one is repeated");
}

#[tokio::test]
async fn with_nothing_left_the_error_is_in_the_protocols_shape() {
    let address = closed_port().await;
    let models = json!({"m": {"deadline": "500ms", "chain": [{"pool": "p"}]}});
    let pools = json!({"p": without_probes(&address)});
    let gateway = Gateway::start(config(&pools, &models)).await;
    let answer = gateway.ask(&infer()).await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    let error = answer.protocol_error();
    assert!(!error.contains(&address.to_string()), "clients learn no addresses: {error}");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_server_that_hangs_over_a_large_body_is_to_blame_for_it() {
    let (hole, good) = (Peer::start(Manner::BlackHole).await, Peer::good(42.0).await);
    let pools = json!({"first": without_probes(&hole.address), "second": pool([&good.address])});
    let chain = json!([{"pool": "first"}, {"pool": "second", "equivalent": true}]);
    let mut config = config(&pools, &json!({"m": {"deadline": "1s", "chain": chain}}));
    config["limits"] = json!({"replay": "1KiB"});
    let gateway = Gateway::start(config).await;
    let large = Request::post("/v2/models/m/infer", vec![b' '; 64 * 1024]);
    let answer = gateway.ask(&large).await;
    assert_eq!(answer.status(), 504, "{}", answer.text());
    assert_eq!(gateway.record(&answer).await["attempts"][0]["class"], "timeout");
}

#[tokio::test]
async fn a_reset_is_no_end_where_the_end_of_the_connection_would_be_one() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await.expect("a request");
        assert!(read > 0, "a request comes");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"outputs\":").await.expect("it is read");
        // Without time to linger the system resets the connection instead of ending it.
        let lingering = socket2::SockRef::from(&stream);
        lingering.set_linger(Some(Duration::ZERO)).expect("a socket option");
    });
    assert_eq!(survives(&address).await, "truncated");
}
