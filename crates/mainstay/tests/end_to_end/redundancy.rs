//! Redundancy beyond the first switch: other servers under old names, standbys that are warmed up,
//! spares that load brings in, the way back in its windows, and what the gateway itself lacks.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mainstay_faults::Server;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Connection, Request, ask};
use crate::support::load::{Load, Sample};
use crate::support::model_server::ModelServer;
use crate::support::peer::{Peer, closed_port};
use crate::support::process::run;
use crate::support::{LIMIT, demo, eventually};

const DEADLINE: Duration = Duration::from_secs(5);

fn infer() -> Request {
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]});
    Request::post("/v2/models/m/infer", json!({"inputs": [input]}).to_string())
}

fn named(name: &str, address: impl std::fmt::Display) -> Value {
    json!({"name": name, "url": format!("http://{address}")})
}

/// A pool of these endpoints with this rule, probed often.
fn pool_of(endpoints: &[Value], rule: &Value) -> Value {
    let mut pool = json!({
        "endpoints": endpoints,
        "probe": {
            "interval": "500ms",
            "fast-interval": "250ms",
            "down-interval": "250ms",
            "timeout": "200ms",
        },
    });
    for (key, value) in rule.as_object().expect("a mapping") {
        pool[key] = value.clone();
    }
    pool
}

fn model_m(pool: &Value, more: &Value) -> Value {
    let mut model = json!({"deadline": "5s", "chain": [{"pool": "p"}]});
    for (key, value) in more.as_object().expect("a mapping") {
        model[key] = value.clone();
    }
    config(&json!({"p": pool}), &json!({"m": model}))
}

/// The digits from a pool, with the embedded model behind it.
fn digits_by(pool: &Value, node: &Value) -> Value {
    let model = json!({
        "deadline": "5s",
        "chain": [{"pool": "p"}, {"embedded": demo("digits-logistic.onnx")}],
    });
    let mut config = config(&json!({"p": pool}), &json!({MODEL: model}));
    config["node"] = node.clone();
    config
}

fn digits_load(gateway: &Gateway, rate: u32) -> Load {
    let rows = digits::all();
    Load::start(gateway.http, rate, move |number| digits::infer(&rows[number % rows.len()..][..1]))
}

