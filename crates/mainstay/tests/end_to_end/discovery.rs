//! Endpoints that come and go: a DNS name whose addresses change, a file that is edited, servers
//! that register themselves. Real servers, a real DNS server, and a load that loses no request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::digits::{self, MODEL};
use crate::support::dns_server::{DnsServer, Mood};
use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Request, ask};
use crate::support::load::Load;
use crate::support::model_server::ModelServer;
use crate::support::process::Process;

const RATE: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(2);
const NAME: &str = "models.internal";

/// One pool with these sources, and nothing behind it.
fn pool_of(discover: &Value, more: &Value) -> Value {
    let mut pool = json!({"discover": discover});
    for (key, value) in more.as_object().into_iter().flatten() {
        pool[key] = value.clone();
    }
    let model = json!({"deadline": "2s", "chain": [{"pool": "p"}]});
    config(&json!({"p": pool}), &json!({MODEL: model}))
}

fn load(gateway: &Gateway) -> Load {
    let rows = digits::all();
    Load::start(gateway.http, RATE, move |number| digits::infer(&rows[number % rows.len()..][..1]))
}

/// Servers on addresses of their own with one port.
async fn servers(last: impl IntoIterator<Item = u8>) -> Vec<ModelServer> {
    let mut servers: Vec<ModelServer> = Vec::new();
    for last in last {
        let port = servers.first().map_or(0, |server| server.address.port());
        servers.push(ModelServer::start_at(&format!("127.0.0.{last}:{port}")).await);
    }
    servers
}

