//! The body of an answer: whole, or passed on as it comes.
//!
//! An open body was committed: its first bytes may be with the client. If it is cut after that,
//! the client's connection (or HTTP/2 stream) is aborted, so that the answer can never be taken
//! for whole. What became of the attempt is told at the end of the body, not at its head.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use mainstay_policy::{Class, Moment, SentState};
use mainstay_telemetry::record::End;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

mod resume;
pub(crate) mod stream;

use self::stream::Following;
use super::Client;
use crate::flight::Flight;
use crate::snapshot::Upstream;
use crate::trial::Trial;
use crate::upstream::{Connection, Inbound};
use crate::worker::Worker;

/// The body of an answer to a client.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    source: BodySource,
    /// Keeps the client's connection from counting as idle.
    busy: Option<Busy>,
}

#[derive(Debug)]
enum BodySource {
    Whole(Option<Bytes>),
    Open(Box<OpenBody>),
    /// Passed on by a task of its own.
    Piped(mpsc::Receiver<Result<Bytes, Cut>>),
    /// Passed on by a task of its own, with the trailers at its end.
    Frames(mpsc::Receiver<Frame<Bytes>>),
    /// All of it, with trailers.
    Trailed(Box<(Option<Bytes>, Option<HeaderMap>)>),
}

impl AnswerBody {
    /// All of it at once.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self { source: BodySource::Whole(bytes), busy: None }
    }

    /// All of it at once, and trailers after it.
    pub(crate) fn trailed(bytes: Bytes, trailers: HeaderMap) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self { source: BodySource::Trailed(Box::new((bytes, Some(trailers)))), busy: None }
    }

    /// What somebody else makes of it, part by part.
    pub(crate) const fn frames(frames: mpsc::Receiver<Frame<Bytes>>) -> Self {
        Self { source: BodySource::Frames(frames), busy: None }
    }

    /// All of it, where it is at hand and was not sent.
    pub(crate) fn bytes(&self) -> Option<Bytes> {
        match &self.source {
            BodySource::Whole(bytes) => Some(bytes.clone().unwrap_or_default()),
            _ => None,
        }
    }

    /// Passed on as it comes.
    pub(crate) fn open(body: OpenBody) -> Self {
        Self { source: BodySource::Open(Box::new(body)), busy: None }
    }

    /// For HTTP/2. hyper asks a body for nothing while its stream's window is closed, so that no
    /// limit of the body's own would ever be looked at: a task asks instead, and gives up what
    /// the answer holds when the client has taken nothing for the time that servers have, too.
    pub(crate) fn piped(self) -> Self {
        let BodySource::Open(body) = self.source else { return self };
        let (sender, parts) = mpsc::channel(1);
        tokio::task::spawn_local(pipe(body, sender));
        Self { source: BodySource::Piped(parts), busy: self.busy }
    }

    /// Holds on to `busy` until the body has been sent.
    pub(crate) fn keep(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut self.get_mut().source {
            BodySource::Whole(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            BodySource::Open(body) => body.poll_next(cx),
            BodySource::Piped(parts) => {
                parts.poll_recv(cx).map(|part| part.map(|part| part.map(Frame::data)))
            }
            BodySource::Frames(frames) => frames.poll_recv(cx).map(|frame| frame.map(Ok)),
            BodySource::Trailed(trailed) => {
                let (bytes, trailers) = &mut **trailed;
                let data = bytes.take().map(Frame::data);
                Poll::Ready(data.or_else(|| trailers.take().map(Frame::trailers)).map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, BodySource::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            BodySource::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            BodySource::Open(body) => body.size_hint(),
            BodySource::Piped(_) | BodySource::Frames(_) | BodySource::Trailed(_) => {
                SizeHint::default()
            }
        }
    }
}

/// Passes a body on until it ends, the client goes away, or it takes nothing for too long.
async fn pipe(mut body: Box<OpenBody>, parts: mpsc::Sender<Result<Bytes, Cut>>) {
    loop {
        let part = tokio::select! {
            biased;
            part = std::future::poll_fn(|cx| body.poll_next(cx)) => part,
            () = parts.closed() => return,
        };
        let Some(part) = part else { return };
        let part = part.map(|frame| frame.into_data().unwrap_or_default());
        match tokio::time::timeout(body.idle_timeout, parts.send(part)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                body.cut(Class::ClientFault);
                return;
            }
        }
    }
}

/// The answer was cut after its first bytes had been passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut(Class);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer was cut upstream ({})", self.0.as_str())
    }
}

impl std::error::Error for Cut {}

/// A committed answer on its way.
#[derive(Debug)]
pub(crate) struct OpenBody {
    /// Held before the commit.
    queue: VecDeque<Bytes>,
    rest: Inbound,
    status: u16,
    idle_timeout: Duration,
    /// Until the next part must have come.
    idle: Pin<Box<Sleep>>,
    /// Until everything must have come.
    total: Option<Instant>,
    ending: Option<Ending>,
    /// What is known of the stream of a language model.
    following: Option<Box<Following>>,
}

