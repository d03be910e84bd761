//! Who may ask: keys, tokens' limits and client certificates, and secrets that show nowhere.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Request, ask};
use crate::support::peer::Peer;
use crate::support::tls::{Authority, ask_secure};

const KEY: &str = "planted-key-0123456789abcdef";
const NEXT: &str = "planted-next-0123456789abcdef";
const PROVIDER: &str = "planted-provider-0123456789";

fn infer(model: &str) -> Request {
    let body = json!({
        "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}]
    });
    Request::post(&format!("/v2/models/{model}/infer"), body.to_string())
}

fn bearer(request: Request, key: &str) -> Request {
    request.header("authorization", &format!("Bearer {key}"))
}

struct Stage {
    gateway: Gateway,
    peer: Peer,
    folder: tempfile::TempDir,
    config: Value,
}

impl Stage {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

async fn stage(caller: Value) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::good(0.5).await;
    std::fs::write(folder.path().join("key"), KEY).unwrap();
    std::fs::write(folder.path().join("provider"), PROVIDER).unwrap();
    let mut pool = pool([&peer.address]);
    pool["probe"] = json!({"check": {"http": {
        "path": "/v2/health/ready",
        "headers": {"authorization": {"file": folder.path().join("provider")}},
    }}});
    let chain = json!({"chain": [{"pool": "p"}]});
    let mut config = config(&json!({"p": pool}), &json!({"m": chain, "n": chain}));
    let mut caller = caller;
    caller["key"] = json!([{"file": folder.path().join("key")}]);
    config["keys"] = json!({"callers": {"ann": caller}});
    config["log"] = json!({"level": "trace", "format": "json"});
    let gateway = Gateway::ready(config.clone()).await;
    Stage { gateway, peer, folder, config }
}

