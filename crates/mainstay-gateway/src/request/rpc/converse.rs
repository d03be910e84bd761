//! One attempt at a server that speaks gRPC.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TE,
};
use http::response::Parts;
use http::{StatusCode, Uri};
use mainstay_policy::{Class, SentState};
use mainstay_protocol::grpc::{self, Code, Frames};
use mainstay_protocol::{Protocol, form};

use super::super::admit::join;
use super::super::ask::{Ask, Payload};
use super::super::attempt::{Order, Spoken};
use super::super::headers;
use super::super::hold::Held;
use super::{MEDIA_TYPE, Status, TIMEOUT};
use crate::memory::{Memory, Reservation};
use crate::snapshot::{Member, PoolSource};
use crate::upstream::http2::{Answered, Call, Request, call};
use crate::upstream::{Failure, OutBody, Reader, Renamed, Sending};
use crate::worker::Worker;

/// The whole conversation, to be cut off by the attempt's limit: for a stream up to its first
/// message, for everything else to its end.
pub(in crate::request) async fn converse(
    worker: &Rc<Worker>,
    ask: &Ask,
    order: &Order<'_>,
    (pool, member): (&PoolSource, &Member),
    sending: &Sending,
) -> Result<Spoken, Failure> {
    let upstream = &member.upstream;
    let request = Request {
        path: path(ask, &upstream.prefix)
            .ok_or(Failure::new(Class::ClientFault, SentState::NotSent))?,
        headers: request_headers(ask, order, member),
    };
    let renamed = renamed(ask, pool);
    let body = || body(order.payload, renamed.as_ref());
    let answered = call((worker, upstream), sending, &request, body).await?;
    let Answered { mut parts, mut call, is_end } = answered;
    let sent = |class| Failure::new(class, SentState::Sent);
    let came = || member.target.progress.advance(worker.coarse_now.get());
    let is_stream = matches!(order.payload, Payload::Stream(_));
    let limit = worker.view().limits.replay.max(order.hold);
    let mut held = Vec::new();
    let mut room = Room { memory: &worker.shared.memory, free: order.hold, taken: None };
    let ended = is_end
        || collect(&mut call, (&mut held, is_stream), (limit, &mut room), came)
            .await
            .map_err(sent)?;
    let queue: VecDeque<Bytes> = held.into();
    let now = worker.clock.now();
    if !ended {
        if pool.protocol != ask.protocol {
            // Too large to be read, and so to be translated.
            return Err(sent(Class::BadAnswer));
        }
        return Ok(Spoken::new(parts, Held::Stream(queue, Box::new(call)), now));
    }
    let trailers = if is_end {
        HeaderMap::new()
    } else {
        poll_fn(|cx| call.poll_trailers(cx)).await.map_err(sent)?
    };
    let size = queue.iter().map(Bytes::len).sum();
    let body = if queue.len() == 1 { queue[0].clone() } else { join(&queue, size) };
    let body = fold(&mut parts, (trailers, is_stream), body).map_err(sent)?;
    Ok(Spoken::new(parts, Held::Whole(body), now))
}

/// The memory for an answer that is held whole: what is beyond the usual hold is set aside.
struct Room<'m> {
    memory: &'m Arc<Memory>,
    free: usize,
    taken: Option<Reservation>,
}

impl Room<'_> {
    /// Whether there is room for so many bytes.
    fn holds(&mut self, size: usize) -> bool {
        let held = self.free + self.taken.as_ref().map_or(0, Reservation::bytes);
        let Some(missing) = size.checked_sub(held).filter(|missing| *missing > 0) else {
            return true;
        };
        match &mut self.taken {
            Some(taken) => taken.grow(missing),
            None => {
                self.taken = self.memory.reserve(missing);
                self.taken.is_some()
            }
        }
    }
}