async fn reload(gateway: &Gateway, config: Value) {
    gateway.rewrite(config);
    let token = format!("Bearer {}", gateway.token());
    let request = Request::post("/api/reload", "").header("authorization", &token);
    let answer = ask(gateway.admin, &request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

async fn order(gateway: &Gateway, order: &Value) {
    let token = format!("Bearer {}", gateway.token());
    let request = Request::post("/v1/orders", order.to_string()).header("authorization", &token);
    let answer = ask(gateway.admin, &request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

async fn group(gateway: &Gateway) -> Value {
    gateway.status().await["pools"][0]["group"].clone()
}

async fn standing(gateway: &Gateway, endpoint: &str) -> String {
    let members = group(gateway).await["members"].as_array().cloned().unwrap_or_default();
    let found = members.iter().find(|member| member["endpoint"] == endpoint);
    found.and_then(|member| member["standing"].as_str()).unwrap_or_default().to_owned()
}

async fn until_standing(gateway: &Gateway, endpoint: &str, wanted: &str) {
    eventually(&format!("{endpoint} stands {wanted}"), || async {
        (standing(gateway, endpoint).await == wanted).then_some(())
    })
    .await;
}

/// Waits for an event of this kind about the endpoint, whose end and cause fit.
async fn until_told(gateway: &Gateway, kind: &str, to: &str, cause: &str) -> Value {
    eventually(&format!("{kind}: {to}, {cause}"), || async {
        let events = gateway.events(kind).await;
        let fits = |event: &&Value| {
            event["to"] == to && event["cause"].as_str().is_some_and(|it| it.contains(cause))
        };
        events.iter().find(fits).cloned()
    })
    .await
}

#[tokio::test]
async fn another_address_under_the_same_name_is_another_server() {
    let (old, new) = (Peer::good(1.0).await, Peer::good(2.0).await);
    let at = |address: &dyn std::fmt::Display| {
        let by = json!({"sequence": {"by": {"header": "x-session"}}});
        model_m(&pool_of(&[named("a", address)], &json!({})), &by)
    };
    let gateway = Gateway::ready(at(&old.address)).await;
    let session = || infer().header("x-session", "one");
    for _ in 0..2 {
        assert_eq!(gateway.ask(&session()).await.status(), 200);
    }
    reload(&gateway, at(&new.address)).await;
    // What the old one knew is not known here.
    let answer = gateway.ask(&session()).await;
    assert_eq!(answer.header("x-mainstay-error"), Some("MS0241"), "{}", answer.text());
    until_told(&gateway, "gateway", &format!("http://{}", new.address), "another server").await;
    gateway.until_verdict("a", "ready").await;
    assert_eq!(gateway.ask(&infer()).await.json()["outputs"][0]["data"], json!([2.0]));

    // And what was held against the old one is not held against the new one.
    let dead = closed_port().await;
    reload(&gateway, at(&dead)).await;
    gateway.until_verdict("a", "dead").await;
    reload(&gateway, at(&old.address)).await;
    let verdicts = gateway.verdicts().await;
    assert!(verdicts.iter().all(|(_, verdict)| verdict != "dead"), "{verdicts:?}");
    assert_eq!(gateway.ask(&infer()).await.status(), 200);
}

/// From now on the gateway cannot open anything; gives what it could before.
fn starve(gateway: &Gateway) -> Rlimit {
    let pid = Pid::from_raw(gateway.process.id().cast_signed()).expect("a process");
    let none =
        Rlimit { current: Some(3), maximum: rustix::process::getrlimit(Resource::Nofile).maximum };
    prlimit(Some(pid), Resource::Nofile, none).expect("its limit is ours to set")
}

fn feed(gateway: &Gateway, limit: Rlimit) {
    let pid = Pid::from_raw(gateway.process.id().cast_signed()).expect("a process");
    prlimit(Some(pid), Resource::Nofile, limit).expect("its limit is ours to set");
}

#[tokio::test]
async fn what_the_gateway_lacks_is_no_servers_fault() {
    let peer = Peer::good(1.0).await;
    // A connection for each request, and one that breaks would show at once.
    let rule = json!({"max-idle-connections": 0, "breaker": {"consecutive": 2}});
    let more = json!({
        "outputs": {"y": {"datatype": "FP64", "shape": [1]}},
        "chain": [{"pool": "p"}, {"default": {"y": [-1.0]}}],
    });
    let gateway =
        Gateway::ready(model_m(&pool_of(&[named("a", peer.address)], &rule), &more)).await;
    let mut client = Connection::open(gateway.http).await.expect("it listens");
    assert!(!client.ask(&infer()).await.expect("an answer").is_degraded());

    let before = starve(&gateway);
    let starved = Instant::now();
    let mut asked = 0;
    // Long enough for rows of probes that cannot be made.
    while starved.elapsed() < Duration::from_secs(3) {
        let answer = client.ask(&infer()).await.expect("an answer");
        assert_eq!((answer.status(), answer.is_degraded()), (200, true), "{}", answer.text());
        asked += 1;
    }
    feed(&gateway, before);
    assert!(asked > 10, "{asked}");
    // At once: nothing was held against it.
    assert!(!client.ask(&infer()).await.expect("an answer").is_degraded());
    assert_eq!(gateway.verdicts().await, [("a".to_owned(), "ready".to_owned())]);
    let verdicts = gateway.events("verdict").await;
    assert!(verdicts.iter().all(|event| event["to"] == "ready"), "{verdicts:?}");
    assert!(gateway.events("breaker").await.is_empty());
    let told = until_told(&gateway, "gateway", "short", "MS0318").await;
    assert!(told["cause"].as_str().is_some_and(|it| it.contains("not its fault")), "{told}");
    let told = gateway.events("gateway").await;
    assert_eq!(told.iter().filter(|event| event["to"] == "short").count(), 1, "once in a while");
    let page = ask(gateway.admin, &Request::get("/metrics")).await.text();
    let shortages = page.lines().find(|line| line.contains("class=\"shortage\""));
    let count = shortages.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count >= asked), "{shortages:?}");
}

#[tokio::test]
async fn a_sequence_survives_what_the_gateway_lacks() {
    let peer = Peer::good(1.0).await;
    let by = json!({"sequence": {"by": {"header": "x-session"}}});
    let rule = json!({"max-idle-connections": 0});
    let gateway = Gateway::ready(model_m(&pool_of(&[named("a", peer.address)], &rule), &by)).await;
    let mut client = Connection::open(gateway.http).await.expect("it listens");
    let session = infer().header("x-session", "one");
    assert_eq!(client.ask(&session).await.expect("an answer").status(), 200);
    let before = starve(&gateway);
    let answer = client.ask(&session).await.expect("an answer");
    assert_ne!(answer.header("x-mainstay-error"), Some("MS0241"), "{}", answer.text());
    assert!(answer.status() >= 500, "{}", answer.text());
    feed(&gateway, before);
    assert_eq!(client.ask(&session).await.expect("an answer").status(), 200, "it goes on");
}

#[tokio::test]
async fn an_order_holds_from_the_first_request_of_an_endpoint_that_comes_back() {
    let (stays, comes) = (Peer::good(1.0).await, Peer::good(2.0).await);
    let both = [named("stays", stays.address), named("comes", comes.address)];
    let of = |count: usize| {
        model_m(&pool_of(&both[..count], &json!({"balance": "round-robin"})), &json!({}))
    };
    let gateway = Gateway::ready(of(2)).await;
    let drain = json!({"verb": "drain", "pool": "p", "endpoint": "comes", "reason": "a drill"});
    order(&gateway, &drain).await;
    let load = Load::start(gateway.http, 400, |_| infer());
    load.more(50).await;
    let before = comes.received().iter().filter(|it| it.path.ends_with("/infer")).count();
    for _ in 0..15 {
        reload(&gateway, of(1)).await;
        reload(&gateway, of(2)).await;
        load.more(20).await;
    }
    load.stop().await.assert_all_answered_within(DEADLINE);
    assert_eq!(standing(&gateway, "comes").await, "drained");
    let after = comes.received().iter().filter(|it| it.path.ends_with("/infer")).count();
    assert_eq!(after, before, "not one");
}

/// Writes down what the server answers to the first digits.
async fn golden(server: &ModelServer, folder: &Path) -> Value {
    let (input, output) = (folder.join("request.json"), folder.join("golden.json"));
    fs::write(&input, &digits::infer(&digits::all()[..3]).body).expect("written");
    let (url, text) = (format!("http://{}", server.address), |path: &Path| {
        path.to_str().expect("UTF-8").to_owned()
    });
    let arguments = ["golden", &url, MODEL, "--input", &text(&input), "--output", &text(&output)];
    let recorded = run(&arguments, LIMIT).await;
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    json!({"files": [output], "interval": "1s", "timeout": "900ms"})
}

#[tokio::test]
async fn a_warm_standby_that_answers_wrongly_is_not_promoted_and_the_next_one_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut primary = ModelServer::start().await;
    let wrong = ModelServer::start_unloaded_with(&demo("digits-logistic.onnx")).await;
    let right = ModelServer::start_unloaded().await;
    let golden = golden(&primary, folder.path()).await;
    let warm = |name: &str, server: &ModelServer| {
        let mut endpoint = named(name, server.address);
        endpoint["standby"] = json!("warm");
        endpoint
    };
    let endpoints =
        [named("primary", primary.address), warm("wrong", &wrong), warm("right", &right)];
    let mut pool = pool_of(&endpoints, &json!({"active": 1, "progress": "off"}));
    pool["probe"]["golden"] = golden;
    let gateway = Gateway::start(digits_by(&pool, &json!({}))).await;
    gateway.until_verdict("primary", "ready").await;
    gateway.until_verdict("right", "loading").await;
    let load = digits_load(&gateway, 40);
    load.more(20).await;
    primary.kill().await;
    until_standing(&gateway, "right", "active").await;
    let settled = Instant::now();
    let whole = |sample: &Sample| sample.is_ok() && !sample.is_degraded();
    load.until("an answer of the right one", settled, whole).await;
    load.stop().await.assert_all_answered_within(DEADLINE);

    let events = gateway.events("group").await;
    let of = |name: &str, to: &str| {
        let subject = format!("p/{name}");
        let fits = |event: &&Value| event["subject"] == subject && event["to"] == to;
        events.iter().filter(fits).cloned().collect::<Vec<_>>()
    };
    let failed = of("wrong", "failed");
    let why = failed.first().and_then(|event| event["cause"].as_str()).unwrap_or_default();
    assert!(why.contains("expected"), "it was asked, and answered wrongly: {events:?}");
    assert!(of("wrong", "active").is_empty(), "{events:?}");
    assert!(of("wrong", "ready").is_empty(), "{events:?}");
    assert_eq!(of("right", "active").len(), 1, "{events:?}");
    let records = gateway.admin("/api/requests?limit=200").await;
    let records = records["requests"].as_array().expect("records").clone();
    let asked = records.iter().filter_map(|record| record["attempts"].as_array()).flatten();
    assert!(asked.clone().all(|attempt| attempt["endpoint"] != "wrong"), "no client met it");
}

#[tokio::test]
async fn a_restarted_gateway_finds_its_warm_standby_loaded() {
    let mut primary = ModelServer::start().await;
    let standby = ModelServer::start_unloaded().await;
    let mut second = named("standby", standby.address);
    second["standby"] = json!("warm");
    let rule = json!({
        "active": 1,
        "progress": "off",
        "failback": {"stable-for": "1s", "ramp": "0s"},
    });
    let pool = pool_of(&[named("primary", primary.address), second], &rule);
    let gateway = Gateway::start(digits_by(&pool, &json!({}))).await;
    gateway.until_verdict("primary", "ready").await;
    primary.kill().await;
    until_standing(&gateway, "standby", "active").await;

    // Loaded once, by the gateway before: the next one finds it so, whether it needs it or not.
    let gateway = gateway.restarted_after_a_kill().await;
    until_standing(&gateway, "standby", "active").await;
    let events = gateway.events("group").await;
    let cause = |to: &str| {
        let found = events.iter().find(|e| e["subject"] == "p/standby" && e["to"] == to);
        found.and_then(|event| event["cause"].as_str()).unwrap_or_default().to_owned()
    };
    assert!(cause("ready").contains("found loaded"), "{events:?}");
    assert!(!gateway.ask(&digits::infer(&digits::all()[..1])).await.is_degraded());

    let gateway = gateway.restarted_after_a_kill().await;
    until_standing(&gateway, "standby", "active").await;
    // It is let go like one that this gateway had loaded itself.
    primary.restart().await;
    until_standing(&gateway, "primary", "active").await;
    gateway.until_verdict("standby", "loading").await;
    assert_eq!(standing(&gateway, "standby").await, "away");
}

/// A server that does four requests at a time, 20 ms each: 200 a second.
async fn limited() -> Server {
    let script = "{latency: 20ms, capacity: {workers: 4, queue: 100000, probes: false}}";
    Server::start(script.parse().expect("a script")).await.expect("a server")
}

#[tokio::test]
async fn load_brings_a_spare_in_and_calm_lets_it_go() {
    let servers = [limited().await, limited().await];
    let endpoints = [named("a", servers[0].address()), named("b", servers[1].address())];
    let rule = json!({
        "active": {"min": 1, "max": 2, "rise": "1s", "calm": "2s"},
        "concurrency": {"adaptive": false, "max": 4},
        "progress": "off",
    });
    let queue = json!({"concurrency": {"queue": 1000, "wait": "2s"}});
    let gateway = Gateway::ready(model_m(&pool_of(&endpoints, &rule), &queue)).await;
    until_standing(&gateway, "a", "active").await;
    assert_eq!(standing(&gateway, "b").await, "spare");
    let gentle = Load::start(gateway.http, 20, |_| infer());
    gentle.more(60).await;
    assert_eq!(standing(&gateway, "b").await, "spare", "one is enough");
    let heavy = Load::start(gateway.http, 200, |_| infer());
    until_standing(&gateway, "b", "active").await;
    heavy.more(200).await;
    let status = group(&gateway).await;
    assert_eq!((&status["wanted"], &status["in_use"]), (&json!(2), &json!(2)), "{status}");
    heavy.stop().await.assert_all_answered_within(DEADLINE);
    until_standing(&gateway, "b", "spare").await;
    gentle.more(20).await;
    gentle.stop().await.assert_all_answered_within(DEADLINE);
    let events = gateway.events("group").await;
    let moves = events.iter().filter(|event| event["subject"] == "p/b").count();
    assert!(moves <= 3, "brought in once and let go once: {events:?}");
}

/// A window of the week that is closed now and for hours, and one that is always open.
fn windows() -> (&'static str, &'static str) {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let hour = now % 86_400 / 3_600;
    (if (6..18).contains(&hour) { "22:00-02:00" } else { "11:00-13:00" }, "Mon-Sun 00:00-24:00")
}

#[tokio::test]
async fn the_way_back_waits_for_its_window_and_is_called_off_when_it_goes_badly() {
    let servers = [limited().await, limited().await];
    let endpoints = [named("a", servers[0].address()), named("b", servers[1].address())];
    let (closed, open) = windows();
    let with = |window: &str| {
        let rule = json!({
            "active": 1,
            "failback": {"stable-for": "300ms", "ramp": "20s", "windows": [window],
                "damping": {"suppress": 10}},
            // What judges here is the way back alone.
            "breaker": "off",
            "outliers": "off",
            "progress": "off",
            "slow-start": {"window": "100ms"},
        });
        model_m(&pool_of(&endpoints, &rule), &json!({}))
    };
    let gateway = Gateway::ready(with(closed)).await;
    let load = Load::start(gateway.http, 100, |_| infer());
    load.more(50).await;
    servers[0].play("{rules: [{behave: refused}]}".parse().expect("a script"));
    until_standing(&gateway, "b", "active").await;
    servers[0].play("{latency: 20ms}".parse().expect("a script"));
    gateway.until_verdict("a", "ready").await;
    eventually("it waits for its window", || async {
        let waits = group(&gateway).await["members"][0]["failback_waits"].clone();
        waits.as_str().is_some_and(|waits| waits.contains("outside its windows")).then_some(())
    })
    .await;
    assert_eq!(standing(&gateway, "a").await, "spare");

    reload(&gateway, with(open)).await;
    eventually("its way back begins", || async {
        (group(&gateway).await["members"][0]["returning"] == true).then_some(())
    })
    .await;
    servers[0].play("{rules: [{behave: 500, path: infer}]}".parse().expect("a script"));
    let told = eventually("its way back is called off", || async {
        let events = gateway.events("group").await;
        let off = |event: &&Value| {
            event["cause"].as_str().is_some_and(|it| it.contains("its way back was called off"))
        };
        events.iter().find(off).cloned()
    })
    .await;
    assert!(told["cause"].as_str().is_some_and(|it| it.contains("requests failed")), "{told}");
    let status = group(&gateway).await;
    assert_eq!(status["members"][1]["standing"], "active", "{status}");
    load.more(50).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}

#[tokio::test]
async fn who_is_near_is_promoted_before_who_is_far() {
    let mut servers = ModelServer::several(3).await;
    let zones = [("first", "z1"), ("far", "z2"), ("near", "z1")];
    let endpoints: Vec<_> = zones
        .iter()
        .zip(&servers)
        .map(|((name, zone), server)| {
            let mut endpoint = named(name, server.address);
            endpoint["zone"] = json!(zone);
            endpoint
        })
        .collect();
    let rule = json!({"active": 1, "progress": "off", "locality": "off"});
    let node = json!({"region": "north", "zone": "z1"});
    let gateway = Gateway::ready(digits_by(&pool_of(&endpoints, &rule), &node)).await;
    until_standing(&gateway, "first", "active").await;
    let load = digits_load(&gateway, 60);
    load.more(20).await;
    servers[0].kill().await;
    until_standing(&gateway, "near", "active").await;
    assert_eq!(standing(&gateway, "far").await, "spare");
    servers[2].kill().await;
    until_standing(&gateway, "far", "active").await;
    load.more(20).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
    let events = gateway.events("group").await;
    let active: Vec<_> = events.iter().filter(|event| event["to"] == "active").collect();
    assert_eq!(active.len(), 2, "near, then far: {active:?}");
}

#[tokio::test]
async fn a_hot_spare_is_proven_in_the_shadow_and_an_old_proof_is_an_alert() {
    let servers = ModelServer::several(2).await;
    let endpoints = [named("a", servers[0].address), named("b", servers[1].address)];
    let mut config = digits_by(&pool_of(&endpoints, &json!({"active": 1})), &json!({}));
    config["models"][MODEL]["rehearsal"] = json!({"share": "100%", "stale-after": "2s"});
    let gateway = Gateway::ready(config).await;
    until_standing(&gateway, "b", "spare").await;
    let proof = || async {
        let steps = gateway.status().await["models"][0]["steps"].clone();
        let known = steps[0]["rehearsals"].as_array().cloned().unwrap_or_default();
        known.into_iter().find(|it| it["endpoint"] == "b").unwrap_or_default()
    };
    let until = |wanted: &'static str| {
        let proof = &proof;
        eventually(wanted, move || async move {
            let proof = proof().await;
            (proof["state"] == wanted).then_some(proof)
        })
    };
    let load = digits_load(&gateway, 50);
    let proven = until("proven").await;
    assert_eq!((&proven["alert"], &proven["agreement"]), (&json!(false), &json!(1.0)), "{proven}");
    load.stop().await.assert_all_answered_within(DEADLINE);
    // Nobody asks any more: what was proven once is not known for long.
    let stale = until("stale").await;
    assert_eq!(stale["alert"], true, "{stale}");
    let load = digits_load(&gateway, 50);
    until("proven").await;
    // A spare that would fail is an alert before it is needed.
    let mut spare = servers.into_iter().nth(1).expect("two");
    spare.kill().await;
    load.more(20).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
    let targets = gateway.targets().await;
    let (_, first) = targets.iter().find(|(name, _)| name == "a").expect("it");
    assert_eq!(first["verdict"], "ready", "shadows are nothing to whoever is in use");
}
