//! What a service manager is told, over a socket as systemd has it: `sd_notify(3)`.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::net::UnixDatagram;

use crate::support::LIMIT;
use crate::support::gateway::{Gateway, config, pool};
use crate::support::http::Request;
use crate::support::peer::Peer;
use crate::support::process::Stray;

/// A service manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn new(path: &Path) -> Self {
        Self(UnixDatagram::bind(path).expect("a socket"))
    }

    /// The next message that is no sign of life.
    async fn told(&self) -> String {
        loop {
            let message = self.next().await;
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    async fn sign_of_life(&self) {
        while self.next().await != "WATCHDOG=1" {}
    }

    async fn next(&self) -> String {
        let mut message = [0; 4096];
        let received = tokio::time::timeout(LIMIT, self.0.recv(&mut message)).await;
        let length = received.expect("something is told").expect("a message");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    }
}

fn value<'m>(message: &'m str, key: &str) -> Option<&'m str> {
    message.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[tokio::test]
async fn ready_reloading_upgraded_and_stopping_are_told() {
    let peer = Peer::good(1.0).await;
    let models = json!({"m": {"deadline": "10s", "chain": [{"pool": "p"}]}});
    let first = config(&json!({"p": pool([&peer.address])}), &models);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = Manager::new(&path);
    let environment =
        [("NOTIFY_SOCKET", path.to_str().expect("UTF-8")), ("WATCHDOG_USEC", "300000")];
    let mut gateway = Gateway::start_with(first.clone(), &environment).await;
    let ready = manager.told().await;
    assert_eq!(value(&ready, "READY"), Some("1"), "{ready}");
    assert_eq!(gateway.ask(&Request::post("/v2/models/m/infer", "{}")).await.status(), 200);
    manager.sign_of_life().await;

    // A reload begins with the time of the system's clock, and ends with READY, also in vain.
    for broken in [false, true] {
        if broken {
            gateway.rewrite_text("pools: nonsense\n");
        }
        gateway.process.signal(Signal::HUP);
        let reloading = manager.told().await;
        assert_eq!(value(&reloading, "RELOADING"), Some("1"), "{reloading}");
        let at = value(&reloading, "MONOTONIC_USEC").and_then(|at| at.parse::<u64>().ok());
        let uptime = std::fs::read_to_string("/proc/uptime").expect("it is there");
        let uptime: f64 = uptime.split(' ').next().expect("a time").parse().expect("a number");
        let at = Duration::from_micros(at.expect("a time")).as_secs_f64();
        assert!(at <= uptime + 1.0 && at > 0.0, "{at} of {uptime}");
        let ready = manager.told().await;
        assert_eq!(value(&ready, "READY"), Some("1"), "{ready}");
    }
    gateway.rewrite(first);

    // The main process names its successor, which gives signs of life from then on.
    let after = gateway.upgrade().await;
    let successor = Stray::new(after);
    let told = manager.told().await;
    assert_eq!(value(&told, "MAINPID"), Some(&*after.to_string()), "{told}");
    assert_eq!(gateway.process.ended().await.code(), Some(0));
    manager.sign_of_life().await;
    manager.sign_of_life().await;
    successor.signal(Signal::TERM);
    let stopping = manager.told().await;
    assert_eq!(value(&stopping, "STOPPING"), Some("1"), "{stopping}");
}

#[tokio::test]
async fn nothing_is_told_to_nobody() {
    let peer = Peer::good(1.0).await;
    let models = json!({"m": {"deadline": "10s", "chain": [{"pool": "p"}]}});
    let file = config(&json!({"p": pool([&peer.address])}), &models);
    let gateway = Gateway::start_with(file, &[("NOTIFY_SOCKET", "/no/such/socket")]).await;
    assert_eq!(gateway.ask(&Request::post("/v2/models/m/infer", "{}")).await.status(), 200);
}
