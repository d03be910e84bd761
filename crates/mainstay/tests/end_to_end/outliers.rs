//! Servers that are worse than their peers, servers that come back, and pools with nobody left.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_faults::{Kind, Server};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Request};
use crate::support::load::{Load, Report};
use crate::support::{SLACK, eventually, eventually_within};

/// Requests a second.
const RATE: u32 = 100;

const WELL: &str = "{latency: {least: 15ms, most: 25ms}}";
const TEN_TIMES_SLOWER: &str = "{latency: {least: 150ms, most: 250ms}}";
const DEAD: &str = "{rules: [{behave: refused}]}";

async fn four() -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(Server::start(WELL.parse().unwrap()).await.unwrap());
    }
    servers
}

async fn serve(servers: &[Server], balance: &str) -> Gateway {
    let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
    let mut pool = pool(&addresses);
    pool["balance"] = json!(balance);
    let models = json!({"m": {"deadline": "5s", "chain": [{"pool": "p"}]}});
    Gateway::ready(config(&json!({"p": pool}), &models)).await
}

fn infer() -> Request {
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]});
    Request::post("/v2/models/m/infer", json!({"inputs": [input]}).to_string())
}

/// What became of each target's share, as `endpoint to`, with the cause.
async fn rotations(gateway: &Gateway) -> Vec<(String, String)> {
    let events = gateway.events("rotation").await;
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let said = |event: &Value| {
        let endpoint = text(event, "subject").split('/').nth(1).unwrap_or_default().to_owned();
        (format!("{endpoint} {}", text(event, "to")), text(event, "cause"))
    };
    events.iter().map(said).collect()
}

/// The 99th percentile of the answers to what was sent in this time.
fn p99(report: &Report, from: Instant, to: Instant) -> Duration {
    let mut took: Vec<_> =
        report.since(from).iter().filter(|s| s.sent < to).map(|sample| sample.took).collect();
    took.sort_unstable();
    assert!(took.len() > 100, "too few to say: {}", took.len());
    took[took.len() * 99 / 100]
}

#[tokio::test]
async fn one_of_four_that_is_ten_times_slower_is_out_within_ten_seconds() {
    let servers = four().await;
    // Without an ejection a quarter of all requests would meet it.
    let gateway = serve(&servers, "round-robin").await;
    let load = Load::start(gateway.http, RATE, |_| infer());
    let calm = Instant::now();
    load.more(8 * RATE as usize).await;

    servers[2].play(TEN_TIMES_SLOWER.parse().unwrap());
    let slow = Instant::now();
    let out = format!("{} ejected", servers[2].address());
    let cause = eventually_within(Duration::from_secs(10), "the slow one is out", || async {
        let rotations = rotations(&gateway).await;
        rotations.into_iter().find(|(what, _)| *what == out).map(|(_, cause)| cause)
    })
    .await;
    let ejected = Instant::now();
    load.more(4 * RATE as usize).await;
    let end = Instant::now();
    let report = load.stop().await;

    report.assert_all_answered_within(Duration::from_secs(5));
    let (before, after) = (p99(&report, calm, slow), p99(&report, ejected, end));
    assert!(after <= before.mul_f32(1.5) + SLACK / 2, "p99 was {before:?}, is {after:?}: {cause}");
    assert!(cause.contains("its peers"), "{cause}");
    let others = rotations(&gateway).await;
    let of_slow = servers[2].address().to_string();
    assert!(others.iter().all(|(what, _)| what.starts_with(&of_slow)), "{others:?}");
    // Status and metrics say so.
    let targets = gateway.targets().await;
    let (_, target) = targets.iter().find(|(name, _)| *name == of_slow).expect("it");
    assert_eq!(target["rotation"]["share"], 0.0, "{target}");
    assert!(target["rotation"]["why"].as_str().unwrap().contains("median"), "{target}");
    let page = crate::support::http::ask(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(page.contains("mainstay_ejections_total{cause=\"latency\"} 1"), "{page}");
}

#[tokio::test]
async fn with_nothing_but_defaults_it_is_out_or_asked_no_more_after_ten_seconds() {
    let servers = four().await;
    let gateway = serve(&servers, "peak-ewma").await;
    let load = Load::start(gateway.http, RATE, |_| infer());
    let calm = Instant::now();
    load.more(8 * RATE as usize).await;
    servers[1].play(TEN_TIMES_SLOWER.parse().unwrap());
    let slow = Instant::now();
    load.more(15 * RATE as usize).await;
    let report = load.stop().await;

    report.assert_all_answered_within(Duration::from_secs(5));
    let settled = slow + Duration::from_secs(10);
    let before = p99(&report, calm, slow);
    let after = p99(&report, settled, slow + Duration::from_secs(60));
    assert!(after <= before.mul_f32(1.5) + SLACK / 2, "p99 was {before:?}, is {after:?}");
}

#[tokio::test]
async fn of_four_that_are_all_slower_none_is_ejected() {
    let servers = four().await;
    let gateway = serve(&servers, "peak-ewma").await;
    let load = Load::start(gateway.http, RATE, |_| infer());
    load.more(6 * RATE as usize).await;
    for server in &servers {
        server.play(TEN_TIMES_SLOWER.parse().unwrap());
    }
    load.more(12 * RATE as usize).await;
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));
    assert_eq!(rotations(&gateway).await, []);
    assert_eq!(gateway.events("breaker").await, Vec::<Value>::new());
}

