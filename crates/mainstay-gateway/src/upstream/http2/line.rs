//! One connection of HTTP/2, with the task that reads and writes it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use mainstay_policy::{Class, Moment, SentState};
use mainstay_tls::Stream;
use mainstay_tls::client::Speak;
use tokio::sync::Notify;

use super::super::exchange::{Failure, unopened};
use super::super::stream;
use crate::snapshot::Upstream;
use crate::worker::Worker;

/// What one stream may have on its way to us before we take it.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What all streams of a connection may, together: enough for each, so that answers that nobody
/// takes leave the others their room.
const CONNECTION_WINDOW: u32 = STREAMS as u32 * STREAM_WINDOW;

/// Streams on one connection, however many more the peer allows.
const STREAMS: usize = 128;

/// The longest head of an answer.
const HEAD: u32 = 64 * 1024;

/// A connection that is silent for so long though somebody waits for it is asked whether it lives.
const SILENT: Duration = Duration::from_secs(2);

/// How long it may take to answer that.
const PONG_WITHIN: Duration = Duration::from_secs(2);

/// Between two such questions without a word in between: what servers of gRPC allow.
const PING_AGAIN: Duration = Duration::from_secs(300);

/// One connection.
#[derive(Debug)]
pub(super) struct Line {
    sender: SendRequest<Bytes>,
    pulse: Rc<Pulse>,
}

/// What is known of a connection, for its task and for everybody else.
pub(super) struct Pulse {
    streams: Cell<usize>,
    /// When it last said something, as far as anybody noted.
    heard: Cell<Moment>,
    /// When it was asked whether it lives; and whether that is still open.
    asked: Cell<Option<Moment>>,
    unanswered: Cell<bool>,
    ping: RefCell<Option<PingPong>>,
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Told whenever a stream has ended.
    freed: Rc<Notify>,
}

/// A stream's place on a connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Rc<Pulse>);

impl Place {
    /// The peer said something.
    pub(super) fn heard(&self, now: Moment) {
        self.0.heard.set(now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.freed.notify_waiters();
    }
}

impl Line {
    /// Opens a connection and waits until its peer has answered, all within the endpoint's time
    /// to connect. Nothing was sent to it when that fails.
    pub(super) async fn open(
        worker: &Worker,
        upstream: &Upstream,
        freed: Rc<Notify>,
    ) -> Result<Self, Failure> {
        let opening = connect(worker, upstream, freed);
        let opened = tokio::time::timeout(upstream.connect_timeout, opening);
        opened.await.map_err(|_| Failure::new(Class::Timeout, SentState::NotSent))?
    }

    /// Whether a request can begin on it now.
    pub(super) fn has_room(&self) -> bool {
        self.pulse.streams.get() < self.sender.current_max_send_streams().min(STREAMS)
    }

    /// Streams that are open on it.
    pub(super) fn streams(&self) -> usize {
        self.pulse.streams.get()
    }

    /// Whether it takes no more requests: it has ended, or its peer said that it will.
    pub(super) fn is_closing(&self) -> bool {
        if self.pulse.ended.get() {
            return true;
        }
        let mut sender = self.sender.clone();
        let polled = sender.poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(polled, Poll::Ready(Err(_)))
    }

    /// A place for a stream, and the way to begin it.
    pub(super) fn enter(&self) -> (SendRequest<Bytes>, Place) {
        self.pulse.streams.set(self.pulse.streams.get() + 1);
        (self.sender.clone(), Place(Rc::clone(&self.pulse)))
    }

    /// Looks after it; whether it is to be kept.
    pub(super) fn tend(&self, now: Moment, keep_alive: Duration) -> bool {
        let pulse = &self.pulse;
        let silent = now.since(pulse.heard.get());
        if pulse.ended.get() || (pulse.streams.get() == 0 && silent >= keep_alive) {
            return false;
        }
        let asked = pulse.asked.get().map(|asked| now.since(asked));
        if pulse.unanswered.get() {
            if asked.is_some_and(|asked| asked >= PONG_WITHIN) {
                pulse.end();
                return false;
            }
        } else if pulse.streams.get() > 0
            && silent >= SILENT
            && asked.is_none_or(|asked| asked >= PING_AGAIN || asked > silent)
        {
            pulse.ask(now);
        }
        true
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = self.streams.get();
        f.debug_struct("Pulse").field("streams", &streams).finish_non_exhaustive()
    }
}

impl Pulse {
    /// Asks the peer whether it lives.
    fn ask(&self, now: Moment) {
        if let Some(ping) = &mut *self.ping.borrow_mut()
            && ping.send_ping(Ping::opaque()).is_ok()
        {
            self.asked.set(Some(now));
            self.unanswered.set(true);
        }
        self.wake();
    }

    /// Gives the connection up.
    fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn poll_pong(&self, cx: &mut Context<'_>) {
        if let Some(ping) = &mut *self.ping.borrow_mut()
            && let Poll::Ready(Ok(_)) = ping.poll_pong(cx)
        {
            self.unanswered.set(false);
        }
    }
}

async fn connect(worker: &Worker, upstream: &Upstream, freed: Rc<Notify>) -> Result<Line, Failure> {
    let stream = stream::open(upstream, Speak::Http2).await;
    let stream = stream.map_err(|why| unopened(worker, upstream, &why, SentState::NotSent))?;
    let silent = |_: h2::Error| Failure::new(Class::Unreachable, SentState::NotSent);
    let (sender, mut connection) = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(silent)?;
    let ended = || Failure::new(Class::Unreachable, SentState::NotSent);
    let mut ping = connection.ping_pong().ok_or_else(ended)?;
    ping.send_ping(Ping::opaque()).map_err(silent)?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(_) => Poll::Ready(Err(ended())),
        Poll::Pending => ping.poll_pong(cx).map(|pong| pong.map_err(silent)),
    })
    .await?;
    let now = worker.clock.now();
    let pulse = Rc::new(Pulse {
        streams: Cell::new(0),
        heard: Cell::new(now),
        asked: Cell::new(None),
        unanswered: Cell::new(false),
        ping: RefCell::new(Some(ping)),
        ended: Cell::new(false),
        waker: RefCell::default(),
        freed,
    });
    tokio::task::spawn_local(drive(connection, Rc::clone(&pulse)));
    Ok(Line { sender, pulse })
}

/// Reads and writes until the connection ends, or is given up: then all of its streams break.
async fn drive(mut connection: client::Connection<Stream, Bytes>, pulse: Rc<Pulse>) {
    poll_fn(|cx| {
        let mut known = pulse.waker.borrow_mut();
        if !known.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *known = Some(cx.waker().clone());
        }
        drop(known);
        if pulse.ended.get() {
            return Poll::Ready(());
        }
        pulse.poll_pong(cx);
        Pin::new(&mut connection).poll(cx).map(drop)
    })
    .await;
    pulse.ended.set(true);
    pulse.ping.borrow_mut().take();
    drop(connection);
    pulse.freed.notify_waiters();
}
