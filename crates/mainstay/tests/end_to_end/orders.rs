//! Operators move traffic: drained, in maintenance, with another weight; and ask before what would
//! come of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Request, ask};
use crate::support::load::Load;
use crate::support::peer::{Manner, Peer, good};
use crate::support::process::{Ended, run};
use crate::support::{LIMIT, eventually};

/// Requests a second of the loads here.
const RATE: u32 = 100;

/// So many peers in one pool, and what changes in its configuration.
async fn peers(count: usize, change: impl FnOnce(&mut Value)) -> (Vec<Peer>, Gateway) {
    let mut peers = Vec::new();
    for at in 0..count {
        let answer = good(at as f64);
        peers.push(Peer::start(Manner::Slow(Duration::from_millis(5), answer)).await);
    }
    let models = json!({"m": {"deadline": "5s", "chain": [{"pool": "p"}]}});
    let pools = json!({"p": pool(peers.iter().map(|peer| &peer.address))});
    let mut config = config(&pools, &models);
    change(&mut config);
    let gateway = Gateway::ready(config).await;
    (peers, gateway)
}

/// With little to do, the rules that go by cost give nearly everything to the quickest.
fn in_turn(config: &mut Value) {
    config["pools"]["p"]["balance"] = json!("round-robin");
}

fn infer(_: usize) -> Request {
    Request::post("/v2/models/m/infer", "{\"inputs\":[]}")
}

fn drain(peer: &Peer) -> Value {
    json!({
        "verb": "drain", "pool": "p", "endpoint": peer.address.to_string(), "reason": "new kernel"
    })
}

fn with(mut order: Value, key: &str, value: Value) -> Value {
    order[key] = value;
    order
}

async fn give(gateway: &Gateway, order: &Value) -> Answer {
    let token = format!("Bearer {}", gateway.token());
    let request = Request::post("/v1/orders", order.to_string()).header("authorization", &token);
    ask(gateway.admin, &request).await
}

async fn done(gateway: &Gateway, order: &Value) -> Value {
    let answer = give(gateway, order).await;
    assert_eq!(answer.status(), 200, "{order}: {}", answer.text());
    answer.json()
}

/// The command line as an operator of this gateway has it.
async fn operator(gateway: &Gateway, arguments: &[&str]) -> Ended {
    let (admin, token) = (gateway.admin.to_string(), gateway.token_file());
    let mut all = arguments.to_vec();
    all.extend(["--admin", &admin]);
    if arguments[0] != "status" && arguments[0] != "forecast" {
        all.extend(["--token-file", token.to_str().unwrap()]);
    }
    run(&all, LIMIT).await
}

fn endpoint<'s>(status: &'s Value, peer: &Peer) -> &'s Value {
    let name = peer.address.to_string();
    let endpoints = status["pools"][0]["endpoints"].as_array().expect("endpoints");
    endpoints.iter().find(|endpoint| endpoint["name"] == *name).expect("it is configured")
}

#[tokio::test]
async fn a_drain_under_load_fails_nobody_and_sends_nothing_more() {
    let (peers, gateway) = peers(3, |_| {}).await;
    let load = Load::start(gateway.http, RATE, infer);
    load.more(100).await;
    let name = format!("p/{}", peers[0].address);
    let drained =
        operator(&gateway, &["drain", &name, "--reason", "new kernel", "--wait", "20s"]).await;
    assert_eq!(drained.code, Some(0), "{}{}", drained.stdout, drained.stderr);
    assert!(drained.stdout.contains(&format!("{name} is drained")), "{}", drained.stdout);
    assert!(drained.stderr.contains("nothing is in flight"), "{}", drained.stderr);
    let asked = peers[0].received().len();
    assert!(asked > 0, "it had its share before");
    load.more(200).await;
    assert_eq!(peers[0].received().len(), asked, "no new request");

    let status = gateway.status().await;
    let shown = endpoint(&status, &peers[0]);
    assert_eq!(shown["standing"], "drained", "{shown}");
    assert_eq!(shown["order"]["reason"], "new kernel", "{shown}");
    let page = operator(&gateway, &["status"]).await.stdout;
    assert!(page.contains("drained") && page.contains("new kernel"), "{page}");
    let told = gateway.events("operator").await;
    let event = told.iter().find(|event| event["to"] == "drain").expect("an event");
    assert_eq!((&event["subject"], &event["cause"]), (&json!(name), &json!("new kernel")));

    let back = operator(&gateway, &["undrain", &name, "--reason", "kernel is new"]).await;
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    eventually("it has its share again", || async {
        (peers[0].received().len() > asked).then_some(())
    })
    .await;
    let report = load.stop().await;
    report.assert_all_answered_within(Duration::from_secs(5));
}

