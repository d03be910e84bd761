//! One request over HTTP/2, and its answer.
//!
//! | what became of it | is |
//! |---|---|
//! | no connection, no room in time | not sent |
//! | `RST_STREAM(REFUSED_STREAM)` | not sent (RFC 9113, section 8.7) |
//! | GOAWAY, and the stream is above its last one | not sent (section 6.8) |
//! | the connection broke before the answer's head | may have been sent |
//! | another `RST_STREAM`, or anything after the head | sent |

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::response::Parts;
use http::{HeaderMap, Method, Uri};
use http_body::Body;
use mainstay_policy::{Class, SentState};

use super::super::body::OutBody;
use super::super::exchange::{Failure, Sending};
use super::line::Place;
use super::lines::checkout;
use crate::snapshot::Upstream;
use crate::worker::Worker;

/// How often a request that was not taken is begun anew at the same endpoint: a connection that
/// its server is about to close is no reason to look for another server.
const AGAIN: usize = 2;

/// What is sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) path: Uri,
    pub(crate) headers: HeaderMap,
}

/// The head of an answer, with what brings the rest.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) parts: Parts,
    pub(crate) call: Call,
    /// Whether the head is all.
    pub(crate) is_end: bool,
}

/// A request on its way, and its answer. Dropped before its end, the stream is reset.
#[derive(Debug)]
pub(crate) struct Call {
    worker: Rc<Worker>,
    place: Place,
    upload: Option<Upload>,
    answer: Option<RecvStream>,
    /// Bytes that were taken, whose room the peer has not back yet.
    taken: usize,
}

/// What of the request has still to be sent.
#[derive(Debug)]
struct Upload {
    stream: SendStream<Bytes>,
    body: OutBody,
    ready: Bytes,
}

/// Sends a request with the body that `body` makes, and waits for the head of the answer.
/// `sending` always tells how far it has come.
pub(crate) async fn call(
    (worker, upstream): (&Rc<Worker>, &Arc<Upstream>),
    sending: &Sending,
    request: &Request,
    mut body: impl FnMut() -> Option<OutBody>,
) -> Result<Answered, Failure> {
    let mut left = AGAIN;
    loop {
        let (mut sender, place) = checkout(worker, upstream).await?;
        let ready = poll_fn(|cx| sender.poll_ready(cx)).await;
        let Some(payload) = ready.is_ok().then(&mut body) else { continue };
        let payload = payload.ok_or(Failure::new(Class::Unreachable, SentState::MaybeSent))?;
        let bodiless = payload.is_end_stream();
        let Ok((response, stream)) = sender.send_request(head(upstream, request), bodiless) else {
            if left == 0 {
                return Err(Failure::new(Class::Capacity, SentState::NotSent));
            }
            left -= 1;
            continue;
        };
        sending.sent.set(SentState::MaybeSent);
        let upload = (!bodiless).then(|| Upload { stream, body: payload, ready: Bytes::new() });
        let call = Call { worker: Rc::clone(worker), place, upload, answer: None, taken: 0 };
        match answered(call, response, sending).await {
            Err(failure) if failure.sent == SentState::NotSent => {
                sending.sent.set(SentState::NotSent);
                if left == 0 {
                    return Err(failure);
                }
                left -= 1;
            }
            ended => return ended,
        }
    }
}

fn head(upstream: &Upstream, request: &Request) -> http::Request<()> {
    let scheme = if upstream.tls.is_some() { "https" } else { "http" };
    let path = request.path.path_and_query().map_or("/", |path| path.as_str());
    let authority = upstream.authority.to_str().unwrap_or("localhost");
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    let mut head = http::Request::new(());
    *head.method_mut() = Method::POST;
    // A path and an authority that were valid before are so together.
    *head.uri_mut() = uri.unwrap_or_else(|_| request.path.clone());
    *head.headers_mut() = request.headers.clone();
    head
}

