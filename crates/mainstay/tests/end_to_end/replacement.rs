//! Supervised servers whose configuration changes: started anew one at a time, replaced by others
//! that are ready first, stopped when they are done; and who gives the guardian its orders.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::digits::MODEL;
use crate::support::gateway::Gateway;
use crate::support::model_server::ModelServer;
use crate::support::process::Process;
use crate::support::supervised::{
    endpoint, free, is_alive, load, pid, process, program, server, supervised, until, until_running,
};
use crate::support::{LIMIT, demo, eventually, eventually_within};

const DEADLINE: Duration = Duration::from_secs(2);

async fn reload(gateway: &Gateway, config: &Value) {
    gateway.rewrite(config.clone());
    let answer = gateway.reload().await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// The same server with another `process` section.
fn changed(process: &Value) -> Value {
    let mut changed = process.clone();
    changed["limits"] = json!({"files": 4000});
    changed
}

#[tokio::test]
async fn a_standby_that_is_none_any_more_is_started() {
    let primary = ModelServer::start().await;
    let mut other = endpoint("other", free(), &json!({}));
    let address = other["url"].as_str().expect("a url")["http://".len()..].parse();
    other["process"] = json!({"command": server(address.expect("an address"))});
    other["standby"] = json!("cold");
    let first = json!({"url": format!("http://{}", primary.address), "name": "primary"});
    let mut config = supervised(&[first, other]);
    let gateway = Gateway::start(config.clone()).await;
    gateway.until_verdict("primary", "ready").await;
    assert_eq!(process(&gateway, "other").await["state"], "stopped");
    let other = &mut config["pools"]["forest"]["endpoints"][1];
    other.as_object_mut().expect("an endpoint").remove("standby");
    reload(&gateway, &config).await;
    until_running(&gateway, "other").await;
    gateway.until_verdict("other", "ready").await;
}

#[tokio::test]
async fn another_process_section_starts_servers_anew_one_at_a_time() {
    let (a, b) = (free(), free());
    let sections = [json!({"command": server(a)}), json!({"command": server(b)})];
    let both = |sections: &[Value; 2]| {
        supervised(&[endpoint("a", a, &sections[0]), endpoint("b", b, &sections[1])])
    };
    let gateway = Gateway::start(both(&sections)).await;
    let before = [until_running(&gateway, "a").await, until_running(&gateway, "b").await];
    gateway.until_verdict("a", "ready").await;
    gateway.until_verdict("b", "ready").await;
    let load = load(&gateway);
    load.more(50).await;

    reload(&gateway, &both(&[changed(&sections[0]), changed(&sections[1])])).await;
    for (name, before) in ["a", "b"].into_iter().zip(before) {
        eventually_within(2 * LIMIT, &format!("{name} is another process"), || async {
            let now = process(&gateway, name).await;
            (now["state"] == "running" && now["outdated"] == false && pid(&now) != before)
                .then_some(())
        })
        .await;
        assert!(!is_alive(before));
        gateway.until_verdict(name, "ready").await;
    }
    load.more(50).await;
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    let degraded = report.samples.iter().filter(|sample| sample.is_degraded()).count();
    assert_eq!(degraded, 0, "one of the two always serves");
}

#[tokio::test]
async fn a_process_section_that_does_not_run_takes_one_server_and_not_the_pool() {
    let (a, b) = (free(), free());
    let config = |process: &dyn Fn(std::net::SocketAddr) -> Value| {
        supervised(&[endpoint("a", a, &process(a)), endpoint("b", b, &process(b))])
    };
    let gateway = Gateway::start(config(&|address| json!({"command": server(address)}))).await;
    until_running(&gateway, "a").await;
    let b = until_running(&gateway, "b").await;
    gateway.until_verdict("a", "ready").await;
    gateway.until_verdict("b", "ready").await;
    let load = load(&gateway);
    let bad = json!({
        "command": ["/bin/false"],
        "restart": {"base": "50ms", "max": "50ms", "exits": 3, "retry": "10m"}
    });
    reload(&gateway, &config(&|_| bad.clone())).await;
    until(&gateway, "a", "in a crash loop", |it| it["state"] == "crash-loop").await;
    load.more(100).await;
    let other = process(&gateway, "b").await;
    assert_eq!((pid(&other), &other["outdated"]), (b, &json!(true)), "{other}");
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    assert_eq!(report.samples.iter().filter(|sample| sample.is_degraded()).count(), 0);

    reload(&gateway, &config(&|address| json!({"command": server(address)}))).await;
    until_running(&gateway, "a").await;
    let other = until(&gateway, "b", "as configured", |it| it["outdated"] == false).await;
    assert_eq!(pid(&other), b, "it never had to be started anew");
}

#[tokio::test]
async fn servers_that_lack_a_model_serve_the_others_and_are_not_replaced_together() {
    let (a, b) = (free(), free());
    let sections = [json!({"command": server(a)}), json!({"command": server(b)})];
    let both = |sections: &[Value; 2]| {
        let mut config =
            supervised(&[endpoint("a", a, &sections[0]), endpoint("b", b, &sections[1])]);
        // One that no server has.
        config["models"]["ghost"] = json!({"chain": [{"pool": "forest"}]});
        config
    };
    let gateway = Gateway::start(both(&sections)).await;
    let serves = async |name: &str| {
        let targets = gateway.targets().await;
        targets
            .iter()
            .any(|(of, model)| of == name && model["model"] == MODEL && model["verdict"] == "ready")
    };
    for name in ["a", "b"] {
        eventually("it serves", || async { serves(name).await.then_some(()) }).await;
    }
    let pids = async || [pid(&process(&gateway, "a").await), pid(&process(&gateway, "b").await)];
    let before = pids().await;
    let load = load(&gateway);
    load.more(50).await;
    reload(&gateway, &both(&[changed(&sections[0]), changed(&sections[1])])).await;
    eventually("one is gone", || async { before.iter().any(|pid| !is_alive(*pid)).then_some(()) })
        .await;
    load.more(200).await;
    assert_eq!(before.iter().filter(|pid| is_alive(**pid)).count(), 1, "the other one serves on");
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    assert_eq!(report.samples.iter().filter(|sample| sample.is_degraded()).count(), 0);
}

/// The endpoints of the pool and their processes.
async fn endpoints(gateway: &Gateway) -> Vec<Value> {
    let status = gateway.status().await;
    status["pools"][0]["endpoints"].as_array().expect("endpoints").clone()
}

#[tokio::test]
async fn another_template_replaces_replicas_one_by_one_and_none_stops_them() {
    let first = 10_200 + (std::process::id() % 150) * 50;
    let model = format!("{MODEL}={}", demo("digits-forest.onnx").display());
    let command = [program(), "model-server", "--model", &model, "--listen", "127.0.0.1:{port}"];
    let mut config = supervised(&[]);
    config["supervision"]["ports"] = json!(format!("{first}-{}", first + 49));
    let pool = &mut config["pools"]["forest"];
    pool["replicas"] =
        json!({"min": 2, "max": 2, "up-after": "1s", "down-after": "1m", "drain": "5s"});
    pool["process"] = json!({"command": command});
    let gateway = Gateway::start(config.clone()).await;
    let ready = |fits: fn(&Value) -> bool| {
        let gateway = &gateway;
        move || async move {
            let all = endpoints(gateway).await;
            let ready = |it: &Value| {
                it["process"]["state"] == "running" && it["models"][0]["verdict"] == "ready"
            };
            let all_fit = all.iter().all(|it| ready(it) && fits(it));
            (all.len() == 2 && all_fit).then_some(all)
        }
    };
    let before = eventually("two replicas", ready(|_| true)).await;
    let old: Vec<_> = before.iter().map(|it| pid(&it["process"])).collect();
    let load = load(&gateway);
    load.more(50).await;

    config["pools"]["forest"]["process"] = changed(&config["pools"]["forest"]["process"]);
    reload(&gateway, &config).await;
    eventually_within(2 * LIMIT, "both are gone", || async {
        old.iter().all(|pid| !is_alive(*pid)).then_some(())
    })
    .await;
    let now = eventually("two others", ready(|it| it["process"]["outdated"] == false)).await;
    load.more(50).await;
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    assert_eq!(report.samples.iter().filter(|sample| sample.is_degraded()).count(), 0);

    // Taken out of the file.
    let stays = ModelServer::start().await;
    let pool = &mut config["pools"]["forest"];
    let keys = pool.as_object_mut().expect("a pool");
    keys.remove("replicas");
    keys.remove("process");
    pool["endpoints"] = json!([{"url": format!("http://{}", stays.address), "name": "fixed"}]);
    let load = crate::support::supervised::load(&gateway);
    load.more(50).await;
    reload(&gateway, &config).await;
    let replicas: Vec<_> = now.iter().map(|it| pid(&it["process"])).collect();
    eventually("no replica is left", || async {
        replicas.iter().all(|pid| !is_alive(*pid)).then_some(())
    })
    .await;
    assert_eq!(endpoints(&gateway).await.len(), 1);
    load.more(50).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}

#[tokio::test]
async fn a_gateway_is_not_shut_out_of_its_guardian() {
    let (a, b) = (free(), free());
    let endpoints = [
        endpoint("a", a, &json!({"command": server(a)})),
        endpoint("b", b, &json!({"command": server(b)})),
    ];
    let gateway = Gateway::start(supervised(&endpoints)).await;
    let (gone, stays) = (until_running(&gateway, "a").await, until_running(&gateway, "b").await);
    let mode = |name: &str| {
        let file = std::fs::metadata(gateway.folder().join(name)).expect("it is there");
        file.permissions().mode() & 0o777
    };
    assert_eq!((mode("guardian.lock"), mode("guardian.sock")), (0o600, 0o600));
    // Who says nothing takes every place.
    let path = gateway.folder().join("guardian.sock");
    let silent: Vec<_> =
        (0..150).map(|_| UnixStream::connect(&path).expect("it listens")).collect();
    reload(&gateway, &supervised(&endpoints[1..])).await;
    eventually_within(2 * LIMIT, "it is stopped", || async { (!is_alive(gone)).then_some(()) })
        .await;
    assert!(is_alive(stays));
    drop(silent);
}

#[tokio::test]
async fn a_gateway_supervises_again_when_the_one_that_took_over_is_gone() {
    let a = free();
    let gateway =
        Gateway::start(supervised(&[endpoint("a", a, &json!({"command": server(a)}))])).await;
    let server = until_running(&gateway, "a").await;
    let file = gateway.file();
    let mut other = Process::start(&["serve", "--config", file.to_str().expect("UTF-8")]);
    until(&gateway, "a", "another gateway's", |it| it["state"] == "elsewhere").await;
    other.kill().await;
    eventually_within(2 * LIMIT, "ours again", || async {
        let now = process(&gateway, "a").await;
        (now["state"] == "running").then_some(())
    })
    .await;
    assert_eq!(pid(&process(&gateway, "a").await), server, "it was found, not started again");
}
