//! Answers that break their model's guards never reach a client.

use serde_json::{Value, json};

use crate::support::demo;
use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Request};
use crate::support::peer::{Manner, Peer, Reply, closed_port};

/// A request for rows of one value each.
fn rows(values: &[f64]) -> Request {
    let body = json!({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [values.len(), 1], "data": values}]
    });
    Request::post("/v2/models/m/infer", body.to_string())
}

/// A label and a score for each row; the scores as binary data, which can hold anything.
fn binary(label: i64, scores: &[f32]) -> Reply {
    let (labels, rows) = (vec![label; scores.len()], scores.len());
    let size = 4 * rows;
    let head = json!({
        "model_name": "m",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [rows], "data": labels},
            {"name": "score", "datatype": "FP32", "shape": [rows, 1],
             "parameters": {"binary_data_size": size}}
        ]
    })
    .to_string();
    let tail = scores.iter().flat_map(|score| score.to_le_bytes());
    let length = head.len().to_string();
    let body: Vec<u8> = head.into_bytes().into_iter().chain(tail).collect();
    let mut reply = Reply::new(200, body).header("inference-header-content-length", &length);
    reply.headers[0] = ("content-type", "application/octet-stream".to_owned());
    reply
}

/// An answer in JSON with these outputs.
fn outputs(outputs: &Value) -> Reply {
    Reply::new(200, json!({"model_name": "m", "outputs": outputs}).to_string())
}

fn sound(label: i64) -> Manner {
    Manner::Judge { label }
}

/// A model with guards on everything, over a pool and another one behind it.
fn model(chain: &Value) -> Value {
    json!({
        "deadline": "2s",
        "batch": "first-dimension",
        "outputs": {
            "label": {"datatype": "INT64", "shape": [-1]},
            "score": {"datatype": "FP32", "shape": [-1, 1]}
        },
        "guards": {
            "finite": true,
            "shape": "declared",
            "outputs": {"score": {"range": [0, 1]}, "label": {"allowed": [1, 2, 7]}}
        },
        "chain": chain
    })
}

async fn two_pools(first: &Peer, second: &Peer) -> Gateway {
    let pools = json!({"first": pool([&first.address]), "second": pool([&second.address])});
    let chain = json!([{"pool": "first"}, {"pool": "second"}]);
    Gateway::ready(config(&pools, &json!({"m": model(&chain)}))).await
}

fn labels(answer: &Answer) -> Vec<i64> {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    digits::labels(&answer.json())
}

/// The value of a metric's line.
async fn metric(gateway: &Gateway, line: &str) -> f64 {
    let page = crate::support::http::ask(gateway.admin, &Request::get("/metrics")).await.text();
    let found = page.lines().find_map(|found| found.strip_prefix(line));
    let found = found.unwrap_or_else(|| panic!("no {line} in {page}"));
    found.trim().parse().expect("a number")
}

#[tokio::test]
async fn nan_never_reaches_a_client() {
    let literal = br#"{"model_name":"m","outputs":[
        {"name":"label","datatype":"INT64","shape":[1],"data":[1]},
        {"name":"score","datatype":"FP32","shape":[1,1],"data":[NaN]}]}"#;
    for (bad, guard) in [
        (binary(1, &[f32::NAN]), "finite"),
        (binary(1, &[f32::INFINITY]), "finite"),
        (Reply::new(200, literal.to_vec()), "readable"),
    ] {
        let (ill, well) = (Peer::start(Manner::Reply(bad)).await, Peer::start(sound(2)).await);
        let mut peers = pool([&ill.address, &well.address]);
        peers["balance"] = json!("round-robin");
        let chain = json!([{"pool": "both"}]);
        let models = json!({"m": model(&chain)});
        let gateway = Gateway::ready(config(&json!({"both": peers}), &models)).await;
        let mut broken = 0;
        for _ in 0..10 {
            let answer = gateway.ask(&rows(&[0.5])).await;
            assert_eq!(labels(&answer), [2]);
            assert!(!answer.is_degraded(), "another server of the same pool");
            let record = gateway.record(&answer).await;
            if record["attempts"][0]["guard"] == guard {
                assert_eq!(record["attempts"][0]["class"], "bad-answer", "{record}");
                broken += 1;
            }
        }
        assert!(broken > 0, "the ill server was never asked");
        let line = format!("mainstay_guard_broken_total{{model=\"m\",guard=\"{guard}\"}}");
        assert!(metric(&gateway, &line).await >= f64::from(broken));
        let opened = gateway.events("breaker").await;
        assert!(broken < 5 || !opened.is_empty(), "{broken} bad answers, and no blame");
    }
}

