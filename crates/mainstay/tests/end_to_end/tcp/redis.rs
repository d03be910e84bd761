//! A real Redis primary and its replica behind a listener: the primary is killed under load, the
//! replica is promoted, and writes go on there; two that both claim to be primary are never both
//! written to.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::start;
use crate::support::gateway::Gateway;
use crate::support::{LIMIT, eventually};

/// A redis-server with a folder of its own; killed when dropped.
struct Redis {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Redis {
    /// Starts one; `None`, and said so, where it is not installed.
    async fn start(of: Option<SocketAddr>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--repl-diskless-sync-delay", "0", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(of) = of {
            command.args(["--replicaof", "127.0.0.1", &of.port().to_string()]);
        }
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                eprintln!("skipped: redis-server cannot be started: {error}");
                return None;
            }
        };
        let server = Self { child, address, _folder: folder };
        eventually("it answers", || async {
            server.ask(&["PING"]).await.filter(|answer| answer == "+PONG")
        })
        .await;
        Some(server)
    }

    /// One request on a connection of its own, past the gateway.
    async fn ask(&self, words: &[&str]) -> Option<String> {
        Client::open(self.address).await?.ask(words).await
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A client with one connection.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn open(address: SocketAddr) -> Option<Self> {
        let stream = timeout(LIMIT, TcpStream::connect(address)).await.ok()?.ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// The first line of the answer; `None` when the connection broke.
    async fn ask(&mut self, words: &[&str]) -> Option<String> {
        let line = format!("{}\r\n", words.join(" "));
        self.0.write_all(line.as_bytes()).await.ok()?;
        let mut answer = String::new();
        let read = timeout(LIMIT, self.0.read_line(&mut answer)).await.ok()?.ok()?;
        (read > 0).then(|| answer.trim_end().to_owned())
    }
}

async fn number(server: &Redis, key: &str) -> u64 {
    let mut client = Client::open(server.address).await.unwrap();
    client.ask(&["INCRBY", key, "0"]).await.unwrap()[1..].parse().unwrap()
}

fn config(servers: &[&Redis], role: &str) -> Value {
    let endpoints: Vec<_> = servers.iter().map(|server| server.address.to_string()).collect();
    json!({
        "listen": {"http": "127.0.0.1:0"},
        "admin": {"address": "127.0.0.1:0"},
        "workers": 2,
        "pools": {"p": {
            "protocol": "tcp",
            "role": role,
            "endpoints": endpoints,
            "probe": {"check": "redis", "interval": "200ms", "fast-interval": "150ms",
                      "down-interval": "150ms", "timeout": "100ms"},
        }},
        "tcp": {"line": {"listen": "127.0.0.1:0", "pool": "p", "connect-budget": "20s"}},
    })
}

async fn until_writer(gateway: &Gateway, server: &Redis) {
    let name = server.address.to_string();
    eventually("it is the writer", || async {
        let status = gateway.status().await;
        (status["pools"][0]["writer"]["endpoint"] == name.as_str()).then_some(())
    })
    .await;
}

/// A primary and its replica, in step.
async fn pair() -> Option<(Redis, Redis)> {
    let primary = Redis::start(None).await?;
    let replica = Redis::start(Some(primary.address)).await?;
    eventually("the replica is in step", || async {
        let mut client = Client::open(replica.address).await?;
        client.ask(&["ROLE"]).await?;
        let mut lines = Vec::new();
        for _ in 0..8 {
            let mut line = String::new();
            client.0.read_line(&mut line).await.ok()?;
            lines.push(line.trim_end().to_owned());
        }
        lines.iter().any(|line| line == "connected").then_some(())
    })
    .await;
    Some((primary, replica))
}

#[tokio::test]
async fn when_the_primary_is_killed_writes_go_on_at_the_promoted_replica() {
    let Some((mut primary, replica)) = pair().await else { return };
    let (gateway, address) = start(config(&[&primary, &replica], "primary")).await;
    until_writer(&gateway, &primary).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|at| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let key = format!("count:{at}");
                let mut acknowledged = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    let Some(mut client) = Client::open(address).await else { continue };
                    while !stop.load(Ordering::Relaxed) {
                        match client.ask(&["INCR", &key]).await {
                            Some(answer) if answer.starts_with(':') => acknowledged += 1,
                            Some(answer) => panic!("a write was refused: {answer}"),
                            None => break,
                        }
                    }
                }
                acknowledged
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    primary.kill();
    assert_eq!(replica.ask(&["REPLICAOF", "NO", "ONE"]).await.unwrap(), "+OK");
    until_writer(&gateway, &replica).await;
    let before = number(&replica, "count:0").await;
    eventually("writes go on", || async {
        (number(&replica, "count:0").await > before + 100).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 100);
    }
}

