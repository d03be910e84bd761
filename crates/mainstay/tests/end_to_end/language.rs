//! Language models over the OpenAI API: the model in the body, provider keys, causes, and streams
//! that break in every way before and after their first content.

use std::time::Duration;

use mainstay_faults::Server;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, Connection, Request};
use crate::support::peer::{Manner, Peer, Reply};

mod causes;
mod streams;

const CHAT: &str = "/v1/chat/completions";
const ALL_WORDS: &str = "1 2 3 4 5 6 7 8 ";

async fn server(script: &str) -> Server {
    Server::start(script.parse().expect("a script")).await.expect("a free port")
}

fn url(address: std::net::SocketAddr) -> String {
    format!("http://{address}")
}

fn pool_of(endpoints: &Value) -> Value {
    json!({
        "protocol": "openai", "endpoints": endpoints,
        "streams": {"first-token": "700ms", "inter-token": "500ms"}
    })
}

/// Two pools of the same quality, asked one after the other.
async fn two(first: &Server, second: &Server) -> Gateway {
    let pools = json!({
        "first": pool_of(&json!([url(first.address())])),
        "second": pool_of(&json!([url(second.address())])),
    });
    let chain = json!([{"pool": "first"}, {"pool": "second", "equivalent": true}]);
    Gateway::start(config(&pools, &json!({"m": {"deadline": "20s", "chain": chain}}))).await
}

fn chat(more: &Value) -> Request {
    Request::post(CHAT, asked(more).to_string()).header("content-type", "application/json")
}

fn asked(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "count"}]});
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        body[key] = value;
    }
    body
}

fn said(answer: &Answer) -> String {
    let content = &answer.json()["choices"][0]["message"]["content"];
    content.as_str().expect("an answer in words").to_owned()
}

#[tokio::test]
async fn the_model_is_named_in_the_body() {
    let (one, other) = (server("{}").await, server("{}").await);
    let gateway = two(&one, &other).await;
    let answer = gateway.ask(&chat(&json!({}))).await;
    assert_eq!((answer.status(), said(&answer).as_str()), (200, ALL_WORDS));
    for (path, body) in [
        ("/v1/completions", json!({"model": "m", "prompt": "count"})),
        ("/v1/embeddings", json!({"model": "m", "input": "count"})),
        ("/v1/responses", json!({"model": "m", "input": "count"})),
    ] {
        let answer = gateway.ask(&Request::post(path, body.to_string())).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    }
    assert_eq!(other.journal().counts().executions, 0);
}

#[tokio::test]
async fn errors_are_in_the_form_of_the_api() {
    let (one, other) = (server("{}").await, server("{}").await);
    let gateway = two(&one, &other).await;
    let unknown = gateway.ask(&chat(&json!({"model": "nobody"}))).await;
    assert_eq!(unknown.status(), 404);
    let error = unknown.json()["error"].clone();
    assert_eq!(
        (&error["code"], &error["type"]),
        (&json!("model_not_found"), &json!("invalid_request_error"))
    );
    assert_eq!(unknown.header("x-mainstay-error"), Some("MS0202"));
    for body in ["{\"messages\":[]}", "[1]", "{\"model\":\"m\",\"model\":\"n\"}"] {
        let broken = gateway.ask(&Request::post(CHAT, body)).await;
        assert_eq!(broken.status(), 400, "{body}");
        assert!(broken.json()["error"]["message"].is_string());
    }
    assert_eq!(gateway.ask(&Request::get(CHAT)).await.status(), 405);
}

#[tokio::test]
async fn the_models_are_listed() {
    let (one, other) = (server("{}").await, server("{}").await);
    let gateway = two(&one, &other).await;
    let models = gateway.ask(&Request::get("/v1/models")).await.json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("m")));
    assert_eq!(gateway.ask(&Request::get("/v1/models/m")).await.json()["id"], "m");
    assert_eq!(gateway.ask(&Request::get("/v1/models/nobody")).await.status(), 404);
}

/// A gateway with one endpoint that is told what to send.
async fn with_endpoint(endpoint: Value) -> Gateway {
    let pools = json!({"p": pool_of(&json!([endpoint]))});
    let models = json!({"m": {"deadline": "5s", "chain": [{"pool": "p"}]}});
    Gateway::start(config(&pools, &models)).await
}

#[tokio::test]
async fn a_provider_gets_its_own_key_and_name_of_the_model() {
    let peer = Peer::start(Manner::Reply(Reply::new(200, "{\"choices\":[]}"))).await;
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "planted-provider-key\n").expect("it can be written");
    let gateway = with_endpoint(json!({
        "url": format!("{}/openai", url(peer.address)),
        "api-key": {"file": secret.path()},
        "headers": {"x-team": "search"},
        "model": "org/large \"2\"",
    }))
    .await;
    let request = chat(&json!({"temperature": 0.5}))
        .header("authorization", "Bearer of-the-client")
        .header("openai-organization", "of-the-client");
    assert_eq!(gateway.ask(&request).await.status(), 200);
    let received = peer.received();
    let got = received.last().expect("a request");
    assert_eq!(got.header("authorization"), Some("Bearer planted-provider-key"));
    assert_eq!((got.header("x-team"), got.header("openai-organization")), (Some("search"), None));
    assert_eq!(got.json(), asked(&json!({"model": "org/large \"2\"", "temperature": 0.5})));
    assert_eq!(got.path, "/openai/v1/chat/completions");
    for page in ["/api/status", "/metrics", "/api/requests"] {
        let told = crate::support::http::ask(gateway.admin, &Request::get(page)).await.text();
        assert!(!told.contains("planted-provider-key"), "{page}");
    }
    assert!(!gateway.process.errors().contains("planted-provider-key"));
}

#[tokio::test]
async fn an_error_inside_a_good_status_is_one() {
    let first = server("{rules: [{behave: error-inside}]}").await;
    let second = server("{}").await;
    let gateway = two(&first, &second).await;
    let answer = gateway.ask(&chat(&json!({}))).await;
    assert_eq!(said(&answer), ALL_WORDS);
    assert!(answer.header("x-mainstay-trail").expect("a trail").contains("server-fault"));
}