#[tokio::test]
async fn what_breaks_a_guard_moves_on_to_the_next_step() {
    let label = json!({"name": "label", "datatype": "INT64", "shape": [1], "data": [1]});
    let score = |datatype: &str, shape: Value, data: Value| json!({"name": "score", "datatype": datatype, "shape": shape, "data": data});
    let good = score("FP32", json!([1, 1]), json!([0.5]));
    let nine = json!({"name": "label", "datatype": "INT64", "shape": [1], "data": [9]});
    for (bad, guard) in [
        (json!([label, score("FP32", json!([1, 1]), json!([1.5]))]), "range"),
        (json!([label, score("FP32", json!([1, 1]), json!([-0.01]))]), "range"),
        (json!([label, score("FP32", json!([1, 2]), json!([0.5, 0.5]))]), "shape"),
        (json!([label, score("FP32", json!([2, 1]), json!([0.5, 0.5]))]), "shape"),
        (json!([label, score("FP64", json!([1, 1]), json!([0.5]))]), "datatype"),
        (json!([label]), "present"),
        (json!([nine, good]), "allowed"),
    ] {
        let first = Peer::start(Manner::Reply(outputs(&bad))).await;
        let second = Peer::start(sound(2)).await;
        let gateway = two_pools(&first, &second).await;
        let answer = gateway.ask(&rows(&[0.5])).await;
        assert_eq!(labels(&answer), [2], "{bad}");
        assert!(answer.is_degraded());
        assert_eq!(answer.header("x-mainstay-reason"), Some("guard-broken"), "{bad}");
        let record = gateway.record(&answer).await;
        assert_eq!(record["attempts"][0]["guard"], guard, "{record}");
    }
}

#[tokio::test]
async fn a_sound_answer_stays_the_servers_bytes() {
    let reply = binary(1, &[0.25, 1.0]);
    let first = Peer::start(Manner::Reply(reply.clone())).await;
    let second = Peer::start(sound(2)).await;
    let gateway = two_pools(&first, &second).await;
    let answer = gateway.ask(&rows(&[0.5, 0.5])).await;
    assert_eq!((answer.status(), &answer.body), (200, &reply.body));
    assert!(second.received().is_empty());
}

#[tokio::test]
async fn one_bad_row_of_a_batch_does_not_cost_the_others() {
    let first = Peer::start(Manner::Reply(binary(1, &[0.5, f32::NAN, 0.25]))).await;
    let second = Peer::start(sound(2)).await;
    let gateway = two_pools(&first, &second).await;
    let answer = gateway.ask(&rows(&[0.5, 0.75, 0.5])).await;
    assert_eq!(labels(&answer), [1, 2, 1]);
    let asked = second.received()[0].json();
    assert_eq!(asked["inputs"][0]["data"], json!([0.75]), "only the bad row is asked for again");
    let record = gateway.record(&answer).await;
    assert_eq!((&record["rows"], &record["rows_moved"]), (&json!(3), &json!(1)), "{record}");
    assert_eq!(record["attempts"][0]["guard"], "finite");
    assert_eq!(record["reason"], "guard-broken");
}

#[tokio::test]
async fn a_bad_row_that_nobody_can_mend_takes_the_default_or_fails() {
    let ill = Peer::start(Manner::Reply(binary(1, &[0.5, f32::NAN]))).await;
    let pools = json!({"first": pool([&ill.address])});
    let default = json!({"default": {"label": 7, "score": [0.0]}});
    let chain = json!([{"pool": "first"}, default]);
    let gateway = Gateway::ready(config(&pools, &json!({"m": model(&chain)}))).await;
    let answer = gateway.ask(&rows(&[0.5, 0.75])).await;
    assert_eq!(labels(&answer), [1, 7]);
    assert!(answer.is_degraded());

    let alone = json!({"m": model(&json!([{"pool": "first"}]))});
    let gateway = Gateway::ready(config(&pools, &alone)).await;
    let answer = gateway.ask(&rows(&[0.5, 0.75])).await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert!(answer.protocol_error().contains("guard-broken"), "{}", answer.text());
}

#[tokio::test]
async fn unsure_and_broken_rows_go_their_own_ways() {
    let first = Peer::start(Manner::Reply(binary(1, &[0.9, f32::NAN, 0.5]))).await;
    let pools = json!({"first": pool([&first.address])});
    let chain = json!([
        {"pool": "first", "confidence": {"output": "score", "at-least": 0.8}},
        {"default": {"label": 7, "score": [0.0]}}
    ]);
    let gateway = Gateway::ready(config(&pools, &json!({"m": model(&chain)}))).await;
    let answer = gateway.ask(&rows(&[0.1, 0.2, 0.3])).await;
    assert_eq!(labels(&answer), [1, 7, 1], "the unsure row keeps the best answer there is");
}

