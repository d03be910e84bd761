//! Servers that answer as they are told, not at all, or not even a connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// An HTTP server that gives every connection the same bytes, until it is told others.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    answer: Mutex<Vec<u8>>,
    requests: Mutex<Vec<String>>,
}

impl Server {
    /// A server with this status and body.
    pub(crate) async fn new(status: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        let server = Self { address, shared, _accepting: accepting };
        server.answer(status, body);
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, status: &str, body: &str) {
        let length = body.len();
        self.answer_raw(&format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"));
    }

    /// The very bytes that it answers from now on; none closes the connection.
    pub(crate) fn answer_raw(&self, bytes: &str) {
        *self.shared.answer.lock().unwrap() = bytes.into();
    }

    /// The requests so far, head and body as they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve(stream, Arc::clone(&shared)));
    }
}

/// Answers one request, then waits for the other side to close.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(request) = read_request(&mut stream).await else { return };
    shared.requests.lock().unwrap().push(request);
    let answer = shared.answer.lock().unwrap().clone();
    if answer.is_empty() || stream.write_all(&answer).await.is_err() {
        return;
    }
    let _closed = stream.read(&mut [0; 64]).await;
}

/// Head and body; `None` when the other side left.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !is_whole(&text) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    Some(text)
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// Accepts connections and never says a word.
pub(crate) struct Silent {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _accepting: JoinSet<()>,
}

/// What a silent server has seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Connections that it accepted.
    pub(crate) accepted: usize,
    /// Those that the other side closed.
    pub(crate) closed: usize,
}

impl Silent {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(listen(listener, Arc::clone(&seen)));
        Self { address, seen, _accepting: accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.lock().unwrap()
    }
}

async fn listen(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        seen.lock().unwrap().accepted += 1;
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
            seen.lock().unwrap().closed += 1;
        });
    }
}

/// A port that is taken, and on which nobody listens: connections are refused, and no other
/// program can get it in between.
pub(crate) struct Refusing(TcpSocket);

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self(socket)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }
}
