//! Health checks that lie: a hung server whose front passes probes, and a busy one that misses
//! them. And what servers say and count themselves.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::digits::{self, MODEL};
use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Request, ask};
use crate::support::load::Load;
use crate::support::model_server::ModelServer;
use crate::support::peer::{Manner, Peer, good};

const DEADLINE: Duration = Duration::from_secs(1);
/// In which a server must be out that answers its probes and nothing else.
const OUT_WITHIN: Duration = Duration::from_secs(3);

fn infer() -> Request {
    Request::post("/v2/models/m/infer", "{\"inputs\":[]}")
}

/// The events about the verdict on an endpoint.
async fn changes(gateway: &Gateway, endpoint: &str) -> Vec<Value> {
    let of = |event: &Value| event["subject"].as_str().is_some_and(|s| s.contains(endpoint));
    gateway.events("verdict").await.into_iter().filter(of).collect()
}

#[tokio::test]
async fn a_frozen_server_behind_a_front_that_passes_probes_is_out_and_comes_back() {
    let servers = ModelServer::several(3).await;
    let front = Peer::start(Manner::Forward(servers[0].address)).await;
    let mut pool = pool([&front.address, &servers[1].address, &servers[2].address]);
    // The verdict alone has to do it.
    pool["breaker"] = json!("off");
    pool["balance"] = json!("round-robin");
    let models = json!({MODEL: {"deadline": "1s", "chain": [{"pool": "forest"}]}});
    let gateway = Gateway::ready(config(&json!({"forest": pool}), &models)).await;
    let rows = digits::all();
    let load = Load::start(gateway.http, 100, move |number| {
        digits::infer(&rows[number % rows.len()..][..1])
    });
    load.more(150).await;

    let frozen = Instant::now();
    servers[0].freeze();
    let name = front.address.to_string();
    gateway.until_verdict(&name, "stalled").await;
    let out = frozen.elapsed();
    assert!(out < OUT_WITHIN, "out after {out:?}");
    let last = changes(&gateway, &name).await.pop().expect("an event");
    assert!(last["cause"].as_str().expect("a cause").starts_with("nothing came for"), "{last}");
    let evidence = gateway.targets().await[0].1["evidence"].clone();
    assert!(evidence.as_str().expect("evidence").contains("probe passed"), "{evidence}");
    load.more(400).await;
    let between: Vec<_> = changes(&gateway, &name).await;
    assert_eq!(between.last().expect("events")["to"], "stalled", "it does not flap: {between:?}");

    servers[0].thaw();
    gateway.until_verdict(&name, "ready").await;
    let last = changes(&gateway, &name).await.pop().expect("an event");
    assert_eq!(last["cause"], "a real request completed", "{last}");
    let asked = front.received().len();
    eventually("it has traffic again", || async {
        (front.received().len() > asked + 10).then_some(())
    })
    .await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}

