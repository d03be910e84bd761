//! A small HTTP/1.1 client that shows exactly what came over the wire.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::LIMIT;

/// A request to be written as it is.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { body, ..Self::new("POST", path) }.header("content-type", "application/json")
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn encode(&self, host: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let announced = self.headers.iter().any(|(name, _)| name == "content-length");
        if !announced && (self.method == "POST" || !self.body.is_empty()) {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// Status line and headers.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Head {
    /// The first value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    pub(crate) const fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// Whether the gateway marked it as of lesser quality.
    pub(crate) fn is_degraded(&self) -> bool {
        self.header("x-mainstay-degraded") == Some("true")
    }

    /// The `error` of an answer in the protocol's own form, with nothing beside it.
    pub(crate) fn protocol_error(&self) -> String {
        let body = self.json();
        let fields = body.as_object().expect("an error is an object");
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["error"], "{body}");
        body["error"].as_str().expect("the error is a text").to_owned()
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Left(usize),
    Chunked,
    UntilClose,
    Over,
}

/// A connection on which requests follow each other.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
    framing: Framing,
    closes: bool,
}

impl Connection {
    pub(crate) async fn open(host: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), host, framing: Framing::Over, closes: false })
    }

    /// Whether another request may be sent on it.
    pub(crate) const fn is_reusable(&self) -> bool {
        !self.closes && matches!(self.framing, Framing::Over)
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        self.send(request).await?;
        let head = self.head(request.method == "HEAD").await?;
        let mut body = Vec::new();
        while let Some(part) = self.part().await? {
            body.extend_from_slice(&part);
        }
        Ok(Answer { head, body })
    }

    /// Only writes the request.
    pub(crate) async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.write(&request.encode(self.host)).await
    }

    /// Writes bytes that need not be HTTP.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes).await
    }

    /// Says that nothing more will be sent; what comes can still be read.
    pub(crate) async fn end_sending(&mut self) -> io::Result<()> {
        self.stream.get_mut().shutdown().await
    }

    /// Reads up to the end of the headers; `bodiless` for answers to HEAD.
    pub(crate) async fn head(&mut self, bodiless: bool) -> io::Result<Head> {
        let status = parse_status(&self.line().await?)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let head = Head { status, headers };
        self.closes = head.header("connection") == Some("close");
        self.framing = if bodiless { Framing::Over } else { framing(&head) };
        Ok(head)
    }

    /// The next part of the body as soon as it is there; `None` at its true end.
    pub(crate) async fn part(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Over | Framing::Left(0) => {
                self.framing = Framing::Over;
                Ok(None)
            }
            Framing::Left(left) => {
                let part = self.some(left).await?;
                if part.is_empty() {
                    return Err(cut("the body"));
                }
                self.framing = Framing::Left(left - part.len());
                Ok(Some(part))
            }
            Framing::Chunked => self.chunk().await,
            Framing::UntilClose => {
                self.closes = true;
                let part = self.some(usize::MAX).await?;
                if part.is_empty() {
                    self.framing = Framing::Over;
                }
                Ok(Some(part).filter(|part| !part.is_empty()))
            }
        }
    }

    async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let size = usize::from_str_radix(line.trim(), 16)
            .map_err(|_| io::Error::other(format!("no chunk size: {line:?}")))?;
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk).await?;
        self.line().await?;
        if size == 0 {
            self.framing = Framing::Over;
        }
        Ok(Some(chunk).filter(|_| size > 0))
    }

    async fn some(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let buffered = self.stream.fill_buf().await?;
        let part = buffered[..buffered.len().min(most)].to_vec();
        self.stream.consume(part.len());
        Ok(part)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(cut("the head"));
        }
        Ok(line.trim_end().to_owned())
    }
}

fn cut(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the connection was closed in {what}"))
}

fn parse_status(line: &str) -> io::Result<u16> {
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))
}

fn framing(head: &Head) -> Framing {
    if head.header("transfer-encoding") == Some("chunked") {
        return Framing::Chunked;
    }
    match head.header("content-length").map(str::parse) {
        Some(Ok(length)) => Framing::Left(length),
        Some(Err(_)) => panic!("no length: {head:?}"),
        None if matches!(head.status, 204 | 304) => Framing::Over,
        None => Framing::UntilClose,
    }
}

/// One request on a connection of its own; fails the test where no whole answer comes.
pub(crate) async fn ask(host: SocketAddr, request: &Request) -> Answer {
    let answer = timeout(LIMIT, async { Connection::open(host).await?.ask(request).await });
    match answer.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => panic!("{} {}: {error}", request.method, request.path),
        Err(_) => panic!("{} {}: no answer within {LIMIT:?}", request.method, request.path),
    }
}
