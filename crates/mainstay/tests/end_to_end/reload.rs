//! Another configuration and another binary under load: no request is lost, and what is known of the
//! servers stays.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Request, ask};
use crate::support::load::Load;
use crate::support::peer::{Manner, Peer, closed_port, good};
use crate::support::process::Stray;

const RATE: u32 = 150;
const DEADLINE: Duration = Duration::from_secs(10);
/// Reloads under load; `MAINSTAY_RELOADS=1000` makes a long run of it.
const RELOADS: usize = 200;

fn infer() -> Request {
    Request::post("/v2/models/m/infer", "{\"inputs\":[]}")
}

fn of<'a>(peers: impl IntoIterator<Item = &'a SocketAddr>) -> Value {
    let models = json!({"m": {"deadline": "10s", "chain": [{"pool": "p"}]}});
    config(&json!({"p": pool(peers)}), &models)
}

async fn reload(gateway: &Gateway) -> (u16, Value) {
    let request = Request::post("/api/reload", "")
        .header("authorization", &format!("Bearer {}", gateway.token()));
    let answer = ask(gateway.admin, &request).await;
    (answer.status(), answer.json())
}

/// Resident memory in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it says so");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test]
async fn reloads_under_load_fail_no_request_and_keep_what_is_known() {
    let peers = [Peer::good(1.0).await, Peer::good(2.0).await, Peer::good(3.0).await];
    let dead = closed_port().await;
    let all = [peers[0].address, peers[1].address, peers[2].address, dead];
    let gateway = Gateway::start(of(&all[..])).await;
    gateway.until_verdict(&dead.to_string(), "dead").await;
    let load = Load::start(gateway.http, RATE, |_| infer());
    load.more(50).await;
    let count = std::env::var("MAINSTAY_RELOADS").ok().and_then(|text| text.parse().ok());
    let (pid, mut first) = (gateway.process.id(), 0);
    let reloads = count.unwrap_or(RELOADS);
    for number in 0..reloads {
        // One of three comes and goes; the dead one stays, and so does the first.
        let some = [all[0], all[3], all[1 + number % 2]];
        let mut next = of(&some[..]);
        next["pools"]["p"]["breaker"] = json!({"consecutive": 5 + number % 3});
        gateway.rewrite(next);
        let (status, answer) = reload(&gateway).await;
        assert_eq!(status, 200, "{answer}");
        if number == reloads / 4 {
            first = memory(pid);
        }
        let known = gateway.verdicts().await;
        let verdict = |of: &SocketAddr| {
            let found = known.iter().find(|(name, _)| *name == of.to_string());
            found.map(|(_, verdict)| verdict.clone())
        };
        assert_eq!(verdict(&dead).as_deref(), Some("dead"), "after reload {number}: {known:?}");
        assert_eq!(verdict(&all[0]).as_deref(), Some("ready"), "after reload {number}: {known:?}");
    }
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    let last = memory(pid);
    println!("{reloads} reloads, {} requests; {first} KiB, then {last} KiB", report.samples.len());
    assert!(last < first + first / 4 + 8192, "memory grew from {first} KiB to {last} KiB");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_where_it_is_wrong() {
    let peer = Peer::good(1.0).await;
    let gateway = Gateway::ready(of([&peer.address])).await;
    let before = gateway.status().await["config"].clone();
    gateway.rewrite_text("pools:\n  p: {endpoints: []}\nmodels: {m: {chain: [{pool: q}]}}\n");
    let (status, answer) = reload(&gateway).await;
    assert_eq!((status, &answer["code"]), (422, &json!("MS0320")), "{answer}");
    let faults = answer["faults"].as_array().expect("faults");
    assert!(faults.iter().all(|fault| fault["line"].is_u64() && fault["column"].is_u64()));
    assert_eq!(gateway.status().await["config"], before);
    assert_eq!(gateway.ask(&infer()).await.status(), 200);
    let events = gateway.events("gateway").await;
    assert!(events.iter().any(|event| event["to"] == "refused"), "{events:?}");

    let token = gateway.token_file();
    let admin = gateway.admin.to_string();
    let args = ["reload", "--admin", &admin, "--token-file", token.to_str().expect("UTF-8")];
    let ended = crate::support::process::run(&args, DEADLINE).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("mainstay.yaml:2:"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_is_fixed_is_refused_by_its_name() {
    let peer = Peer::good(1.0).await;
    let gateway = Gateway::ready(of([&peer.address])).await;
    let mut next = of([&peer.address]);
    next["workers"] = json!(7);
    gateway.rewrite(next);
    let (status, answer) = reload(&gateway).await;
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"].as_str().expect("why").contains("workers"), "{answer}");
    assert!(answer["error"].as_str().expect("why").contains("mainstay upgrade"), "{answer}");
    let admin = gateway.admin.to_string();
    let file = gateway.file();
    let args = ["check", file.to_str().expect("UTF-8"), "--against-running", "--admin", &admin];
    let ended = crate::support::process::run(&args, DEADLINE).await;
    assert_eq!(ended.stdout, "! workers (restart or upgrade needed)\n", "{}", ended.stderr);
}

#[tokio::test]
async fn an_endpoint_added_and_one_removed_by_sighup_cost_no_request() {
    let peers = [Peer::good(1.0).await, Peer::good(2.0).await, Peer::good(3.0).await];
    let gateway = Gateway::ready(of([&peers[0].address, &peers[1].address])).await;
    let load = Load::start(gateway.http, RATE, |_| infer());
    load.more(100).await;
    gateway.rewrite(of([&peers[0].address, &peers[2].address]));
    gateway.process.signal(Signal::HUP);
    gateway.until_verdict(&peers[2].address.to_string(), "ready").await;
    let gone = peers[1].received().len();
    let since = Instant::now();
    load.until("an answer of the new one", since, |sample| {
        sample.answer().is_some_and(|answer| answer.json()["outputs"][0]["data"][0] == json!(3.0))
    })
    .await;
    load.more(200).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
    assert!(peers[1].received().len() <= gone + 2, "what was in flight, and nothing more");
    let text = ask(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(!text.contains(&peers[1].address.to_string()), "metrics of what is gone vanish");
}

#[tokio::test]
async fn a_watched_file_that_is_put_in_place_is_read() {
    let peers = [Peer::good(1.0).await, Peer::good(2.0).await];
    let mut first = of([&peers[0].address]);
    first["reload"] = json!({"watch": true});
    let gateway = Gateway::ready(first.clone()).await;
    first["pools"]["p"] = pool([&peers[1].address]);
    gateway.replace(first);
    gateway.until_verdict(&peers[1].address.to_string(), "ready").await;
    assert_eq!(gateway.ask(&infer()).await.status(), 200);
}

#[tokio::test]
async fn a_config_map_that_is_swapped_is_read_and_a_bad_one_changes_nothing() {
    let peers = [Peer::good(1.0).await, Peer::good(2.0).await];
    let mut config = of([&peers[0].address]);
    config["reload"] = json!({"watch": true});
    let gateway = Gateway::start_mounted(config.clone()).await;
    gateway.until_verdict(&peers[0].address.to_string(), "ready").await;
    let load = Load::start(gateway.http, RATE, |_| infer());
    gateway.remount(json!({"pools": "nonsense"}), "..second");
    eventually("it is refused", || async {
        let events = gateway.events("gateway").await;
        events.iter().any(|event| event["to"] == "refused").then_some(())
    })
    .await;
    config["pools"]["p"] = pool([&peers[1].address]);
    gateway.remount(config, "..third");
    gateway.until_verdict(&peers[1].address.to_string(), "ready").await;
    load.more(100).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}

#[tokio::test]
async fn another_process_takes_over_under_load_without_a_lost_request() {
    let slow = || Manner::Slow(Duration::from_millis(20), good(5.0));
    let peers = [Peer::start(slow()).await, Peer::start(slow()).await];
    let mut gateway = Gateway::ready(of([&peers[0].address, &peers[1].address])).await;
    let load = Load::start(gateway.http, RATE, |_| infer());
    load.more(100).await;
    let before = gateway.process.id();
    let request = Request::post("/api/upgrade", "")
        .header("authorization", &format!("Bearer {}", gateway.token()));
    let answer = ask(gateway.admin, &request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let after = answer.json()["pid"].as_u64().expect("a process");
    let successor = Stray::new(u32::try_from(after).expect("a number"));
    load.more(300).await;
    assert_eq!(gateway.process.ended().await.code(), Some(0), "process {before} drains and ends");
    load.more(300).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
    eventually("the new process answers for the gateway", || async {
        let status = gateway.status().await;
        status["uptime_seconds"].as_f64().map(|_| ())
    })
    .await;
    assert!(Path::new(&format!("/proc/{after}")).exists(), "process {after} serves");
    drop(successor);
}

#[tokio::test]
async fn a_new_process_that_does_not_become_ready_leaves_the_old_one_serving() {
    let peer = Peer::good(1.0).await;
    let gateway = Gateway::ready(of([&peer.address])).await;
    gateway.rewrite_text("pools: nonsense\n");
    let request = Request::post("/api/upgrade", "")
        .header("authorization", &format!("Bearer {}", gateway.token()));
    let answer = ask(gateway.admin, &request).await;
    assert_eq!((answer.status(), &answer.json()["code"]), (409, &json!("MS0321")));
    assert_eq!(gateway.ask(&infer()).await.status(), 200);
}