#[tokio::test]
async fn who_is_in_maintenance_is_never_asked() {
    let (peers, gateway) = peers(2, |_| {}).await;
    let maintenance = with(drain(&peers[0]), "verb", json!("maintenance"));
    done(&gateway, &maintenance).await;
    peers[1].set_manner(Manner::ResetBeforeBytes);
    for number in 0..20 {
        let answer = gateway.ask(&infer(number)).await;
        assert_ne!(answer.status(), 200, "an error rather than a server in maintenance");
    }
    assert!(peers[0].received().is_empty());
    done(&gateway, &with(drain(&peers[0]), "verb", json!("end-maintenance"))).await;
    assert_eq!(gateway.ask(&infer(0)).await.status(), 200);
}

#[tokio::test]
async fn a_drained_one_is_asked_before_an_error() {
    let (peers, gateway) = peers(2, |_| {}).await;
    done(&gateway, &drain(&peers[0])).await;
    peers[1].set_manner(Manner::ResetBeforeBytes);
    assert_eq!(gateway.ask(&infer(0)).await.status(), 200, "it still runs");
}

#[tokio::test]
async fn half_a_weight_is_about_half_a_share() {
    let (peers, gateway) = peers(2, in_turn).await;
    let weight = with(with(drain(&peers[0]), "verb", json!("weight")), "factor", json!(0.5));
    done(&gateway, &weight).await;
    let load = Load::start(gateway.http, RATE, infer);
    load.more(600).await;
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));
    let [lighter, other] = [0, 1].map(|at| peers[at].received().len() as f64);
    let share = lighter / other;
    assert!((0.4..0.6).contains(&share), "{lighter} to {other}");
    let status = gateway.status().await;
    assert_eq!(endpoint(&status, &peers[0])["factor"], 0.5, "{status}");
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_comes_true() {
    let (peers, gateway) = peers(3, in_turn).await;
    let load = Load::start(gateway.http, RATE, infer);
    let dry = eventually("the load is measured as it is", || async {
        let dry = done(&gateway, &with(drain(&peers[0]), "dry_run", json!(true))).await;
        let off = dry["forecast"]["pools"][0]["now"].as_f64().unwrap() - f64::from(RATE);
        (off.abs() < 0.2 * f64::from(RATE)).then_some(dry)
    })
    .await;
    assert_eq!(dry["done"], false, "{dry}");
    let status = gateway.status().await;
    assert_eq!(
        (&status["orders"], &endpoint(&status, &peers[0])["standing"]),
        (&json!([]), &json!("active"))
    );
    let events = gateway.events("operator").await;
    assert!(events.is_empty(), "{events:?}");

    let foreseen = dry["forecast"]["pools"][0]["endpoints"].as_array().expect("endpoints").clone();
    let now: f64 = foreseen.iter().map(|e| e["now"].as_f64().unwrap()).sum();
    done(&gateway, &drain(&peers[0])).await;
    let before: Vec<_> = peers.iter().map(|peer| peer.received().len()).collect();
    let all: usize = 600;
    load.more(all).await;
    let after: Vec<_> = peers.iter().map(|peer| peer.received().len()).collect();
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));
    let came: usize = after.iter().zip(&before).map(|(after, before)| after - before).sum();
    for (at, foreseen) in foreseen.iter().enumerate() {
        let share = foreseen["then"].as_f64().unwrap() / now;
        let came = (after[at] - before[at]) as f64 / came as f64;
        assert!((share - came).abs() < 0.15, "{at}: foreseen {share:.2}, came {came:.2}");
    }
}

#[tokio::test]
async fn every_verb_can_be_tried_dry() {
    let (peers, gateway) = peers(2, |_| {}).await;
    let name = format!("p/{}", peers[0].address);
    for arguments in [&["drain", &name][..], &["maintenance", &name], &["weight", &name, "0.5"]] {
        let dry = operator(&gateway, &[arguments, &["--dry-run"]].concat()).await;
        assert_eq!(dry.code, Some(0), "{arguments:?}: {}{}", dry.stdout, dry.stderr);
        assert!(dry.stdout.contains("would be"), "{}", dry.stdout);
        let json = operator(&gateway, &[arguments, &["--dry-run", "--json"]].concat()).await;
        let carried: Value = serde_json::from_str(&json.stdout).expect("JSON");
        assert_eq!(carried["done"], false);
    }
    assert_eq!(gateway.status().await["orders"], json!([]));
}

