//! Down the fallback chain: low confidence, other pools, models of the gateway's own, defaults.

use serde_json::{Value, json};

use crate::support::demo;
use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Request};
use crate::support::peer::{Manner, Peer, closed_port};

/// Rows whose only value the peers take for their confidence.
fn rows(confidences: &[f64]) -> Request {
    let body = json!({
        "id": "the-clients-own",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [confidences.len(), 1], "data": confidences}
        ]
    });
    Request::post("/v2/models/m/infer", body.to_string())
}

fn confident(pool: &str, at_least: f64) -> Value {
    json!({"pool": pool, "confidence": {"output": "score", "at-least": at_least}})
}

/// A gateway over two pools with a default behind them.
async fn judged_by(first: &Peer, second: &Peer, change: impl FnOnce(&mut Value)) -> Gateway {
    let pools = json!({"first": pool([&first.address]), "second": pool([&second.address])});
    let mut model = json!({
        "deadline": "2s",
        "batch": "first-dimension",
        "outputs": {
            "label": {"datatype": "INT64", "shape": [-1]},
            "score": {"datatype": "FP32", "shape": [-1, 1]}
        },
        "chain": [
            confident("first", 0.8),
            confident("second", 0.4),
            {"default": {"label": -1, "score": [0.0]}}
        ]
    });
    change(&mut model);
    Gateway::ready(config(&pools, &json!({"m": model}))).await
}

async fn two_judges() -> (Peer, Peer) {
    (Peer::start(Manner::Judge { label: 1 }).await, Peer::start(Manner::Judge { label: 2 }).await)
}

fn labels(answer: &Answer) -> Vec<i64> {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    digits::labels(&answer.json())
}

#[tokio::test]
async fn rows_of_low_confidence_move_on_alone_and_come_back_in_order() {
    let (first, second) = two_judges().await;
    let gateway = judged_by(&first, &second, |_| ()).await;
    let answer = gateway.ask(&rows(&[0.9, 0.5, 0.85, 0.6, 0.95])).await;
    assert_eq!(labels(&answer), [1, 2, 1, 2, 1]);
    assert!(answer.is_degraded());
    assert_eq!(answer.header("x-mainstay-reason"), Some("low-confidence"));
    let body = answer.json();
    assert_eq!(body["id"], "the-clients-own");
    assert_eq!(body["parameters"]["degraded"], true);

    let asked = second.received();
    assert_eq!(asked.len(), 1);
    let asked = asked[0].json();
    assert_eq!(asked["inputs"][0]["data"], json!([0.5, 0.6]), "only the open rows are sent");
    assert_eq!(asked["inputs"][0]["shape"], json!([2, 1]));
    let record = gateway.record(&answer).await;
    assert_eq!((&record["rows"], &record["rows_moved"]), (&json!(5), &json!(2)), "{record}");
}

#[tokio::test]
async fn a_confident_answer_stays_the_servers_bytes() {
    let (first, second) = two_judges().await;
    let gateway = judged_by(&first, &second, |_| ()).await;
    let answer = gateway.ask(&rows(&[0.9, 0.8])).await;
    assert_eq!(labels(&answer), [1, 1]);
    assert!(!answer.is_degraded());
    assert!(second.received().is_empty());
}

#[tokio::test]
async fn the_best_answer_stands_when_no_step_is_confident() {
    let (first, second) = two_judges().await;
    let gateway = judged_by(&first, &second, |_| ()).await;
    let answer = gateway.ask(&rows(&[0.9, 0.2])).await;
    assert_eq!(labels(&answer), [1, 1], "both are as unsure of the second row: the first stands");
}

#[tokio::test]
async fn the_default_stands_when_that_is_asked_for() {
    let (first, second) = two_judges().await;
    let gateway = judged_by(&first, &second, |model| model["exhausted"] = json!("default")).await;
    let answer = gateway.ask(&rows(&[0.9, 0.2, 0.5])).await;
    assert_eq!(labels(&answer), [1, -1, 2]);
    assert!(answer.is_degraded());
}

