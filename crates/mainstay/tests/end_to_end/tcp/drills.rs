//! Endpoints that refuse, reset, die and are drained, seen by clients of a protocol of their own.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::{Habit, Server, config, connect, is_over, read, ready, start};
use crate::support::process::run;
use crate::support::{LIMIT, eventually};

#[tokio::test]
async fn bytes_come_and_go_and_each_end_is_passed_on() {
    let server = Server::start("a", Habit::Echo).await;
    let (gateway, address) = ready(config(&[&server], &json!({}), &json!({}))).await;
    let mut client = connect(address).await;
    assert_eq!(read(&mut client, 1).await.unwrap(), b"a");
    client.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut client, 5).await.unwrap(), b"hello");
    // Half-closed: what is still on its way comes back before the end does.
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LIMIT, client.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"last");
    let tcp = eventually("it is counted", || async {
        let tcp = gateway.status().await["tcp"][0].clone();
        (tcp["ends"]["done"] == 1 && tcp["open"] == 0).then_some(tcp)
    })
    .await;
    assert_eq!((&tcp["accepted"], &tcp["bytes_from_clients"]), (&json!(1), &json!(9)));
    assert_eq!(tcp["bytes_to_clients"], 10);
}

#[tokio::test]
async fn much_is_passed_on_whole_in_both_directions_at_once() {
    const MUCH: usize = 64 << 20;
    let server = Server::start("", Habit::Silent).await;
    let (_gateway, address) = ready(config(&[&server], &json!({}), &json!({}))).await;
    let (mut from, mut to) = connect(address).await.into_split();
    let sent = tokio::spawn(async move {
        let block: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
        let mut sum = 0u64;
        for _ in 0..MUCH >> 20 {
            to.write_all(&block).await.unwrap();
            sum = block
                .iter()
                .fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        }
        to.shutdown().await.unwrap();
        sum
    });
    let (mut count, mut sum) = (0, 0u64);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = timeout(LIMIT, from.read(&mut buffer)).await.unwrap().unwrap();
        if read == 0 {
            break;
        }
        count += read;
        sum = buffer[..read]
            .iter()
            .fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    }
    assert_eq!((count, sum), (MUCH, sent.await.unwrap()));
}

#[tokio::test]
async fn who_refuses_is_passed_over_before_a_client_notices() {
    let good = Server::start("g", Habit::Echo).await;
    let gone = Server::start("x", Habit::Echo).await;
    let pool = json!({"balance": "round-robin", "probe": {"check": "off"}});
    let config = config(&[&gone, &good], &json!({}), &pool);
    drop(gone);
    let (gateway, address) = start(config).await;
    for _ in 0..20 {
        let mut client = connect(address).await;
        assert_eq!(read(&mut client, 1).await.unwrap(), b"g");
    }
    let retried = gateway.status().await["tcp"][0]["retried"].as_u64().unwrap();
    assert!(retried > 0, "{retried}");
}

#[tokio::test]
async fn connections_are_shared_out_by_their_number() {
    let servers = [Server::start("a", Habit::Echo).await, Server::start("b", Habit::Echo).await];
    let (_gateway, address) =
        ready(config(&[&servers[0], &servers[1]], &json!({}), &json!({}))).await;
    let mut open = Vec::new();
    let mut names = Vec::new();
    for _ in 0..20 {
        let mut client = connect(address).await;
        names.extend(read(&mut client, 1).await.unwrap());
        open.push(client);
    }
    let first = names.iter().filter(|name| **name == b'a').count();
    assert_eq!(first, 10, "{names:?}");
}

#[tokio::test]
async fn the_same_client_goes_to_the_same_endpoint() {
    let servers = [Server::start("a", Habit::Echo).await, Server::start("b", Habit::Echo).await];
    let pool = json!({"balance": {"ring-hash": {"client": "address"}, "load-factor": 100.0}});
    let (_gateway, address) = ready(config(&[&servers[0], &servers[1]], &json!({}), &pool)).await;
    let mut names = Vec::new();
    for _ in 0..8 {
        names.extend(read(&mut connect(address).await, 1).await.unwrap());
    }
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
}

#[tokio::test]
async fn while_nobody_listens_clients_are_held_for_the_budget_and_no_longer() {
    let server = Server::start("a", Habit::Echo).await;
    let at = server.address;
    let listener = json!({"connect-budget": "20s"});
    let pool = json!({"breaker": "off", "probe": {"check": "off"}});
    let (_gateway, address) = start(config(&[&server], &listener, &pool)).await;
    drop(server);
    let mut client = connect(address).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let _server = Server::start_at(at, "b", Habit::Echo).await;
    assert_eq!(read(&mut client, 1).await.unwrap(), b"b", "it waited for the restart");

    let gone = Server::start("x", Habit::Echo).await;
    let other = config(&[&gone], &json!({"connect-budget": "300ms"}), &pool);
    drop(gone);
    let (gateway, address) = start(other).await;
    let began = Instant::now();
    assert!(is_over(&mut connect(address).await).await);
    assert!(began.elapsed() > Duration::from_millis(200));
    let ends = gateway.status().await["tcp"][0]["ends"].clone();
    assert_eq!(ends["no-endpoint"], 1, "{ends}");
}

