//! Clients and servers of TensorFlow Serving's REST API and KServe's V1 protocol, alone and in
//! chains that cross to the Open Inference Protocol.

use std::time::Duration;

use mainstay_faults::{Script, Server};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::digits::{self, Digit, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Request};
use crate::support::load::Load;
use crate::support::model_server::ModelServer;
use crate::support::{demo, eventually};

const RATE: u32 = 200;
const DEADLINE: Duration = Duration::from_secs(1);

/// A pool of servers that speak V1.
fn v1_pool<'a>(addresses: impl IntoIterator<Item = &'a std::net::SocketAddr>) -> Value {
    let mut pool = pool(addresses);
    pool["protocol"] = json!("v1");
    pool
}

/// The digits' model over these steps.
fn model(chain: &Value) -> Value {
    json!({
        "deadline": "1s",
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, 64]}},
        "outputs": {
            "label": {"datatype": "INT64", "shape": [-1]},
            "probabilities": {"datatype": "FP32", "shape": [-1, 10]}
        },
        "batch": "first-dimension",
        "chain": chain
    })
}

fn default_step() -> Value {
    json!({"default": {"label": -1, "probabilities": vec![0.1; 10]}})
}

/// A prediction by rows.
fn predict(rows: &[Digit]) -> Request {
    let instances: Vec<_> = rows.iter().map(|row| row.pixels.clone()).collect();
    Request::post("/v1/models/digits:predict", json!({"instances": instances}).to_string())
}

/// The labels of an answer by rows.
fn labels(answer: &Answer) -> Vec<i64> {
    let body = answer.json();
    let rows = body["predictions"].as_array().unwrap_or_else(|| panic!("{body}"));
    rows.iter().map(|row| row["label"].as_i64().expect("a label")).collect()
}

fn load(gateway: &Gateway) -> Load {
    let rows = digits::all();
    Load::start(gateway.http, RATE, move |number| predict(&rows[number % rows.len()..][..1]))
}

#[tokio::test]
async fn a_v1_server_killed_and_another_frozen_cost_no_request() {
    let mut servers = ModelServer::several(3).await;
    let pools = json!({"tf": v1_pool(servers.iter().map(|it| &it.address))});
    let chain = json!([{"pool": "tf"}, default_step()]);
    let gateway = Gateway::ready(config(&pools, &json!({MODEL: model(&chain)}))).await;
    let load = load(&gateway);
    load.more(200).await;
    servers[0].kill().await;
    load.more(200).await;
    servers[1].freeze();
    load.more(400).await;
    servers[1].thaw();
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    assert!(report.samples.iter().all(|sample| !sample.is_degraded()), "a server was left");
}

#[tokio::test]
async fn a_chain_goes_from_v1_to_oip_to_the_embedded_model() {
    let mut tf = ModelServer::start().await;
    let mut triton = ModelServer::start().await;
    let pools = json!({"tf": v1_pool([&tf.address]), "triton": pool([&triton.address])});
    let chain = json!([
        {"pool": "tf"},
        {"pool": "triton", "equivalent": true},
        {"embedded": demo("digits-logistic.onnx")},
        default_step()
    ]);
    let gateway = Gateway::ready(config(&pools, &json!({MODEL: model(&chain)}))).await;
    let rows = digits::all();
    let first = gateway.ask(&predict(&rows[..5])).await;
    assert_eq!(first.header("x-mainstay-served-by"), None, "{first:?}");
    let load = load(&gateway);
    load.more(100).await;
    tf.kill().await;
    let killed = Instant::now();
    load.more(200).await;
    let second = gateway.ask(&predict(&rows[..5])).await;
    assert_eq!(labels(&second), labels(&first), "the same model by another protocol");
    assert!(!second.is_degraded(), "{second:?}");
    let record = gateway.record(&second).await;
    assert_eq!(record["attempts"].as_array().unwrap().last().unwrap()["pool"], "triton");
    triton.kill().await;
    load.more(200).await;
    let third = gateway.ask(&predict(&rows[..5])).await;
    assert!(third.is_degraded(), "{third:?}");
    assert_eq!(labels(&third).len(), 5);
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    assert!(report.since(killed).len() > 200);
}

#[tokio::test]
async fn the_default_is_said_by_rows_and_by_columns() {
    let servers = ModelServer::several(1).await;
    let address = servers[0].address;
    drop(servers);
    let pools = json!({"tf": v1_pool([&address])});
    let chain = json!([{"pool": "tf"}, default_step()]);
    let mut model = model(&chain);
    // What a default says needs no inputs.
    model.as_object_mut().unwrap().remove("inputs");
    let gateway = Gateway::start(config(&pools, &json!({MODEL: model}))).await;
    let by_rows = gateway.ask(&predict(&digits::all()[..2])).await;
    assert_eq!((by_rows.status(), labels(&by_rows)), (200, vec![-1, -1]));
    assert!(by_rows.is_degraded() && by_rows.header("x-mainstay-reason").is_some());
    let columns = json!({"inputs": {"x": [vec![0.0; 64]]}}).to_string();
    let by_columns = gateway.ask(&Request::post("/v1/models/digits:predict", columns)).await;
    assert_eq!(by_columns.json()["outputs"]["label"], json!([-1]), "{by_columns:?}");
}

