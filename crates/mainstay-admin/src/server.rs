//! The listener itself: a few connections at a time, each with limits, every request guarded.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use mainstay_telemetry::{Clock, Telemetry};
use mainstay_tls::Server;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api;
use crate::audit::{Audit, Entry};
use crate::code::Code;
use crate::error::Error;
use crate::guard::{self, Own, Role, Tokens};
use crate::refusal::Refusal;
use crate::source::Source;
use crate::token::Token;

/// Connections at a time; operators and scrapers are few, and the rest may wait.
const CONNECTIONS: usize = 64;
/// The longest that a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// From a connection, or its last answer, to the end of the next request's head.
const HEAD: Duration = Duration::from_secs(30);
/// From a request's head to its answer, the body included.
const ANSWER: Duration = Duration::from_secs(10);
/// The same for verbs that load models or start a process.
const LONG_ANSWER: Duration = Duration::from_secs(120);
/// Bytes of a request's head, at least what hyper asks for.
const BUFFER: usize = 16 * 1024;
/// How long open requests may take once the listener shuts down.
const DRAIN: Duration = Duration::from_secs(2);
/// Pause after an accept that failed, so that a lack of descriptors does not become a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// The admin listener, open and not serving yet.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    source: Arc<dyn Source>,
    tokens: Tokens,
    hosts: Vec<String>,
    tls: Option<Arc<Server>>,
    audit: Option<(Audit, Clock)>,
}

/// What guards the paths.
#[derive(Debug)]
struct Gate {
    tokens: Tokens,
    own: Own,
    trail: Option<Arc<Trail>>,
}

/// Where verbs are told of.
struct Trail {
    audit: Audit,
    telemetry: Arc<Telemetry>,
    clock: Clock,
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.audit.fmt(f)
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

impl Admin {
    /// Opens the listener, and reads the operators' token or makes one. Must be called on the
    /// runtime that will [run](Self::run) it.
    ///
    /// # Errors
    /// The address cannot be had, or the token file is not as it must be.
    pub async fn bind(
        address: SocketAddr,
        token_path: &Path,
        source: Arc<dyn Source>,
    ) -> Result<Self, Error> {
        Self::on(Self::listen(address)?, token_path, source)
    }

    /// Opens a listening socket for [`on`](Self::on).
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn listen(address: SocketAddr) -> Result<std::net::TcpListener, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(listener)
    }

    /// The listener on a socket that is open already and does not block, as [`bind`](Self::bind)
    /// makes it.
    ///
    /// # Errors
    /// The socket cannot be used, or the token file is not as it must be.
    pub fn on(
        listener: std::net::TcpListener,
        token_path: &Path,
        source: Arc<dyn Source>,
    ) -> Result<Self, Error> {
        let token = Token::load_or_create(token_path)?;
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let failed = |source| Error::Listen { address: unknown, source };
        let address = listener.local_addr().map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let tokens = Tokens { operators: token, viewers: None, heartbeats: None };
        Ok(Self { listener, address, source, tokens, hosts: Vec::new(), tls: None, audit: None })
    }

    /// Lets servers send heartbeats with a token of their own, which opens nothing else: it is
    /// handed to every server, and so is no operator's. It is read, or made, at this path.
    ///
    /// # Errors
    /// The token file is not as it must be.
    pub fn with_heartbeats(mut self, token_path: &Path) -> Result<Self, Error> {
        self.tokens.heartbeats = Some(Token::load_or_create(token_path)?);
        Ok(self)
    }

    /// A name that this listener may be asked by, beside its addresses and `localhost`.
    #[must_use]
    pub fn known_as(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// From now on reading needs a token as well: this one, or the operators'. It is read, or
    /// made, at this path.
    ///
    /// # Errors
    /// The token file is not as it must be.
    pub fn with_viewers(mut self, token_path: &Path) -> Result<Self, Error> {
        self.tokens.viewers = Some(Token::load_or_create(token_path)?);
        Ok(self)
    }

    /// Keeps an audit trail in this file, which is only appended to.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn with_audit(mut self, path: &Path, clock: Clock) -> Result<Self, Error> {
        let failed = |source| Error::Audit { path: path.to_owned(), source };
        self.audit = Some((Audit::open(path).map_err(failed)?, clock));
        Ok(self)
    }

