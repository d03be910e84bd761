//! Redundancy: standbys, N+M, the way back, manual pools, flapping.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Request, ask};
use crate::support::load::{Load, Report};
use crate::support::model_server::ModelServer;
use crate::support::{demo, eventually};

/// As it is required of a switch to a hot standby.
const RATE: u32 = 300;
/// For what takes longer, where only the order of things counts.
const GENTLE: u32 = 50;
const DEADLINE: Duration = Duration::from_secs(5);
/// From the first refused connection to a switch that all workers see, as it is required. What a
/// busy test machine may add comes on top.
const SWITCH: f64 = 10.0;
const BUSY: f64 = 240.0;

/// A pool of these servers, in their order, with this rule; behind it the embedded model.
fn group(servers: &[(&ModelServer, Value)], rule: &Value) -> Value {
    let endpoints = servers.iter().map(|(server, marks)| {
        let mut endpoint = json!({"url": format!("http://{}", server.address)});
        merge(&mut endpoint, marks);
        endpoint
    });
    let mut pool = json!({
        "endpoints": endpoints.collect::<Vec<_>>(),
        "probe": {
            "interval": "500ms",
            "fast-interval": "250ms",
            "down-interval": "250ms",
            "timeout": "200ms",
        },
        // A machine that stands still for a second is no news here.
        "progress": "off",
        "concurrency": "off",
    });
    merge(&mut pool, rule);
    let model = json!({
        "deadline": "5s",
        "chain": [{"pool": "forest"}, {"embedded": demo("digits-logistic.onnx")}],
    });
    config(&json!({"forest": pool}), &json!({MODEL: model}))
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().expect("a mapping") {
        into[key] = value.clone();
    }
}

fn plain(servers: &[ModelServer]) -> Vec<(&ModelServer, Value)> {
    servers.iter().map(|server| (server, json!({}))).collect()
}

fn load(gateway: &Gateway, rate: u32) -> Load {
    let rows = digits::all();
    Load::start(gateway.http, rate, move |number| digits::infer(&rows[number % rows.len()..][..1]))
}

async fn group_status(gateway: &Gateway) -> Value {
    gateway.status().await["pools"][0]["group"].clone()
}

/// The endpoints that are in use, in the order of the file.
async fn active(gateway: &Gateway) -> Vec<String> {
    let group = group_status(gateway).await;
    let members = group["members"].as_array().expect("members").clone();
    let active = members.iter().filter(|member| member["standing"] == "active");
    active.map(|member| member["endpoint"].as_str().expect("a name").to_owned()).collect()
}

async fn until_active(gateway: &Gateway, wanted: &[&ModelServer]) {
    let wanted: Vec<_> = wanted.iter().map(|server| server.name()).collect();
    let what = format!("{wanted:?} in use");
    let found = eventually(&what, || async {
        let active = active(gateway).await;
        (active == wanted).then_some(active)
    });
    found.await;
}

/// Nobody failed; nobody was served by the next step of the chain.
fn assert_untouched(report: &Report) {
    report.assert_all_answered_within(DEADLINE);
    let degraded: Vec<_> = report.samples.iter().filter(|sample| sample.is_degraded()).collect();
    let first = degraded.first().and_then(|sample| sample.answer());
    let (count, all) = (degraded.len(), report.samples.len());
    assert_eq!(count, 0, "of {all}, first {:?}", first.map(|answer| &answer.head));
}

/// How often somebody came to stand so.
async fn times(gateway: &Gateway, endpoint: &ModelServer, to: &str) -> usize {
    let subject = format!("forest/{}", endpoint.name());
    let events = gateway.events("group").await;
    events.iter().filter(|event| event["subject"] == subject && event["to"] == to).count()
}

#[tokio::test]
async fn a_hot_standby_takes_over_within_milliseconds_and_the_primary_comes_back() {
    let mut servers = ModelServer::several(2).await;
    let rule = json!({
        "active": 1,
        "failback": {
            "stable-for": "1s",
            "ramp": "2s",
            // A way back that a busy machine calls off is tried again.
            "damping": {"suppress": 50, "half-life": "1s"},
        },
    });
    let gateway = Gateway::ready(group(&plain(&servers), &rule)).await;
    until_active(&gateway, &[&servers[0]]).await;
    let load = load(&gateway, RATE);
    load.more(300).await;
    assert_eq!(group_status(&gateway).await["failures"], 1);

    servers[0].kill().await;
    until_active(&gateway, &[&servers[1]]).await;
    let events = gateway.events("group").await;
    let switch = events
        .iter()
        .find(|event| {
            event["subject"] == format!("forest/{}", servers[0].name()) && event["to"] == "spare"
        })
        .expect("the switch is told");
    let cause = switch["cause"].as_str().expect("a cause");
    assert!(cause.contains("refuses connections"), "{cause}");
    let took = cause.split(", ").last().and_then(|last| last.split(' ').next());
    let took: f64 = took.and_then(|took| took.parse().ok()).expect("a figure");
    println!("the switch was visible {took} ms after the first failed attempt");
    assert!(took < SWITCH + BUSY, "{cause}");
    load.more(300).await;
    assert_eq!(group_status(&gateway).await["failures"], 0);

    // The way back: stable for a while, then ramped.
    servers[0].restart().await;
    let returning = eventually("the primary is on its way back", || async {
        let group = group_status(&gateway).await;
        (group["members"][0]["returning"] == true).then_some(group)
    });
    assert_eq!(returning.await["in_use"], 1);
    until_active(&gateway, &[&servers[0]]).await;
    load.more(300).await;
    let report = load.stop().await;
    assert_untouched(&report);
}

