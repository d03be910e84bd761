//! The operators' side: who may turn a breaker, and what health says of the gateway itself.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Request, ask};
use crate::support::peer::{Manner, Peer, closed_port};

/// Two peers in one pool.
async fn two_peers() -> (Peer, Peer, Gateway) {
    let (one, two) = (Peer::good(1.0).await, Peer::good(2.0).await);
    let models = json!({"m": {"deadline": "2s", "chain": [{"pool": "p"}]}});
    let pools = json!({"p": pool([&one.address, &two.address])});
    let gateway = Gateway::ready(config(&pools, &models)).await;
    (one, two, gateway)
}

fn infer() -> Request {
    Request::post("/v2/models/m/infer", "{\"inputs\":[]}")
}

fn force(peer: &Peer, to: &str) -> Request {
    let body = json!({
        "pool": "p",
        "endpoint": peer.address.to_string(),
        "force": to,
        "reason": "maintenance of its node",
        "for": "5m"
    });
    Request::post("/api/breakers", body.to_string())
}

async fn operator(gateway: &Gateway, request: Request) -> Answer {
    let token = format!("Bearer {}", gateway.token());
    ask(gateway.admin, &request.header("authorization", &token)).await
}

async fn breaker_of(gateway: &Gateway, peer: &Peer) -> Value {
    let name = peer.address.to_string();
    let targets = gateway.targets().await;
    let found = targets.into_iter().find(|(endpoint, _)| *endpoint == name);
    found.expect("it is configured").1["breaker"].clone()
}

#[tokio::test]
async fn a_breaker_that_is_forced_open_takes_no_traffic_until_it_is_let_go() {
    let (one, two, gateway) = two_peers().await;
    let answer = operator(&gateway, force(&one, "open")).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let breaker = breaker_of(&gateway, &one).await;
    assert_eq!(breaker["forced"]["to"], "open", "{breaker}");
    assert_eq!(breaker["forced"]["reason"], "maintenance of its node", "{breaker}");
    for _ in 0..50 {
        assert_eq!(gateway.ask(&infer()).await.status(), 200);
    }
    assert_eq!((one.received().len(), two.received().len()), (0, 50));

    assert_eq!(operator(&gateway, force(&one, "none")).await.status(), 200);
    assert_eq!(breaker_of(&gateway, &one).await["forced"], Value::Null);
    eventually("the endpoint is used again", || async {
        assert_eq!(gateway.ask(&infer()).await.status(), 200);
        (!one.received().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn verbs_need_the_token() {
    let (one, _two, gateway) = two_peers().await;
    let without = ask(gateway.admin, &force(&one, "open")).await;
    assert_eq!(without.status(), 401, "{}", without.text());
    let wrong = force(&one, "open").header("authorization", "Bearer guessed");
    let wrong = ask(gateway.admin, &wrong).await;
    assert!(matches!(wrong.status(), 401 | 403), "{}", wrong.text());
    assert_eq!(breaker_of(&gateway, &one).await["forced"], Value::Null);
}

#[tokio::test]
async fn the_token_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_one, _two, gateway) = two_peers().await;
    let mode = std::fs::metadata(gateway.token_file()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(gateway.token().len() >= 32);
}

#[tokio::test]
async fn another_sites_page_gets_nothing() {
    let (one, _two, gateway) = two_peers().await;
    let rebound = ask_as(&gateway, "evil.example").await;
    assert!(matches!(rebound.status(), 400 | 403 | 421), "{}", rebound.text());
    let posted = force(&one, "open").header("origin", "http://evil.example");
    let posted = operator(&gateway, posted).await;
    assert_eq!(posted.status(), 403, "{}", posted.text());
}

/// Asks for the status under a foreign name.
async fn ask_as(gateway: &Gateway, host: &str) -> Answer {
    let mut connection =
        crate::support::http::Connection::open(gateway.admin).await.expect("it listens");
    let text = format!("GET /api/status HTTP/1.1\r\nhost: {host}\r\n\r\n");
    connection.write(text.as_bytes()).await.expect("it reads");
    let head = connection.head(false).await.expect("an answer");
    Answer { head, body: Vec::new() }
}

#[tokio::test]
async fn the_gateways_own_health_has_three_meanings() {
    let (one, two, gateway) = two_peers().await;
    for path in ["/livez", "/readyz", "/healthz/deep"] {
        assert_eq!(ask(gateway.admin, &Request::get(path)).await.status(), 200, "{path}");
    }
    one.set_ready(false);
    two.set_ready(false);
    eventually("it is not ready", || async {
        (ask(gateway.admin, &Request::get("/readyz")).await.status() == 503).then_some(())
    })
    .await;
    assert_eq!(ask(gateway.admin, &Request::get("/livez")).await.status(), 200, "yet it lives");
}

#[tokio::test]
async fn deep_health_asks_for_what_the_gateway_needs() {
    let peer = Peer::good(1.0).await;
    let gone = closed_port().await;
    let models = json!({"m": {"deadline": "2s", "chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&peer.address])}), &models);
    config["dependencies"] = json!([{"name": "features", "tcp": gone.to_string()}]);
    let gateway = Gateway::ready(config).await;
    let deep = eventually("deep health fails", || async {
        let answer = ask(gateway.admin, &Request::get("/healthz/deep")).await;
        (answer.status() == 503).then_some(answer)
    })
    .await;
    assert!(deep.text().contains("features"), "it says what is missing: {}", deep.text());
    assert_eq!(ask(gateway.admin, &Request::get("/readyz")).await.status(), 200, "yet it serves");
}

#[tokio::test]
async fn a_server_whose_dependency_is_sick_is_asked_last() {
    let (sick, well) = (Peer::good(1.0).await, Peer::good(2.0).await);
    let needs = json!([{"name": "features", "tcp": closed_port().await.to_string()}]);
    let mut pool = pool([&sick.address, &well.address]);
    pool["endpoints"][0]["dependencies"] = needs;
    let models = json!({"m": {"deadline": "2s", "chain": [{"pool": "p"}]}});
    let gateway = Gateway::ready(config(&json!({"p": pool}), &models)).await;
    eventually("its deep health is known", || async {
        (gateway.targets().await[0].1["deep"] == json!(false)).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(gateway.ask(&infer()).await.status(), 200);
    }
    assert_eq!((sick.received().len(), well.received().len()), (0, 20));
    well.set_manner(Manner::ResetBeforeBytes);
    assert_eq!(gateway.ask(&infer()).await.json()["outputs"][0]["data"][0], 1.0);
}

#[tokio::test]
async fn metrics_count_what_was_answered() {
    let (one, _two, gateway) = two_peers().await;
    one.set_manner(Manner::ResetBeforeBytes);
    for _ in 0..40 {
        assert_eq!(gateway.ask(&infer()).await.status(), 200);
    }
    let metrics = ask(gateway.admin, &Request::get("/metrics")).await;
    assert_eq!(metrics.status(), 200);
    let text = metrics.text();
    let of_model =
        |line: &&str| line.starts_with("mainstay_requests_total{") && line.contains("\"m\"");
    let counted: f64 = text
        .lines()
        .filter(of_model)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(counted, 40.0, "{text}");
}
