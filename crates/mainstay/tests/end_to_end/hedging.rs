//! A second attempt beside one that is late, and servers that ask to be left alone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::SLACK;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Answer, Connection, Request};
use crate::support::peer::{Manner, Peer, Reply, good};

const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.0]}]}"#;

fn infer() -> Request {
    Request::post("/v2/models/m/infer", BODY)
}

fn model() -> Value {
    json!({"m": {"deadline": "5s", "chain": [{"pool": "p"}]}})
}

/// A gateway over these peers that hedges so many of a hundred requests after 30 ms.
async fn hedging(peers: &[&Peer], share: &str, models: &Value) -> Gateway {
    let mut pool = pool(peers.iter().map(|peer| &peer.address));
    pool["hedge"] = json!({"share": share, "after": "30ms"});
    pool["balance"] = json!("round-robin");
    Gateway::ready(config(&json!({"p": pool}), models)).await
}

/// The attempts of an answer that was hedged; asks until one was.
async fn hedged(gateway: &Gateway) -> (Answer, Vec<Value>) {
    for _ in 0..200 {
        let answer = gateway.ask(&infer()).await;
        let record = gateway.record(&answer).await;
        let attempts = record["attempts"].as_array().expect("attempts").clone();
        if attempts.len() > 1 {
            return (answer, attempts);
        }
    }
    panic!("nothing was hedged");
}

#[tokio::test]
async fn a_hedge_answers_and_the_late_attempt_is_cut_off_without_blame() {
    let (slow, quick) = (Peer::start(Manner::BlackHole).await, Peer::good(42.0).await);
    let gateway = hedging(&[&slow, &quick], "100%", &model()).await;
    let start = Instant::now();
    let (answer, attempts) = hedged(&gateway).await;
    assert!(start.elapsed() < Duration::from_secs(1) + SLACK, "the black hole holds nobody up");
    assert_eq!((answer.status(), answer.text().contains("42")), (200, true));
    assert_eq!(attempts[0]["class"], "overtaken");
    assert_eq!(attempts[0]["sent"], "maybe-sent");
    assert_eq!((&attempts[1]["why"], &attempts[1]["class"]), (&json!("hedged"), &Value::Null));
    slow.until_hung_up(1).await;
    for breaker in gateway.breakers().await {
        assert_eq!((&breaker["state"], &breaker["failures"]), (&json!("closed"), &json!(0)));
    }
    let status = gateway.status().await;
    assert!(status["models"][0]["hedges_won"].as_u64() >= Some(1), "{status}");
    let in_flight: Vec<_> =
        gateway.targets().await.into_iter().map(|(_, model)| model["in_flight"].clone()).collect();
    assert_eq!(in_flight, [json!(0), json!(0)], "every permit is back");
}

#[tokio::test]
async fn every_place_at_a_server_comes_back_from_whoever_was_cut_off() {
    let slow = Peer::start(Manner::Slow(Duration::from_millis(300), good(1.0))).await;
    let quick = Peer::good(42.0).await;
    let mut pool = pool([&slow.address, &quick.address]);
    pool["hedge"] = json!({"share": "100%", "after": "30ms"});
    pool["balance"] = json!("round-robin");
    pool["concurrency"] = json!({"adaptive": false, "max": 2});
    let gateway = Gateway::ready(config(&json!({"p": pool}), &model())).await;
    for _ in 0..16 {
        let answer = gateway.ask(&infer()).await;
        let record = gateway.record(&answer).await;
        assert_eq!(record["attempts"][0]["skipped"]["limit"], json!([]), "{record}");
    }
    assert!(slow.received().len() >= 6, "it has its turn: {}", slow.received().len());
}