async fn answered(
    mut call: Call,
    response: ResponseFuture,
    sending: &Sending,
) -> Result<Answered, Failure> {
    let mut response = pin!(response);
    let head = poll_fn(|cx| {
        if call.poll_upload(cx).is_err() {
            return Poll::Ready(Err(Failure::new(Class::ClientFault, SentState::MaybeSent)));
        }
        sending.client_owes.set(call.waits_for_client());
        response.as_mut().poll(cx).map_err(|error| failure(&error))
    });
    let (parts, body) = head.await?.into_parts();
    sending.sent.set(SentState::Sent);
    call.note();
    let is_end = body.is_end_stream();
    call.answer = Some(body);
    Ok(Answered { parts, call, is_end })
}

impl Call {
    /// The next part of the answer's body; `None` when nothing but trailers can come.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Class>>> {
        if self.poll_upload(cx).is_err() {
            return Poll::Ready(Some(Err(Class::ClientFault)));
        }
        let Some(answer) = &mut self.answer else { return Poll::Ready(None) };
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 && answer.flow_control().release_capacity(taken).is_err() {
            return Poll::Ready(Some(Err(Class::Truncated)));
        }
        let part = ready!(answer.poll_data(cx));
        self.note();
        Poll::Ready(part.map(|part| match part {
            Ok(part) => {
                self.taken = part.len();
                Ok(part)
            }
            Err(error) => Err(cut(&error)),
        }))
    }

    /// What follows the body; empty where nothing does.
    pub(crate) fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<HeaderMap, Class>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Ok(HeaderMap::new())) };
        let trailers = ready!(answer.poll_trailers(cx));
        self.note();
        Poll::Ready(trailers.map(Option::unwrap_or_default).map_err(|error| cut(&error)))
    }

    /// Whether it is the client, and not the server, that everything waits for.
    pub(crate) fn waits_for_client(&self) -> bool {
        let upload = self.upload.as_ref();
        upload.is_some_and(|upload| upload.ready.is_empty() && upload.body.is_owed())
    }

    /// Whether the client has said all that it had to say.
    pub(crate) const fn is_asked(&self) -> bool {
        self.upload.is_none()
    }

    fn note(&self) {
        self.place.heard(self.worker.coarse_now.get());
    }

    /// Sends on what is left of the request.
    ///
    /// # Errors
    /// The client's body broke off. That the server takes no more is no error: its answer says
    /// why.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        match upload.poll_send(cx) {
            Poll::Ready(result) => {
                self.upload = None;
                result
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl Upload {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        loop {
            while !self.ready.is_empty() {
                // A whole body costs no room of ours, wherever it waits.
                let whole = !self.body.comes_from_client();
                let room = if whole { self.ready.len() } else { ready!(self.poll_room(cx)) };
                if room == 0 {
                    return Poll::Ready(Ok(()));
                }
                let part = self.ready.split_to(room.min(self.ready.len()));
                let is_last = self.ready.is_empty() && self.body.is_end_stream();
                if self.stream.send_data(part, is_last).is_err() || is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.ready = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(()));
                }
                None => {
                    // Nobody to tell: the answer says what became of it.
                    let _closed = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// How much the peer takes now; nothing once it takes no more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.stream.reserve_capacity(self.ready.len());
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                return Poll::Ready(room);
            }
            if !matches!(ready!(self.stream.poll_capacity(cx)), Some(Ok(_))) {
                return Poll::Ready(0);
            }
        }
    }
}

/// Why there was no head.
fn failure(error: &h2::Error) -> Failure {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        return Failure::new(Class::Capacity, SentState::NotSent);
    }
    match error.reason() {
        _ if error.is_io() => Failure::new(Class::Unreachable, SentState::MaybeSent),
        Some(Reason::ENHANCE_YOUR_CALM) => Failure::new(Class::Capacity, SentState::MaybeSent),
        _ if error.is_remote() => Failure::new(Class::ServerFault, SentState::Sent),
        _ => Failure::new(Class::BadAnswer, SentState::Sent),
    }
}

/// Why an answer broke off after its head.
fn cut(error: &h2::Error) -> Class {
    if error.is_io() || error.is_remote() { Class::Truncated } else { Class::BadAnswer }
}
