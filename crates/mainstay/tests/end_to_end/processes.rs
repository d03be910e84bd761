//! Supervised servers: three ends with three stories, a gateway that comes back and finds them,
//! and stops that leave nothing behind.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::digits::MODEL;
use crate::support::gateway::Gateway;
use crate::support::http::{Request, ask};
use crate::support::model_server::ModelServer;
use crate::support::process::run;
use crate::support::supervised::{
    endpoint, free, is_alive, load, pid, process, program, server, supervised, until, until_running,
};
use crate::support::{LIMIT, demo, eventually, eventually_within};

/// A request as large as model servers take, in bytes.
const REQUEST: usize = 60 << 20;
/// The deadline of the model.
const DEADLINE: Duration = Duration::from_secs(2);

/// What `mainstay status` prints.
async fn shown(gateway: &Gateway) -> String {
    let address = format!("http://{}", gateway.admin);
    run(&["status", "--admin", &address], LIMIT).await.stdout
}

/// Sends a request that a server has no memory for, until it has ended.
async fn overfill(address: SocketAddr) {
    let head = format!(
        "POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {REQUEST}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let part = vec![b' '; 64 * 1024];
    for _ in 0..REQUEST / part.len() {
        if stream.write_all(&part).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn killed_out_of_memory_and_crash_looping_are_three_stories() {
    let (a, b) = (free(), free());
    let slowly = json!({"base": "10s", "max": "20s"});
    let endpoints = [
        endpoint("killed", a, &json!({"command": server(a), "restart": slowly})),
        endpoint(
            "greedy",
            b,
            &json!({
                "command": server(b),
                "limits": {"memory": "56MiB"},
                "restart": slowly,
            }),
        ),
        endpoint(
            "looping",
            free(),
            &json!({
                "command": ["/bin/sh", "-c", "echo no model there >&2; exit 3"],
                "restart": {"base": "20ms", "max": "50ms", "exits": 4, "retry": "10m"},
            }),
        ),
        endpoint("absent", free(), &json!({"command": ["/no/such/server"], "restart": slowly})),
    ];
    let gateway = Gateway::start(supervised(&endpoints)).await;
    let killed = until_running(&gateway, "killed").await;
    kill_process(killed, Signal::KILL).expect("it is there");

    let ended = |it: &Value| it["last_exit"].is_object();
    let first = until(&gateway, "killed", "ended", ended).await;
    assert_eq!(first["last_exit"]["cause"], "killed by SIGKILL", "{first}");
    let evidence = first["last_exit"]["evidence"].as_str().expect("a text");
    assert!(evidence.contains("Mainstay did not send"), "{evidence}");
    assert_eq!(first["state"], "backing-off", "{first}");

    until_running(&gateway, "greedy").await;
    overfill(b).await;
    let second = until(&gateway, "greedy", "ended", ended).await;
    assert_eq!(second["last_exit"]["cause"], "out of memory", "{second}");
    let evidence = second["last_exit"]["evidence"].as_str().expect("a text");
    assert!(
        evidence.contains("memory limit of 56 MiB") || evidence.contains("memory.events"),
        "{evidence}"
    );

    let third =
        until(&gateway, "looping", "in a crash loop", |it| it["state"] == "crash-loop").await;
    assert_eq!(third["last_exit"]["cause"], "exited with code 3", "{third}");
    assert_eq!(third["failures"], 4, "{third}");
    let lines = third["last_lines"].as_array().expect("lines");
    assert!(lines.iter().any(|line| line == "no model there"), "{third}");

    let fourth = until(&gateway, "absent", "ended", ended).await;
    assert_eq!(fourth["last_exit"]["cause"], "not started", "{fourth}");
    assert!(
        fourth["last_exit"]["evidence"].as_str().is_some_and(|it| it.contains("No such file")),
        "{fourth}"
    );

    let page = shown(&gateway).await;
    for story in
        ["killed by SIGKILL", "out of memory", "crash-loop", "not started", "no model there"]
    {
        assert!(page.contains(story), "{story} is not in\n{page}");
    }
    let events = gateway.events("process").await;
    assert!(events.iter().any(|event| event["to"] == "crash-loop"), "{events:?}");
}

#[tokio::test]
async fn a_killed_server_comes_back_without_an_error() {
    let a = free();
    let restart = json!({"base": "100ms"});
    let endpoints = [endpoint("a", a, &json!({"command": server(a), "restart": restart}))];
    let gateway = Gateway::start(supervised(&endpoints)).await;
    let before = until_running(&gateway, "a").await;
    gateway.until_verdict("a", "ready").await;
    let load = load(&gateway);
    load.more(100).await;

    kill_process(before, Signal::KILL).expect("it is there");
    let again = until(&gateway, "a", "running anew", |it| {
        it["state"] == "running" && it["pid"].is_i64() && pid(it) != before
    })
    .await;
    assert_eq!(again["failures"], 1, "{again}");
    let back = Instant::now();
    load.until("an undegraded answer", back, |sample| !sample.is_degraded()).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}

#[tokio::test]
async fn a_gateway_that_was_killed_finds_its_servers_running() {
    let (a, b) = (free(), free());
    let endpoints = [
        endpoint("a", a, &json!({"command": server(a)})),
        endpoint("b", b, &json!({"command": server(b)})),
    ];
    let mut config = supervised(&endpoints);
    // Longer than a busy machine takes to start a gateway.
    config["supervision"]["linger"] = json!("20s");
    let mut gateway = Gateway::start(config).await;
    let first = [until_running(&gateway, "a").await, until_running(&gateway, "b").await];
    gateway.process.kill().await;
    assert!(first.iter().all(|pid| is_alive(*pid)), "they outlive the gateway");

    gateway.restart().await;
    let second = [until_running(&gateway, "a").await, until_running(&gateway, "b").await];
    assert_eq!(first, second, "they were found, not started again");
    for name in ["a", "b"] {
        assert_eq!(process(&gateway, name).await["failures"], 0);
    }
    let events = gateway.events("process").await;
    let found = |event: &Value| event["subject"] == "guardian" && event["to"] == "found";
    assert!(events.iter().any(found), "{events:?}");

    gateway.terminate();
    gateway.process.ended().await;
    let within = 2 * LIMIT;
    eventually_within(within, "the guardian stops them when no gateway comes back", || async {
        first.iter().all(|pid| !is_alive(*pid)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_guardian_leaves_is_gone_before_the_next_one_starts_anything() {
    let a = free();
    let endpoints = [endpoint("a", a, &json!({"command": server(a)}))];
    let gateway = Gateway::start(supervised(&endpoints)).await;
    let before = until_running(&gateway, "a").await;
    let events = gateway.events("process").await;
    let started = events.iter().find(|event| event["subject"] == "guardian").expect("told");
    let cause = started["cause"].as_str().expect("a text");
    let number = cause.strip_prefix("process ").and_then(|rest| rest.split(',').next());
    let guardian = number.and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
    kill_process(guardian.expect("a process id"), Signal::KILL).expect("it is there");

    let again = until(&gateway, "a", "running anew", |it| {
        it["state"] == "running" && it["pid"].is_i64() && pid(it) != before
    })
    .await;
    assert!(!is_alive(before), "{again}");
    let events = gateway.events("process").await;
    assert!(
        events.iter().any(|event| event["subject"] == "guardian" && event["to"] == "lost"),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_stop_leaves_no_grandchild() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = free();
    let pids = folder.path().join("pids");
    let pids = pids.to_str().expect("UTF-8");
    let serve = server(a).iter().map(|part| format!("'{part}'")).collect::<Vec<_>>().join(" ");
    // One child in the group, one in a session of its own, and one whose parent has ended.
    let script = format!(
        "trap '' TERM; sleep 1000 & echo $! >> {pids}; setsid sleep 1000 & echo $! >> {pids}; \
         (setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' &); {serve} & wait"
    );
    let process = json!({"command": ["/bin/sh", "-c", script], "stop": {"grace": "200ms"}});
    let gateway = Gateway::start(supervised(&[endpoint("a", a, &process)])).await;
    until_running(&gateway, "a").await;
    let children = eventually("three children", || async {
        let text = std::fs::read_to_string(pids).unwrap_or_default();
        let found: Vec<_> =
            text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
        (found.len() == 3).then_some(found)
    })
    .await;
    assert!(children.iter().all(|pid| is_alive(*pid)));

    gateway.terminate();
    eventually("nothing is left", || async {
        children.iter().all(|pid| !is_alive(*pid)).then_some(())
    })
    .await;
    eventually("the port is free", || async { TcpListener::bind(a).ok() }).await;
}

/// The endpoints of the pool that run, by name.
async fn running(gateway: &Gateway) -> Vec<String> {
    let status = gateway.status().await;
    let endpoints = status["pools"][0]["endpoints"].as_array().expect("endpoints").clone();
    let running = endpoints.iter().filter(|it| it["process"]["state"] == "running");
    running.map(|it| it["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn replicas_come_with_the_load_and_go_without_an_error() {
    // A range of its own, below the ports that tests are given.
    let first = 20_000 + (std::process::id() % 200) * 50;
    let command = [
        program(),
        "model-server",
        "--model",
        &format!("{MODEL}={}", demo("digits-forest.onnx").display()),
        "--listen",
        "127.0.0.1:{port}",
    ];
    let mut config = supervised(&[]);
    config["supervision"]["linger"] = json!("20s");
    config["supervision"]["ports"] = json!(format!("{first}-{}", first + 49));
    let pool = &mut config["pools"]["forest"];
    pool["replicas"] = json!({
        "min": 1, "max": 3, "in-flight": 0.01, "up-after": "1s", "down-after": "2s", "drain": "5s",
    });
    pool["process"] = json!({"command": command});
    let mut gateway = Gateway::start(config).await;
    let alone = eventually("one replica", || async {
        let running = running(&gateway).await;
        (running.len() == 1).then_some(running)
    })
    .await;

    let load = load(&gateway);
    let all = |count: usize| {
        let gateway = &gateway;
        move || async move { (running(gateway).await.len() == count).then_some(()) }
    };
    eventually("three replicas", all(3)).await;
    load.more(100).await;
    let quiet = load.stop().await;
    quiet.assert_all_answered_within(DEADLINE);
    eventually("one replica again", all(1)).await;
    assert_eq!(running(&gateway).await, alone, "the oldest stays");
    let page = ask(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(page.contains("mainstay_wanted_replicas{pool=\"forest\"} 1"), "{page}");

    let before = until_running(&gateway, &alone[0]).await;
    gateway.process.kill().await;
    gateway.restart().await;
    assert_eq!(until_running(&gateway, &alone[0]).await, before, "a replica is found again");
}

#[tokio::test]
async fn a_cold_standby_is_started_while_the_next_step_answers() {
    let mut primary = ModelServer::start().await;
    let cold = free();
    let mut standby = endpoint("cold", cold, &json!({"command": server(cold)}));
    standby["standby"] = json!("cold");
    let first = json!({"url": format!("http://{}", primary.address), "name": "primary"});
    let mut config = supervised(&[first, standby]);
    config["pools"]["forest"]["active"] = json!(1);
    let gateway = Gateway::start(config).await;
    gateway.until_verdict("primary", "ready").await;
    assert_eq!(process(&gateway, "cold").await["state"], "stopped", "it is not needed yet");
    let load = load(&gateway);
    load.more(100).await;

    let killed = Instant::now();
    primary.kill().await;
    let meanwhile = load.until("the next step", killed, |sample| sample.is_degraded()).await;
    assert!(meanwhile.is_ok(), "{meanwhile:?}");
    until_running(&gateway, "cold").await;
    let started = Instant::now();
    load.until("an answer of the standby", started, |it| it.is_ok() && !it.is_degraded()).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
    eprintln!("cold standby: running after {:?}", started.duration_since(killed));
}