#[tokio::test]
async fn only_who_is_known_is_served_and_servers_are_told_who_asks() {
    let stage = stage(json!({})).await;
    let gateway = &stage.gateway;
    let answer = gateway.ask(&infer("m")).await;
    assert_eq!((answer.status(), answer.header("x-mainstay-error")), (401, Some("MS0250")));
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    answer.protocol_error();
    let answer = gateway.ask(&bearer(infer("m"), "wrong-key-0123456789")).await;
    assert_eq!((answer.status(), answer.header("x-mainstay-error")), (401, Some("MS0255")));
    assert_eq!(gateway.ask(&Request::get("/v2/health/ready")).await.status(), 200);
    assert_eq!(gateway.ask(&Request::get("/v2/models/m/ready")).await.status(), 401);
    for request in [bearer(infer("m"), KEY), infer("m").header("x-api-key", KEY)] {
        let answer = gateway.ask(&request.header("x-mainstay-caller", "root")).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let received = stage.peer.received();
    assert_eq!(received.len(), 2, "strangers reach no server");
    for request in received {
        assert_eq!(request.header("x-mainstay-caller"), Some("ann"));
        assert_eq!(request.header("authorization").or_else(|| request.header("x-api-key")), None);
    }
    let page = ask(gateway.admin, &Request::get("/metrics")).await.text();
    assert!(page.contains("mainstay_caller_requests_total{caller=\"ann\"} 2"), "{page}");
}

#[tokio::test]
async fn models_rate_and_number_are_bounded_by_caller() {
    let stage = stage(json!({"models": ["m"], "rate": 0.5, "burst": 2})).await;
    let gateway = &stage.gateway;
    let answer = gateway.ask(&bearer(infer("n"), KEY)).await;
    assert_eq!((answer.status(), answer.header("x-mainstay-error")), (403, Some("MS0252")));
    let index = bearer(Request::post("/v2/repository/index", "{}"), KEY);
    let index = gateway.ask(&index).await;
    assert!(index.text().contains("\"m\"") && !index.text().contains("\"n\""), "{}", index.text());
    let unknown = gateway.ask(&bearer(infer("unknown"), KEY)).await;
    assert_eq!(unknown.status(), 403, "whether it is there is not told");
    let index = unknown.text() == gateway.ask(&bearer(infer("n"), KEY)).await.text();
    assert!(index, "{}", unknown.text());
    for _ in 0..2 {
        assert_eq!(gateway.ask(&bearer(infer("m"), KEY)).await.status(), 200);
    }
    let answer = gateway.ask(&bearer(infer("m"), KEY)).await;
    assert_eq!((answer.status(), answer.header("x-mainstay-error")), (429, Some("MS0253")));
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_key_is_replaced_by_a_reload_without_a_refusal() {
    let stage = stage(json!({})).await;
    let gateway = &stage.gateway;
    std::fs::write(stage.file("next"), NEXT).unwrap();
    let reload = |keys: Value| {
        let mut config = stage.config.clone();
        config["keys"]["callers"]["ann"]["key"] = keys;
        gateway.rewrite(config);
        gateway.process.signal(rustix::process::Signal::HUP);
    };
    let status = |key: &'static str| async move {
        let answer = gateway.ask(&bearer(infer("m"), key)).await;
        answer.status()
    };
    reload(json!([{"file": stage.file("key")}, {"file": stage.file("next")}]));
    eventually("the next one counts", || async { (status(NEXT).await == 200).then_some(()) }).await;
    assert_eq!(status(KEY).await, 200, "and the old one still does");
    reload(json!([{"file": stage.file("next")}]));
    eventually("the old one is out", || async { (status(KEY).await == 401).then_some(()) }).await;
    assert_eq!(status(NEXT).await, 200);
}

#[tokio::test]
async fn a_certificate_can_be_the_key() {
    let authority = Authority::new();
    let peer = Peer::good(0.5).await;
    let models = json!({"m": {"chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&peer.address])}), &models);
    let mut tls = authority.issue("gateway").json();
    tls["client-ca"] = json!(authority.file());
    tls["client-certificate"] = json!("optional");
    config["listen"]["tls"] = tls;
    config["keys"] = json!({"callers": {"bob": {"subject": "bob.internal"}}});
    let gateway = Gateway::ready(config).await;
    let with = |name: &str| authority.settings(Some(&authority.issue(name)));
    let (bob, eve) = (with("bob.internal"), with("eve.internal"));
    assert_eq!(ask_secure(gateway.http, &bob, &infer("m")).await.unwrap().0, 200);
    assert_eq!(ask_secure(gateway.http, &eve, &infer("m")).await.unwrap().0, 401);
    let none = authority.settings(None);
    assert_eq!(ask_secure(gateway.http, &none, &infer("m")).await.unwrap().0, 401);
    assert_eq!(peer.received()[0].header("x-mainstay-caller"), Some("bob"));
}

#[tokio::test]
async fn secrets_show_nowhere() {
    let stage = stage(json!({"models": ["m"]})).await;
    let gateway = &stage.gateway;
    let token = gateway.token();
    let jwt = "eyJhbGciOiJFUzI1NiJ9.planted-claims.planted-signature";
    let mut said = String::new();
    let requests = [
        bearer(infer("m"), KEY),
        bearer(infer("n"), KEY),
        bearer(infer("m"), jwt),
        bearer(infer("m"), "planted-guess-0123456789"),
        infer("m").header("x-api-key", KEY),
        infer(&format!("m?token={KEY}")),
    ];
    for request in &requests {
        let answer = gateway.ask(request).await;
        said.push_str(&format!("{:?} {}\n", answer.head, answer.text()));
    }
    stage.peer.set_ready(false);
    gateway.ask(&bearer(infer("m"), KEY)).await;
    let verb = Request::post(
        "/api/breakers",
        json!({
            "pool": "p", "endpoint": stage.peer.address.to_string(), "force": "open", "for": "1s",
            "reason": "a test",
        })
        .to_string(),
    );
    let verb = ask(gateway.admin, &bearer(verb, &token)).await;
    assert_eq!(verb.status(), 200, "{}", verb.text());
    let refused = ask(gateway.admin, &bearer(Request::post("/api/reload", ""), KEY)).await;
    assert_eq!(refused.status(), 401);
    for path in [
        "/metrics",
        "/api/status",
        "/api/events?since=0",
        "/api/requests",
        "/api/configuration",
        "/v1/orders",
    ] {
        let answer = ask(gateway.admin, &Request::get(path)).await;
        said.push_str(&answer.text());
    }
    let audit = std::fs::read_to_string(gateway.file().with_file_name("audit.jsonl")).unwrap();
    let entries: Vec<Value> = audit.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let [done, not] = entries.as_slice() else { panic!("two verbs were asked for: {audit}") };
    assert_eq!(
        (&done["who"], &done["reason"], &done["status"]),
        (&json!("operator"), &json!("a test"), &json!(200))
    );
    assert_eq!(
        (&not["who"], &not["path"], &not["status"]),
        (&json!("nobody"), &json!("/api/reload"), &json!(401))
    );
    assert!(done["from"].as_str().unwrap().starts_with("127.0.0.1:"));
    said.push_str(&audit);
    let before = said.len();
    said.push_str(&gateway.process.errors());
    assert!(said.len() > before, "the log is written");
    for secret in [KEY, PROVIDER, &token, "planted-claims", "planted-guess"] {
        let at = said.find(secret);
        let near = at.map(|at| &said[at.saturating_sub(200)..(at + 60).min(said.len())]);
        assert_eq!(near, None, "{secret} is shown");
    }
}

#[tokio::test]
async fn operators_off_loopback_need_tls_and_tokens() {
    let authority = Authority::new();
    let peer = Peer::good(0.5).await;
    let models = json!({"m": {"chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&peer.address])}), &models);
    config["admin"]["address"] = json!("0.0.0.0:0");
    let ended = Gateway::refused(config.clone()).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("MS0122"), "{}", ended.stderr);
    config["admin"]["tls"] = authority.issue("gateway").json();
    assert!(Gateway::refused(config.clone()).await.stderr.contains("MS0122"));
    let folder = tempfile::tempdir().unwrap();
    let viewers = folder.path().join("viewers");
    config["admin"]["viewer-token-file"] = json!(viewers);
    let gateway = Gateway::start(config).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], gateway.admin.port()));
    let by = authority.settings(None);
    let status = Request::get("/api/status");
    assert_eq!(ask_secure(address, &by, &status).await.unwrap().0, 401);
    assert_eq!(ask_secure(address, &by, &Request::get("/livez")).await.unwrap().0, 200);
    let viewer = std::fs::read_to_string(&viewers).unwrap();
    let viewer = viewer.trim();
    assert_eq!(ask_secure(address, &by, &bearer(status, viewer)).await.unwrap().0, 200);
    let verb = bearer(Request::post("/api/reload", ""), viewer);
    assert_eq!(ask_secure(address, &by, &verb).await.unwrap().0, 403);
    let verb = bearer(Request::post("/api/reload", ""), &gateway.token());
    assert_eq!(ask_secure(address, &by, &verb).await.unwrap().0, 200);
}
