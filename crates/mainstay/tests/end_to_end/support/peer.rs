//! A server that misbehaves on purpose, byte by byte.
//!
//! It answers readiness as it is told to, so that its infer requests can fail while every probe
//! passes. What it received is kept, so that tests can say what must never have been sent.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::eventually;
use super::http::{Request, ask};

/// How it treats requests other than those about health.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Gives this answer.
    Reply(Reply),
    /// Judges each row by its only value, which it takes for its confidence.
    Judge {
        /// The label of all its answers.
        label: i64,
    },
    /// Reads the request and resets the connection.
    ResetBeforeBytes,
    /// Announces a body, sends a part of it, and resets the connection.
    ResetMidBody {
        /// What the head says.
        announced: usize,
        /// What comes.
        sent: usize,
        /// Whether the reset waits for [`Peer::release`].
        gated: bool,
    },
    /// Reads the request and says nothing until the client hangs up.
    BlackHole,
    /// Waits before it answers.
    Slow(Duration, Reply),
    /// Resets the connection on a body that holds this text, and answers all others.
    Allergic(&'static str, Reply),
    /// Sends an event stream.
    Events(Vec<Part>),
    /// Asks the real server at this address, and waits for it for as long as it takes.
    Forward(SocketAddr),
}

/// How it treats requests about health.
#[derive(Clone, Copy, Debug)]
enum Health {
    Ready,
    NotReady,
    /// Says nothing until the client hangs up.
    Silent,
}

/// A part of an event stream.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Bytes as one chunk.
    Text(&'static str),
    /// Goes on only after [`Peer::release`].
    Gate,
    /// Resets the connection in the middle.
    Reset,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: body.into() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// What it received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    health: Mutex<Health>,
    /// What it shows under `/metrics`.
    page: Mutex<String>,
    received: Mutex<Vec<Received>>,
    hung_up: Mutex<usize>,
    gates: Semaphore,
}

/// A server on a task of its own; gone when dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// An answer that any client of the protocol can read, with a value of its own.
pub(crate) fn good(value: f64) -> Reply {
    let body = json!({
        "model_name": "m",
        "outputs": [{"name": "y", "datatype": "FP64", "shape": [1], "data": [value]}]
    });
    Reply::new(200, body.to_string())
}

/// An address where nobody listens.
pub(crate) async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("it is bound")
}

impl Peer {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            manner: Mutex::new(manner),
            health: Mutex::new(Health::Ready),
            page: Mutex::default(),
            received: Mutex::default(),
            hung_up: Mutex::default(),
            gates: Semaphore::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// A peer that answers well.
    pub(crate) async fn good(value: f64) -> Self {
        Self::start(Manner::Reply(good(value))).await
    }

    /// What its health answers from now on.
    pub(crate) fn set_ready(&self, ready: bool) {
        let health = if ready { Health::Ready } else { Health::NotReady };
        *self.shared.health.lock().unwrap() = health;
    }

    /// From now on it is too busy for questions about its health.
    pub(crate) fn ignore_probes(&self) {
        *self.shared.health.lock().unwrap() = Health::Silent;
    }

    /// What it shows under `/metrics` from now on.
    pub(crate) fn set_page(&self, page: String) {
        *self.shared.page.lock().unwrap() = page;
    }

