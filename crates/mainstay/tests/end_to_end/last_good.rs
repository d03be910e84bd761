//! The last good answers: given again when no server is left, after a restart too, and not when
//! they are too old.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Request};
use crate::support::peer::{Manner, Peer, good};

/// A request for one row of this value, under a name of its own.
fn row(id: &str, value: f64) -> Request {
    let body = json!({
        "id": id,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}]
    });
    Request::post("/v2/models/m/infer", body.to_string())
}

/// A pool, what it answered last, and a default behind both.
fn model(last_good: &Value) -> Value {
    json!({
        "deadline": "2s",
        "outputs": {"y": {"datatype": "FP64", "shape": [1]}},
        "chain": [{"pool": "p"}, {"last-good": last_good}, {"default": {"y": [-1.0]}}]
    })
}

fn value(answer: &Answer) -> f64 {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["outputs"][0]["data"][0].as_f64().expect("a number")
}

/// Waits until so many good answers have been taken in.
async fn until_stored(gateway: &Gateway, count: u64) {
    eventually("good answers are taken in", || async {
        let status = gateway.status().await;
        (status["last_good"]["stored"].as_u64() >= Some(count)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_same_inputs_are_answered_from_what_servers_said_last() {
    let peer = Peer::good(0.75).await;
    let pools = json!({"p": pool([&peer.address])});
    let gateway = Gateway::ready(config(&pools, &json!({"m": model(&json!("10m"))}))).await;
    let first = gateway.ask(&row("first", 1.0)).await;
    assert!(!first.is_degraded());
    until_stored(&gateway, 1).await;
    drop(peer);

    let again = gateway.ask(&row("second", 1.0)).await;
    assert_eq!(value(&again), 0.75);
    assert_eq!(again.header("x-mainstay-served-by"), Some("last-good"));
    assert!(again.is_degraded());
    let age: u64 = again.header("age").expect("its age").parse().expect("a number of seconds");
    let body = again.json();
    assert_eq!(body["id"], "second", "the new request's own name: {body}");
    assert_eq!(body["parameters"]["served_by"], "last-good");
    assert_eq!(body["parameters"]["age"], age);

    let other = gateway.ask(&row("third", 2.0)).await;
    assert_eq!((value(&other), other.header("x-mainstay-served-by")), (-1.0, Some("default")));
    assert_eq!(other.header("age"), None);
    let status = gateway.status().await;
    assert_eq!(
        (&status["last_good"]["hits"], &status["last_good"]["misses"]),
        (&json!(1), &json!(1))
    );
    let steps = &status["models"][0]["steps"];
    assert_eq!((&steps[1]["kind"], &steps[1]["available"]), (&json!("last-good"), &json!(true)));
}

#[tokio::test]
async fn a_caller_gets_only_what_it_got_itself_unless_callers_share() {
    for (rule, wanted) in [(json!("10m"), -1.0), (json!({"callers": "shared"}), 0.5)] {
        let peer = Peer::good(0.5).await;
        let pools = json!({"p": pool([&peer.address])});
        let gateway = Gateway::ready(config(&pools, &json!({"m": model(&rule)}))).await;
        let own = row("a", 1.0).header("authorization", "Bearer one");
        assert_eq!(value(&gateway.ask(&own).await), 0.5);
        until_stored(&gateway, 1).await;
        drop(peer);
        assert_eq!(value(&gateway.ask(&own).await), 0.5);
        let other = row("a", 1.0).header("authorization", "Bearer two");
        assert_eq!(value(&gateway.ask(&other).await), wanted, "{rule}");
    }
}

#[tokio::test]
async fn they_survive_a_restart_on_disk() {
    let peer = Peer::good(0.25).await;
    let pools = json!({"p": pool([&peer.address])});
    let gateway = Gateway::ready(config(&pools, &json!({"m": model(&json!("10m"))}))).await;
    for at in 0..20 {
        assert_eq!(value(&gateway.ask(&row("x", f64::from(at))).await), 0.25);
    }
    until_stored(&gateway, 20).await;
    eventually("all are on disk", || async {
        let status = gateway.status().await;
        (status["last_good"]["disk_bytes"].as_u64() >= Some(20 * 128)).then_some(())
    })
    .await;
    drop(peer);
    // As hard as it gets.
    let gateway = gateway.restarted_after_a_kill().await;
    for at in 0..20 {
        let again = gateway.ask(&row("y", f64::from(at))).await;
        assert_eq!(again.header("x-mainstay-served-by"), Some("last-good"), "{}", again.text());
        assert_eq!(value(&again), 0.25);
    }
    assert_eq!(gateway.status().await["last_good"]["entries"], 0, "from disk alone");
}

#[tokio::test]
async fn one_that_is_too_old_is_none() {
    let peer = Peer::good(0.25).await;
    let pools = json!({"p": pool([&peer.address])});
    let gateway = Gateway::ready(config(&pools, &json!({"m": model(&json!("1s"))}))).await;
    assert_eq!(value(&gateway.ask(&row("x", 1.0)).await), 0.25);
    until_stored(&gateway, 1).await;
    drop(peer);
    eventually("it is too old", || async {
        let answer = gateway.ask(&row("x", 1.0)).await;
        (answer.header("x-mainstay-served-by") == Some("default")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_good_answers_are_remembered() {
    let peer = Peer::good(0.25).await;
    let pools = json!({"p": pool([&peer.address])});
    let mut model = model(&json!("10m"));
    model["guards"] = json!({"outputs": {"y": {"range": [-1, 1]}}});
    let gateway = Gateway::ready(config(&pools, &json!({"m": model}))).await;
    assert_eq!(value(&gateway.ask(&row("x", 1.0)).await), 0.25);
    until_stored(&gateway, 1).await;
    peer.set_manner(Manner::Reply(good(7.0)));
    let refused = gateway.ask(&row("x", 1.0)).await;
    assert_eq!(value(&refused), 0.25, "the good one of before: {}", refused.text());
    assert_eq!(refused.header("x-mainstay-reason"), Some("guard-broken"));
    assert_eq!(value(&gateway.ask(&row("x", 2.0)).await), -1.0, "never a bad one");
    tokio::time::timeout(Duration::from_secs(60), until_stored(&gateway, 1)).await.unwrap();
    assert_eq!(gateway.status().await["last_good"]["stored"], 1);
}
