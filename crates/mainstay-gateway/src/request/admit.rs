//! The body of a request, read within its limits and kept where it may have to be sent again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;

use mainstay_config::Limits;
use mainstay_policy::Moment;

use super::ask::Payload;
use super::fault::Fault;
use crate::memory::Reservation;
use crate::timeouts::within;
use crate::upstream::OutBody;
use crate::worker::Worker;

/// Set aside for a body whose length was not announced, and again whenever that is not enough.
const UNANNOUNCED: usize = 64 * 1024;

/// A request's body, as far as it was read.
pub(super) struct Admitted {
    pub(super) payload: Payload,
    /// The memory that it takes.
    pub(super) reservation: Option<Reservation>,
    /// When it was there.
    pub(super) now: Moment,
}

/// Reads a request's body.
///
/// The deadline runs from the head, so a slow client spends its own time.
pub(super) async fn admit(
    (worker, now): (&Worker, Moment),
    body: Incoming,
) -> Result<Admitted, Fault> {
    if body.is_end_stream() {
        let payload = Payload::Kept(Bytes::new());
        return Ok(Admitted { payload, reservation: None, now });
    }
    let limits = &worker.view().limits;
    let announced =
        body.size_hint().exact().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    if announced.is_some_and(|size| size > limits.body) {
        return Err(Fault::too_large(limits.body));
    }
    let expected = announced.unwrap_or(UNANNOUNCED);
    // Set aside as bytes come: an announcement alone must not take memory from others.
    let first = expected.min(UNANNOUNCED);
    let keep = (expected <= limits.replay).then(|| worker.shared.memory.reserve(first));
    let Some(mut reservation) = keep.flatten() else {
        let once = once(VecDeque::new(), body, limits.body);
        let payload = Payload::Once(RefCell::new(Some(once)));
        return Ok(Admitted { payload, reservation: None, now });
    };
    let (read, now) = {
        let mut reading = pin!(read(body, &mut reservation, limits));
        // Most bodies come with their heads: then no time has passed, and nothing is waited for.
        match poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
            Poll::Ready(read) => (Some(read), now),
            Poll::Pending => {
                let read = within(worker, now, limits.idle_timeout, reading).await;
                (read, worker.clock.now())
            }
        }
    };
    let payload = read.ok_or_else(Fault::body_stalled)??;
    Ok(Admitted { payload, reservation: Some(reservation), now })
}

/// A body that can be sent once: what has come, and the rest as it comes.
fn once(first: VecDeque<Bytes>, rest: Incoming, most: usize) -> OutBody {
    let held: usize = first.iter().map(Bytes::len).sum();
    OutBody::Streaming { first, rest, left: most.saturating_sub(held) }
}

/// Reads to the end, or until it is known that the body is too large to keep.
async fn read(
    mut body: Incoming,
    reservation: &mut Reservation,
    limits: &Limits,
) -> Result<Payload, Fault> {
    let mut parts: VecDeque<Bytes> = VecDeque::new();
    let mut size = 0;
    while let Some(part) = next(&mut body).await? {
        size += part.len();
        if parts.is_empty() && body.is_end_stream() && size <= reservation.bytes() {
            return Ok(Payload::Kept(part));
        }
        parts.push_back(part);
        if size > limits.body {
            return Err(Fault::too_large(limits.body));
        }
        let fits = size <= limits.replay
            && (size <= reservation.bytes() || reservation.grow(size.max(UNANNOUNCED)));
        if !fits {
            return Ok(Payload::Once(RefCell::new(Some(once(parts, body, limits.body)))));
        }
    }
    Ok(Payload::Kept(join(&parts, size)))
}

/// The next data of a body; `None` at its end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Fault> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
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
