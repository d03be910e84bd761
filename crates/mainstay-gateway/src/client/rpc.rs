//! The rest of an answer of gRPC: a stream, or one that is too large to be held.
//!
//! A task passes it on, as for other answers over HTTP/2. It always ends with a status: the
//! server's, or, where the server broke off, UNAVAILABLE with a text that says so. What became of
//! the attempt is told then.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use mainstay_policy::{Class, SentState};
use mainstay_protocol::classify::{self, Flavour};
use mainstay_protocol::grpc::{self, Code, Frames};
use mainstay_telemetry::record::End;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::AnswerBody;
use crate::flight::Flight;
use crate::snapshot::Upstream;
use crate::trial::Trial;
use crate::upstream::Messages;
use crate::upstream::http2::Call;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// An answer whose beginning was committed.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Held before the commit.
    pub(crate) queue: VecDeque<Bytes>,
    pub(crate) call: Box<Call>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) flavour: Flavour,
    pub(crate) trial: Trial,
    /// Where its attempt stands in the record.
    pub(crate) at: usize,
    /// What the client sends, for a stream.
    pub(crate) messages: Option<Rc<Messages>>,
}

/// How an answer ended.
struct Ended {
    result: Result<(), Class>,
    end: End,
    status: u16,
    trailers: HeaderMap,
    /// Whether it says nothing of the server.
    neutral: bool,
}

/// What comes next of an answer.
enum Next {
    Part(Bytes),
    End(Ended),
}

/// The body of the answer, passed on by a task.
pub(crate) fn pass_on(mut begun: Begun, flight: Flight) -> AnswerBody {
    begun.trial.excuse();
    if let Some(messages) = &begun.messages {
        messages.let_go();
    }
    let (sender, frames) = mpsc::channel(1);
    tokio::task::spawn_local(run(begun, flight, sender));
    AnswerBody::frames(frames)
}

async fn run(begun: Begun, mut flight: Flight, sender: mpsc::Sender<Frame<Bytes>>) {
    let idle = begun.upstream.idle_timeout;
    let total = begun.upstream.total_timeout.map(|total| Instant::now() + total);
    let at = begun.at;
    let mut passing = Passing { begun, frames: Frames::default(), total };
    let ended = loop {
        let next = tokio::select! {
            biased;
            next = passing.next(idle) => next,
            () = sender.closed() => return,
        };
        let part = match next {
            Next::Part(part) => part,
            Next::End(ended) => break ended,
        };
        match tokio::time::timeout(idle, sender.send(Frame::data(part))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => break cut(Class::ClientFault),
        }
    };
    let Ended { result, end, status, trailers, neutral } = ended;
    let now = flight.worker.clock.now();
    if neutral {
        drop(passing);
    } else {
        passing.begun.trial.finish(result, now);
    }
    flight.attempt_ended(at, result.err(), (SentState::Sent, status), now);
    flight.end_at(end, status, now);
    // Its client may have left meanwhile.
    let _told = tokio::time::timeout(idle, sender.send(Frame::trailers(trailers))).await;
}

struct Passing {
    begun: Begun,
    frames: Frames,
    total: Option<Instant>,
}

impl Passing {
    /// The next part, or the end: the server's, or that its time is over.
    async fn next(&mut self, idle: Duration) -> Next {
        if let Some(part) = self.begun.queue.pop_front() {
            self.frames.push(&part);
            return Next::Part(part);
        }
        let until = Instant::now() + idle;
        let until = self.total.map_or(until, |total| total.min(until));
        let next = tokio::time::timeout_at(until, poll_fn(|cx| self.poll_next(cx))).await;
        next.unwrap_or_else(|_| {
            self.begun.trial.expect();
            // Whose turn it was is not known where every request has an answer: nobody is to blame.
            let owes = self.owes();
            Next::End(Ended { neutral: !owes, ..cut(Class::Timeout) })
        })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        match self.begun.call.poll_part(cx) {
            Poll::Ready(Some(Ok(part))) => {
                self.frames.push(&part);
                // It is the client's turn until it asks for more.
                self.begun.trial.excuse();
                self.begun.trial.advance();
                Poll::Ready(Next::Part(part))
            }
            Poll::Ready(Some(Err(class))) => Poll::Ready(Next::End(cut(class))),
            Poll::Ready(None) => {
                let trailers = ready!(self.begun.call.poll_trailers(cx));
                Poll::Ready(Next::End(match trailers {
                    Ok(trailers) if self.frames.is_whole() => ended(self.begun.flavour, trailers),
                    Ok(_) => cut(Class::Truncated),
                    Err(class) => cut(class),
                }))
            }
            Poll::Pending => {
                if self.owes() {
                    self.begun.trial.expect();
                } else {
                    self.begun.trial.excuse();
                }
                Poll::Pending
            }
        }
    }

    /// Whether it is the server's turn: a stream may be silent while nothing is asked.
    fn owes(&self) -> bool {
        match &self.begun.messages {
            None => true,
            Some(messages) => {
                self.begun.call.is_asked() || messages.count() > self.frames.complete()
            }
        }
    }
}

/// An answer that came to its end, whatever its status.
fn ended(flavour: Flavour, trailers: HeaderMap) -> Ended {
    let Some(code) = trailers.get(STATUS).map(|value| Code::parse(value.as_bytes())) else {
        return cut(Class::Truncated);
    };
    let said = trailers.get(MESSAGE).map(|value| grpc::decode_message(value.as_bytes()));
    let result = classify::grpc(flavour, code, &said.unwrap_or_default());
    let end = match result {
        Ok(()) => End::Answered,
        Err(Class::ClientFault) => End::ClientFault,
        Err(_) => End::Cut,
    };
    Ended { result, end, status: code.http(), trailers, neutral: false }
}

/// An answer that broke off.
fn cut(class: Class) -> Ended {
    let code = if class == Class::ClientFault { Code::Cancelled } else { Code::Unavailable };
    let text = format!("the answer was cut after it had begun ({}) [MS0251]", class.as_str());
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from(u16::from(code.number())));
    if let Ok(text) = HeaderValue::from_str(&grpc::encode_message(&text)) {
        trailers.insert(MESSAGE, text);
    }
    let status = code.http();
    Ended { result: Err(class), end: End::Cut, status, trailers, neutral: false }
}