#[tokio::test]
async fn the_last_one_is_drained_only_by_force() {
    let (peers, gateway) = peers(1, |_| {}).await;
    let name = format!("p/{}", peers[0].address);
    let arguments = ["drain", &name, "--reason", "new kernel"];
    let refused = operator(&gateway, &arguments).await;
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    let says = &refused.stderr;
    assert!(says.contains("MS0315") && says.contains("no endpoint of pool p"), "{says}");
    assert_eq!(gateway.status().await["orders"], json!([]));
    let forced = operator(&gateway, &[&arguments[..], &["--force"]].concat()).await;
    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    assert_eq!(gateway.status().await["orders"][0]["order"], "drain");
}

#[tokio::test]
async fn what_would_be_too_much_for_the_others_is_refused() {
    let (peers, gateway) = peers(2, |config| {
        config["pools"]["p"]["concurrency"] = json!({"adaptive": false, "max": 2});
    })
    .await;
    for peer in &peers {
        peer.set_manner(Manner::Slow(Duration::from_millis(40), good(1.0)));
    }
    // Two at once at 40 ms each are 50 a second; together they can bear 70, one alone cannot.
    let load = Load::start(gateway.http, 70, infer);
    let refused = eventually("the load is known to be too much for one", || async {
        let dry = done(&gateway, &with(drain(&peers[0]), "dry_run", json!(true))).await;
        (dry["refused"] != json!([])).then_some(dry)
    })
    .await;
    assert!(refused["forecast"]["missing"].as_f64().unwrap() > 1.0, "{refused}");
    let answer = give(&gateway, &drain(&peers[0])).await;
    assert_eq!((answer.status(), &answer.json()["code"]), (409, &json!("MS0315")));
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));
}

#[tokio::test]
async fn orders_survive_a_restart_and_end_in_their_time() {
    let (peers, gateway) = peers(3, |_| {}).await;
    done(&gateway, &drain(&peers[0])).await;
    done(&gateway, &with(with(drain(&peers[1]), "verb", json!("maintenance")), "for", json!("4s")))
        .await;
    let gateway = gateway.restarted().await;
    let status = gateway.status().await;
    assert_eq!(endpoint(&status, &peers[0])["standing"], "drained", "{status}");
    let orders = status["orders"].as_array().expect("orders");
    assert!(orders.iter().any(|order| order["reason"] == "new kernel"), "{orders:?}");
    eventually("maintenance ends by itself", || async {
        let status = gateway.status().await;
        (endpoint(&status, &peers[1])["standing"] == "active").then_some(())
    })
    .await;
    let before = peers[0].received().len();
    for number in 0..30 {
        assert_eq!(gateway.ask(&infer(number)).await.status(), 200);
    }
    assert_eq!(peers[0].received().len(), before, "drained, still");
}

#[tokio::test]
async fn orders_need_the_token_and_names_that_exist() {
    let (peers, gateway) = peers(2, |_| {}).await;
    let order = drain(&peers[0]);
    let without = ask(gateway.admin, &Request::post("/v1/orders", order.to_string())).await;
    assert_eq!(without.status(), 401, "{}", without.text());
    let misspelt = operator(&gateway, &["drain", "q/a", "--reason", "x", "--json"]).await;
    assert_eq!(misspelt.code, Some(2));
    let says = &misspelt.stderr;
    assert!(says.contains("MS0309") && says.contains("There is: p"), "{says}");
    let nothing =
        operator(&gateway, &["undrain", &format!("p/{}", peers[0].address), "--reason", "x"]).await;
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.contains("MS0316"), "{}", nothing.stderr);
    assert_eq!(gateway.status().await["orders"], json!([]));
}

#[tokio::test]
async fn a_death_is_foreseen() {
    let (peers, gateway) = peers(2, |_| {}).await;
    let load = Load::start(gateway.http, RATE, infer);
    load.more(600).await;
    let name = format!("p/{}", peers[0].address);
    let foreseen = operator(&gateway, &["forecast", &name]).await;
    assert_eq!(foreseen.code, Some(0), "{}", foreseen.stderr);
    let says = &foreseen.stdout;
    // How much the other one can bear was measured, and may be little where it had little to do.
    let survivor = peers[1].address.to_string();
    assert!(says.contains("gone") && says.contains(&survivor), "{says}");
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));
}