/// Takes an answer up to its end (`true`), or until it is too large to be held or, of a stream, the
/// first message has come whole. `came` is told of each part.
async fn collect(
    call: &mut Call,
    (held, is_stream): (&mut Vec<Bytes>, bool),
    (limit, room): (usize, &mut Room<'_>),
    came: impl Fn(),
) -> Result<bool, Class> {
    let (mut frames, mut size) = (Frames::default(), 0);
    while let Some(part) = poll_fn(|cx| call.poll_part(cx)).await {
        let part = part?;
        frames.push(&part);
        size += part.len();
        held.push(part);
        came();
        if size > limit || !room.holds(size) || (is_stream && frames.complete() > 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives a whole answer the form that answers have on their way; its body.
fn fold(
    parts: &mut Parts,
    (trailers, is_stream): (HeaderMap, bool),
    body: Bytes,
) -> Result<Bytes, Class> {
    let is_grpc =
        parts.headers.get(CONTENT_TYPE).is_some_and(|value| grpc::is_grpc(value.as_bytes()));
    if !is_grpc || parts.status != StatusCode::OK {
        return bare(parts, body);
    }
    // An answer without a body has them in its head.
    let status = if trailers.contains_key(super::STATUS) {
        Status::of(trailers)
    } else {
        let alone = [super::STATUS, super::MESSAGE].into_iter();
        Status::of(alone.filter_map(|it| Some((it.clone(), parts.headers.remove(&it)?))).collect())
    };
    // Without a status it is not over.
    let status = status.ok_or(Class::Truncated)?;
    let ok = status.code == Code::Ok;
    // A stream may well have nothing to say.
    if ok && body.is_empty() && !is_stream {
        return Err(Class::BadAnswer);
    }
    // A message that is cut is none, whatever the status says.
    let mut frames = Frames::default();
    frames.push(&body);
    if ok && !frames.is_whole() {
        return Err(Class::Truncated);
    }
    let http = StatusCode::from_u16(status.code.http());
    parts.status = http.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = if ok { body } else { status.message.clone().into() };
    parts.extensions.insert(status);
    Ok(body)
}

/// Something that speaks no gRPC has answered: a proxy, or a server of another kind.
fn bare(parts: &mut Parts, body: Bytes) -> Result<Bytes, Class> {
    if parts.status.is_success() {
        return Err(Class::BadAnswer);
    }
    parts.headers.remove(CONTENT_TYPE);
    Ok(body)
}

/// The path of the call at an endpoint. `None` if that is too long.
fn path(ask: &Ask, prefix: &str) -> Option<Uri> {
    let path = if ask.protocol == Protocol::OipGrpc { ask.uri.path() } else { grpc::INFER };
    Uri::try_from(format!("{prefix}{path}")).ok()
}

/// The client's metadata, with what belongs to this attempt.
fn request_headers(ask: &Ask, order: &Order<'_>, member: &Member) -> HeaderMap {
    let mut headers = ask.headers.clone();
    for name in [HOST, CONTENT_LENGTH, headers::REQUEST_TIMEOUT] {
        headers.remove(name);
    }
    if ask.protocol != Protocol::OipGrpc {
        for name in [ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, headers::INFERENCE_HEADER_LENGTH] {
            headers.remove(name);
        }
        let media = form::media_type(Protocol::OipGrpc, false);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    } else if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, MEDIA_TYPE);
    }
    headers.insert(TE, HeaderValue::from_static("trailers"));
    // A stream lasts as long as its client wants: only what that said bounds it.
    let is_stream = matches!(order.payload, Payload::Stream(_));
    if !is_stream || headers.contains_key(TIMEOUT) {
        let left = grpc::format_timeout(ask.left(order.now));
        // Digits and a letter are always a valid value.
        let left = HeaderValue::from_str(&left).unwrap_or_else(|_| HeaderValue::from_static("1S"));
        headers.insert(TIMEOUT, left);
    }
    if member.upstream.elsewhere {
        headers.insert(headers::SPILLED, HeaderValue::from_static("1"));
    }
    headers
}

/// The names that the pool's servers know the model by, where they are not the client's.
fn renamed(ask: &Ask, pool: &PoolSource) -> Option<Renamed> {
    let translated = pool.protocol != ask.protocol;
    if !translated && pool.model.is_none() && pool.version.is_none() {
        return None;
    }
    let called = ask.called();
    let version = pool.version.as_deref().or(called.version.as_deref());
    Some(Renamed {
        name: pool.model.as_deref().unwrap_or(&called.model).into(),
        version: version.map(Box::from),
    })
}

/// The body of an attempt; `None` where it can be sent once only, and has been.
fn body(payload: &Payload, renamed: Option<&Renamed>) -> Option<OutBody> {
    match payload {
        Payload::Kept(bytes) => {
            let renamed = renamed.map(|renamed| renamed.apply(bytes.clone()));
            Some(OutBody::whole(renamed.unwrap_or_else(|| bytes.clone())))
        }
        Payload::Once(body) => body.borrow_mut().take(),
        Payload::Stream(stream) => {
            let reader = Reader::new(stream.take()?, renamed.cloned());
            Some(OutBody::Messages(Box::new(reader)))
        }
    }
}