#[tokio::test]
async fn three_and_one_and_four_and_two_keep_their_number() {
    for (active, spares) in [(3, 1), (4, 2)] {
        let mut servers = ModelServer::several(active + spares).await;
        let rule = json!({"active": active, "failback": {"stable-for": "60s"}});
        let gateway = Gateway::ready(group(&plain(&servers), &rule)).await;
        let load = load(&gateway, GENTLE);
        load.more(30).await;
        for killed in 0..spares {
            servers[killed].kill().await;
            let left: Vec<_> = servers[killed + 1..=killed + active].iter().collect();
            until_active(&gateway, &left).await;
            load.more(30).await;
            let group = group_status(&gateway).await;
            assert_eq!((&group["in_use"], &group["wanted"]), (&json!(active), &json!(active)));
        }
        assert_untouched(&load.stop().await);
    }
}

#[tokio::test]
async fn a_warm_standby_is_loaded_while_the_next_step_answers() {
    let mut primary = ModelServer::start().await;
    let standby = ModelServer::start_unloaded().await;
    let rule = json!({"failback": {"stable-for": "500ms", "ramp": "1s"}});
    let servers = [(&primary, json!({})), (&standby, json!({"standby": "warm"}))];
    let gateway = Gateway::start(group(&servers, &rule)).await;
    gateway.until_verdict(&primary.name(), "ready").await;
    gateway.until_verdict(&standby.name(), "loading").await;
    until_active(&gateway, &[&primary]).await;
    assert_eq!(group_status(&gateway).await["later"], 1);
    let load = load(&gateway, GENTLE);
    load.more(30).await;

    let killed = Instant::now();
    primary.kill().await;
    load.until("an answer of the next step", killed, |sample| sample.is_degraded()).await;
    until_active(&gateway, &[&standby]).await;
    println!("the warm standby was in use {:?} after the primary was killed", killed.elapsed());
    let ready = gateway.events("group").await;
    let ready = ready.iter().find(|event| event["to"] == "ready").expect("it was made ready");
    let cause = ready["cause"].as_str().expect("a cause");
    println!("{cause}");
    assert!(cause.starts_with("made ready in "), "{cause}");
    let settled = Instant::now();
    let whole = |sample: &crate::support::load::Sample| sample.is_ok() && !sample.is_degraded();
    load.until("an answer of the standby", settled, whole).await;

    // When the primary is back the standby is unloaded again.
    primary.restart().await;
    until_active(&gateway, &[&primary]).await;
    gateway.until_verdict(&standby.name(), "loading").await;
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    assert_eq!(times(&gateway, &standby, "warm").await, 1, "it was let go once");
}

#[tokio::test]
async fn a_warm_standby_that_loses_its_models_is_loaded_anew() {
    let mut primary = ModelServer::start().await;
    let standby = ModelServer::start_unloaded().await;
    let servers = [(&primary, json!({})), (&standby, json!({"standby": "warm"}))];
    let gateway = Gateway::start(group(&servers, &json!({}))).await;
    gateway.until_verdict(&primary.name(), "ready").await;
    primary.kill().await;
    gateway.until_verdict(&standby.name(), "ready").await;
    until_active(&gateway, &[&standby]).await;
    // As after a restart of a server that loads nothing by itself.
    let unload = Request::post(&format!("/v2/repository/models/{MODEL}/unload"), "{}".to_owned());
    assert_eq!(ask(standby.address, &unload).await.status(), 200);
    eventually("it is loaded anew", || async {
        (times(&gateway, &standby, "ready").await == 2).then_some(())
    })
    .await;
    gateway.until_verdict(&standby.name(), "ready").await;
    assert_eq!(times(&gateway, &standby, "ready").await, 2, "and only once");
    until_active(&gateway, &[&standby]).await;
}

