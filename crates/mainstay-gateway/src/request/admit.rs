//! The body of a request, read within its limits and kept where it may have to be sent again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;

use super::ask::{Ask, Payload};
use super::fault::Fault;
use super::recognise::content_length;
use crate::worker::Worker;

/// Reads the body of `ask`.
///
/// The deadline runs from the head, so a slow client spends its own time.
pub(super) async fn admit(worker: &Worker, mut ask: Ask, body: Incoming) -> Result<Ask, Fault> {
    if body.is_end_stream() {
        return Ok(ask);
    }
    let limits = &worker.shared.snapshot.limits;
    let announced = content_length(&ask.headers);
    if announced.is_some_and(|size| size > limits.body) {
        return Err(Fault::too_large(limits.body));
    }
    let keep = announced.unwrap_or(limits.replay);
    ask.reservation = if keep <= limits.replay { worker.shared.memory.reserve(keep) } else { None };
    if ask.reservation.is_none() {
        ask.payload = Payload::Once(RefCell::new(Some((VecDeque::new(), body))));
        return Ok(ask);
    }
    let reading = read(body, limits.replay, limits.body);
    let read = tokio::time::timeout(limits.idle_timeout, reading).await;
    ask.payload = read.map_err(|_| Fault::body_stalled())??;
    Ok(ask)
}

/// Reads to the end, or until it is known that the body is too large to keep.
async fn read(mut body: Incoming, keep: usize, most: usize) -> Result<Payload, Fault> {
    let mut parts: VecDeque<Bytes> = VecDeque::new();
    let mut size = 0;
    while let Some(part) = next(&mut body).await? {
        if parts.is_empty() && body.is_end_stream() {
            return Ok(Payload::Kept(part));
        }
        size += part.len();
        parts.push_back(part);
        if size > most {
            return Err(Fault::too_large(most));
        }
        if size > keep {
            return Ok(Payload::Once(RefCell::new(Some((parts, body)))));
        }
    }
    Ok(Payload::Kept(join(&parts, size)))
}

/// The next data of a body; `None` at its end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Fault> {
    loop {
        match std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(_)) => return Err(Fault::broken(&"the body ended before its announced end")),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The parts as one.
pub(super) fn join(parts: &VecDeque<Bytes>, size: usize) -> Bytes {
    let mut whole = BytesMut::with_capacity(size);
    for part in parts {
        whole.extend_from_slice(part);
    }
    whole.freeze()
}