#[tokio::test]
async fn two_that_both_claim_to_be_primary_are_never_both_written_to() {
    let Some((primary, replica)) = pair().await else { return };
    let (gateway, address) = start(config(&[&primary, &replica], "primary")).await;
    until_writer(&gateway, &primary).await;
    let mut idle = Client::open(address).await.unwrap();
    assert_eq!(idle.ask(&["SET", "a", "1"]).await.unwrap(), "+OK");
    // The old one lives on and would take writes: it began the history that the new one goes on
    // from, so the new one is the later.
    assert_eq!(replica.ask(&["REPLICAOF", "NO", "ONE"]).await.unwrap(), "+OK");
    until_writer(&gateway, &replica).await;
    let mark = number(&primary, "written").await;
    assert_eq!(idle.ask(&["INCR", "written"]).await, None, "its connection ended with the epoch");
    for _ in 0..20 {
        let mut client = Client::open(address).await.unwrap();
        assert!(client.ask(&["INCR", "written"]).await.unwrap().starts_with(':'));
    }
    assert_eq!(number(&primary, "written").await, mark, "not one write went to the old one");
    assert_eq!(number(&replica, "written").await, 20);
    let writer = gateway.status().await["pools"][0]["writer"].clone();
    assert_eq!(writer["rival"], primary.address.to_string(), "{writer}");
    let events = gateway.events("group").await;
    assert!(events.iter().any(|event| event["to"] == "conflict"), "{events:?}");
}

#[tokio::test]
async fn a_pool_of_replicas_uses_replicas_alone() {
    let Some((primary, replica)) = pair().await else { return };
    let (gateway, address) = start(config(&[&primary, &replica], "replica")).await;
    gateway.until_ready().await;
    for _ in 0..10 {
        let mut client = Client::open(address).await.unwrap();
        let answer = client.ask(&["SET", "a", "1"]).await.unwrap();
        assert!(answer.starts_with("-READONLY"), "{answer}");
    }
}

/// A Sentinel of one set, `cache`.
async fn sentinel(primary: &Redis) -> Redis {
    let folder = tempfile::tempdir().unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let file = folder.path().join("sentinel.conf");
    let text = format!(
        "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor cache 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds cache 500\nsentinel failover-timeout cache 5000\n",
        address.port(),
        folder.path().display(),
        primary.address.port(),
    );
    std::fs::write(&file, text).unwrap();
    let child = Command::new("redis-server")
        .arg(&file)
        .arg("--sentinel")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Redis { child, address, _folder: folder };
    eventually("it knows the replica", || async {
        let mut client = Client::open(server.address).await?;
        client.0.write_all(b"SENTINEL MASTER cache\r\n").await.ok()?;
        let mut last = String::new();
        loop {
            let mut line = String::new();
            timeout(LIMIT, client.0.read_line(&mut line)).await.ok()?.ok()?;
            let line = line.trim_end().to_owned();
            if last == "num-slaves" && !line.starts_with('$') {
                return (line == "1").then_some(());
            }
            if !line.starts_with('$') {
                last = line;
            }
        }
    })
    .await;
    server
}

#[tokio::test]
async fn whom_a_sentinel_promotes_is_the_writer() {
    let Some((mut primary, replica)) = pair().await else { return };
    let watcher = sentinel(&primary).await;
    let mut config = config(&[&primary, &replica], "primary");
    config["pools"]["p"]["sentinel"] =
        json!({"addresses": [watcher.address.to_string()], "master": "cache"});
    let (gateway, address) = start(config).await;
    until_writer(&gateway, &primary).await;
    let mut client = Client::open(address).await.unwrap();
    assert_eq!(client.ask(&["SET", "a", "1"]).await.unwrap(), "+OK");
    primary.kill();
    until_writer(&gateway, &replica).await;
    let mut client = Client::open(address).await.unwrap();
    assert_eq!(client.ask(&["SET", "a", "2"]).await.unwrap(), "+OK");
}