#[tokio::test]
async fn a_primary_that_flaps_is_taken_back_once() {
    let mut servers = ModelServer::several(2).await;
    let rule = json!({
        "active": 1,
        "failback": {"stable-for": "300ms", "ramp": "0s", "damping": {"half-life": "10s", "max": "30s"}},
    });
    let gateway = Gateway::ready(group(&plain(&servers), &rule)).await;
    let load = load(&gateway, GENTLE);
    load.more(30).await;
    let mut suppressed = None;
    for _ in 0..5 {
        servers[0].kill().await;
        gateway.until_verdict(&servers[0].name(), "dead").await;
        servers[0].restart().await;
        gateway.until_verdict(&servers[0].name(), "ready").await;
        // Longer than it has to be stable for, whatever else the machine does.
        load.more(40).await;
        let group = group_status(&gateway).await;
        suppressed = group["members"][0]["failback_waits"].as_str().map(str::to_owned);
    }
    assert!(times(&gateway, &servers[0], "active").await <= 1, "taken back once");
    let waits = suppressed.expect("the status says what it waits for");
    assert!(waits.contains("came and went"), "{waits}");
    until_active(&gateway, &[&servers[1]]).await;
    assert_untouched(&load.stop().await);
}

#[tokio::test]
async fn a_manual_pool_proposes_and_waits_and_does_as_it_is_told() {
    let mut servers = ModelServer::several(2).await;
    let rule = json!({
        "active": 1,
        "mode": "manual",
        "failback": {"stable-for": "200ms", "ramp": "500ms", "damping": {"suppress": 50}},
    });
    let gateway = Gateway::ready(group(&plain(&servers), &rule)).await;
    until_active(&gateway, &[&servers[0]]).await;
    let load = load(&gateway, GENTLE);
    load.more(30).await;

    let killed = Instant::now();
    servers[0].kill().await;
    load.until("an answer of the next step", killed, |sample| sample.is_degraded()).await;
    let proposed = eventually("a failover is proposed", || async {
        group_status(&gateway).await["proposed"].as_str().map(str::to_owned)
    });
    let proposed = proposed.await;
    assert!(proposed.contains("mainstay failover forest"), "{proposed}");
    assert_eq!(active(&gateway).await, [servers[0].name()]);
    order(&gateway, "failover").await;
    until_active(&gateway, &[&servers[1]]).await;

    servers[0].restart().await;
    eventually("the way back waits for a word", || async {
        let waits = group_status(&gateway).await["members"][0]["failback_waits"].clone();
        waits.as_str().is_some_and(|waits| waits.contains("mainstay failback")).then_some(())
    })
    .await;
    assert_eq!(active(&gateway).await, [servers[1].name()]);
    order(&gateway, "failback").await;
    until_active(&gateway, &[&servers[0]]).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}

/// Gives an order for the whole pool.
async fn order(gateway: &Gateway, verb: &str) {
    let body = json!({"verb": verb, "pool": "forest", "reason": "a drill"});
    let token = format!("Bearer {}", gateway.token());
    let request = Request::post("/v1/orders", body.to_string()).header("authorization", &token);
    let answer = ask(gateway.admin, &request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[tokio::test]
async fn a_cold_standby_is_started_when_it_is_needed_and_stopped_again() {
    let mut primary = ModelServer::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let cold = listener.local_addr().expect("an address");
    drop(listener);
    let model = format!("{MODEL}={}", demo("digits-forest.onnx").display());
    let program = env!("CARGO_BIN_EXE_mainstay");
    let listen = cold.to_string();
    let command = [program, "model-server", "--model", &model, "--listen", &listen];
    let rule = json!({"failback": {"stable-for": "500ms", "ramp": "1s"}});
    let mut config = group(&[(&primary, json!({}))], &rule);
    let standby = json!({
        "url": format!("http://{cold}"),
        "standby": "cold",
        "process": {"command": command},
    });
    config["pools"]["forest"]["endpoints"].as_array_mut().expect("endpoints").push(standby);
    config["supervision"] = json!({"linger": "3s"});
    let gateway = Gateway::start(config).await;
    gateway.until_verdict(&primary.name(), "ready").await;
    until_active(&gateway, &[&primary]).await;
    let load = load(&gateway, GENTLE);
    load.more(30).await;

    let killed = Instant::now();
    primary.kill().await;
    load.until("an answer of the next step", killed, |sample| sample.is_degraded()).await;
    eventually("the cold standby is in use", || async {
        (active(&gateway).await == [cold.to_string()]).then_some(())
    })
    .await;
    let events = gateway.events("group").await;
    let ready = events.iter().find(|event| event["to"] == "ready").expect("it was made ready");
    println!("cold: {}, in use {:?} after the kill", ready["cause"], killed.elapsed());

    primary.restart().await;
    until_active(&gateway, &[&primary]).await;
    gateway.until_verdict(&cold.to_string(), "dead").await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}