#[tokio::test]
async fn what_was_sent_goes_elsewhere_only_where_that_is_allowed() {
    let bad = Server::start("", Habit::Reset).await;
    let good = Server::start("", Habit::Silent).await;
    for (repeatable, answered) in [(false, false), (true, true)] {
        let pool = json!({
            "active": 1, "breaker": "off", "repeatable": repeatable, "probe": {"check": "off"},
        });
        let (_gateway, address) = start(config(&[&bad, &good], &json!({}), &pool)).await;
        let mut client = connect(address).await;
        client.write_all(b"once").await.unwrap();
        let answer = read(&mut client, 4).await;
        assert_eq!(answer.is_ok_and(|answer| answer == b"once"), answered, "{repeatable}");
    }
    assert_eq!((bad.served(), good.served()), (2, 1));
}

#[tokio::test]
async fn clients_of_an_endpoint_that_dies_are_let_go_and_served_elsewhere() {
    let first = Server::start("a", Habit::Echo).await;
    let second = Server::start("b", Habit::Echo).await;
    let pool = json!({"active": 1, "probe": {"interval": "500ms"}});
    let (gateway, address) = ready(config(&[&first, &second], &json!({}), &pool)).await;
    let mut client = connect(address).await;
    assert_eq!(read(&mut client, 1).await.unwrap(), b"a");
    drop(first);
    assert!(is_over(&mut client).await);
    let mut client = connect(address).await;
    assert_eq!(read(&mut client, 1).await.unwrap(), b"b");
    eventually("the post moves", || async {
        let events = gateway.events("group").await;
        events.iter().any(|event| event["to"] == "active").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_drained_endpoint_keeps_its_connections_for_the_limit() {
    let first = Server::start("a", Habit::Echo).await;
    let second = Server::start("b", Habit::Echo).await;
    let listener = json!({"drain": "1s"});
    let (gateway, address) = ready(config(&[&first, &second], &listener, &json!({}))).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut client = connect(address).await;
        open.push((read(&mut client, 1).await.unwrap(), client));
    }
    let (admin, token) = (gateway.admin.to_string(), gateway.token_file());
    let endpoint = format!("p/{}", first.address);
    let order = ["drain", &endpoint, "--reason", "a test", "--admin", &admin, "--token-file"];
    let ended = run(&[&order[..], &[token.to_str().unwrap()]].concat(), LIMIT).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for _ in 0..6 {
        assert_eq!(read(&mut connect(address).await, 1).await.unwrap(), b"b");
    }
    for (name, client) in &mut open {
        if name == b"a" {
            assert!(is_over(client).await);
        } else {
            client.write_all(b"still").await.unwrap();
            assert_eq!(read(client, 5).await.unwrap(), b"still");
        }
    }
    let ends = gateway.status().await["tcp"][0]["ends"].clone();
    assert_eq!((&ends["drained"], &ends["failover"]), (&json!(2), &json!(0)), "{ends}");
}

#[tokio::test]
async fn idle_connections_end_and_too_many_are_refused() {
    let server = Server::start("a", Habit::Echo).await;
    let listener = json!({"idle-timeout": "1s", "max-connections": 2});
    let (gateway, address) = ready(config(&[&server], &listener, &json!({}))).await;
    let mut first = connect(address).await;
    let mut second = connect(address).await;
    assert_eq!(read(&mut first, 1).await.unwrap(), b"a");
    assert_eq!(read(&mut second, 1).await.unwrap(), b"a");
    assert!(is_over(&mut connect(address).await).await, "a third is too many");
    assert!(is_over(&mut first).await, "it idles");
    let ends = gateway.status().await["tcp"][0]["ends"].clone();
    assert_eq!(ends["too-many"], 1, "{ends}");
}

#[tokio::test]
async fn a_gateway_that_stops_lets_connections_finish_within_the_limit() {
    let server = Server::start("a", Habit::Echo).await;
    let (mut gateway, address) =
        ready(config(&[&server], &json!({"drain": "2s"}), &json!({}))).await;
    let mut finishing = connect(address).await;
    let mut staying = connect(address).await;
    assert_eq!(read(&mut finishing, 1).await.unwrap(), b"a");
    assert_eq!(read(&mut staying, 1).await.unwrap(), b"a");
    gateway.terminate();
    finishing.write_all(b"bye").await.unwrap();
    assert_eq!(read(&mut finishing, 3).await.unwrap(), b"bye");
    drop(finishing);
    assert!(is_over(&mut staying).await);
    assert_eq!(gateway.process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_configuration_that_mixes_layers_is_refused() {
    let server = Server::start("a", Habit::Echo).await;
    let mut config = config(&[&server], &json!({}), &json!({"probe": {"check": "oip-ready"}}));
    config["models"] = json!({"m": {"chain": [{"pool": "p"}]}});
    let ended = crate::support::gateway::Gateway::refused(config).await;
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stderr.matches("MS0125").count(), 2, "{}", ended.stderr);
}
