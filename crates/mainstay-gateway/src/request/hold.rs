//! Holding an answer back until it is safe to commit to it.
//!
//! While an answer is held, another source can still take its place unnoticed. A unary answer is
//! held until it is complete or the limit is reached; an event stream until its first content,
//! since role-only events, comments and keep-alives promise nothing.

pub(super) mod stream;

use std::collections::VecDeque;

use bytes::Bytes;
use mainstay_policy::Class;
use mainstay_protocol::sse::{Gate, Progress};

use super::admit::join;
use crate::upstream::http2::Call;
use crate::upstream::{Connection, Inbound};

/// An answer's body when it was committed.
#[derive(Debug)]
pub(super) enum Held {
    /// Complete.
    Whole(Bytes),
    /// What has come so far, and the rest as it comes.
    Open(VecDeque<Bytes>, Inbound),
    /// The same over HTTP/2.
    Stream(VecDeque<Bytes>, Box<Call>),
}

impl Held {
    /// The bytes that are at hand: all of them, or the first part.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Open(queue, _) | Self::Stream(queue, _) => {
                queue.front().map_or(&[], |first| first)
            }
        }
    }
}

/// Holds `body` until it is complete, or until `limit` bytes have come, or, where `events` finds
/// one, until the first content of an event stream. `came` is told of each part but the last.
pub(super) async fn hold(
    (mut body, connection): (Inbound, &mut Connection),
    limit: usize,
    mut events: Option<Gate>,
    came: impl Fn(),
) -> Result<Held, Class> {
    let mut queue = VecDeque::new();
    let mut size = 0;
    loop {
        if body.is_end() {
            return Ok(Held::Whole(whole(queue, size)));
        }
        match std::future::poll_fn(|cx| connection.poll_part(&mut body, cx)).await {
            None => return Ok(Held::Whole(whole(queue, size))),
            Some(Err(class)) => return Err(class),
            Some(Ok(data)) => {
                let progress = events.as_mut().map(|gate| gate.push(&data));
                size += data.len();
                queue.push_back(data);
                // Whatever the limit: an answer that is complete needs no commit.
                if body.is_end() && !matches!(progress, Some(Progress::Failed { .. })) {
                    return Ok(Held::Whole(whole(queue, size)));
                }
                came();
                match progress {
                    Some(Progress::Failed { .. }) => return Err(Class::ServerFault),
                    Some(Progress::Content { .. } | Progress::TooLong) => {
                        return Ok(Held::Open(queue, body));
                    }
                    Some(Progress::Waiting) | None => {}
                }
                if size > limit {
                    return Ok(Held::Open(queue, body));
                }
            }
        }
    }
}

/// One part needs no copy.
fn whole(mut queue: VecDeque<Bytes>, size: usize) -> Bytes {
    match queue.len() {
        0 | 1 => queue.pop_front().unwrap_or_default(),
        _ => join(&queue, size),
    }
}
