//! The demo's own client: plain HTTP/1.1 with connections that are used again.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that has not come by then counts as an error. Far above the model's deadline, since
/// keeping that one is the gateway's part.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer as a client sees it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Connections to one server.
#[derive(Debug)]
pub(super) struct Client {
    server: SocketAddr,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub(super) const fn new(server: SocketAddr) -> Self {
        Self { server, idle: RefCell::new(Vec::new()) }
    }

    /// Asks for `path` and reads the JSON that comes.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.ask(Request::get(path), Bytes::new()).await?;
        anyhow::ensure!(answer.status.is_success(), "{path}: {}", answer.status);
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Sends a body to `path`.
    pub(super) async fn post(&self, path: &str, body: Bytes) -> anyhow::Result<Answer> {
        let head = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.ask(head, body).await
    }

    async fn ask(&self, head: http::request::Builder, body: Bytes) -> anyhow::Result<Answer> {
        let request = head.header(HOST, self.server.to_string()).body(Full::new(body))?;
        timeout(PATIENCE, self.exchange(request)).await.context("no answer came")?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let mut connection = self.connection().await?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.idle.borrow_mut().push(connection);
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// One that is free, or a new one.
    async fn connection(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        while let Some(mut idle) = self.take() {
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.idle.borrow_mut().pop()
    }
}