    pub(crate) fn set_manner(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// Every request that was not about health.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Opens one [`Part::Gate`].
    pub(crate) fn release(&self) {
        self.shared.gates.add_permits(1);
    }

    /// Waits until it has received so many requests.
    pub(crate) async fn until_received(&self, count: usize) {
        eventually("the peer is asked", || async {
            (self.received().len() >= count).then_some(())
        })
        .await;
    }

    /// Waits until clients have hung up on so many unanswered requests.
    pub(crate) async fn until_hung_up(&self, count: usize) {
        eventually("the client hangs up", || async {
            (*self.shared.hung_up.lock().unwrap() >= count).then_some(())
        })
        .await;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with the task, and every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(BufReader::new(stream), Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// Answers one request after the other; an error is the client's end of the connection.
async fn serve(mut stream: BufReader<TcpStream>, shared: Arc<Shared>) -> io::Result<()> {
    stream.get_ref().set_nodelay(true)?;
    loop {
        let request = read(&mut stream).await?;
        if is_health(&request.path) {
            let health = *shared.health.lock().unwrap();
            let status = match health {
                Health::Ready => 200,
                Health::NotReady => 503,
                Health::Silent => {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    return Ok(());
                }
            };
            reply(&mut stream, &Reply::new(status, "")).await?;
            continue;
        }
        if request.path == "/metrics" {
            let page = shared.page.lock().unwrap().clone();
            reply(&mut stream, &Reply::new(200, page)).await?;
            continue;
        }
        shared.received.lock().unwrap().push(request.clone());
        let manner = shared.manner.lock().unwrap().clone();
        if !behave(&mut stream, manner, &request, &shared).await? {
            return Ok(());
        }
    }
}

fn is_health(path: &str) -> bool {
    path.ends_with("/ready") || path.ends_with("/live")
}

/// Whether the connection goes on.
async fn behave(
    stream: &mut BufReader<TcpStream>,
    manner: Manner,
    request: &Received,
    shared: &Shared,
) -> io::Result<bool> {
    match manner {
        Manner::Reply(answer) => reply(stream, &answer).await?,
        Manner::Judge { label } => reply(stream, &judge(label, &request.json())).await?,
        Manner::ResetBeforeBytes => {
            reset(stream)?;
            return Ok(false);
        }
        Manner::Allergic(text, answer) => {
            if request.body.windows(text.len()).any(|part| part == text.as_bytes()) {
                reset(stream)?;
                return Ok(false);
            }
            reply(stream, &answer).await?;
        }
        Manner::ResetMidBody { announced, sent, gated } => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {announced}\r\n\r\n");
            stream.write_all(&[head.as_bytes(), &vec![b'x'; sent]].concat()).await?;
            if gated && !gate(stream, shared).await {
                return Ok(false);
            }
            reset(stream)?;
            return Ok(false);
        }
        Manner::BlackHole => {
            wait_for_end(stream, shared).await;
            return Ok(false);
        }
        Manner::Slow(time, answer) => {
            tokio::select! {
                () = tokio::time::sleep(time) => reply(stream, &answer).await?,
                () = wait_for_end(stream, shared) => return Ok(false),
            }
        }
        Manner::Events(parts) => return events(stream, &parts, shared).await,
        Manner::Forward(server) => {
            let asked = Request::post(&request.path, request.body.clone());
            tokio::select! {
                answer = ask(server, &asked) => {
                    reply(stream, &Reply::new(answer.status(), answer.body)).await?;
                }
                () = wait_for_end(stream, shared) => return Ok(false),
            }
        }
    }
    Ok(true)
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Received> {
    let first = line(stream).await?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let line = line(stream).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Received { method, path, headers, body: Vec::new() };
    request.body = body(stream, &request).await?;
    Ok(request)
}

async fn body(stream: &mut BufReader<TcpStream>, request: &Received) -> io::Result<Vec<u8>> {
    if request.header("transfer-encoding").is_some() {
        return chunks(stream).await;
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn chunks(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(&line(stream).await?, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size];
        stream.read_exact(&mut chunk).await?;
        line(stream).await?;
        if size == 0 {
            return Ok(body);
        }
        body.extend(chunk);
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

async fn reply(stream: &mut BufReader<TcpStream>, reply: &Reply) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", reply.body.len()));
    stream.write_all(&[head.as_bytes(), &reply.body].concat()).await?;
    stream.flush().await
}

/// Whether the connection goes on.
async fn events(
    stream: &mut BufReader<TcpStream>,
    parts: &[Part],
    shared: &Shared,
) -> io::Result<bool> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for part in parts {
        match part {
            Part::Text(text) => {
                let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                stream.write_all(chunk.as_bytes()).await?;
                stream.flush().await?;
            }
            Part::Gate => {
                if !gate(stream, shared).await {
                    return Ok(false);
                }
            }
            Part::Reset => {
                reset(stream)?;
                return Ok(false);
            }
        }
    }
    stream.write_all(b"0\r\n\r\n").await?;
    Ok(true)
}

/// Waits until the client hangs up, and counts it.
async fn wait_for_end(stream: &mut BufReader<TcpStream>, shared: &Shared) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    *shared.hung_up.lock().unwrap() += 1;
}

/// Waits for the test; false where the client hung up before.
async fn gate(stream: &mut BufReader<TcpStream>, shared: &Shared) -> bool {
    tokio::select! {
        permit = shared.gates.acquire() => {
            permit.expect("gates are never closed").forget();
            true
        }
        () = wait_for_end(stream, shared) => false,
    }
}

/// Closes with RST instead of FIN.
fn reset(stream: &BufReader<TcpStream>) -> io::Result<()> {
    socket2::SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO))
}

/// One label and one confidence for each row, which is the row's own value.
fn judge(label: i64, request: &Value) -> Reply {
    let confidences = request["inputs"][0]["data"].as_array().expect("rows").clone();
    let rows = confidences.len();
    let labels = vec![label; rows];
    let body = json!({
        "id": request["id"],
        "model_name": "m",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [rows], "data": labels},
            {"name": "score", "datatype": "FP32", "shape": [rows, 1], "data": confidences}
        ]
    });
    Reply::new(200, body.to_string())
}
