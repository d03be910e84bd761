//! Undegraded answers are the server's bytes, and each side's own headers stay on its side.

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Connection, Request};
use crate::support::peer::{Manner, Peer, Reply};

/// Nobody who parsed and wrote it again would write it so.
const ODD: &str =
    "{ \"outputs\" : [ ],\n\t\"model_name\":\"m\" , \"z\": 1.50e+00, \"a\": \"\\u00e9\" }  ";

async fn before(peer: &Peer) -> Gateway {
    let models = json!({"m": {"deadline": "5s", "chain": [{"pool": "p", "model": "inner"}]}});
    Gateway::ready(config(&json!({"p": pool([&peer.address])}), &models)).await
}

fn odd() -> Reply {
    Reply::new(200, ODD).header("x-model-revision", "seven").header("server", "triton")
}

#[tokio::test]
async fn an_undegraded_answer_is_the_servers_byte_for_byte() {
    let peer = Peer::start(Manner::Reply(odd())).await;
    let gateway = before(&peer).await;
    let body = "{  \"inputs\": [],  \"odd\" : 1e0 }";
    let answer = gateway.ask(&Request::post("/v2/models/m/infer?trace=1", body)).await;
    assert_eq!(answer.body, ODD.as_bytes());
    assert_eq!(answer.header("x-model-revision"), Some("seven"));
    assert_eq!(answer.header("server"), Some("triton"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    for absent in ["x-mainstay-degraded", "x-mainstay-reason", "x-mainstay-trail"] {
        assert_eq!(answer.header(absent), None);
    }
    let received = &peer.received()[0];
    assert_eq!(received.body, body.as_bytes());
    assert_eq!((&*received.method, &*received.path), ("POST", "/v2/models/inner/infer?trace=1"));
    assert_eq!(received.header("host"), Some(peer.address.to_string().as_str()));
}

#[tokio::test]
async fn binary_tensors_pass_through_untouched() {
    let json = br#"{"outputs":[{"name":"y","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
    let whole = [json.as_slice(), &[0, 0xff, 0x80, 0x0d, 0x0a, 0, 1, 2]].concat();
    let length = json.len().to_string();
    let reply = Reply { headers: Vec::new(), ..Reply::new(200, whole.clone()) }
        .header("content-type", "application/octet-stream")
        .header("inference-header-content-length", &length);
    let peer = Peer::start(Manner::Reply(reply)).await;
    let gateway = before(&peer).await;
    let request = Request {
        headers: vec![("inference-header-content-length".to_owned(), length.clone())],
        ..Request::post("/v2/models/m/infer", whole.clone())
    };
    let answer = gateway.ask(&request).await;
    assert_eq!(answer.body, whole);
    assert_eq!(answer.header("inference-header-content-length"), Some(length.as_str()));
    let received = &peer.received()[0];
    assert_eq!(received.body, whole);
    assert_eq!(received.header("inference-header-content-length"), Some(length.as_str()));
}

#[tokio::test]
async fn hop_by_hop_headers_and_the_gateways_own_are_dropped_on_both_sides() {
    let reply = odd()
        .header("connection", "x-private")
        .header("x-private", "1")
        .header("keep-alive", "timeout=1")
        .header("x-mainstay-degraded", "true")
        .header("x-mainstay-request-id", "forged");
    let peer = Peer::start(Manner::Reply(reply)).await;
    let gateway = before(&peer).await;
    let request = Request::post("/v2/models/m/infer", "{}")
        .header("connection", "keep-alive, x-secret")
        .header("x-secret", "1")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic Zm9yIHlvdQ==")
        .header("x-mainstay-served-by", "me")
        .header("authorization", "Bearer the-servers")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let answer = gateway.ask(&request).await;

    for absent in ["x-private", "keep-alive", "x-mainstay-degraded"] {
        assert_eq!(answer.header(absent), None);
    }
    assert_ne!(answer.header("x-mainstay-request-id"), Some("forged"));
    let received = &peer.received()[0];
    for absent in ["x-secret", "te", "proxy-authorization", "x-mainstay-served-by"] {
        assert_eq!(received.header(absent), None, "{received:?}");
    }
    assert_eq!(received.header("authorization"), Some("Bearer the-servers"));
    assert!(received.header("traceparent").is_some());
}

#[tokio::test]
async fn a_large_answer_streams_through_whole() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| b'a' + (at % 26) as u8).collect();
    let peer = Peer::start(Manner::Reply(Reply::new(200, large.clone()))).await;
    let gateway = before(&peer).await;
    let answer = gateway.ask(&Request::post("/v2/models/m/infer", "{}")).await;
    assert!(answer.body == large, "{} bytes of {}", answer.body.len(), large.len());
}

