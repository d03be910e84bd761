//! Near servers first: zones and regions that die under load and come back, with room elsewhere and
//! without; and gateways that stand in for each other.

use std::time::Duration;

use mainstay_faults::Server;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::Request;
use crate::support::load::{Load, Report, Sample};
use crate::support::model_server::ModelServer;
use crate::support::{eventually, eventually_within};

/// Little enough for two servers of a debug build on a busy machine, twice over.
const RATE: u32 = 60;
const DEADLINE: Duration = Duration::from_secs(2);

/// A pool whose endpoints are in these zones and regions.
fn sited<'a>(sites: impl IntoIterator<Item = (&'a ModelServer, Value)>) -> Value {
    let endpoints = sites.into_iter().map(|(server, mut site)| {
        site["url"] = json!(format!("http://{}", server.address));
        site
    });
    json!({"endpoints": endpoints.collect::<Vec<_>>()})
}

fn digits_by(node: &Value, pool: &Value) -> Value {
    let model = json!({"deadline": "2s", "chain": [{"pool": "p"}]});
    let mut config = config(&json!({"p": pool}), &json!({MODEL: model}));
    config["node"] = node.clone();
    config
}

fn load(gateway: &Gateway) -> Load {
    let rows = digits::all();
    Load::start(gateway.http, RATE, move |number| digits::infer(&rows[number % rows.len()..][..1]))
}

/// The share of each distance, as the status shows it.
async fn shares(gateway: &Gateway) -> Vec<(String, f64)> {
    let status = gateway.status().await;
    let locality = status["pools"][0]["locality"][0]["shares"].as_array().expect("shares").clone();
    let share = |share: &Value| {
        (share["distance"].as_str().expect("a name").to_owned(), share["share"].as_f64().unwrap())
    };
    locality.iter().map(share).collect()
}

async fn until_share(gateway: &Gateway, distance: &str, wanted: f64) {
    let limit = Duration::from_secs(90);
    eventually_within(limit, &format!("{distance} takes {wanted}"), || async {
        let shares = shares(gateway).await;
        shares
            .iter()
            .any(|(name, share)| name == distance && (share - wanted).abs() < 0.01)
            .then_some(())
    })
    .await;
}

/// Who answered the last requests, by the names of the endpoints.
async fn answered_by(gateway: &Gateway) -> Vec<String> {
    let records = gateway.admin("/api/requests?limit=100").await;
    let records = records["requests"].as_array().expect("records").clone();
    let last = |record: &Value| {
        record["attempts"].as_array()?.last()?["endpoint"].as_str().map(str::to_owned)
    };
    records.iter().filter_map(last).collect()
}

#[tokio::test]
async fn a_zone_dies_under_load_and_comes_back_without_an_error() {
    let mut servers = ModelServer::several(4).await;
    let zones = ["a", "a", "b", "b"].map(|zone| json!({"zone": zone}));
    let pool = sited(servers.iter().zip(zones));
    let gateway = Gateway::ready(digits_by(&json!({"region": "north", "zone": "a"}), &pool)).await;
    let load = load(&gateway);
    load.more(150).await;
    let near: Vec<_> = servers[..2].iter().map(ModelServer::name).collect();
    assert!(answered_by(&gateway).await.iter().all(|name| near.contains(name)));

    let killed = Instant::now();
    for server in &mut servers[..2] {
        server.kill().await;
    }
    let first = load.until("an answer from the other zone", killed, Sample::is_ok).await;
    assert!(first.took < DEADLINE, "{first:?}");
    until_share(&gateway, "own-region", 1.0).await;
    load.more(300).await;
    let far: Vec<_> = servers[2..].iter().map(ModelServer::name).collect();
    assert!(answered_by(&gateway).await.iter().all(|name| far.contains(name)));

    for server in &mut servers[..2] {
        server.restart().await;
    }
    until_share(&gateway, "own-zone", 1.0).await;
    load.more(150).await;
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    let told = gateway.events("locality").await;
    assert!(told[0]["to"].as_str().is_some_and(|to| to.contains("own-region")), "{told:?}");
    let near: Vec<u32> = told.iter().map(own_zone).collect();
    assert!(near.is_sorted(), "no ping-pong: {told:?}");
    let why = gateway.status().await["pools"][0]["locality"][0]["why"].clone();
    assert!(why.as_str().is_some_and(|why| why.contains("usable")), "{why}");
}

/// The share of the own zone after a change, in percent.
fn own_zone(event: &Value) -> u32 {
    let to = event["to"].as_str().expect("a text");
    let share = to.split(", ").find_map(|share| share.strip_prefix("own-zone "));
    share
        .and_then(|share| share.strip_suffix(" %"))
        .map_or(0, |share| share.parse().expect("a number"))
}

/// A server that does four requests at a time, 20 ms each: 200 a second.
async fn limited() -> Server {
    let script = "{latency: 20ms, capacity: {workers: 4, queue: 100000, probes: false}}";
    Server::start(script.parse().expect("a script")).await.expect("a server")
}

fn infer(number: usize) -> Request {
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]});
    let priority = if number.is_multiple_of(4) { "high" } else { "low" };
    Request::post("/v2/models/m/infer", json!({"inputs": [input]}).to_string())
        .header("x-priority", priority)
}

