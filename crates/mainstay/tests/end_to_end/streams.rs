//! Server-sent events: passed on as they come, held only until their first content.

use serde_json::json;

use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::{Connection, Request};
use crate::support::peer::{Manner, Part, Peer};

const STREAM: &str = "/v2/models/m/generate_stream";

/// A first pool and one of the same quality.
async fn two_pools(first: &Peer, second: &Peer) -> Gateway {
    let pools = json!({"first": pool([&first.address]), "second": pool([&second.address])});
    let chain = json!([{"pool": "first"}, {"pool": "second", "equivalent": true}]);
    Gateway::ready(config(&pools, &json!({"m": {"deadline": "20s", "chain": chain}}))).await
}

async fn streaming(parts: Vec<Part>) -> Peer {
    Peer::start(Manner::Events(parts)).await
}

/// A connection on which the stream was asked for.
async fn asked(gateway: &Gateway) -> Connection {
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    connection.send(&Request::post(STREAM, "{\"text_input\":\"hi\"}")).await.expect("it reads");
    let head = connection.head(false).await.expect("an answer");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    connection
}

/// What comes next, as far as `end`.
async fn until(connection: &mut Connection, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let part = connection.part().await.expect("the stream goes on").expect("and on");
        text.push_str(&String::from_utf8(part).expect("UTF-8"));
    }
    text
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let first = streaming(vec![
        Part::Text(": keep-alive\n\n"),
        Part::Text("data: {\"text_output\":\"one\"}\n\n"),
        Part::Gate,
        Part::Text("data: {\"text_output\":\"two\"}\n\n"),
        Part::Gate,
        Part::Text("data: [DONE]\n\n"),
    ])
    .await;
    let second = streaming(Vec::new()).await;
    let gateway = two_pools(&first, &second).await;
    let mut connection = asked(&gateway).await;
    let start = until(&mut connection, "\"one\"}\n\n").await;
    assert_eq!(start, ": keep-alive\n\ndata: {\"text_output\":\"one\"}\n\n");
    // The server is let go on only now: each event must have come before the next was sent.
    first.release();
    assert_eq!(until(&mut connection, "\n\n").await, "data: {\"text_output\":\"two\"}\n\n");
    first.release();
    assert_eq!(until(&mut connection, "\n\n").await, "data: [DONE]\n\n");
    assert_eq!(connection.part().await.expect("the true end"), None);
    assert!(second.received().is_empty());
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_first_content_moves_on() {
    let first = streaming(vec![Part::Text(": keep-alive\n\n"), Part::Reset]).await;
    let second = streaming(vec![Part::Text("data: {\"text_output\":\"whole\"}\n\n")]).await;
    let gateway = two_pools(&first, &second).await;
    let mut connection = asked(&gateway).await;
    assert_eq!(until(&mut connection, "\n\n").await, "data: {\"text_output\":\"whole\"}\n\n");
    assert_eq!(connection.part().await.expect("the true end"), None);
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_first_content_never_ends_falsely() {
    let first =
        streaming(vec![Part::Text("data: {\"text_output\":\"one\"}\n\n"), Part::Gate, Part::Reset])
            .await;
    let second = streaming(vec![Part::Text("data: {\"text_output\":\"other\"}\n\n")]).await;
    let gateway = two_pools(&first, &second).await;
    let mut connection = asked(&gateway).await;
    until(&mut connection, "\n\n").await;
    first.release();
    let error = loop {
        match connection.part().await {
            Ok(Some(part)) => {
                let text = String::from_utf8_lossy(&part).into_owned();
                assert!(!text.contains("other") && !text.contains("[DONE]"), "{text}");
            }
            Ok(None) => panic!("the cut stream ended as if it were whole"),
            Err(error) => break error,
        }
    };
    println!("as it must: {error}");
    assert!(second.received().is_empty(), "no other source may write into a committed stream");
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_ends_it_upstream() {
    let first = streaming(vec![Part::Text("data: {\"n\":1}\n\n"), Part::Gate]).await;
    let second = streaming(Vec::new()).await;
    let gateway = two_pools(&first, &second).await;
    let mut connection = asked(&gateway).await;
    until(&mut connection, "\n\n").await;
    drop(connection);
    first.until_hung_up(1).await;
}