#[tokio::test]
async fn a_server_too_busy_for_its_probes_never_leaves_traffic() {
    let slow = Manner::Slow(Duration::from_millis(30), good(1.0));
    let (busy, other) = (Peer::start(slow.clone()).await, Peer::start(slow).await);
    let mut pool = pool([&busy.address, &other.address]);
    pool["balance"] = json!("round-robin");
    pool["hedge"] = json!("off");
    pool["probe"] = json!({
        "interval": "300ms", "fast-interval": "200ms", "down-interval": "200ms", "timeout": "150ms"
    });
    let models = json!({"m": {"deadline": "1s", "chain": [{"pool": "p"}]}});
    let gateway = Gateway::ready(config(&json!({"p": pool}), &models)).await;
    let load = Load::start(gateway.http, 60, |_| infer());
    load.more(30).await;

    busy.ignore_probes();
    let name = busy.address.to_string();
    gateway.until_verdict(&name, "busy").await;
    // Many rounds of probes, none of which is answered.
    for _ in 0..8 {
        let asked = busy.received().len();
        load.more(30).await;
        assert!(busy.received().len() > asked + 5, "it has its share");
    }
    let changes = changes(&gateway, &name).await;
    let verdicts: Vec<_> = changes.iter().map(|event| event["to"].clone()).collect();
    assert_eq!(verdicts, [json!("ready"), json!("busy")], "{changes:?}");
    let cause = changes[1]["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("requests complete"), "{cause}");
    busy.set_ready(true);
    gateway.until_verdict(&name, "ready").await;
    let last = gateway.events("verdict").await.pop().expect("an event");
    assert_eq!((&last["from"], &last["to"]), (&json!("busy"), &json!("ready")), "{last}");
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    assert!(report.samples.iter().all(|sample| !sample.was_retried()), "and nothing failed");
}

/// Says how an endpoint is, with the token that servers have.
async fn beat(gateway: &Gateway, endpoint: &str, body: &Value) -> Answer {
    let token = std::fs::read_to_string(gateway.heartbeat_token_file()).expect("it was made");
    let path = format!("/v1/heartbeats/p/{endpoint}");
    let request = Request { body: body.to_string().into_bytes(), ..Request::new("PUT", &path) };
    ask(gateway.admin, &request.header("authorization", &format!("Bearer {}", token.trim()))).await
}

/// Beats in a steady rhythm until it is dropped.
struct Heart(JoinHandle<()>);

impl Heart {
    fn start(gateway: &Gateway, endpoint: &str, body: &Value) -> Self {
        let token = std::fs::read_to_string(gateway.heartbeat_token_file()).expect("it was made");
        let path = format!("/v1/heartbeats/p/{endpoint}");
        let request = Request { body: body.to_string().into_bytes(), ..Request::new("PUT", &path) };
        let request = request.header("authorization", &format!("Bearer {}", token.trim()));
        let admin = gateway.admin;
        Self(tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(250));
            loop {
                tick.tick().await;
                assert_eq!(ask(admin, &request).await.status(), 200);
            }
        }))
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
async fn a_server_that_says_it_drains_leaves_without_a_failed_request() {
    let mut servers = ModelServer::several(2).await;
    let mut pool = pool(servers.iter().map(|server| &server.address));
    pool["balance"] = json!("round-robin");
    pool["hedge"] = json!("off");
    pool["heartbeat"] = json!({"interval": "250ms", "misses": 4});
    let models = json!({MODEL: {"deadline": "1s", "chain": [{"pool": "p"}]}});
    let gateway = Gateway::ready(config(&json!({"p": pool}), &models)).await;
    let name = servers[0].name();
    let rows = digits::all();
    let load = Load::start(gateway.http, 100, move |number| {
        digits::infer(&rows[number % rows.len()..][..1])
    });
    let heart = Heart::start(&gateway, &name, &json!({"lifetime": "1s", "load": 0.4}));
    eventually("its load is shown", || async {
        let evidence = gateway.targets().await[0].1["evidence"].clone();
        evidence.as_str()?.contains("ready, load 0.40").then_some(())
    })
    .await;
    load.more(100).await;
    drop(heart);

    let body = json!({"lifetime": "1s", "state": "draining"});
    let heart = Heart::start(&gateway, &name, &body);
    gateway.until_verdict(&name, "draining").await;
    load.more(50).await;
    drop(heart);
    assert_eq!(servers[0].terminate().await, Some(0));
    load.more(200).await;
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    assert!(report.samples.iter().all(|sample| !sample.was_retried()), "nobody noticed");
    gateway.until_verdict(&name, "dead").await;
    let seen: Vec<_> = changes(&gateway, &name).await;
    let draining = seen.iter().find(|event| event["to"] == "draining").expect("an event");
    assert_eq!(draining["cause"], "its heartbeat says draining");

    servers[0].restart().await;
    gateway.until_verdict(&name, "ready").await;
}