#[tokio::test]
async fn a_zone_is_foreseen_and_drained_as_one() {
    let (peers, gateway) = peers(4, |config| {
        in_turn(config);
        for at in 0..4 {
            let zone = if at < 2 { "east" } else { "west" };
            config["pools"]["p"]["endpoints"][at]["zone"] = json!(zone);
        }
    })
    .await;
    let load = Load::start(gateway.http, RATE, infer);
    load.more(600).await;
    let foreseen = operator(&gateway, &["forecast", "--zone", "east", "--json"]).await;
    let foreseen: Value = serde_json::from_str(&foreseen.stdout).expect("JSON");
    let pool = &foreseen["pools"][0];
    assert_eq!((&pool["serving"], &pool["serving_then"]), (&json!(4), &json!(2)), "{foreseen}");
    let misspelt = operator(&gateway, &["forecast", "--zone", "eats"]).await;
    assert!(misspelt.stderr.contains("Did you mean \"east\"?"), "{}", misspelt.stderr);

    let arguments = ["drain", "--zone", "east", "--reason", "work on the power", "--wait", "20s"];
    let drained = operator(&gateway, &arguments).await;
    assert_eq!(drained.code, Some(0), "{}{}", drained.stdout, drained.stderr);
    let asked = peers[0].received().len() + peers[1].received().len();
    load.more(100).await;
    assert_eq!(peers[0].received().len() + peers[1].received().len(), asked);
    let one = format!("p/{}", peers[0].address);
    let covered = operator(&gateway, &["undrain", &one, "--reason", "x"]).await;
    assert!(covered.stderr.contains("drain is on zone east"), "{}", covered.stderr);
    let back = operator(&gateway, &["undrain", "--zone", "east", "--reason", "it is done"]).await;
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    eventually("they have their share again", || async {
        (peers[0].received().len() + peers[1].received().len() > asked).then_some(())
    })
    .await;
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));
}

/// One in use and a hot standby, which gives way soon.
fn pair(config: &mut Value) {
    let pool = &mut config["pools"]["p"];
    pool["active"] = json!(1);
    pool["endpoints"][1]["standby"] = json!("hot");
    pool["failback"] = json!({"stable-for": "300ms", "ramp": "0s"});
}

async fn until_in_use(gateway: &Gateway, peer: &Peer) {
    eventually("it alone is in use", || async {
        let status = gateway.status().await;
        let endpoints = status["pools"][0]["endpoints"].as_array().expect("endpoints").clone();
        let active: Vec<_> = endpoints.iter().filter(|e| e["standing"] == "active").collect();
        (active.len() == 1 && active[0]["name"] == peer.address.to_string()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_post_is_moved_by_hand_kept_there_and_given_back() {
    let (peers, gateway) = peers(2, pair).await;
    until_in_use(&gateway, &peers[0]).await;
    let load = Load::start(gateway.http, RATE, infer);
    load.more(50).await;
    let dry = operator(&gateway, &["failover", "p", "--dry-run"]).await;
    assert_eq!(dry.code, Some(0), "{}{}", dry.stdout, dry.stderr);
    let says = format!("p/{} would be active (was spare", peers[1].address);
    assert!(dry.stdout.contains(&says), "{}", dry.stdout);
    until_in_use(&gateway, &peers[0]).await;
    let moved = operator(&gateway, &["failover", "p", "--reason", "a new disk"]).await;
    assert_eq!(moved.code, Some(0), "{}{}", moved.stdout, moved.stderr);
    until_in_use(&gateway, &peers[1]).await;
    load.more(100).await;
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));

    let gateway = gateway.restarted().await;
    until_in_use(&gateway, &peers[1]).await;
    assert_eq!(gateway.status().await["orders"][0]["reason"], "a new disk");
    let back = operator(&gateway, &["failback", "p", "--reason", "the disk is in"]).await;
    assert_eq!(back.code, Some(0), "{}{}", back.stdout, back.stderr);
    until_in_use(&gateway, &peers[0]).await;
    eventually("the order is over", || async {
        (gateway.status().await["orders"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_drained_gives_its_post_to_the_standby() {
    let (peers, gateway) = peers(2, pair).await;
    until_in_use(&gateway, &peers[0]).await;
    let load = Load::start(gateway.http, RATE, infer);
    load.more(50).await;
    let dry = done(&gateway, &with(drain(&peers[0]), "dry_run", json!(true))).await;
    let foreseen = &dry["forecast"]["pools"][0]["endpoints"];
    assert_eq!(
        (&foreseen[0]["becomes"], &foreseen[1]["becomes"]),
        (&json!("drained"), &json!("active"))
    );
    assert_eq!(dry["refused"], json!([]), "{dry}");
    done(&gateway, &drain(&peers[0])).await;
    until_in_use(&gateway, &peers[1]).await;
    done(&gateway, &with(drain(&peers[0]), "verb", json!("undrain"))).await;
    until_in_use(&gateway, &peers[0]).await;
    load.stop().await.assert_all_answered_within(Duration::from_secs(5));
}
