//! More is asked than servers can do: what is answered stays worth having, what matters goes
//! first, what finds no room is told so honestly, and one model's flood is its own.

use std::time::Duration;

use mainstay_faults::Server;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Connection, Request};
use crate::support::load::{Load, Sample};
use crate::support::peer::{Manner, Peer, good};

/// Requests that one server does at a time, and how long each takes: 200 a second.
const WORKERS: u32 = 4;
const WORK: Duration = Duration::from_millis(20);
const CAPACITY: u32 = 200;

/// What clients wait.
const DEADLINE: Duration = Duration::from_millis(500);

/// A server with a queue inside that it never refuses anything, so that nothing but waiting tells
/// of its load.
async fn server() -> Server {
    let script = format!(
        "{{latency: {}ms, capacity: {{workers: {WORKERS}, queue: 100000, probes: false}}}}",
        WORK.as_millis()
    );
    Server::start(script.parse().expect("a script")).await.expect("a server")
}

fn infer(model: &str) -> Request {
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]});
    Request::post(&format!("/v2/models/{model}/infer"), json!({"inputs": [input]}).to_string())
}

/// Believes the priority of every client on this machine.
fn trusting(mut config: Value) -> Value {
    config["listen"]["priority-header"] = json!({"trusted": ["127.0.0.0/8"]});
    config
}

fn in_time(sample: &Sample) -> bool {
    sample.is_ok() && sample.took <= DEADLINE
}

fn p99(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort_unstable();
    let last = latencies.len().checked_sub(1).expect("there are some");
    latencies[last * 99 / 100]
}

/// Shed requests are told so, and when to come back.
fn assert_honest(answer: &Answer) {
    let retry_after = answer.header("retry-after").expect("it says when to come back");
    assert!((1..=60).contains(&retry_after.parse::<u32>().expect("seconds")), "{retry_after}");
    assert_eq!(answer.header("x-mainstay-retry"), Some("always"));
    let code = answer.header("x-mainstay-error").expect("a code");
    let status = if code == "MS0231" { 429 } else { 503 };
    assert_eq!(answer.status(), status, "{}", answer.text());
    assert!(["MS0231", "MS0232", "MS0233"].contains(&code), "{}", answer.text());
    assert!(answer.protocol_error().contains(code));
}

