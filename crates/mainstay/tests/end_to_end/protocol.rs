//! The paths of the Open Inference Protocol, and what is none of them.

use serde_json::json;

use crate::support::digits::{self, MODEL};
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Connection, Request};
use crate::support::model_server::ModelServer;
use crate::support::peer::closed_port;

async fn one_server() -> (ModelServer, Gateway) {
    let server = ModelServer::start().await;
    let pools = json!({"forest": pool([&server.address])});
    let models = json!({MODEL: {"deadline": "2s", "chain": [{"pool": "forest"}]}});
    (server, Gateway::ready(config(&pools, &models)).await)
}

#[tokio::test]
async fn every_path_of_the_protocol_is_answered() {
    let (_server, gateway) = one_server().await;
    let paths = [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/digits",
        "/v2/models/digits/ready",
    ];
    for path in paths {
        let answer = gateway.ask(&Request::get(path)).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        let id = answer.header("x-mainstay-request-id").expect("every answer has an id");
        assert_eq!(id.len(), 16, "{path}: {id}");
    }
    let metadata = gateway.ask(&Request::get("/v2/models/digits")).await.json();
    assert_eq!(metadata["inputs"][0]["shape"], json!([-1, 64]), "{metadata}");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let (_server, gateway) = one_server().await;
    for path in ["/v2", "/v2/health/live", "/v2/models/digits"] {
        let answer = gateway.ask(&Request::new("HEAD", path)).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn what_is_no_path_gets_404_and_the_wrong_method_405() {
    let (_server, gateway) = one_server().await;
    for path in ["/", "/v1/orders", "/v2/models", "/v2/health", "/metrics"] {
        let answer = gateway.ask(&Request::get(path)).await;
        assert_eq!(answer.status(), 404, "{path}: {}", answer.text());
        assert!(!answer.protocol_error().is_empty());
        assert!(answer.header("x-mainstay-request-id").is_some());
    }
    let wrong = [
        Request::get("/v2/models/digits/infer"),
        Request::new("PUT", "/v2/models/digits/infer"),
        Request::post("/v2", "{}"),
        Request::new("DELETE", "/v2/health/ready"),
    ];
    for request in wrong {
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status(), 405, "{} {}", request.method, request.path);
        assert!(!answer.protocol_error().is_empty());
    }
}

#[tokio::test]
async fn a_connection_is_used_for_many_requests() {
    let (_server, gateway) = one_server().await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    let mut ids = std::collections::HashSet::new();
    for row in &digits::all()[..50] {
        let answer = connection.ask(&digits::infer(std::slice::from_ref(row))).await;
        let answer = answer.expect("the connection stays");
        assert_eq!(answer.status(), 200);
        ids.insert(answer.header("x-mainstay-request-id").expect("an id").to_owned());
    }
    assert_eq!(ids.len(), 50, "each request has an id of its own");
}

#[tokio::test]
async fn requests_may_be_sent_before_the_last_is_answered() {
    let (_server, gateway) = one_server().await;
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    let rows = digits::all();
    for row in &rows[..10] {
        connection.send(&digits::infer(std::slice::from_ref(row))).await.expect("it reads");
    }
    for row in &rows[..10] {
        let head = connection.head(false).await.expect("the answers come in order");
        assert_eq!(head.status, 200, "{}", row.label);
        while connection.part().await.expect("a whole body").is_some() {}
    }
}

#[tokio::test]
async fn readiness_says_whether_a_model_can_be_answered() {
    let dead = closed_port().await;
    let models = json!({"m": {"deadline": "1s", "chain": [{"pool": "gone"}]}});
    let gateway = Gateway::start(config(&json!({"gone": pool([&dead])}), &models)).await;
    gateway.until_verdict(&dead.to_string(), "dead").await;
    assert_eq!(gateway.ask(&Request::get("/v2/health/live")).await.status(), 200);
    assert_eq!(gateway.ask(&Request::get("/v2/health/ready")).await.status(), 503);
    assert_eq!(gateway.ask(&Request::get("/v2/models/m/ready")).await.status(), 503);
}
