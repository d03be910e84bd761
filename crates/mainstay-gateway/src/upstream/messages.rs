//! The messages of a client's stream, kept until a server has said something.
//!
//! As long as they are kept another server can be given the same stream from its first message.
//! They are let go when an answer is committed, and when there are too many: then the stream can
//! go on where it is, and nowhere else. One reader at a time: attempts of streams are not hedged.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use mainstay_protocol::grpc;

use super::body::BodyError;
use crate::memory::Reservation;

/// What is set aside at a time for messages that are kept.
const STEP: usize = 64 * 1024;

/// The messages of one stream.
pub(crate) struct Messages(RefCell<State>);

struct State {
    incoming: Incoming,
    /// What has come of the next message.
    parts: VecDeque<Bytes>,
    size: usize,
    /// The longest message, in bytes.
    longest: usize,
    /// The first messages, all of them, while they are kept.
    kept: Vec<Bytes>,
    /// For how many bytes more there is room; `None` once they are not kept any more.
    reservation: Option<Reservation>,
    kept_size: usize,
    most: usize,
    count: u64,
}

impl Messages {
    /// The messages that `incoming` brings, none longer than `longest`; up to `most` bytes are
    /// kept, as far as `reservation` grows.
    pub(crate) fn new(
        incoming: Incoming,
        longest: usize,
        (reservation, most): (Option<Reservation>, usize),
    ) -> Rc<Self> {
        let (parts, kept) = (VecDeque::new(), Vec::new());
        let (size, kept_size, count) = (0, 0, 0);
        let state =
            State { incoming, parts, size, longest, kept, reservation, kept_size, most, count };
        Rc::new(Self(RefCell::new(state)))
    }

    /// The first message, while it is kept.
    pub(crate) async fn first(&self) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|cx| self.poll_message(0, cx)).await
    }

    /// The message after the last one, of a stream that is not kept.
    pub(crate) async fn next(&self) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|cx| self.poll_message(usize::MAX, cx)).await
    }

    /// How many have come.
    pub(crate) fn count(&self) -> u64 {
        self.0.borrow().count
    }

    /// Whether the stream can be read from its first message.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.borrow().reservation.is_some()
    }

    /// From now on they go where they go.
    pub(crate) fn let_go(&self) {
        let mut state = self.0.borrow_mut();
        state.reservation = None;
        state.kept = Vec::new();
    }

    /// The message that stands at `at`, each in its frame.
    fn poll_message(
        &self,
        at: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = self.0.borrow_mut();
        if let Some(message) = state.kept.get(at) {
            return Poll::Ready(Some(Ok(message.clone())));
        }
        loop {
            if let Some(message) = grpc::take(&mut state.parts) {
                state.size -= message.len();
                state.count += 1;
                state.keep(&message);
                return Poll::Ready(Some(Ok(message)));
            }
            if state.size > state.longest {
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            }
            match ready!(Pin::new(&mut state.incoming).poll_frame(cx)) {
                None if state.size > 0 => return Poll::Ready(Some(Err(BodyError::Cut))),
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Client(error)))),
                Some(Ok(frame)) => {
                    if let Ok(part) = frame.into_data().map_err(drop) {
                        state.size += part.len();
                        state.parts.push_back(part);
                    }
                }
            }
        }
    }
}

impl State {
    fn keep(&mut self, message: &Bytes) {
        let Some(reservation) = &mut self.reservation else { return };
        self.kept_size += message.len();
        let size = self.kept_size;
        if size <= self.most && (size <= reservation.bytes() || reservation.grow(size.max(STEP))) {
            self.kept.push(message.clone());
        } else {
            self.reservation = None;
            self.kept = Vec::new();
        }
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// A model's name and version at a server, where they are not what the client says.
#[derive(Clone, Debug)]
pub(crate) struct Renamed {
    pub(crate) name: Box<str>,
    /// `None` for the client's own.
    pub(crate) version: Option<Box<str>>,
}

impl Renamed {
    /// The message in `frame` with these names; as it came, where it cannot be read: its server
    /// says so.
    pub(crate) fn apply(&self, frame: Bytes) -> Bytes {
        let renamed = grpc::open(&frame).and_then(|message| {
            let named = grpc::named(&message)?;
            let version = self.version.as_deref().unwrap_or(named.version);
            grpc::renamed(&message, &self.name, version)
        });
        renamed.map_or(frame, |message| grpc::frame(&message))
    }
}

/// Reads a stream from its first message on.
#[derive(Debug)]
pub(crate) struct Reader {
    messages: Rc<Messages>,
    at: usize,
    renamed: Option<Renamed>,
}

impl Reader {
    pub(crate) const fn new(messages: Rc<Messages>, renamed: Option<Renamed>) -> Self {
        Self { messages, at: 0, renamed }
    }

    /// The next message.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let next = ready!(self.messages.poll_message(self.at, cx));
        self.at += 1;
        let renamed = |message: Bytes| match &self.renamed {
            Some(renamed) => renamed.apply(message),
            None => message,
        };
        Poll::Ready(next.map(|message| message.map(renamed)))
    }
}
