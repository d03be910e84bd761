//! A server that serves the wrong model under the right name is found by a golden request.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::Request;
use crate::support::model_server::ModelServer;
use crate::support::peer::{Manner, Peer, closed_port, good};
use crate::support::process::{Ended, run};
use crate::support::{LIMIT, demo};

/// `mainstay golden`, asked for the first held-out digits.
async fn record(url: &str, folder: &Path) -> Ended {
    let input = folder.join("request.json");
    fs::write(&input, &digits::infer(&digits::all()[..3]).body).expect("written");
    let output = folder.join("golden.json");
    let (input, output) = (input.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));
    run(&["golden", url, MODEL, "--input", input, "--output", output], LIMIT).await
}

/// A pool that is asked the golden request in this folder often.
fn probed(servers: &[ModelServer], folder: &Path) -> Value {
    let mut pool = pool(servers.iter().map(|server| &server.address));
    let golden = json!({
        "files": [folder.join("golden.json")],
        "interval": "300ms", "timeout": "250ms"
    });
    pool["probe"] = json!({"golden": golden});
    // One server or the other, whatever they are like.
    pool["balance"] = json!("round-robin");
    pool
}

async fn until_wrong(gateway: &Gateway, server: &ModelServer) {
    gateway.until_verdict(&server.name(), "wrong").await;
}

#[tokio::test]
async fn the_wrong_model_under_the_right_name_is_out_and_the_right_one_comes_back() {
    let folder = TempDir::new().expect("a folder");
    let mut servers = ModelServer::several(2).await;
    let recorded = record(&format!("http://{}", servers[0].address), folder.path()).await;
    assert_eq!(recorded.code, Some(0), "{recorded:?}");

    let pools = json!({"forest": probed(&servers, folder.path())});
    let models = json!({MODEL: {"deadline": "2s", "chain": [{"pool": "forest"}]}});
    let gateway = Gateway::ready(config(&pools, &models)).await;

    // Same inputs, same outputs, other numbers: ready, fast, and wrong.
    servers[0].kill().await;
    servers[0].restart_with(&demo("digits-logistic.onnx")).await;
    until_wrong(&gateway, &servers[0]).await;
    let events = gateway.events("verdict").await;
    let said = events.iter().find(|event| event["to"] == "wrong").expect("an event")["cause"]
        .as_str()
        .expect("a cause");
    assert!(said.contains("golden request answered wrongly: output `"), "{said}");
    let targets = gateway.targets().await;
    let (_, wrong) = targets.iter().find(|(name, _)| *name == servers[0].name()).expect("it");
    let evidence = wrong["evidence"].as_str().expect("evidence");
    assert!(evidence.contains("expected"), "{evidence}");
    assert!(evidence.contains("probe passed"), "its readiness is beyond doubt: {evidence}");

    let rows = &digits::all()[..2];
    for _ in 0..20 {
        let answer = gateway.ask(&digits::infer(rows)).await;
        assert_eq!(answer.status(), 200);
        let record = gateway.record(&answer).await;
        assert_eq!(record["attempts"][0]["endpoint"], servers[1].name(), "{record}");
    }

    servers[0].kill().await;
    servers[0].restart().await;
    gateway.until_verdict(&servers[0].name(), "ready").await;
    let page = crate::support::http::ask(gateway.admin, &Request::get("/metrics")).await.text();
    let counted = format!(
        "mainstay_golden_requests_total{{pool=\"forest\",endpoint=\"{}\",model=\"{MODEL}\",result=\"wrong\"}}",
        servers[0].name()
    );
    let wrong = page.lines().find_map(|line| line.strip_prefix(&counted)).expect("a counter");
    assert!(wrong.trim().parse::<u64>().expect("a number") >= 2, "{wrong}");
}

#[tokio::test]
async fn a_recorded_file_fits_its_own_server_and_is_never_overwritten() {
    let folder = TempDir::new().expect("a folder");
    let server = ModelServer::start().await;
    let url = format!("http://{}", server.address);
    assert_eq!(record(&url, folder.path()).await.code, Some(0));
    let text = fs::read_to_string(folder.path().join("golden.json")).expect("it was written");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(file["model"], MODEL);
    assert_eq!(file["expect"]["outputs"][0]["shape"][0], 3);

    let again = record(&url, folder.path()).await;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);

    let gone = format!("http://{}", closed_port().await);
    let other = TempDir::new().expect("a folder");
    let nobody = record(&gone, other.path()).await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
}

#[tokio::test]
async fn the_only_server_is_asked_nevertheless_before_a_client_sees_an_error() {
    let folder = TempDir::new().expect("a folder");
    let peer = Peer::start(Manner::Reply(good(0.25))).await;
    let golden = json!({
        "request": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]},
        "expect": {"outputs": [{"name": "y", "datatype": "FP64", "shape": [1], "data": [0.5]}]}
    });
    let file = folder.path().join("golden.json");
    fs::write(&file, golden.to_string()).expect("written");
    let mut pool = pool([&peer.address]);
    pool["probe"] = json!({"golden": {"files": [file], "interval": "300ms", "timeout": "250ms"}});
    let models = json!({"m": {"deadline": "2s", "chain": [{"pool": "one"}]}});
    let gateway = Gateway::start(config(&json!({"one": pool}), &models)).await;
    gateway.until_verdict(&peer.address.to_string(), "wrong").await;
    let request = Request::post("/v2/models/m/infer", "{\"inputs\":[]}");
    let answer = gateway.ask(&request).await;
    assert_eq!(answer.status(), 200, "the last resort");
    let record = gateway.record(&answer).await;
    assert_eq!(record["attempts"][0]["why"], "last-resort", "{record}");
}
