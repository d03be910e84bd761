//! What is kept together: requests of one key at one server, requests of one sequence at the server
//! that has its state.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::digits::{self, MODEL};
use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Request};
use crate::support::model_server::ModelServer;

fn one_pool(servers: &[ModelServer], keys: &Value, sequence: &Value) -> Value {
    let mut pool = pool(servers.iter().map(|server| &server.address));
    // A server that is back is used at once, as far as its breaker lets it.
    pool["slow-start"] = json!({"window": "100ms"});
    if !keys.is_null() {
        pool["balance"] = keys.clone();
    }
    let mut model = json!({"deadline": "2s", "chain": [{"pool": "p"}]});
    if !sequence.is_null() {
        model["sequence"] = sequence.clone();
    }
    config(&json!({"p": pool}), &json!({MODEL: model}))
}

/// The endpoint that gave the answer.
async fn server_of(gateway: &Gateway, answer: &Answer) -> String {
    let record = gateway.record(answer).await;
    let last = record["attempts"].as_array().and_then(|attempts| attempts.last()).cloned();
    last.unwrap_or_default()["endpoint"].as_str().unwrap_or_default().to_owned()
}

fn by_user(user: usize) -> Request {
    digits::infer(&digits::all()[..1]).header("x-user", &format!("user-{user}"))
}