/// What the status says of the pool's endpoints, and of its only source.
async fn pool(gateway: &Gateway) -> (Vec<String>, Value) {
    let status = gateway.status().await;
    let pool = status["pools"][0].clone();
    let endpoints = pool["endpoints"].as_array().expect("endpoints");
    let names = endpoints.iter().map(|endpoint| endpoint["name"].as_str().unwrap().to_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    (names, pool["sources"][0].clone())
}

/// Waits until the pool has just these endpoints, and all of them are ready.
async fn until_has(gateway: &Gateway, wanted: &[String]) {
    eventually(&format!("the pool has {wanted:?}"), || async {
        let verdicts = gateway.verdicts().await;
        let all = wanted.iter().all(|name| verdicts.contains(&(name.clone(), "ready".to_owned())));
        (all && verdicts.len() == wanted.len()).then_some(())
    })
    .await;
}

async fn until_trouble(gateway: &Gateway, part: &str) {
    eventually(&format!("the source says {part:?}"), || async {
        let (_, source) = pool(gateway).await;
        source["trouble"].as_str().is_some_and(|trouble| trouble.contains(part)).then_some(())
    })
    .await;
}

fn names(servers: &[ModelServer]) -> Vec<String> {
    let mut names: Vec<_> = servers.iter().map(ModelServer::name).collect();
    names.sort();
    names
}

fn dns(server: &DnsServer, port: u16) -> Value {
    json!({
        "dns": NAME, "port": port, "resolver": [server.address.to_string()],
        "min-refresh": "200ms", "max-refresh": "400ms", "linger": "1s"
    })
}

#[tokio::test]
async fn the_addresses_of_a_name_change_under_load() {
    let mut servers = servers([2, 3, 4]).await;
    let zone = DnsServer::start().await;
    zone.set_addresses(NAME, &["127.0.0.2", "127.0.0.3"]);
    let source = dns(&zone, servers[0].address.port());
    let gateway = Gateway::start(pool_of(&source, &json!({}))).await;
    until_has(&gateway, &names(&servers[..2])).await;
    let load = load(&gateway);
    load.more(100).await;

    zone.set_addresses(NAME, &["127.0.0.3", "127.0.0.4"]);
    until_has(&gateway, &names(&servers[1..])).await;
    servers[0].kill().await;
    load.more(100).await;

    zone.set_mood(Mood::Failing);
    until_trouble(&gateway, "SERVFAIL").await;
    zone.set_mood(Mood::Fine);
    zone.set_addresses(NAME, &[]);
    until_trouble(&gateway, "NXDOMAIN").await;
    assert_eq!(pool(&gateway).await.0, names(&servers[1..]), "the last good set is kept");
    load.more(100).await;
    load.stop().await.assert_all_answered_within(DEADLINE);

    let events = gateway.events("discovery").await;
    let left = format!("p/{}", servers[0].name());
    let removed = events.iter().find(|e| e["subject"] == left.as_str() && e["to"] == "removed");
    let cause = removed.expect("an event")["cause"].as_str().expect("a cause").to_owned();
    assert!(cause.contains("no longer named; drained for"), "{cause}");
    let metrics = ask(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(metrics.contains("mainstay_discovery_endpoints"), "{metrics}");
}

#[tokio::test]
async fn a_file_is_replaced_under_load_and_turns_bad() {
    let servers = ModelServer::several(3).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("endpoints.yaml");
    let write = |servers: &[ModelServer]| {
        let list: Vec<_> =
            servers.iter().map(|server| format!("http://{}", server.address)).collect();
        let new = folder.path().join("new");
        std::fs::write(&new, json!(list).to_string()).unwrap();
        std::fs::rename(new, &file).unwrap();
    };
    write(&servers[..2]);
    let source = json!({"file": file.to_str().unwrap(), "linger": "1s"});
    let gateway = Gateway::start(pool_of(&source, &json!({}))).await;
    until_has(&gateway, &names(&servers[..2])).await;
    let load = load(&gateway);
    load.more(100).await;
    write(&servers[1..]);
    until_has(&gateway, &names(&servers[1..])).await;
    std::fs::write(&file, "- http://127.0.0.1:1\n- {url: nonsense}\n").unwrap();
    until_trouble(&gateway, "endpoints.yaml:2:").await;
    assert_eq!(pool(&gateway).await.0, names(&servers[1..]));
    load.more(100).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}

/// A server that registers itself.
async fn registered(gateway: &Gateway) -> ModelServer {
    let (admin, token) = (gateway.admin.to_string(), gateway.heartbeat_token_file());
    let token = token.to_str().unwrap();
    ModelServer::start_as(&["--register", &admin, "--pool", "p", "--token-file", token]).await
}

#[tokio::test]
async fn servers_register_serve_die_and_leave() {
    let source = json!({"register": {"from": ["127.0.0.0/8"], "grace": "500ms"}, "linger": "2s"});
    let heartbeat = json!({"heartbeat": {"interval": "300ms", "misses": 3}});
    let gateway = Gateway::start(pool_of(&source, &heartbeat)).await;
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(registered(&gateway).await);
    }
    eventually("all are registered", || async {
        (pool(&gateway).await.1["endpoints"] == 3).then_some(())
    })
    .await;
    until_has(&gateway, &names(&servers)).await;
    let load = load(&gateway);
    load.more(100).await;

    let mut dead = servers.remove(0);
    dead.kill().await;
    until_has(&gateway, &names(&servers)).await;
    load.more(50).await;
    let mut leaving = servers.remove(0);
    assert_eq!(leaving.terminate().await, Some(0));
    until_has(&gateway, &names(&servers)).await;
    load.more(50).await;
    load.stop().await.assert_all_answered_within(DEADLINE);

    let events = gateway.events("discovery").await;
    let causes = |to: &str| {
        let of = events.iter().filter(|event| event["to"] == to);
        of.map(|event| event["cause"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join("\n")
    };
    assert!(causes("added").contains("it registered itself"), "{events:?}");
    assert!(causes("leaving").contains("it said that it leaves"), "{events:?}");
    assert!(causes("removed").contains("it sends no heartbeat any more"), "{events:?}");
}

#[tokio::test]
async fn who_registers_from_elsewhere_is_refused() {
    let source = json!({"register": true});
    let gateway = Gateway::start(pool_of(&source, &json!({}))).await;
    let token = std::fs::read_to_string(gateway.heartbeat_token_file()).unwrap();
    let beat = |url: &str| {
        let post = Request::post("/v1/heartbeats/p/a", json!({"url": url}).to_string());
        Request { method: "PUT", ..post }
            .header("authorization", &format!("Bearer {}", token.trim()))
    };
    for url in ["http://127.0.0.1:8000", "http://169.254.169.254:80", "http://models:8000"] {
        let answer = ask(gateway.admin, &beat(url)).await;
        assert_eq!((answer.status(), answer.json()["code"].clone()), (409, json!("MS0322")));
    }
    let answer = ask(gateway.admin, &beat("http://10.255.255.1:8000")).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

fn write_config(folder: &TempDir, config: &Value) -> PathBuf {
    let mut config = config.clone();
    config["state-dir"] = json!(folder.path());
    let path = folder.path().join("mainstay.yaml");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// A gateway on a state folder that outlives it.
async fn gateway_in(folder: &TempDir, config: &Value) -> (Process, SocketAddr) {
    let path = write_config(folder, config);
    let mut process = Process::start(&["serve", "--config", path.to_str().unwrap()]);
    let http = process.announced("listening on http://").await;
    (process, http.parse().unwrap())
}

#[tokio::test]
async fn a_gateway_that_starts_while_dns_is_down_knows_its_servers() {
    let servers = servers([2]).await;
    let zone = DnsServer::start().await;
    zone.set_addresses(NAME, &["127.0.0.2"]);
    let folder = tempfile::tempdir().unwrap();
    let config = pool_of(&dns(&zone, servers[0].address.port()), &json!({}));
    let (mut first, _) = gateway_in(&folder, &config).await;
    let kept: &Path = &folder.path().join("discovery.json");
    eventually("the last good set is kept", || async { kept.exists().then_some(()) }).await;
    first.kill().await;
    zone.set_mood(Mood::Failing);
    let (_second, http) = gateway_in(&folder, &config).await;
    let answer = ask(http, &digits::infer(&digits::all()[..1])).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[tokio::test]
async fn sources_come_change_and_go_by_reload_under_load() {
    let servers = servers([2, 3, 4]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, server: &ModelServer| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("- http://{}\n", server.address)).unwrap();
        json!({"file": path, "linger": "1s"})
    };
    let (one, two) = (file("one.yaml", &servers[0]), file("two.yaml", &servers[1]));
    let gateway = Gateway::start(pool_of(&one, &json!({}))).await;
    until_has(&gateway, &names(&servers[..1])).await;
    let load = load(&gateway);
    load.more(50).await;
    let reload = async |discover: Value, more: Value| {
        gateway.rewrite(pool_of(&discover, &more));
        let answer = gateway.reload().await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    };

    // One more source.
    let open = json!({"register": {"from": ["127.0.0.0/8"]}});
    reload(json!([one, two, open]), json!({})).await;
    until_has(&gateway, &names(&servers[..2])).await;
    let token = std::fs::read_to_string(gateway.heartbeat_token_file()).unwrap();
    let url = format!("http://{}", servers[2].address);
    let beat =
        Request::post("/v1/heartbeats/p/third", json!({"url": url, "lifetime": "1m"}).to_string())
            .header("authorization", &format!("Bearer {}", token.trim()));
    let beat = Request { method: "PUT", ..beat };
    assert_eq!(ask(gateway.admin, &beat).await.status(), 200);
    let third = [names(&servers[..2]), vec!["third".to_owned()]].concat();
    until_has(&gateway, &third).await;

    // One source less, and networks that no longer hold who has registered.
    let narrow = json!({"register": {"from": ["127.0.0.9/32"]}});
    reload(json!([two, narrow]), json!({})).await;
    until_has(&gateway, &names(&servers[1..2])).await;
    assert_eq!(ask(gateway.admin, &beat).await.status(), 409, "a renewal is bound, too");
    load.more(50).await;

    // No source at all.
    let fixed = json!({"endpoints": [{"url": format!("http://{}", servers[0].address)}]});
    reload(json!([]), fixed).await;
    until_has(&gateway, &names(&servers[..1])).await;
    load.more(50).await;
    load.stop().await.assert_all_answered_within(DEADLINE);
}