#[tokio::test]
async fn a_hedge_that_fails_does_not_fail_the_request() {
    let slow = Peer::start(Manner::Slow(Duration::from_millis(300), good(42.0))).await;
    let bad = Peer::start(Manner::Reply(Reply::new(500, r#"{"error":"boom"}"#))).await;
    let mut pools = pool([&slow.address, &bad.address]);
    pools["hedge"] = json!({"share": "100%", "after": "30ms"});
    pools["balance"] = json!("round-robin");
    pools["breaker"] = json!("off");
    let gateway = Gateway::ready(config(&json!({"p": pools}), &model())).await;
    let (answer, attempts) = hedged(&gateway).await;
    assert_eq!(answer.status(), 200, "{attempts:?}");
    let slow_one = attempts.iter().find(|attempt| attempt["class"].is_null()).expect("an answer");
    assert_eq!(slow_one["endpoint"], slow.address.to_string());
}

#[tokio::test]
async fn hedges_keep_to_their_share() {
    let slow = Peer::start(Manner::Slow(Duration::from_millis(60), good(1.0))).await;
    let other = Peer::start(Manner::Slow(Duration::from_millis(60), good(1.0))).await;
    let gateway = hedging(&[&slow, &other], "5%", &model()).await;
    let load = (0..10).map(|_| async {
        let mut connection = Connection::open(gateway.http).await.expect("it listens");
        for _ in 0..10 {
            assert_eq!(connection.ask(&infer()).await.expect("an answer").status(), 200);
        }
    });
    futures(load).await;
    let sent = slow.received().len() + other.received().len();
    assert!(sent > 100, "every request is late, so some are hedged");
    assert!(sent <= 105, "5 of 100 at most: {sent}");
}

/// Runs them all at once.
async fn futures<F: Future<Output = ()>>(all: impl Iterator<Item = F>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn what_may_not_be_executed_twice_is_never_hedged() {
    let slow = Peer::start(Manner::Slow(Duration::from_millis(150), good(1.0))).await;
    let quick = Peer::good(42.0).await;
    let mut models = model();
    models["m"]["repeatable"] = json!(false);
    let gateway = hedging(&[&slow, &quick], "100%", &models).await;
    for _ in 0..20 {
        assert_eq!(gateway.ask(&infer()).await.status(), 200);
    }
    assert_eq!(slow.received().len() + quick.received().len(), 20, "each is executed once");
}

#[tokio::test]
async fn whoever_said_when_to_ask_again_is_not_asked_before() {
    let busy = Reply::new(429, r#"{"error":"busy"}"#).header("retry-after", "2");
    let (busy, quick) = (Peer::start(Manner::Reply(busy)).await, Peer::good(42.0).await);
    let gateway = hedging(&[&busy, &quick], "5%", &model()).await;
    while busy.received().is_empty() {
        assert_eq!(gateway.ask(&infer()).await.status(), 200);
    }
    let said = Instant::now();
    let mut skipped = false;
    while said.elapsed() < Duration::from_millis(1_500) {
        let answer = gateway.ask(&infer()).await;
        assert_eq!((answer.status(), busy.received().len()), (200, 1));
        let record = gateway.record(&answer).await;
        skipped |= record["attempts"][0]["skipped"]["paused"] == json!([busy.address.to_string()]);
    }
    assert!(skipped, "the record says why it was passed over");
    assert!(!gateway.events("pause").await.is_empty());
    while busy.received().len() < 2 {
        assert_eq!(gateway.ask(&infer()).await.status(), 200);
        assert!(said.elapsed() < Duration::from_secs(20), "it is asked again");
    }
    assert!(said.elapsed() >= Duration::from_millis(1_900));
}

#[tokio::test]
async fn a_lone_server_is_waited_for_within_the_deadline() {
    let busy = Reply::new(503, r#"{"error":"busy"}"#).header("retry-after", "1");
    let peer = Peer::start(Manner::Reply(busy)).await;
    let gateway = hedging(&[&peer], "5%", &model()).await;
    let request = infer();
    let mended = async {
        peer.until_received(1).await;
        peer.set_manner(Manner::Reply(good(42.0)));
    };
    let (asked, ()) = tokio::join!(gateway.ask(&request), mended);
    let record = gateway.record(&asked).await;
    assert_eq!(asked.status(), 200, "{record}");
    assert_eq!(record["attempts"][1]["why"], "waited");
    assert!(record["attempts"][1]["started_ms"].as_f64() >= Some(990.0), "{record}");

    peer.set_manner(Manner::Reply(Reply::new(503, "{}").header("retry-after", "3600")));
    let refused = gateway.ask(&infer()).await;
    assert_eq!(refused.status(), 503);
    let sent = peer.received().len();
    let start = Instant::now();
    assert_eq!(gateway.ask(&infer()).await.status(), 503);
    assert_eq!(peer.received().len(), sent, "a wait beyond the deadline is not begun");
    assert!(start.elapsed() < Duration::from_secs(1) + SLACK);
}

#[tokio::test]
async fn servers_are_told_what_is_left_of_the_deadline() {
    let peer = Peer::good(42.0).await;
    let gateway = hedging(&[&peer], "5%", &model()).await;
    gateway.ask(&infer()).await;
    gateway.ask(&infer().header("x-request-timeout", "0.25")).await;
    let told: Vec<_> = peer
        .received()
        .iter()
        .map(|request| {
            let text = request.header("x-request-timeout").expect("a time limit").to_owned();
            text.strip_suffix("ms").expect("milliseconds").parse::<u64>().expect("a number")
        })
        .collect();
    assert!((4_000..=5_000).contains(&told[0]), "{told:?}");
    assert!((100..=250).contains(&told[1]), "{told:?}");
}
