//! Connections from clients: one task each, HTTP/1.1 or HTTP/2 by what the client says first.
//!
//! Idle and half-sent connections are found by the worker's own sweep instead of a timer for
//! each request: a request then costs two cell writes where a timer would cost two heap
//! allocations.

mod body;
mod clerks;
mod handshake;
mod io;
mod rpc;
mod socket;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use mainstay_config::Limits;
use mainstay_policy::Moment;
use mainstay_protocol::certificate::Certificate;
use tokio::net::TcpStream;

use crate::worker::Worker;

pub(crate) use body::stream::Following;
pub(crate) use body::{AnswerBody, Busy, Committed, OpenBody};
use clerks::Answering;
pub(crate) use clerks::Clerks;
use handshake::Handshakes;
use io::ClientIo;
pub(crate) use rpc::{Begun, pass_on};
use socket::Socket;

/// The first bytes of an HTTP/2 connection (RFC 9113, section 3.4); no HTTP/1.1 method begins
/// like this.
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

/// How long to wait before looking again at a connection that has said one to three bytes.
const PEEK_AGAIN: Duration = Duration::from_millis(5);

/// Streams that one HTTP/2 connection may have open; the common default of servers.
const HTTP2_STREAMS: u32 = 128;

/// One client connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Requests that are being answered on it.
    active: Cell<u32>,
    /// Since when it idles, or since when a request's head has been coming.
    since: Cell<Moment>,
    /// Whether a head has begun and is not complete.
    in_head: Cell<bool>,
    /// Since when the client has taken nothing of what is ready for it.
    blocked: Cell<Option<Moment>>,
    /// Whether it speaks HTTP/2, which says what was not answered when it is closed.
    multiplexed: Cell<bool>,
    /// Whether it may name the priority of its requests.
    trusted: Cell<bool>,
    /// The certificate that it has shown, where it has.
    shown: RefCell<Option<Arc<Certificate>>>,
    state: Cell<State>,
    /// Of its task, to be woken when the state changes.
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Finish what is in flight and take no more.
    Finishing,
    /// Close now.
    Aborted,
}

impl Client {
    fn ask(&self, state: State) {
        if self.state.get() == State::Open || state == State::Aborted {
            self.state.set(state);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }

    /// Has the calling task woken when the state changes from what it is now.
    fn watch(&self, cx: &Context<'_>) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *known = Some(cx.waker().clone());
        }
    }
}

/// The client connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    open: RefCell<HashMap<u64, Rc<Client>>>,
    handshakes: Handshakes,
    next: Cell<u64>,
}

impl Clients {
    /// Counts a connection from now until the returned value is dropped.
    pub(crate) fn enter(&self, worker: &Rc<Worker>) -> Entered {
        let now = worker.coarse_now.get();
        let key = self.next.get();
        self.next.set(key + 1);
        let client = Rc::new(Client {
            active: Cell::new(0),
            since: Cell::new(now),
            in_head: Cell::new(false),
            blocked: Cell::new(None),
            multiplexed: Cell::new(false),
            trusted: Cell::new(false),
            shown: RefCell::default(),
            state: Cell::new(State::Open),
            waker: RefCell::default(),
        });
        self.open.borrow_mut().insert(key, Rc::clone(&client));
        Entered { worker: Rc::clone(worker), key, client }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Closes what idles, or has been sending one head, for too long.
    pub(crate) fn sweep(&self, limits: &Limits, now: Moment) {
        for client in self.open.borrow().values() {
            let blocked = client.blocked.get().map(|since| now.since(since));
            if blocked.is_some_and(|blocked| blocked > limits.idle_timeout) {
                client.ask(State::Aborted);
            }
            if client.active.get() > 0 {
                continue;
            }
            let quiet = now.since(client.since.get());
            let finishing = client.state.get() == State::Finishing;
            if finishing && quiet > limits.idle_timeout + limits.header_timeout {
                // It was asked to end and does not: its peer is gone.
                client.ask(State::Aborted);
            }
            if client.in_head.get() && quiet > limits.header_timeout {
                client.ask(State::Aborted);
            } else if quiet > limits.idle_timeout {
                client.ask(State::Finishing);
            }
        }
    }

    /// Lets every HTTP/2 connection end after what it has in flight.
    pub(crate) fn close_multiplexed(&self) {
        let open = self.open.borrow();
        let clients = open.values().filter(|client| client.multiplexed.get());
        clients.for_each(|client| client.ask(State::Finishing));
    }

    /// Lets every connection end after what it has in flight.
    pub(crate) fn close_idle(&self) {
        for client in self.open.borrow().values() {
            client.ask(State::Finishing);
        }
    }
}

/// A connection that counts; dropping it takes it out of every count, however its task ended.
pub(crate) struct Entered {
    worker: Rc<Worker>,
    key: u64,
    client: Rc<Client>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.worker.clients.open.borrow_mut().remove(&self.key);
        let pulse = &self.worker.shared.pulses[self.worker.index];
        pulse.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection until either side closes it.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, entered: Entered) {
    let client = Rc::clone(&entered.client);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client left before it was served");
        return;
    }
    let view = worker.view();
    let priorities = &view.priorities;
    if priorities.header.is_some() {
        client.trusted.set(stream.peer_addr().is_ok_and(|peer| priorities.trusts(peer.ip())));
    }
    drop(view);
    let tls = worker.view().tls.clone();
    let met = match tls {
        None => greet(&client, &stream).await.map(|is_http2| (is_http2, Socket::Plain(stream))),
        Some(server) => {
            // Boxed: large, and nothing to those who are served in clear text.
            let shaking = handshake::shake(&worker, (entered.key, &client), &server, stream);
            // Without a word on protocols it is HTTP/1.1 (RFC 9113, section 3.2).
            Box::pin(shaking).await.map(|stream| {
                let shown = mainstay_tls::server::shown(&stream);
                let shown = shown.and_then(|der| Certificate::read(der)).map(Arc::new);
                *client.shown.borrow_mut() = shown;
                let agreed = mainstay_tls::server::agreed(&stream).unwrap_or(false);
                (agreed, Socket::Tls(Box::new(stream)))
            })
        }
    };
    let Some((is_http2, stream)) = met else { return };
    client.multiplexed.set(is_http2);
    let io = ClientIo::new(stream, Rc::clone(&worker), Rc::clone(&client), !is_http2);
    let result = if is_http2 {
        serve_http2(worker, client, io).await
    } else {
        serve_http1(worker, client, io).await
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a client connection ended early");
    }
}

