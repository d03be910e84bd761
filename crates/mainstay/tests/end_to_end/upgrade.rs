//! Another binary under load, beside supervised processes and with clients of HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::digits;
use crate::support::gateway::Gateway;
use crate::support::process::Stray;
use crate::support::supervised::{
    endpoint, free, load, process, server, supervised, until_running,
};
use crate::support::{LIMIT, eventually, eventually_within};

const DEADLINE: Duration = Duration::from_secs(10);
/// Connections of HTTP/2, with so many requests at once on each.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 4;

/// Clients that keep their connections for as long as the gateway lets them.
struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    running: JoinSet<Result<(), String>>,
}

impl Clients {
    fn start(gateway: &Gateway) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut running = JoinSet::new();
        let body = Bytes::from(digits::infer(&digits::all()[..1]).body);
        for _ in 0..CONNECTIONS {
            let (host, body) = (gateway.http, body.clone());
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            running.spawn(async move { client(host, body, &stop, &answered).await });
        }
        Self { stop, answered, running }
    }

    async fn more(&self, count: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + count;
        eventually("enough answers", || async {
            (self.answered.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
    }

    async fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.running.join_next().await {
            ended.expect("no panic").expect("no request fails");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

type Sender = SendRequest<Full<Bytes>>;

async fn connect(host: std::net::SocketAddr) -> Result<Sender, String> {
    let stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Asks until it is told to stop. A request that was handed back unsent, because the connection
/// was told to end (GOAWAY), is asked on another one, as clients of HTTP/2 do; anything else fails.
async fn client(
    host: std::net::SocketAddr,
    body: Bytes,
    stop: &AtomicBool,
    answered: &AtomicUsize,
) -> Result<(), String> {
    let mut sender = connect(host).await?;
    while !stop.load(Ordering::Relaxed) {
        let mut batch = JoinSet::new();
        for _ in 0..STREAMS {
            let (mut sender, body) = (sender.clone(), body.clone());
            batch.spawn(async move { ask(&mut sender, host, body).await });
        }
        let mut is_over = false;
        while let Some(outcome) = batch.join_next().await {
            if outcome.expect("no panic")? {
                answered.fetch_add(1, Ordering::Relaxed);
            } else {
                is_over = true;
            }
        }
        if is_over || sender.is_closed() {
            sender = connect(host).await?;
        }
    }
    Ok(())
}

/// Whether it was answered; otherwise it was not sent.
async fn ask(sender: &mut Sender, host: std::net::SocketAddr, body: Bytes) -> Result<bool, String> {
    if sender.ready().await.is_err() {
        return Ok(false);
    }
    let request = hyper::Request::post(format!("http://{host}/v2/models/digits/infer"))
        .body(Full::new(body))
        .expect("a request");
    let response = match sender.try_send_request(request).await {
        Ok(response) => response,
        Err(error) if error.message().is_some() => return Ok(false),
        Err(error) => return Err(error.into_error().to_string()),
    };
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("{status}: {:?}", body.to_bytes()));
    }
    Ok(true)
}

#[tokio::test]
async fn an_upgrade_beside_supervised_servers_costs_no_request_and_no_server() {
    let (a, b) = (free(), free());
    let endpoints = [
        endpoint("a", a, &json!({"command": server(a)})),
        endpoint("b", b, &json!({"command": server(b)})),
    ];
    let mut config = supervised(&endpoints);
    config["models"]["digits"]["deadline"] = json!("10s");
    config["supervision"]["linger"] = json!("20s");
    let mut gateway = Gateway::start(config).await;
    let before = [until_running(&gateway, "a").await, until_running(&gateway, "b").await];
    gateway.until_verdict("a", "ready").await;
    gateway.until_verdict("b", "ready").await;
    let (load, clients) = (load(&gateway), Clients::start(&gateway));
    load.more(50).await;
    clients.more(100).await;

    let after = gateway.upgrade().await;
    let successor = Stray::new(after);
    load.more(100).await;
    clients.more(200).await;
    assert_eq!(gateway.process.ended().await.code(), Some(0), "it drains and ends");
    let uptime = async || gateway.status().await["uptime_seconds"].as_f64();
    eventually("the new process answers for the gateway", uptime).await;
    for (name, before) in ["a", "b"].into_iter().zip(before) {
        eventually_within(2 * LIMIT, &format!("{name} is supervised by the new one"), || async {
            let now = process(&gateway, name).await;
            (now["state"] == "running" && now["failures"] == 0).then_some(())
        })
        .await;
        assert_eq!(until_running(&gateway, name).await, before, "{name} was found, not started");
    }
    load.more(50).await;
    clients.more(100).await;
    let answered = clients.stop().await;
    let report = load.stop().await;
    report.assert_all_answered_within(DEADLINE);
    println!("{} requests of HTTP/1.1, {answered} of HTTP/2, 0 failed", report.samples.len());

    // The new one gives orders: a server that is killed comes back.
    rustix::process::kill_process(before[0], rustix::process::Signal::KILL).expect("it is there");
    eventually_within(2 * LIMIT, "it is started again", || async {
        let now = process(&gateway, "a").await;
        (now["state"] == "running" && now["failures"] == 1).then_some(())
    })
    .await;
    successor.signal(rustix::process::Signal::TERM);
}