#[tokio::test]
async fn a_chunked_body_comes_whole() {
    let peer = Peer::start(Manner::Reply(odd())).await;
    let gateway = before(&peer).await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = "4\r\n{\"in\r\n9\r\nputs\":[]}\r\n0\r\n\r\n";
    connection.write(format!("{head}{chunks}").as_bytes()).await.expect("it reads");
    assert_eq!(connection.head(false).await.expect("an answer").status, 200);
    assert_eq!(peer.received()[0].body, b"{\"inputs\":[]}");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_continue_is_told() {
    let peer = Peer::start(Manner::Reply(odd())).await;
    let gateway = before(&peer).await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\ncontent-length: 2\r\n\
                expect: 100-continue\r\n\r\n";
    connection.write(head.as_bytes()).await.expect("it reads");
    assert_eq!(connection.head(true).await.expect("a word").status, 100);
    connection.write(b"{}").await.expect("it reads");
    assert_eq!(connection.head(false).await.expect("an answer").status, 200);
    assert_eq!(peer.received()[0].header("expect"), None);
}

#[tokio::test]
async fn one_http_2_connection_goes_the_same_way() {
    let peer = Peer::start(Manner::Reply(odd())).await;
    let gateway = before(&peer).await;
    let stream = TcpStream::connect(gateway.http).await.expect("it listens");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    for number in 0..3 {
        let request = hyper::Request::post(format!("http://{}/v2/models/m/infer", gateway.http))
            .body(format!("{{\"id\":\"{number}\"}}"))
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert!(response.headers().contains_key("x-mainstay-request-id"));
        assert_eq!(response.headers()["x-model-revision"], "seven");
        let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body");
        assert_eq!(body.to_bytes(), ODD);
    }
    let received = peer.received();
    assert_eq!(received.len(), 3);
    assert_eq!(received[2].json()["id"], "2");
    assert_eq!(received[2].header("host"), Some(peer.address.to_string().as_str()));
}

#[tokio::test]
async fn a_browser_is_told_which_pages_may_ask() {
    let peer = Peer::start(Manner::Reply(odd().header("access-control-allow-origin", "*"))).await;
    let models = json!({"m": {"chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&peer.address])}), &models);
    config["listen"]["cors"] = json!({"origins": ["https://app.example"], "credentials": true});
    let gateway = Gateway::ready(config).await;
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/v2/models/m/infer")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
    };
    let allowed = gateway.ask(&preflight("https://app.example")).await;
    assert_eq!(allowed.status(), 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, POST"),
        ("access-control-max-age", "600"),
        ("vary", "origin"),
    ] {
        assert_eq!(allowed.header(name), Some(value), "{:?}", allowed.head);
    }
    let foreign = gateway.ask(&preflight("https://evil.example")).await;
    assert_eq!((foreign.status(), foreign.header("access-control-allow-origin")), (204, None));
    assert!(peer.received().is_empty(), "preflight requests reach no server");
    let ask = |origin: &str| Request::post("/v2/models/m/infer", "{}").header("origin", origin);
    let answer = gateway.ask(&ask("https://app.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    let foreign = gateway.ask(&ask("https://evil.example")).await;
    assert_eq!(foreign.header("access-control-allow-origin"), None, "whatever the server says");
    let missing = Request::get("/nothing").header("origin", "https://app.example");
    let missing = gateway.ask(&missing).await;
    assert_eq!(missing.header("access-control-allow-origin"), Some("https://app.example"));
}