#[tokio::test]
async fn an_error_stands_when_that_is_asked_for() {
    let (first, second) = two_judges().await;
    let gateway = judged_by(&first, &second, |model| {
        model["exhausted"] = json!("error");
        model["chain"] = json!([confident("first", 0.8), confident("second", 0.4)]);
    })
    .await;
    let answer = gateway.ask(&rows(&[0.9, 0.2])).await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    answer.protocol_error();
}

#[tokio::test]
async fn a_default_is_repeated_for_every_row() {
    let dead = closed_port().await;
    let pools = json!({"gone": pool([&dead])});
    let model = json!({
        "deadline": "1s",
        "batch": "first-dimension",
        "outputs": {
            "label": {"datatype": "INT64", "shape": [-1]},
            "probabilities": {"datatype": "FP32", "shape": [-1, 2]}
        },
        "chain": [{"pool": "gone"}, {"default": {"label": 7, "probabilities": [0.5, 0.5]}}]
    });
    let gateway = Gateway::start(config(&pools, &json!({"m": model}))).await;
    let answer = gateway.ask(&rows(&[0.1, 0.2, 0.3])).await;
    assert_eq!(labels(&answer), [7, 7, 7]);
    assert_eq!(answer.header("x-mainstay-served-by"), Some("default"));
    let body = answer.json();
    assert_eq!(body["outputs"][1]["shape"], json!([3, 2]));
    assert_eq!(body["outputs"][1]["data"], json!([0.5, 0.5, 0.5, 0.5, 0.5, 0.5]));
}

#[tokio::test]
async fn the_embedded_model_answers_a_batch_about_right() {
    let dead = closed_port().await;
    let model = json!({
        "deadline": "1s",
        "chain": [{"pool": "gone"}, {"embedded": demo("digits-logistic.onnx")}]
    });
    let gateway =
        Gateway::start(config(&json!({"gone": pool([&dead])}), &json!({MODEL: model}))).await;
    let rows = &digits::all()[..200];
    let answer = gateway.ask(&digits::infer(rows)).await;
    let found = labels(&answer);
    let right = rows.iter().zip(&found).filter(|(row, label)| row.label == **label).count();
    assert_eq!(found.len(), rows.len());
    assert!(right >= 170, "{right} of {} right", rows.len());
    assert_eq!(answer.header("x-mainstay-served-by"), Some("embedded:digits-logistic"));
}

#[tokio::test]
async fn a_client_may_prefer_an_error_to_a_lesser_answer() {
    let (dead, good) = (closed_port().await, Peer::good(1.0).await);
    let pools = json!({"gone": pool([&dead]), "lesser": pool([&good.address])});
    let chain = json!([{"pool": "gone"}, {"pool": "lesser"}]);
    let models = json!({"m": {"deadline": "1s", "chain": chain}});
    let gateway = Gateway::start(config(&pools, &models)).await;
    let request = Request::post("/v2/models/m/infer", "{\"inputs\":[]}");
    let strict = gateway.ask(&request.clone().header("x-mainstay-degrade", "never")).await;
    assert_eq!(strict.status(), 503, "{}", strict.text());
    strict.protocol_error();
    assert_eq!(gateway.ask(&request).await.status(), 200);
}

#[tokio::test]
async fn a_step_that_degrade_never_rules_out_is_refused_at_the_start() {
    let (dead, good) = (closed_port().await, Peer::good(1.0).await);
    let pools = json!({"gone": pool([&dead]), "lesser": pool([&good.address])});
    let chain = json!([{"pool": "gone"}, {"pool": "lesser"}]);
    let models = json!({"m": {"deadline": "1s", "degrade": "never", "chain": chain}});
    let ended = Gateway::refused(config(&pools, &models)).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("never reached"), "{}", ended.stderr);
}