    /// Speaks TLS with everybody.
    #[must_use]
    pub fn with_tls(mut self, server: Arc<Server>) -> Self {
        self.tls = Some(server);
        self
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, and then for a moment what is still open.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let own = Own { hosts: self.hosts, secure: self.tls.is_some() };
        let telemetry = self.source.telemetry();
        let trail = self.audit.map(|(audit, clock)| {
            let telemetry = Arc::clone(telemetry);
            Arc::new(Trail { audit, telemetry, clock })
        });
        let gate = Arc::new(Gate { tokens: self.tokens, own, trail });
        let routes = api::routes(self.source).layer(middleware::from_fn_with_state(gate, pass));
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let graceful = GracefulShutdown::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &connections) => accepted,
                () = &mut shutdown => break,
            };
            if let Some((stream, peer, permit)) = accepted {
                let routes = routes.clone().layer(Extension(Peer(peer)));
                let watcher = graceful.watcher();
                match self.tls.clone() {
                    None => drop(tokio::spawn(serve(stream, routes, watcher, permit))),
                    Some(server) => {
                        tokio::spawn(secure(server, stream, routes, watcher, permit));
                    }
                }
            }
        }
        drop(self.listener);
        // What is not done by then is cut.
        let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "the admin listener could not accept a connection");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

/// Serves who comes to an agreement in time.
async fn secure(
    server: Arc<Server>,
    stream: TcpStream,
    routes: Router,
    watcher: Watcher,
    permit: OwnedSemaphorePermit,
) {
    match tokio::time::timeout(HANDSHAKE, server.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, routes, watcher, permit).await,
        Ok(Err(failure)) => tracing::debug!(%failure, "a TLS handshake with an operator failed"),
        Err(_) => tracing::debug!("a TLS handshake with an operator took too long"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Router,
    watcher: Watcher,
    permit: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection to the admin listener broke");
    }
    drop(permit);
}

/// Lets a request through the gate and its answer out again within its time.
async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let role = guard::role(&head, &gate.tokens);
    let checked = guard::check(&head, role, (&gate.tokens, &gate.own));
    let is_verb = !matches!(head.method, Method::GET | Method::HEAD);
    let is_beat = role == Some(Role::Server) && checked.is_ok();
    let kept = gate.trail.as_ref().filter(|_| is_verb && !is_beat);
    let mut response = match (checked, kept) {
        (Ok(()), None) => run(head, body, next).await,
        (Ok(()), Some(trail)) => {
            // To its end and into the trail, even if whoever asked does not wait.
            let done = tokio::spawn(audited(Arc::clone(trail), role, (head, body), next)).await;
            done.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
        (Err(refusal), kept) => {
            tracing::warn!(
                code = refusal.code.as_str(),
                method = %head.method,
                path = head.uri.path(),
                "a request to the admin listener was refused"
            );
            if let Some(trail) = kept {
                trail.keep(role, &head, Value::Null, refusal.status);
            }
            refusal.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn run(head: Parts, body: Body, next: Next) -> Response {
    let is_long = [api::RELOAD, api::UPGRADE].contains(&head.uri.path());
    let limit = if is_long { LONG_ANSWER } else { ANSWER };
    in_time(limit, next.run(Request::from_parts(head, body))).await
}

/// Carries a verb out and keeps what it was, however it ended.
async fn audited(
    trail: Arc<Trail>,
    role: Option<Role>,
    (head, body): (Parts, Body),
    next: Next,
) -> Response {
    let read = tokio::time::timeout(ANSWER, to_bytes(body, api::BODY)).await;
    let Ok(Ok(bytes)) = read else {
        trail.keep(role, &head, Value::Null, StatusCode::BAD_REQUEST);
        let message = "the body did not come in time, or is too long";
        return Refusal::bad_request(message).into_response();
    };
    let asked = serde_json::from_slice(&bytes).unwrap_or_default();
    let response = run(head.clone(), Body::from(bytes), next).await;
    trail.keep(role, &head, asked, response.status());
    response
}

impl Trail {
    fn keep(&self, role: Option<Role>, head: &Parts, body: Value, status: StatusCode) {
        let now = self.clock.now();
        let entry = Entry {
            role,
            from: head.extensions.get::<Peer>().map(|peer| peer.0),
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            body,
            status: status.as_u16(),
        };
        self.audit.keep(&entry, &self.telemetry, (now, self.clock.wall(now)));
    }
}

async fn in_time(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let message = "the request did not come, or its answer was not found, in time";
        Refusal::new(StatusCode::REQUEST_TIMEOUT, Code::TooSlow, message).into_response()
    })
}