/// When the server was asked for predictions, in milliseconds of wall time.
fn asked(server: &Server) -> Vec<f64> {
    let entries = server.journal().since(0);
    entries.iter().filter(|e| e.kind == Kind::Infer).map(|entry| entry.at_ms).collect()
}

fn within(times: &[f64], from: f64) -> usize {
    times.iter().filter(|at| (from..from + 1_000.0).contains(*at)).count()
}

#[tokio::test]
async fn a_server_that_returns_gets_its_ramp_share_in_no_second_more() {
    let servers = four().await;
    let gateway = serve(&servers, "peak-ewma").await;
    let returning = &servers[3];
    let name = returning.address().to_string();
    let load = Load::start(gateway.http, 2 * RATE, |_| infer());
    load.more(2 * RATE as usize).await;
    returning.play(DEAD.parse().unwrap());
    gateway.until_verdict(&name, "dead").await;
    let before = asked(returning).len();
    returning.play(WELL.parse().unwrap());
    let serving = format!("{name} serving");
    eventually("it has its whole share again", || async {
        rotations(&gateway).await.iter().any(|(what, _)| *what == serving).then_some(())
    })
    .await;
    load.more(2 * RATE as usize).await;
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));

    let here = asked(returning)[before..].to_vec();
    let all: Vec<f64> = servers.iter().flat_map(asked).collect();
    let first = here[0];
    let mut shares = Vec::new();
    for second in 0..10_u32 {
        let from = first + f64::from(second) * 1_000.0;
        let (got, of) = (within(&here, from), within(&all, from));
        // What the ramp has reached by the end of that second, of a quarter; and one request,
        // since there are no halves, one for the clocks of two processes, and two for a machine
        // that stood still and then caught up.
        let ramp = (0.1 + 0.09 * f64::from(second + 1)).min(1.0) / 4.0;
        shares.push((got, of));
        assert!(got as f64 <= of as f64 * ramp + 4.0, "second {second}: {shares:?}");
    }
    let (got, of) = shares[9];
    assert!(got * 6 > of, "its share did not grow: {shares:?}");
}

