//! Chains by cause, and what a provider's errors mean.

use super::*;

/// A gateway whose first pool plays `script`; its chain goes on with `steps`, of the pools
/// `second` and `third`.
async fn chain(script: &str, endpoint: Value, steps: Value) -> (Gateway, Server, Server, Server) {
    let (first, second, third) = (server(script).await, server("{}").await, server("{}").await);
    let mut endpoint = endpoint;
    endpoint["url"] = json!(url(first.address()));
    let pools = json!({
        "first": pool_of(&json!([endpoint])),
        "second": pool_of(&json!([url(second.address())])),
        "third": pool_of(&json!([url(third.address())])),
    });
    let mut whole = vec![json!({"pool": "first"})];
    whole.extend(steps.as_array().cloned().unwrap_or_default());
    let models = json!({"m": {"deadline": "5s", "chain": whole}});
    (Gateway::start(config(&pools, &models)).await, first, second, third)
}

fn executions(server: &Server) -> u64 {
    server.journal().counts().executions
}

const TOO_LONG: &str = "{rules: [{behave: 400, code: context_length_exceeded}]}";

#[tokio::test]
async fn a_larger_model_takes_what_is_too_long_and_nothing_else() {
    let steps = json!([
        {"pool": "second"},
        {"pool": "third", "on": ["context-length"]},
    ]);
    let (gateway, first, second, third) = chain(TOO_LONG, json!({}), steps).await;
    let answer = gateway.ask(&chat(&json!({}))).await;
    assert_eq!((answer.status(), said(&answer).as_str()), (200, ALL_WORDS));
    assert_eq!(answer.header("x-mainstay-reason"), Some("context-length"));
    assert_eq!((executions(&second), executions(&third)), (0, 1));
    first.play("{rules: [{behave: 500}]}".parse().expect("a script"));
    assert_eq!(gateway.ask(&chat(&json!({}))).await.status(), 200);
    assert_eq!((executions(&second), executions(&third)), (1, 1));
}

#[tokio::test]
async fn what_is_too_long_for_all_is_told_as_the_server_said_it() {
    let (gateway, _first, second, _third) =
        chain(TOO_LONG, json!({}), json!([{"pool": "second"}])).await;
    let answer = gateway.ask(&chat(&json!({}))).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    assert_eq!(executions(&second), 0);
}

#[tokio::test]
async fn rate_limits_have_steps_of_their_own() {
    let script = "{rules: [{behave: 429, code: rate_limit_exceeded, retry-after: 1}]}";
    let steps = json!([
        {"pool": "second", "on": ["timeout", "content-policy"]},
        {"pool": "third", "on": ["rate-limit"]},
    ]);
    let (gateway, _first, second, third) = chain(script, json!({}), steps).await;
    assert_eq!(gateway.ask(&chat(&json!({}))).await.status(), 200);
    assert_eq!((executions(&second), executions(&third)), (0, 1));
}

#[tokio::test]
async fn a_refused_key_is_the_clients_only_if_it_is_the_clients() {
    let script = "{rules: [{behave: 401, code: invalid_api_key}]}";
    let steps = json!([{"pool": "second"}]);
    let (gateway, _first, _second, _third) = chain(script, json!({}), steps.clone()).await;
    assert_eq!(gateway.ask(&chat(&json!({}))).await.status(), 401);
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "ours").expect("it can be written");
    let ours = json!({"api-key": {"file": secret.path()}});
    let (gateway, _first, _second, _third) = chain(script, ours, steps).await;
    let answer = gateway.ask(&chat(&json!({}))).await;
    assert_eq!(said(&answer), ALL_WORDS);
    assert!(answer.header("x-mainstay-trail").expect("a trail").contains("credentials"));
}

#[tokio::test]
async fn a_spent_quota_moves_on_and_is_left_alone() {
    let script = "{rules: [{behave: 429, code: insufficient_quota}]}";
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "ours").expect("it can be written");
    let ours = json!({"api-key": {"file": secret.path()}});
    let (gateway, _first, _second, _third) = chain(script, ours, json!([{"pool": "second"}])).await;
    for _ in 0..6 {
        assert_eq!(said(&gateway.ask(&chat(&json!({}))).await), ALL_WORDS);
    }
    let open = gateway.breakers().await;
    assert!(open.iter().any(|breaker| breaker.to_string().contains("open")), "{open:?}");
}
