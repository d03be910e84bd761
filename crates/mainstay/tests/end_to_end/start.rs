//! Starting: what refuses to start, what starts with one step less, and what is said of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::model_server::ModelServer;
use crate::support::onnx;
use crate::support::process::run;
use crate::support::{demo, eventually};

/// A model that no engine can run, between a pool and a default.
fn with_a_broken_step(server: &ModelServer, broken: &std::path::Path) -> Value {
    let model = json!({
        "deadline": "1s",
        "outputs": {
            "label": {"datatype": "INT64", "shape": [-1]},
            "probabilities": {"datatype": "FP32", "shape": [-1, 10]}
        },
        "batch": "first-dimension",
        "chain": [
            {"pool": "forest"},
            {"embedded": broken},
            {"default": {"label": -1, "probabilities": vec![0.1; 10]}}
        ]
    });
    config(&json!({"forest": pool([&server.address])}), &json!({MODEL: model}))
}

#[tokio::test]
async fn a_model_that_does_not_load_costs_its_step_alone() {
    let mut server = ModelServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let broken = onnx::with_unknown_operator(folder.path());
    let gateway = Gateway::ready(with_a_broken_step(&server, &broken)).await;
    let request = digits::infer(&digits::all()[..1]);
    assert_eq!(gateway.ask(&request).await.status(), 200);

    let status = gateway.status().await;
    let step = &status["models"][0]["steps"][1];
    assert_eq!((&step["kind"], &step["available"]), (&json!("embedded"), &json!(false)), "{step}");
    let why = step["why"].as_str().expect("it says why");
    assert!(why.contains(onnx::UNKNOWN_OPERATOR), "the operator is named: {why}");
    let alert = gateway.events("step").await;
    let cause = alert[0]["cause"].as_str().expect("a cause");
    assert!(cause.contains(onnx::UNKNOWN_OPERATOR), "the alert names it: {cause}");

    server.kill().await;
    let answer = gateway.ask(&request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-mainstay-served-by"), Some("default"), "the fallback works");
}

#[tokio::test]
async fn a_file_that_is_mended_is_loaded_and_one_that_is_spoilt_is_not() {
    let mut server = ModelServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = onnx::with_unknown_operator(folder.path());
    let spoilt = std::fs::read(&file).unwrap();
    let gateway = Gateway::ready(with_a_broken_step(&server, &file)).await;
    server.kill().await;
    // Put in place by a rename, as one should: nobody may read half a file.
    let put = |bytes: &[u8]| {
        let next = folder.path().join("next");
        std::fs::write(&next, bytes).unwrap();
        std::fs::rename(&next, &file).unwrap();
    };
    let request = digits::infer(&digits::all()[..1]);
    let served_by = || async {
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.header("x-mainstay-served-by").expect("it is degraded").to_owned()
    };
    assert_eq!(served_by().await, "default");
    put(&std::fs::read(demo("digits-logistic.onnx")).unwrap());
    eventually("the mended file answers", || async {
        (served_by().await == "embedded:tea-leaves").then_some(())
    })
    .await;

    put(&spoilt);
    eventually("the spoilt file is noticed", || async {
        let events = gateway.events("step").await;
        events.iter().any(|event| event["to"] == "outdated").then_some(())
    })
    .await;
    assert_eq!(served_by().await, "embedded:tea-leaves", "the old model stays");
}

#[tokio::test]
async fn strict_start_refuses_a_model_that_does_not_load() {
    let server = ModelServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let broken = onnx::with_unknown_operator(folder.path());
    let mut config = with_a_broken_step(&server, &broken);
    config["strict-start"] = json!(true);
    let ended = Gateway::refused(config).await;
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
    assert!(ended.stderr.contains(onnx::UNKNOWN_OPERATOR), "{}", ended.stderr);
    assert!(!ended.stdout.contains("listening"), "{}", ended.stdout);
}

#[tokio::test]
async fn a_server_that_is_not_there_does_not_keep_the_gateway_from_starting() {
    let mut server = ModelServer::start().await;
    server.kill().await;
    let models = json!({MODEL: {"deadline": "1s", "chain": [{"pool": "forest"}]}});
    let pools = json!({"forest": pool([&server.address])});
    let gateway = Gateway::start(config(&pools, &models)).await;
    gateway.until_verdict(&server.name(), "dead").await;
    server.restart().await;
    gateway.until_verdict(&server.name(), "ready").await;
    assert_eq!(gateway.ask(&digits::infer(&digits::all()[..1])).await.status(), 200);
}

#[tokio::test]
async fn five_faults_get_five_messages_and_the_code_2() {
    let faulty = r#"
listen: {http: "127.0.0.1:0"}
worker: 2
pools:
  a:
    endpoints: [{url: "http://127.0.0.1:1"}]
    probe: {interval: 1s, timeout: 2s}
  b:
    endpoints: [{url: "htp:/nowhere"}]
models:
  m:
    deadline: soon
    chain: [{pool: c}]
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faulty.yaml");
    std::fs::write(&path, faulty).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [&["check", path][..], &["serve", "--config", path]] {
        let ended = run(arguments, Duration::from_secs(30)).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let messages = ended.stderr.matches("MS01").count();
        assert!(messages >= 5, "{messages} messages:\n{}", ended.stderr);
        for place in
            ["faulty.yaml:3", "faulty.yaml:7", "faulty.yaml:9", "faulty.yaml:12", "faulty.yaml:13"]
        {
            assert!(ended.stderr.contains(place), "no {place} in\n{}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_said() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let models = json!({"m": {"deadline": "1s", "chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&taken.local_addr().unwrap()])}), &models);
    config["listen"] = json!({"http": address});
    let ended = Gateway::refused(config).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}