/// What is settled at the end of an open body.
#[derive(Debug)]
struct Ending {
    upstream: Arc<Upstream>,
    connection: Connection,
    trial: Trial,
    /// Where its attempt stands in the record.
    at: usize,
    flight: Flight,
    end: End,
    result: Result<(), Class>,
}

/// The parts of a committed answer.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) queue: VecDeque<Bytes>,
    pub(crate) rest: Inbound,
    pub(crate) status: u16,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) connection: Connection,
    pub(crate) trial: Trial,
    /// Where its attempt stands in the record.
    pub(crate) at: usize,
    /// What is told of it once it is complete.
    pub(crate) end: End,
    pub(crate) result: Result<(), Class>,
    /// What is known of the stream of a language model.
    pub(crate) following: Option<Box<Following>>,
}

impl OpenBody {
    pub(crate) fn new(parts: Committed, flight: Flight) -> Self {
        let Committed { queue, rest, status, upstream, connection, at, .. } = parts;
        let Committed { mut trial, end, result, mut following, .. } = parts;
        if let Some(following) = &mut following {
            queue.iter().for_each(|events| following.hear(events));
        }
        trial.excuse();
        let now = Instant::now();
        let total = upstream.total_timeout.map(|total| now + total);
        let idle = following.as_ref().map_or(upstream.idle_timeout, |it| it.limit());
        let first = now + idle;
        let first = total.map_or(first, |total| total.min(first));
        Self {
            queue,
            rest,
            status,
            idle_timeout: upstream.idle_timeout,
            idle: Box::pin(tokio::time::sleep_until(first)),
            total,
            following,
            ending: Some(Ending { upstream, connection, trial, at, flight, end, result }),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.following.is_some() {
            return self.poll_stream(cx);
        }
        if let Some(bytes) = self.queue.pop_front() {
            if self.queue.is_empty() && self.rest.is_end() {
                self.complete();
            }
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.ending.is_some() && self.total.is_some_and(|total| Instant::now() >= total) {
            return Poll::Ready(Some(Err(self.cut(Class::Timeout))));
        }
        let Some(ending) = &mut self.ending else { return Poll::Ready(None) };
        match ending.connection.poll_part(&mut self.rest, cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                // With a known length nobody asks for more after the last part.
                if self.rest.is_end() {
                    self.complete();
                } else {
                    self.rearm();
                    if let Some(ending) = &mut self.ending {
                        // It is the client's turn until it asks for more.
                        ending.trial.excuse();
                        ending.trial.advance();
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(Some(Err(class))) => Poll::Ready(Some(Err(self.cut(class)))),
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let owed = ending.connection.waits_for_client();
                if owed {
                    ending.trial.excuse();
                } else {
                    ending.trial.expect();
                }
                ready!(self.idle.as_mut().poll(cx));
                let class = if owed { Class::ClientFault } else { Class::Timeout };
                Poll::Ready(Some(Err(self.cut(class))))
            }
        }
    }

    /// The next part has its own time, within what is left of the whole.
    fn rearm(&mut self) {
        let next = Instant::now() + self.idle_timeout;
        let next = self.total.map_or(next, |total| total.min(next));
        self.idle.as_mut().reset(next);
    }

    /// All of it came, and its connection is ready for another request.
    fn complete(&mut self) {
        if let Some((upstream, connection, worker, now)) = self.settle() {
            worker.connections.put(&upstream, connection, now);
        }
    }

    /// All that matters of it came; gives its connection.
    fn settle(&mut self) -> Option<(Arc<Upstream>, Connection, Rc<Worker>, Moment)> {
        let mut ending = self.ending.take()?;
        self.count_tokens(&ending);
        let worker = Rc::clone(&ending.flight.worker);
        let now = worker.clock.now();
        ending.trial.finish(ending.result, now);
        let said = (SentState::Sent, self.status);
        ending.flight.attempt_ended(ending.at, ending.result.err(), said, now);
        ending.flight.end(ending.end, self.status);
        Some((ending.upstream, ending.connection, worker, now))
    }

    fn cut(&mut self, class: Class) -> Cut {
        if let Some(mut ending) = self.ending.take() {
            self.count_tokens(&ending);
            let now = ending.flight.worker.clock.now();
            ending.trial.finish(Err(class), now);
            let said = (SentState::Sent, self.status);
            ending.flight.attempt_ended(ending.at, Some(class), said, now);
            ending.flight.end(End::Cut, self.status);
        }
        Cut(class)
    }

    fn size_hint(&self) -> SizeHint {
        if self.following.is_some() {
            return SizeHint::default();
        }
        let held: u64 = self.queue.iter().map(|bytes| bytes.len() as u64).sum();
        let left = self.rest.left();
        left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left.saturating_add(held)))
    }
}

/// A request that is being answered: its client's connection does not idle.
#[derive(Debug)]
pub(crate) struct Busy {
    client: Rc<Client>,
    worker: Rc<Worker>,
}

impl Busy {
    pub(super) fn new(client: &Rc<Client>, worker: &Rc<Worker>) -> Self {
        client.active.set(client.active.get() + 1);
        client.in_head.set(false);
        Self { client: Rc::clone(client), worker: Rc::clone(worker) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.client.active.set(self.client.active.get() - 1);
        self.client.since.set(self.worker.coarse_now.get());
    }
}