#[tokio::test]
async fn with_too_little_left_what_matters_least_is_shed_first() {
    let servers = [limited().await, limited().await, limited().await];
    let addresses = servers.iter().map(|server| server.address()).collect::<Vec<_>>();
    let mut pool = pool(&addresses);
    for (endpoint, zone) in
        pool["endpoints"].as_array_mut().unwrap().iter_mut().zip(["a", "a", "b"])
    {
        endpoint["zone"] = json!(zone);
    }
    pool["concurrency"] = json!({"adaptive": false, "max": 4});
    let models = json!({"m": {
        "deadline": "1s",
        "chain": [{"pool": "p"}],
        "concurrency": {"queue": 40, "wait": "200ms"},
    }});
    let mut config = config(&json!({"p": pool}), &models);
    config["node"] = json!({"region": "north", "zone": "a"});
    config["listen"]["priority-header"] = json!({"trusted": ["127.0.0.0/8"]});
    let gateway = Gateway::ready(config).await;
    // Two servers do 400 a second, the one that is left 200; a quarter of 320 matters.
    let load = Load::start(gateway.http, 320, infer);
    load.more(300).await;
    for server in &servers[..2] {
        server.play("{rules: [{behave: refused}]}".parse().expect("a script"));
    }
    until_share(&gateway, "own-region", 1.0).await;
    let since = Instant::now();
    load.more(1_000).await;
    let report = load.stop().await;

    let (high, low) = by_priority(&report, since);
    println!("served {} of {} that matter, {} of {} others", high.0, high.1, low.0, low.1);
    assert!(high.0 * 100 >= high.1 * 98, "{} of {} that matter were served", high.0, high.1);
    assert!(low.0 > low.1 / 4, "what is left serves others too: {} of {}", low.0, low.1);
    assert!(low.0 < low.1, "there was too little for all");
    let shed = report.samples.iter().filter(|sample| !sample.is_ok());
    for sample in shed {
        let answer = sample.answer().expect("an answer");
        let record = gateway.record(answer).await;
        assert_eq!(answer.header("x-mainstay-retry"), Some("always"), "{record}");
    }
}

/// Served and all, of those that matter and of the others.
fn by_priority(report: &Report, since: Instant) -> ((usize, usize), (usize, usize)) {
    let count = |matters: bool| {
        let all =
            report.since(since).into_iter().filter(|it| it.number.is_multiple_of(4) == matters);
        let (served, shed): (Vec<_>, Vec<_>) = all.partition(|sample| sample.is_ok());
        (served.len(), served.len() + shed.len())
    };
    (count(true), count(false))
}

#[tokio::test]
async fn two_gateways_each_stand_in_for_the_others_region() {
    let mut servers = ModelServer::several(4).await;
    let regions = ["north", "north", "south", "south"].map(|region| json!({"region": region}));
    let pool = sited(servers.iter().zip(regions));
    let north = Gateway::ready(digits_by(&json!({"region": "north"}), &pool)).await;
    let south = Gateway::ready(digits_by(&json!({"region": "south"}), &pool)).await;
    let (in_north, in_south) = (load(&north), load(&south));
    in_north.more(100).await;

    for server in &mut servers[..2] {
        server.kill().await;
    }
    until_share(&north, "other-regions", 1.0).await;
    in_north.more(150).await;
    let far: Vec<_> = servers[2..].iter().map(ModelServer::name).collect();
    assert!(answered_by(&north).await.iter().all(|name| far.contains(name)));
    for server in &mut servers[..2] {
        server.restart().await;
    }
    until_share(&north, "own-zone", 1.0).await;
    let (in_north, in_south) = (in_north.stop().await, in_south.stop().await);
    in_north.assert_all_answered_within(DEADLINE);
    in_south.assert_all_answered_within(DEADLINE);
    assert!(answered_by(&south).await.iter().all(|name| far.contains(name)));
}

#[tokio::test]
async fn gateways_that_point_at_each_other_do_not_hand_a_request_to_and_fro() {
    let mut servers = ModelServer::several(2).await;
    // The southern gateway needs the northern one's address before that is known: a fixed port.
    let port = free_port();
    let both = |gateway: &str, server: &ModelServer, own: &str, other: &str| {
        json!({"endpoints": [
            {"url": format!("http://{}", server.address), "region": own},
            {"url": format!("http://{gateway}"), "region": other},
        ]})
    };
    let north_at = format!("127.0.0.1:{port}");
    let southern = both(&north_at, &servers[1], "south", "north");
    let south = Gateway::start(digits_by(&json!({"region": "south"}), &southern)).await;
    let northern = both(&south.http.to_string(), &servers[0], "north", "south");
    let mut config = digits_by(&json!({"region": "north"}), &northern);
    config["listen"]["http"] = json!(north_at);
    let north = Gateway::ready(config).await;
    south.until_verdict(&north_at, "ready").await;

    servers[0].kill().await;
    let request = digits::infer(&digits::all()[..1]);
    eventually("the south answers for the north", || async {
        (north.ask(&request).await.status() == 200).then_some(())
    })
    .await;
    servers[1].kill().await;
    let before = requests(&north).await;
    let began = Instant::now();
    for _ in 0..10 {
        assert_ne!(north.ask(&request).await.status(), 200, "nobody is left");
    }
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert_eq!(requests(&north).await - before, 10, "none came back from the south");
}

async fn requests(gateway: &Gateway) -> u64 {
    gateway.status().await["models"][0]["requests"].as_u64().expect("a number")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
