//! Orders as they come over HTTP: whole, or refused with what is wrong.

use std::time::Duration;

use mainstay_admin::{Act, Code, Instruction};
use mainstay_control::orders::Scope;
use serde_json::{Value, json};

use crate::client::Listener;

fn drain() -> Value {
    json!({"verb": "drain", "pool": "p", "endpoint": "a", "reason": "new kernel", "for": "5m"})
}

#[tokio::test]
async fn an_order_is_handed_on_with_its_reason() {
    let listener = Listener::start().await;
    let answer = listener.post("/v1/orders", &drain()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["done"], true);
    let expected = Instruction {
        act: Act::Drain,
        scope: Scope::Endpoint { pool: "p".to_owned(), endpoint: "a".to_owned() },
        reason: "new kernel".to_owned(),
        lasts: Some(Duration::from_secs(300)),
        force: false,
        dry_run: false,
    };
    assert_eq!(listener.source.told(), [expected]);
}

#[tokio::test]
async fn every_verb_takes_what_it_is_about() {
    let listener = Listener::start().await;
    let endpoint = json!({"pool": "p", "endpoint": "a"});
    let (zone, pool) = (json!({"zone": "z1"}), json!({"pool": "p"}));
    let region = json!({"region": "eu"});
    for (verb, about, extra) in [
        ("drain", &zone, json!({})),
        ("undrain", &region, json!({})),
        ("maintenance", &endpoint, json!({"for": "30m"})),
        ("end-maintenance", &endpoint, json!({})),
        ("weight", &endpoint, json!({"factor": 0.5})),
        ("failover", &pool, json!({"to": "b"})),
        ("failback", &pool, json!({})),
        ("failback", &endpoint, json!({})),
    ] {
        let mut order = json!({"verb": verb, "reason": "why not"});
        for part in [about, &extra] {
            let part = part.as_object().unwrap().clone();
            order.as_object_mut().unwrap().extend(part);
        }
        let answer = listener.post("/v1/orders", &order).await;
        assert_eq!(answer.status, 200, "{order}: {}", answer.body);
        assert_eq!(listener.source.told().last().unwrap().act.as_str(), verb);
    }
}

#[tokio::test]
async fn a_dry_run_needs_no_reason() {
    let listener = Listener::start().await;
    let dry = json!({"verb": "drain", "zone": "z1", "dry_run": true});
    let answer = listener.post("/v1/orders", &dry).await;
    assert_eq!((answer.status, &answer.json()["done"]), (200, &json!(false)));
    assert!(listener.source.told()[0].dry_run);
}

#[tokio::test]
async fn an_order_that_says_too_little_or_too_much_is_not_handed_on() {
    let listener = Listener::start().await;
    for (key, value) in [
        ("reason", Value::Null),
        ("reason", json!(" ")),
        ("for", json!("32d")),
        ("for", json!("soon")),
        ("for", json!("10ms")),
        ("verb", json!("drown")),
        ("verb", json!("undrain")),
        ("verb", json!("failover")),
        ("verb", json!("weight")),
        ("zone", json!("z1")),
        ("endpoint", Value::Null),
        ("factor", json!(0.5)),
        ("to", json!("b")),
        ("forced", json!(true)),
    ] {
        let mut order = drain();
        order[key] = value;
        let answer = listener.post("/v1/orders", &order).await;
        assert_eq!(answer.refusal(), (400, Code::BadRequest), "{order}");
    }
    for factor in [0.0, -1.0, 1000.0] {
        let order = json!({
            "verb": "weight", "pool": "p", "endpoint": "a", "reason": "x", "factor": factor
        });
        let answer = listener.post("/v1/orders", &order).await;
        assert_eq!(answer.refusal(), (400, Code::BadRequest), "{order}");
    }
    assert_eq!(listener.source.told(), []);
}

#[tokio::test]
async fn orders_need_the_token_and_are_read_without() {
    let listener = Listener::start().await;
    let answer = listener.send("POST", "/v1/orders", &[], &drain().to_string()).await;
    assert_eq!(answer.refusal(), (401, Code::Unauthorized));
    assert_eq!(listener.source.told(), []);
    assert_eq!(listener.get("/v1/orders").await.json(), json!({"orders": []}));
}

#[tokio::test]
async fn a_forecast_is_about_one_thing() {
    let listener = Listener::start().await;
    let zone = listener.get("/v1/forecast?zone=z1").await;
    assert_eq!(zone.json()["change"], "zone z1 dies");
    let endpoint = listener.get("/v1/forecast?pool=p&endpoint=10.0.0.1%3A8000").await;
    assert_eq!(endpoint.json()["change"], "p/10.0.0.1:8000 dies");
    for query in ["", "?pool=p", "?zone=z1&region=eu", "?zone=z1&pool=p", "?zones=z1"] {
        let answer = listener.get(&format!("/v1/forecast{query}")).await;
        assert_eq!(answer.refusal(), (400, Code::BadRequest), "{query}");
    }
}
