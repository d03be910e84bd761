//! One writer over servers of which each could take writes: all connections move together.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{Habit, Server, config, connect, is_over, read, ready};
use crate::support::eventually;

#[tokio::test]
async fn all_connections_are_with_one_server_and_move_together() {
    let first = Server::start("a", Habit::Echo).await;
    let second = Server::start("b", Habit::Echo).await;
    let pool = json!({"single-writer": true, "active": 1, "probe": {"interval": "500ms"}});
    let (gateway, address) = ready(config(&[&first, &second], &json!({}), &pool)).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut client = connect(address).await;
        assert_eq!(read(&mut client, 1).await.unwrap(), b"a");
        open.push(client);
    }
    let at = first.address;
    drop(first);
    for client in &mut open {
        assert!(is_over(client).await);
    }
    for _ in 0..10 {
        assert_eq!(read(&mut connect(address).await, 1).await.unwrap(), b"b");
    }
    // The first comes back: it is a spare until the post is given back, and has no connection.
    let first = Server::start_at(at, "a", Habit::Echo).await;
    gateway.until_verdict(&at.to_string(), "ready").await;
    let mut client = connect(address).await;
    assert_eq!(read(&mut client, 1).await.unwrap(), b"b");
    client.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut client, 1).await.unwrap(), b"x");
    assert_eq!(first.served(), 0);
    let writer = eventually("it is told", || async {
        let writer = gateway.status().await["pools"][0]["writer"].clone();
        (writer["endpoint"] == second.address.to_string()).then_some(writer)
    })
    .await;
    assert_eq!(writer["epoch"], 2, "{writer}");
}
