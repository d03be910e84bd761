//! TorchServe, and servers of no protocol that is known: bodies passed through, with pools and a
//! fixed body to fall back on.

use std::time::Duration;

use mainstay_faults::{Script, Server};
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::Request;
use crate::support::load::Load;

fn pool_of<'a>(
    protocol: &str,
    addresses: impl IntoIterator<Item = &'a std::net::SocketAddr>,
) -> Value {
    let mut pool = pool(addresses);
    pool["protocol"] = json!(protocol);
    pool
}

async fn server(script: &str) -> Server {
    Server::start(script.parse::<Script>().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_torchserve_that_goes_away_costs_no_request() {
    let (first, second) = (server("{}").await, server("{}").await);
    let pools = json!({"torch": pool_of("torchserve", [&first.address(), &second.address()])});
    let chain = json!([{"pool": "torch"}, {"default": {"json": {"class": "unknown", "p": [0.5]}}}]);
    let models = json!({"m": {"deadline": "1s", "chain": chain}});
    let gateway = Gateway::ready(config(&pools, &models)).await;
    assert_eq!(gateway.ask(&Request::get("/ping")).await.json(), json!({"status": "Healthy"}));
    let listed = gateway.ask(&Request::get("/models")).await.json();
    assert_eq!(listed, json!({"models": [{"modelName": "m"}]}));
    let load = Load::start(gateway.http, 200, |_| {
        Request::new("POST", "/predictions/m/1.0").header("content-type", "image/jpeg")
    });
    load.more(100).await;
    drop(first);
    load.more(200).await;
    second.play("rules: [{behave: 507}]".parse().unwrap());
    load.more(200).await;
    let report = load.stop().await;
    report.assert_all_answered_within(Duration::from_secs(1));
    let last = report.samples.last().unwrap().answer().unwrap();
    assert!(last.is_degraded(), "{last:?}");
    assert_eq!(last.json(), json!({"class": "unknown", "p": [0.5]}));
    assert_eq!(last.header("content-type"), Some("application/json"));
    let unknown = gateway.ask(&Request::post("/predictions/none", "x")).await;
    let body = unknown.json();
    assert_eq!((&body["code"], &body["type"]), (&json!(404), &json!("MS0202")), "{body}");
}

#[tokio::test]
async fn declared_paths_are_passed_on_as_they_come() {
    let backend = server("{}").await;
    let pools = json!({"flask": pool_of("http", [&backend.address()])});
    let models = json!({"m": {
        "deadline": "1s",
        "paths": ["/invocations", "/score/*"],
        "methods": ["GET", "HEAD", "POST"],
        "chain": [
            {"pool": "flask"},
            {"default": {"body": "<p>later</p>", "content-type": "text/html"}}
        ]
    }});
    let gateway = Gateway::ready(config(&pools, &models)).await;
    let scored = gateway.ask(&Request::post("/invocations", r#"{"inputs": [[1, 2]]}"#)).await;
    assert_eq!(scored.json()["outputs"]["y"], json!([3.0]), "{}", scored.text());
    let below = gateway.ask(&Request::get("/score/a%20b/c?x=1")).await;
    assert_eq!(below.json()["path"], "/score/a%20b/c?x=1");
    let head = gateway.ask(&Request::new("HEAD", "/score/a")).await;
    assert_eq!((head.status(), head.body.len()), (200, 0));
    for (request, status, code) in [
        (Request::new("DELETE", "/score/a"), 405, "MS0203"),
        (Request::get("/other"), 404, "MS0201"),
        (Request::get("/score/../admin"), 404, "MS0201"),
        (Request::get("/score/%2e%2e/admin"), 404, "MS0201"),
        (Request::post("/v2/models/m/infer", "{}"), 400, "MS0211"),
    ] {
        let answer = gateway.ask(&request).await;
        let seen = (answer.status(), answer.header("x-mainstay-error"));
        assert_eq!(seen, (status, Some(code)), "{request:?}");
    }
    backend.play("rules: [{behave: 500}]".parse().unwrap());
    let later = gateway.ask(&Request::get("/score/a")).await;
    assert_eq!((later.status(), later.text().as_str()), (200, "<p>later</p>"));
    assert_eq!(later.header("content-type"), Some("text/html"));
    assert!(later.is_degraded());
}

#[tokio::test]
async fn only_what_promises_it_is_repeated() {
    let (first, second) = (server("{}").await, server("{}").await);
    let pools = json!({"flask": pool_of("http", [&first.address(), &second.address()])});
    let models = json!({"m": {"deadline": "1s", "paths": ["/pay"], "chain": [{"pool": "flask"}]}});
    let gateway = Gateway::ready(config(&pools, &models)).await;
    for server in [&first, &second] {
        server.play("rules: [{behave: reset-body}]".parse().unwrap());
    }
    let paid = gateway.ask(&Request::post("/pay", "{}")).await;
    assert!(paid.status() >= 500, "{paid:?}");
    let record = gateway.record(&paid).await;
    assert_eq!(record["attempts"].as_array().unwrap().len(), 1, "{record}");
    let read = gateway.ask(&Request::get("/pay")).await;
    let record = gateway.record(&read).await;
    assert!(record["attempts"].as_array().unwrap().len() > 1, "{record}");
}