#[tokio::test]
async fn the_first_server_of_a_pool_that_returns_is_not_met_by_the_load_of_all() {
    let start = || async { Server::start(WELL.parse().unwrap()).await.unwrap() };
    let (a, b, standby) = tokio::join!(start(), start(), start());
    let addresses = [a.address(), b.address()];
    let pools = json!({"first": pool(&addresses), "second": pool([&standby.address()])});
    let chain = json!([{"pool": "first"}, {"pool": "second", "equivalent": true}]);
    let models = json!({"m": {"deadline": "5s", "chain": chain}});
    let gateway = Gateway::ready(config(&pools, &models)).await;
    let load = Load::start(gateway.http, 2 * RATE, |_| infer());
    load.more(RATE as usize).await;
    for server in [&a, &b] {
        server.play(DEAD.parse().unwrap());
    }
    for server in [&a, &b] {
        gateway.until_verdict(&server.address().to_string(), "dead").await;
    }
    let before = asked(&a).len();
    a.play(WELL.parse().unwrap());
    eventually("it has its whole share again", || async {
        let serving = format!("{} serving", a.address());
        rotations(&gateway).await.iter().any(|(what, _)| *what == serving).then_some(())
    })
    .await;
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));

    let here = asked(&a)[before..].to_vec();
    let all: Vec<f64> = [&a, &b, &standby].into_iter().flat_map(asked).collect();
    let mut shares = Vec::new();
    for second in 0..8_u32 {
        let from = here[0] + f64::from(second) * 1_000.0;
        let (got, of) = (within(&here, from), within(&all, from));
        let ramp = (0.1 + 0.09 * f64::from(second + 1)).min(1.0) / 2.0;
        shares.push((got, of));
        assert!(got as f64 <= of as f64 * ramp + 2.0, "second {second}: {shares:?}");
    }
    assert!(shares.iter().all(|(got, _)| *got > 0), "{shares:?}");
}

/// A gateway over one server, with a default behind it and this last resort.
async fn alone(server: &Server, last_resort: Value) -> Gateway {
    let pool = pool(&[server.address()]);
    let models = json!({"m": {
        "deadline": "10s",
        "outputs": {"y": {"datatype": "FP32", "shape": [-1, 1]}},
        "batch": "first-dimension",
        "chain": [{"pool": "p"}, {"default": {"y": [0.5]}}],
        "last-resort": last_resort,
    }});
    let gateway = Gateway::start(config(&json!({"p": pool}), &models)).await;
    gateway.until_verdict(&server.address().to_string(), "dead").await;
    gateway
}

async fn record(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.record(answer).await
}

#[tokio::test]
async fn with_nobody_left_a_model_may_fail_fast() {
    let server = Server::start(DEAD.parse().unwrap()).await.unwrap();
    let gateway = alone(&server, json!("fail-fast")).await;
    let answer = gateway.ask(&infer()).await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    let record = record(&gateway, &answer).await;
    assert_eq!(record["reason"], "fail-fast", "{record}");

    let gateway = alone(&server, json!("next-step")).await;
    let answer = gateway.ask(&infer()).await;
    assert!(answer.status() == 200 && answer.is_degraded(), "{}", answer.text());
}

#[tokio::test]
async fn with_nobody_left_a_request_may_wait_for_somebody() {
    let server = Server::start(DEAD.parse().unwrap()).await.unwrap();
    let gateway = alone(&server, json!({"wait": "8s"})).await;
    let asking = async { gateway.ask(&infer()).await };
    let returning = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.play(WELL.parse().unwrap());
    };
    let (answer, ()) = tokio::join!(asking, returning);
    assert!(answer.status() == 200 && !answer.is_degraded(), "{}", answer.text());
    let said = record(&gateway, &answer).await;
    assert_eq!(said["attempts"][0]["why"], "waited", "{said}");

    let gateway = alone_dead(&server, json!({"wait": "200ms"})).await;
    let asked = Instant::now();
    let answer = gateway.ask(&infer()).await;
    assert!(asked.elapsed() >= Duration::from_millis(200));
    assert!(answer.status() == 200 && answer.is_degraded(), "{}", answer.text());
    assert_eq!(answer.header("x-mainstay-reason"), Some("waited-in-vain"));
}

/// The same, with the server dead again.
async fn alone_dead(server: &Server, last_resort: Value) -> Gateway {
    server.play(DEAD.parse().unwrap());
    alone(server, last_resort).await
}

#[tokio::test]
async fn with_nobody_left_a_model_may_try_everybody() {
    // Its probes fail, its predictions do not.
    let lying = "{rules: [{behave: 500, path: probe}]}";
    let server = Server::start(lying.parse().unwrap()).await.unwrap();
    let gateway = alone(&server, json!("panic")).await;
    let answer = gateway.ask(&infer()).await;
    assert!(answer.status() == 200 && !answer.is_degraded(), "{}", answer.text());
    let said = record(&gateway, &answer).await;
    assert_eq!(said["attempts"][0]["why"], "panic", "{said}");
}