#[tokio::test]
async fn missed_heartbeats_are_suspected_and_take_nobody_out_who_answers() {
    let (silent, other) = (Peer::good(1.0).await, Peer::good(2.0).await);
    let mut pool = pool([&silent.address, &other.address]);
    pool["balance"] = json!("round-robin");
    pool["heartbeat"] = json!({"interval": "250ms", "misses": 8});
    let models = json!({"m": {"deadline": "1s", "chain": [{"pool": "p"}]}});
    let gateway = Gateway::ready(config(&json!({"p": pool}), &models)).await;
    let name = silent.address.to_string();
    let answer = beat(&gateway, &name, &json!({})).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({"renew_seconds": 0.25, "lifetime_seconds": 2.0}));
    gateway.until_verdict(&name, "slow").await;
    let last = changes(&gateway, &name).await.pop().expect("an event");
    assert!(last["cause"].as_str().expect("a cause").contains("(suspicion"), "{last}");
    eventually("the heartbeat is gone", || async {
        let evidence = gateway.targets().await[0].1["evidence"].clone();
        evidence.as_str()?.contains("heartbeat gone").then_some(())
    })
    .await;
    for _ in 0..30 {
        assert_eq!(gateway.ask(&infer()).await.status(), 200);
    }
    assert!(silent.received().len() >= 3, "it answers, so it is asked");
    assert_eq!(beat(&gateway, &name, &json!({})).await.status(), 200);
    gateway.until_verdict(&name, "ready").await;
}

#[tokio::test]
async fn only_configured_endpoints_speak_and_only_with_a_token() {
    use std::os::unix::fs::PermissionsExt;
    let peer = Peer::good(1.0).await;
    let models = json!({"m": {"deadline": "1s", "chain": [{"pool": "p"}]}});
    let gateway = Gateway::ready(config(&json!({"p": pool([&peer.address])}), &models)).await;
    let unknown = beat(&gateway, "10.0.0.1:1", &json!({})).await;
    assert_eq!(unknown.status(), 404, "{}", unknown.text());
    let request = Request::new("PUT", &format!("/v1/heartbeats/p/{}", peer.address));
    assert_eq!(ask(gateway.admin, &request).await.status(), 401);
    let operator = request.header("authorization", &format!("Bearer {}", gateway.token()));
    let operator = Request { body: b"{}".to_vec(), ..operator };
    assert_eq!(ask(gateway.admin, &operator).await.status(), 200, "operators may all");
    let mode = std::fs::metadata(gateway.heartbeat_token_file()).expect("a file").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

/// A page of counters as Triton writes it.
fn tritons(done: usize, pending: usize) -> String {
    format!(
        "# HELP nv_inference_request_success Number of successful inference requests\n\
         # TYPE nv_inference_request_success counter\n\
         nv_inference_request_success{{model=\"m\",version=\"1\"}} {done}\n\
         nv_inference_request_success{{model=\"other\",version=\"1\"}} 7\n\
         # TYPE nv_inference_pending_request_count gauge\n\
         nv_inference_pending_request_count{{model=\"m\",version=\"1\"}} {pending}\n"
    )
}

#[tokio::test]
async fn what_a_server_counts_itself_tells_hung_from_busy() {
    let peer = Peer::good(1.0).await;
    peer.set_page(tritons(100, 0));
    let mut pool = pool([&peer.address]);
    pool["counters"] = json!({"kind": "triton", "port": peer.address.port(), "interval": "200ms"});
    let models = json!({"m": {"deadline": "1s", "chain": [{"pool": "p"}]}});
    let gateway = Gateway::ready(config(&json!({"p": pool}), &models)).await;
    let name = peer.address.to_string();
    // So that it is known how long an answer takes.
    for _ in 0..40 {
        assert_eq!(gateway.ask(&infer()).await.status(), 200);
    }
    // From now on only others use it: requests wait there, and none is done.
    peer.set_page(tritons(140, 5));
    gateway.until_verdict(&name, "stalled").await;
    let last = changes(&gateway, &name).await.pop().expect("an event");
    let cause = last["cause"].as_str().expect("a cause");
    assert!(cause.contains("counters stand still") && cause.contains("5 requests"), "{cause}");

    peer.set_page(tritons(141, 4));
    gateway.until_verdict(&name, "ready").await;
    let last = changes(&gateway, &name).await.pop().expect("an event");
    assert_eq!(last["cause"], "its own counters advance again", "{last}");

    // Too busy for its probes, and working.
    peer.ignore_probes();
    let mut done = 141;
    eventually("it is busy", || {
        done += 1;
        peer.set_page(tritons(done, 9));
        async {
            let busy = gateway.verdicts().await[0].1 == "busy";
            busy.then_some(())
        }
    })
    .await;
    let last = changes(&gateway, &name).await.pop().expect("an event");
    let cause = last["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("its own counters advance"), "{cause}");
}