#[tokio::test]
async fn outputs_that_were_not_asked_for_are_not_missed() {
    let only = json!([{"name": "label", "datatype": "INT64", "shape": [1], "data": [1]}]);
    let first = Peer::start(Manner::Reply(outputs(&only))).await;
    let second = Peer::start(sound(2)).await;
    let gateway = two_pools(&first, &second).await;
    let body = json!({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}],
        "outputs": [{"name": "label"}]
    });
    let request = Request::post("/v2/models/m/infer", body.to_string());
    assert_eq!(labels(&gateway.ask(&request).await), [1]);
    assert!(second.received().is_empty());
}

#[tokio::test]
async fn a_request_that_makes_every_server_break_a_guard_blames_none() {
    let (first, second) = (Peer::start(sound(1)).await, Peer::start(sound(2)).await);
    let mut both = pool([&first.address, &second.address]);
    both["balance"] = json!("round-robin");
    let models = json!({"m": model(&json!([{"pool": "both"}]))});
    let gateway = Gateway::ready(config(&json!({"both": both}), &models)).await;
    for _ in 0..20 {
        assert_eq!(gateway.ask(&rows(&[0.5])).await.status(), 200);
    }
    // The peers take each row's value for its score, and 5 is none.
    let answer = gateway.ask(&rows(&[5.0])).await;
    assert_eq!(answer.status(), 422, "{}", answer.text());
    let record = gateway.record(&answer).await;
    assert_eq!(record["attempts"][1]["guard"], "range", "{record}");
    for breaker in gateway.breakers().await {
        assert_eq!(breaker["failures"], 0, "{breaker}");
    }
    assert_eq!(gateway.ask(&rows(&[0.5])).await.status(), 200);
}

#[tokio::test]
async fn guards_hold_for_embedded_models_too() {
    let dead = closed_port().await;
    let labels_but_nine: Vec<i64> = (0..9).collect();
    let model = json!({
        "deadline": "1s",
        "batch": "first-dimension",
        "outputs": {
            "label": {"datatype": "INT64", "shape": [-1]},
            "probabilities": {"datatype": "FP32", "shape": [-1, 10]}
        },
        "guards": {"shape": "declared", "outputs": {"label": {"allowed": labels_but_nine}}},
        "chain": [
            {"pool": "gone"},
            {"embedded": demo("digits-logistic.onnx")},
            {"default": {"label": 0, "probabilities": [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]}}
        ]
    });
    let pools = json!({"gone": pool([&dead])});
    let gateway = Gateway::start(config(&pools, &json!({MODEL: model}))).await;
    let all = digits::all();
    let answer = gateway.ask(&digits::infer(&all[..100])).await;
    let found = labels(&answer);
    assert!(found.contains(&8) && !found.contains(&9), "{found:?}");
    assert_eq!(gateway.record(&answer).await["guard"], "allowed");
}

/// A gateway whose only server gives everyone the same answer.
async fn monotonous(then: &str) -> (Peer, Gateway) {
    let peer = Peer::start(Manner::Reply(binary(1, &[0.5]))).await;
    let pools = json!({"first": pool([&peer.address])});
    let mut model = model(&json!([{"pool": "first"}, {"default": {"label": 7, "score": [0.0]}}]));
    model["guards"] = json!({"constant": {"answers": 5, "for": "0s", "then": then}});
    let gateway = Gateway::ready(config(&pools, &json!({"m": model}))).await;
    (peer, gateway)
}

#[tokio::test]
async fn a_constant_output_raises_an_alarm_once() {
    let (peer, gateway) = monotonous("alarm").await;
    for _ in 0..20 {
        assert_eq!(labels_of_binary(&gateway.ask(&rows(&[0.5])).await), 1);
    }
    assert!(gateway.events("guard").await.is_empty(), "one request says nothing");
    for at in 0..20 {
        assert_eq!(labels_of_binary(&gateway.ask(&rows(&[f64::from(at)])).await), 1);
    }
    let events = gateway.events("guard").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["to"], "constant");
    let line = "mainstay_guard_broken_total{model=\"m\",guard=\"constant\"}";
    assert!((metric(&gateway, line).await - 1.0).abs() < 0.5);
    peer.set_manner(Manner::Reply(binary(1, &[0.75])));
    gateway.ask(&rows(&[0.5])).await;
    assert_eq!(gateway.events("guard").await[1]["to"], "varied");
}

#[tokio::test]
async fn a_constant_output_can_be_rejected() {
    let (_peer, gateway) = monotonous("reject").await;
    let mut last = None;
    for at in 0..10 {
        last = Some(gateway.ask(&rows(&[f64::from(at)])).await);
    }
    let last = last.expect("it was asked");
    assert_eq!(labels(&last), [7], "the default stands in");
    assert_eq!(last.header("x-mainstay-served-by"), Some("default"));
}

/// The label in the JSON head of a binary answer.
fn labels_of_binary(answer: &Answer) -> i64 {
    let length = answer.header("inference-header-content-length").expect("binary data");
    let head = &answer.body[..length.parse().expect("a number")];
    let head: Value = serde_json::from_slice(head).expect("a head in JSON");
    digits::labels(&head)[0]
}