/// Whether the client speaks HTTP/2; `None` if it left without a word. Until its first byte a
/// connection is idle: the worker's sweep and its drain may close it.
async fn greet(client: &Client, stream: &TcpStream) -> Option<bool> {
    let mut spoken = pin!(speaks_http2(stream));
    std::future::poll_fn(|cx| {
        client.watch(cx);
        if client.state.get() == State::Open { spoken.as_mut().poll(cx) } else { Poll::Ready(None) }
    })
    .await
}

/// What the client speaks, by its first bytes; `None` if it left without a word.
async fn speaks_http2(stream: &TcpStream) -> Option<bool> {
    let mut first = [0; HTTP2_PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await.ok().filter(|seen| *seen > 0)?;
        if first[..seen] != HTTP2_PREFACE[..seen] {
            return Some(false);
        }
        if seen == first.len() {
            return Some(true);
        }
        tokio::time::sleep(PEEK_AGAIN).await;
    }
}

async fn serve_http1(worker: Rc<Worker>, client: Rc<Client>, io: ClientIo) -> hyper::Result<()> {
    let limit = worker.view().limits.header.max(8192);
    let service = service(worker, Rc::clone(&client));
    let watch = io.watch();
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        // That a client leaves is ours to see; see `Watch`.
        .half_close(true)
        // As on the other side: one write for head and body.
        .writev(false)
        .max_buf_size(limit)
        .serve_connection(io, service);
    let finish = |connection: Pin<&mut _>| http1::Connection::graceful_shutdown(connection);
    drive(connection, &client, finish, |cx| watch.sees_it_leave(cx)).await
}

async fn serve_http2(worker: Rc<Worker>, client: Rc<Client>, io: ClientIo) -> hyper::Result<()> {
    let limit = u32::try_from(worker.view().limits.header).unwrap_or(u32::MAX);
    let service = service(worker, Rc::clone(&client));
    let connection = http2::Builder::new(LocalTasks)
        .max_header_list_size(limit)
        .max_concurrent_streams(HTTP2_STREAMS)
        .serve_connection(io, service);
    let finish = |connection: Pin<&mut _>| http2::Connection::graceful_shutdown(connection);
    drive(connection, &client, finish, |_| false).await
}

/// Runs a connection to its end, which the worker may ask for, or until its client `has_left`.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    client: &Client,
    finish: impl Fn(Pin<&mut C>),
    has_left: impl Fn(&mut Context<'_>) -> bool,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    let mut seen = State::Open;
    std::future::poll_fn(|cx| {
        client.watch(cx);
        let state = client.state.get();
        if state == State::Aborted {
            return Poll::Ready(Ok(()));
        }
        if state != seen {
            seen = state;
            finish(connection.as_mut());
        }
        match connection.as_mut().poll(cx) {
            Poll::Pending if has_left(cx) => Poll::Ready(Ok(())),
            polled => polled,
        }
    })
    .await
}

/// Answers the requests of one connection, and keeps count of them.
fn service(
    worker: Rc<Worker>,
    client: Rc<Client>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<AnswerBody>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<AnswerBody>, Infallible>>,
> {
    // Set before the first request.
    let shown = client.shown.borrow().clone();
    service_fn(move |mut message| {
        if let Some(shown) = &shown {
            message.extensions_mut().insert(Arc::clone(shown));
        }
        let busy = Busy::new(&client, &worker);
        Answering::new(&worker, message, client.trusted.get(), busy)
    })
}

/// Runs the tasks of HTTP/2 connections on their worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalTasks;

impl<F> Executor<F> for LocalTasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