#[tokio::test]
async fn clients_of_the_other_protocol_are_translated() {
    let servers = ModelServer::several(1).await;
    let pools = json!({
        "tf": v1_pool([&servers[0].address]),
        "triton": pool([&servers[0].address])
    });
    let renamed = |name: &str| json!([{"pool": name, "model": MODEL}]);
    let models = json!({"by-tf": model(&renamed("tf")), "by-triton": model(&renamed("triton"))});
    let gateway = Gateway::ready(config(&pools, &models)).await;
    let rows = &digits::all()[..3];
    let mut request = digits::infer(rows);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let named = json!({"id": "mine", "inputs": body["inputs"], "outputs": [{"name": "label"}]});
    request.path = "/v2/models/by-tf/infer".to_owned();
    request.body = named.to_string().into_bytes();
    let oip = gateway.ask(&request).await;
    assert_eq!(oip.status(), 200, "{}", oip.text());
    let answer = oip.json();
    assert_eq!((&answer["id"], &answer["model_name"]), (&json!("mine"), &json!("by-tf")));
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    let v1 = predict(rows);
    let asked = Request { path: "/v1/models/by-triton:predict".to_owned(), ..v1 };
    let answer = gateway.ask(&asked).await;
    assert_eq!(labels(&answer), digits::labels(&oip.json()));
    assert!(answer.header("x-mainstay-degraded").is_none());
    for (body, code) in [
        (json!({"instances": [[1, 2]]}), "MS0205"),
        (json!({"instances": [vec![0; 64]], "signature_name": "other"}), "MS0211"),
    ] {
        let asked = Request::post("/v1/models/by-triton:predict", body.to_string());
        let refused = gateway.ask(&asked).await;
        assert_eq!(refused.status(), 400, "{}", refused.text());
        assert_eq!(refused.header("x-mainstay-error"), Some(code), "{}", refused.text());
        assert!(refused.protocol_error().contains(code));
    }
}

#[tokio::test]
async fn rows_of_little_confidence_and_words_for_nan_move_on() {
    let script = |text: &str| text.parse::<Script>().unwrap();
    let unsure = Server::start(script("rules: [{behave: low-confidence}]")).await.unwrap();
    let broken = Server::start(script("rules: [{behave: nan}]")).await.unwrap();
    let good = Server::start(Script::default()).await.unwrap();
    let pools = json!({
        "unsure": v1_pool([&unsure.address()]),
        "broken": v1_pool([&broken.address()]),
        "good": v1_pool([&good.address()])
    });
    let confident = |pool: &str| json!({"pool": pool, "confidence": {"output": "probabilities", "at-least": 0.8}});
    let chain = json!([confident("unsure"), confident("broken"), {"pool": "good"}]);
    let model = json!({
        "batch": "first-dimension",
        "outputs": {
            "y": {"datatype": "FP32", "shape": [-1]},
            "probabilities": {"datatype": "FP32", "shape": [-1, 2]}
        },
        "guards": {"finite": true},
        "chain": chain
    });
    let gateway = Gateway::ready(config(&pools, &json!({"m": model}))).await;
    let body = json!({"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}).to_string();
    let answer = gateway.ask(&Request::post("/v1/models/m:predict", body)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let body = answer.json();
    let ys: Vec<_> = body["predictions"].as_array().unwrap().iter().map(|it| &it["y"]).collect();
    assert_eq!(ys, [&json!(3.0), &json!(7.0)], "{body}");
    let record = gateway.record(&answer).await;
    assert_eq!(record["attempts"].as_array().unwrap().len(), 3, "{record}");
}

#[tokio::test]
async fn last_good_answers_are_given_again() {
    let mut tf = ModelServer::start().await;
    let pools = json!({"tf": v1_pool([&tf.address])});
    let chain = json!([{"pool": "tf"}, {"last-good": "10m"}]);
    let gateway = Gateway::ready(config(&pools, &json!({MODEL: model(&chain)}))).await;
    let request = predict(&digits::all()[..2]);
    let first = gateway.ask(&request).await;
    tf.kill().await;
    let again = eventually("the answer again", || async {
        let answer = gateway.ask(&request).await;
        (answer.status() == 200).then_some(answer)
    })
    .await;
    assert!(again.is_degraded() && again.header("age").is_some(), "{again:?}");
    assert_eq!(again.body, first.body);
}

#[tokio::test]
async fn status_metadata_and_the_list_answer_clients_of_both_kinds() {
    let server = ModelServer::start().await;
    let pools = json!({"tf": v1_pool([&server.address])});
    let gateway =
        Gateway::ready(config(&pools, &json!({MODEL: model(&json!([{"pool": "tf"}]))}))).await;
    let get = |path: &'static str| {
        let gateway = &gateway;
        async move { gateway.ask(&Request::get(path)).await }
    };
    let status = get("/v1/models/digits").await.json();
    assert_eq!((&status["name"], &status["ready"]), (&json!(MODEL), &json!(true)));
    assert_eq!(status["model_version_status"][0]["state"], "AVAILABLE");
    assert_eq!(get("/v1/models").await.json(), json!({"models": [MODEL]}));
    let metadata = get("/v1/models/digits/metadata").await.json();
    assert_eq!(metadata["model_spec"]["name"], MODEL, "{metadata}");
    let unknown = get("/v1/models/none").await;
    assert_eq!((unknown.status(), unknown.header("x-mainstay-error")), (404, Some("MS0202")));
    let method = get("/v1/models/digits:predict").await;
    assert_eq!((method.status(), method.header("x-mainstay-error")), (405, Some("MS0203")));
    let regress = Request::post("/v1/models/digits:regress", "{}");
    assert_eq!(gateway.ask(&regress).await.status(), 404, "the server's own word");
}