#[tokio::test]
async fn at_three_times_its_capacity_a_pool_does_what_it_can_and_what_matters_first() {
    let server = server().await;
    let models = json!({"m": {
        "deadline": format!("{}ms", DEADLINE.as_millis()),
        "chain": [{"pool": "p"}],
        "concurrency": {"queue": 40, "wait": "200ms"},
    }});
    let pools = json!({"p": pool([&server.address()])});
    let gateway = Gateway::ready(trusting(config(&pools, &models))).await;
    // One in ten matters.
    let request = |number: usize| {
        let priority = if number.is_multiple_of(10) { "high" } else { "normal" };
        infer("m").header("x-priority", priority)
    };
    let is_high = |sample: &Sample| sample.number.is_multiple_of(10);

    let calm = Load::start(gateway.http, CAPACITY / 4, request);
    calm.more(150).await;
    let calm = calm.stop().await;
    assert!(calm.samples.iter().all(in_time), "light load is served whole");
    let usual = p99(calm.samples.iter().map(|sample| sample.took).collect());

    // The peak: nearly all that the server can do.
    let rate_of = |samples: &[&Sample], time: Duration| {
        samples.iter().filter(|sample| in_time(sample)).count() as f64 / time.as_secs_f64()
    };
    let began = Instant::now();
    let full = Load::start(gateway.http, CAPACITY * 9 / 10, request);
    full.more(500).await;
    let time = began.elapsed();
    let full = full.stop().await;
    let peak = rate_of(&full.samples.iter().collect::<Vec<_>>(), time);

    let flood = Load::start(gateway.http, CAPACITY * 3, request);
    flood.more(1_200).await;
    let settled = Instant::now();
    let mut longest = 0;
    while settled.elapsed() < Duration::from_secs(6) {
        let status = gateway.status().await;
        longest = longest.max(status["models"][0]["queued"].as_u64().expect("a number"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, until) = (gateway.status().await, Instant::now());
    let flood = flood.stop().await;
    let during: Vec<_> =
        flood.samples.iter().filter(|s| s.sent >= settled && s.sent < until).collect();
    let goodput = rate_of(&during, until - settled);
    let high: Vec<_> = during.iter().filter(|sample| is_high(sample)).collect();
    let served = high.iter().filter(|sample| in_time(sample)).count();
    let slow = p99(high.iter().filter(|s| s.is_ok()).map(|s| s.took).collect());
    println!(
        "peak {peak:.0}/s, at three times the capacity {goodput:.0}/s; p99 of what matters: \
         {slow:?}, usually {usual:?}; {served} of {} served; longest queue {longest}; {}",
        high.len(),
        status["pools"][0]["endpoints"][0]["models"][0]["limit"],
    );
    assert!(goodput > 0.8 * peak, "goodput {goodput:.0} of {peak:.0} a second");
    assert!(slow < usual * 3 + Duration::from_millis(60), "p99 {slow:?}, usually {usual:?}");
    assert!(served * 100 >= high.len() * 97, "{served} of {} high ones", high.len());
    // What is called leaves the queue and counts until its attempt has begun.
    assert!(longest <= 40 + 16, "{longest} waited");
    for sample in during.iter().filter(|sample| !sample.is_ok()) {
        assert_honest(sample.answer().expect("an answer"));
    }
    let told = gateway.events("overload").await;
    assert_eq!(
        (&told[0]["subject"], &told[0]["to"]),
        (&json!("m"), &json!("shedding")),
        "{told:?}"
    );
    let shed = &status["models"][0]["shed"];
    assert!(shed["normal"].as_u64() > shed["high"].as_u64(), "{shed}");
}

#[tokio::test]
async fn a_flood_on_one_model_leaves_another_alone() {
    let server = server().await;
    let models = json!({
        "flooded": {
            "deadline": "1s",
            "chain": [{"pool": "p"}],
            "concurrency": {"max": 2, "queue": 20, "wait": "200ms"},
        },
        "quiet": {"deadline": "1s", "chain": [{"pool": "p"}]},
    });
    let pools = json!({"p": pool([&server.address()])});
    let gateway = Gateway::ready(config(&pools, &models)).await;

    let alone = Load::start(gateway.http, 40, |_| infer("quiet"));
    alone.more(120).await;
    let alone = p99(alone.stop().await.samples.iter().map(|sample| sample.took).collect());

    let flood = Load::start(gateway.http, CAPACITY * 3, |_| infer("flooded"));
    flood.more(600).await;
    let beside = Load::start(gateway.http, 40, |_| infer("quiet"));
    beside.more(120).await;
    let beside = beside.stop().await;
    let flood = flood.stop().await;

    assert!(beside.samples.iter().all(Sample::is_ok), "the quiet model lost requests");
    let beside = p99(beside.samples.iter().map(|sample| sample.took).collect());
    println!("p99 of the quiet model: {alone:?} alone, {beside:?} beside a flood");
    assert!(beside < alone * 2 + Duration::from_millis(30), "{beside:?}, alone {alone:?}");
    let shed: Vec<_> = flood.samples.iter().filter(|sample| !sample.is_ok()).collect();
    assert!(!shed.is_empty());
    for sample in shed {
        assert_honest(sample.answer().expect("an answer"));
    }
}

/// A pool of these peers, each of which gets one request at a time.
fn one_at_a_time(peers: &[&Peer]) -> Value {
    let mut pool = pool(peers.iter().map(|peer| &peer.address));
    pool["concurrency"] = json!({"adaptive": false, "max": 1});
    pool
}

/// Asks for a model twice at once.
async fn twice(gateway: &Gateway, model: &str) -> (Answer, Answer) {
    let request = infer(model);
    tokio::join!(gateway.ask(&request), gateway.ask(&request))
}

/// A peer that takes this long for each.
async fn slow_peer(millis: u64) -> Peer {
    Peer::start(Manner::Slow(Duration::from_millis(millis), good(1.0))).await
}

#[tokio::test]
async fn a_full_server_is_waited_for_and_the_record_says_so() {
    let peer = slow_peer(300).await;
    let models = json!({"m": {"chain": [{"pool": "p"}, {"default": {"y": 0.0}}],
        "outputs": {"y": {"datatype": "FP64", "shape": [1]}}}});
    let gateway = Gateway::ready(config(&json!({"p": one_at_a_time(&[&peer])}), &models)).await;
    let (first, second) = twice(&gateway, "m").await;
    assert_eq!((first.status(), second.status()), (200, 200));
    assert!(!first.is_degraded() && !second.is_degraded());
    let queued = |record: Value| record["queued_ms"].as_f64().expect("a number");
    let waits = [queued(gateway.record(&first).await), queued(gateway.record(&second).await)];
    assert!(waits.iter().any(|wait| *wait > 100.0) && waits.contains(&0.0), "{waits:?}");
}

#[tokio::test]
async fn where_nobody_may_wait_a_full_server_is_passed_over() {
    let (slow, other) = (slow_peer(400).await, slow_peer(400).await);
    let models = json!({
        "two": {"chain": [{"pool": "both"}], "concurrency": {"queue": 0}},
        "one": {"chain": [{"pool": "single"}], "concurrency": {"queue": 0}},
        "safe": {
            "chain": [{"pool": "single"}, {"default": {"y": 7.0}}],
            "outputs": {"y": {"datatype": "FP64", "shape": [1]}},
            "concurrency": {"queue": 0},
        },
    });
    let pools = json!({
        "both": one_at_a_time(&[&slow, &other]),
        "single": one_at_a_time(&[&slow]),
    });
    let mut config = config(&pools, &models);
    // Two workers can choose in the same instant, before either has taken its place.
    config["workers"] = json!(1);
    let gateway = Gateway::ready(config).await;

    let request = infer("two");
    let ((one, two), three) = tokio::join!(twice(&gateway, "two"), gateway.ask(&request));
    let mut answers = [one, two, three];
    answers.sort_by_key(Answer::status);
    assert_eq!(answers.each_ref().map(Answer::status), [200, 200, 503]);
    assert_honest(&answers[2]);
    let mut skipped = 0;
    for answer in &answers[..2] {
        let record = gateway.record(answer).await;
        skipped += record["attempts"][0]["skipped"]["limit"].as_array().expect("names").len();
    }
    assert_eq!(skipped, 1, "the second was sent past the full one");
    let record = gateway.record(&answers[2]).await;
    assert_eq!((&record["outcome"], &record["reason"]), (&json!("shed"), &json!("at-limit")));

    let (busy, default) = twice(&gateway, "safe").await;
    assert_eq!((busy.status(), default.status()), (200, 200));
    let default = if busy.is_degraded() { busy } else { default };
    assert_eq!(default.header("x-mainstay-reason"), Some("at-limit"));
    assert_eq!(default.json()["outputs"][0]["data"][0], 7.0);
}

#[tokio::test]
async fn the_highest_priority_is_served_first_whoever_came_first() {
    let peer = slow_peer(300).await;
    let models = json!({"m": {"chain": [{"pool": "p"}], "concurrency": {"wait": "5s"}}});
    let pools = json!({"p": one_at_a_time(&[&peer])});
    let gateway = Gateway::ready(trusting(config(&pools, &models))).await;
    let queued = |count: u64| {
        let gateway = &gateway;
        eventually("it waits", move || async move {
            (gateway.status().await["models"][0]["queued"] == count).then_some(())
        })
    };
    let ask = |priority: &'static str| {
        let request = infer("m").header("x-priority", priority);
        let host = gateway.http;
        tokio::spawn(async move { crate::support::http::ask(host, &request).await.status() })
    };
    let mut asked = vec![ask("normal")];
    peer.until_received(1).await;
    for (waiting, priority) in (1..).zip(["low", "normal", "critical", "high"]) {
        asked.push(ask(priority));
        queued(waiting).await;
    }
    for asked in asked {
        assert_eq!(asked.await.expect("an answer"), 200);
    }
    let received = peer.received();
    let order: Vec<_> = received.iter().filter_map(|r| r.header("x-priority")).collect();
    assert_eq!(order, ["normal", "critical", "high", "normal", "low"]);
}

#[tokio::test]
async fn no_call_is_lost_between_workers() {
    let peer = slow_peer(2).await;
    let models = json!({"m": {"deadline": "20s", "chain": [{"pool": "p"}],
        "concurrency": {"wait": "15s"}}});
    let mut config = config(&json!({"p": one_at_a_time(&[&peer])}), &models);
    config["workers"] = json!(3);
    let gateway = Gateway::ready(config).await;
    let (host, began) = (gateway.http, Instant::now());
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..40 {
        clients.spawn(async move {
            let mut connection = Connection::open(host).await.expect("a connection");
            for _ in 0..10 {
                let answer = connection.ask(&infer("m")).await.expect("an answer");
                assert_eq!(answer.status(), 200, "{}", answer.text());
            }
        });
    }
    clients.join_all().await;
    // Each call that was lost would be made up for only after 100 ms.
    let each = began.elapsed() / 400;
    assert!(each < Duration::from_millis(30), "{each:?} for each");
    let status = gateway.status().await;
    let model = &status["models"][0];
    assert_eq!((&model["queued"], &model["in_flight"]), (&json!(0), &json!(0)), "{model}");
}

#[tokio::test]
async fn strangers_claim_no_priority() {
    let peer = Peer::good(1.0).await;
    let models = json!({"m": {"chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&peer.address])}), &models);
    config["listen"]["priority-header"] = json!({"trusted": ["192.0.2.0/24"]});
    let gateway = Gateway::ready(config).await;
    let answer = gateway.ask(&infer("m").header("x-priority", "critical")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(gateway.record(&answer).await["priority"], "normal");
    assert_eq!(peer.received()[0].header("x-priority"), None);
}

#[tokio::test]
async fn who_goes_away_leaves_the_queue() {
    let peer = Peer::start(Manner::BlackHole).await;
    let models = json!({"m": {"chain": [{"pool": "p"}], "concurrency": {"wait": "5s"}}});
    let gateway = Gateway::ready(config(&json!({"p": one_at_a_time(&[&peer])}), &models)).await;
    let queued = |count: u64| {
        let gateway = &gateway;
        eventually("the queue", move || async move {
            (gateway.status().await["models"][0]["queued"] == count).then_some(())
        })
    };
    let host = gateway.http;
    let ask = || tokio::spawn(async move { crate::support::http::ask(host, &infer("m")).await });
    let first = ask();
    peer.until_received(1).await;
    let waiting = ask();
    queued(1).await;
    waiting.abort();
    queued(0).await;
    first.abort();
    eventually("the place is free", || async {
        (gateway.status().await["models"][0]["in_flight"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn limits_queues_and_refusals_are_metrics() {
    let peer = slow_peer(200).await;
    let models = json!({"m": {"chain": [{"pool": "p"}], "concurrency": {"queue": 0}}});
    let gateway = Gateway::ready(config(&json!({"p": one_at_a_time(&[&peer])}), &models)).await;
    let (one, other) = twice(&gateway, "m").await;
    assert_eq!(one.status().max(other.status()), 503);
    let page = crate::support::http::ask(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(page.contains("mainstay_queued{model=\"m\"} 0"), "{page}");
    assert!(page.contains("mainstay_shed_total{model=\"m\",priority=\"normal\"} 1"), "{page}");
    let limit = page.lines().find(|line| line.starts_with("mainstay_limit{")).expect("a limit");
    assert!(limit.ends_with(" 1") || limit.ends_with(" 1.0"), "{limit}");
}