/// Where each of so many users is served.
async fn homes(gateway: &Gateway, users: usize) -> HashMap<usize, String> {
    let mut homes = HashMap::new();
    for user in 0..users {
        let answer = gateway.ask(&by_user(user)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        homes.insert(user, server_of(gateway, &answer).await);
    }
    homes
}

#[tokio::test]
async fn a_key_has_one_home_on_every_gateway_and_a_kill_moves_only_its_own() {
    let mut servers = ModelServer::several(3).await;
    let rule = json!({"ring-hash": {"header": "x-user"}});
    let first = Gateway::ready(one_pool(&servers, &rule, &Value::Null)).await;
    let second = Gateway::ready(one_pool(&servers, &rule, &Value::Null)).await;
    let before = homes(&first, 40).await;
    assert_eq!(before, homes(&second, 40).await, "all gateways agree");
    let used: std::collections::HashSet<_> = before.values().collect();
    assert_eq!(used.len(), 3, "keys are spread: {before:?}");

    let victim = servers[0].name();
    servers[0].kill().await;
    let after = homes(&first, 40).await;
    for (user, home) in &before {
        let now = &after[user];
        assert!(if *home == victim { *now != victim } else { now == home }, "{user}: {home} {now}");
    }
    servers[0].restart().await;
    eventually("every key is home again", || async {
        (homes(&first, 40).await == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_input_can_be_the_key_as_json_and_as_binary_data() {
    let servers = ModelServer::several(3).await;
    let rule = json!({"ring-hash": {"input": "x"}});
    let gateway = Gateway::ready(one_pool(&servers, &rule, &Value::Null)).await;
    let all = digits::all();
    let mut row = all[0].clone();
    let mut homes = std::collections::HashSet::new();
    for first in 0..12 {
        row.pixels[0] = first as f32;
        let json = gateway.ask(&digits::infer(&[row.clone()])).await;
        assert_eq!(json.status(), 200, "{}", json.text());
        let home = server_of(&gateway, &json).await;
        let binary = gateway.ask(&binary(&row.pixels)).await;
        assert_eq!(binary.status(), 200, "{}", binary.text());
        assert_eq!(home, server_of(&gateway, &binary).await, "{first}");
        homes.insert(home);
    }
    assert!(homes.len() > 1, "{homes:?}");
}

fn binary(pixels: &[f32]) -> Request {
    let head = json!({"inputs": [{
        "name": "x", "shape": [1, 64], "datatype": "FP32",
        "parameters": {"binary_data_size": pixels.len() * 4},
    }]})
    .to_string();
    let tail: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let length = head.len().to_string();
    let body = [head.into_bytes(), tail].concat();
    let mut request = Request::new("POST", "/v2/models/digits/infer");
    request.body = body;
    request
        .header("content-type", "application/octet-stream")
        .header("inference-header-content-length", &length)
}

/// A request of a sequence, as Triton names it.
fn step(id: u64, start: bool, end: bool) -> Request {
    let row = &digits::all()[0];
    let body = json!({
        "parameters": {"sequence_id": id, "sequence_start": start, "sequence_end": end},
        "inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": row.pixels}]
    });
    Request::post("/v2/models/digits/infer", body.to_string())
}

async fn server_at(gateway: &Gateway, request: &Request) -> String {
    let answer = gateway.ask(request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    server_of(gateway, &answer).await
}

fn assert_lost(answer: &Answer) {
    assert_eq!(answer.status(), 410, "{}", answer.text());
    assert_eq!(answer.header("x-mainstay-error"), Some("MS0241"), "{}", answer.text());
    assert_eq!(answer.header("x-mainstay-retry"), Some("never"));
}

#[tokio::test]
async fn a_sequence_stays_and_its_loss_is_told() {
    let mut servers = ModelServer::several(3).await;
    let gateway =
        Gateway::ready(one_pool(&servers, &Value::Null, &json!({"by": "sequence-id"}))).await;
    for id in 1..6 {
        let home = server_at(&gateway, &step(id, true, false)).await;
        for _ in 0..4 {
            assert_eq!(home, server_at(&gateway, &step(id, false, false)).await);
        }
        assert_eq!(home, server_at(&gateway, &step(id, false, true)).await);
        assert_lost(&gateway.ask(&step(id, false, false)).await);
    }
    let home = server_at(&gateway, &step(9, true, false)).await;
    let victim = servers.iter().position(|server| server.name() == home).expect("one of them");
    servers[victim].kill().await;
    assert_lost(&gateway.ask(&step(9, false, false)).await);
    assert_lost(&gateway.ask(&step(9, false, false)).await);
    // Back, and empty: what it knew is gone.
    servers[victim].restart().await;
    gateway.until_verdict(&home, "ready").await;
    assert_lost(&gateway.ask(&step(9, false, false)).await);
    let anew = server_at(&gateway, &step(9, true, false)).await;
    assert_eq!(anew, server_at(&gateway, &step(9, false, false)).await);
}

#[tokio::test]
async fn a_server_that_was_restarted_between_two_requests_has_lost_its_sequences() {
    let mut servers = ModelServer::several(2).await;
    let by = json!({"by": {"header": "x-session"}});
    let gateway = Gateway::ready(one_pool(&servers, &Value::Null, &by)).await;
    let session = |name: &str| digits::infer(&digits::all()[..1]).header("x-session", name);
    let home = server_at(&gateway, &session("a")).await;
    assert_eq!(home, server_at(&gateway, &session("a")).await);
    let victim = servers.iter().position(|server| server.name() == home).expect("one of them");
    servers[victim].kill().await;
    gateway.until_verdict(&home, "dead").await;
    servers[victim].restart().await;
    gateway.until_verdict(&home, "ready").await;
    assert_lost(&gateway.ask(&session("a")).await);
    assert_eq!(gateway.ask(&session("b")).await.status(), 200);
}

#[tokio::test]
async fn a_model_that_does_no_harm_by_forgetting_begins_anew_elsewhere() {
    let mut servers = ModelServer::several(2).await;
    let gateway =
        Gateway::ready(one_pool(&servers, &Value::Null, &json!({"on-loss": "restart"}))).await;
    let home = server_at(&gateway, &step(1, true, false)).await;
    let victim = servers.iter().position(|server| server.name() == home).expect("one of them");
    servers[victim].kill().await;
    let next = server_at(&gateway, &step(1, false, false)).await;
    assert_ne!(next, home);
    assert_eq!(next, server_at(&gateway, &step(1, false, false)).await);
}
