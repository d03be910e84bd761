//! The messages of a client's stream, kept until a server has said something.
//!
//! As long as they are kept another server can be given the same stream from its first message.
//! They are let go when an answer is committed, and when there are too many: then the stream can
//! go on where it is, and nowhere else. What no server has had yet is never let go. One reader at a
//! time: attempts of streams are not hedged.
//!
//! The next message is put together in one buffer, refused by its announced length, and, beyond
//! 64 KiB, charged to the memory of the gateway.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use mainstay_protocol::grpc;

use super::body::BodyError;
use crate::memory::{Memory, Reservation};

/// What is set aside at a time.
const STEP: usize = 64 * 1024;

/// How much of a stream may be taken in, and how much of that may be kept.
pub(crate) struct Room {
    pub(crate) memory: Arc<Memory>,
    /// The longest message, in bytes.
    pub(crate) longest: usize,
    /// The bytes of messages that are kept to be sent again; none for 0.
    pub(crate) kept: usize,
}

/// The messages of one stream.
pub(crate) struct Messages(RefCell<State>);

struct State {
    source: Source,
    /// Messages that some reader may want; the first of them stands at `base`.
    kept: VecDeque<Bytes>,
    base: u64,
    /// The messages before this one were given to a server.
    read: u64,
    /// Whether the stream can be read from its first message on.
    replays: bool,
    most: usize,
    size: usize,
    reservation: Option<Reservation>,
}

/// Puts messages together.
struct Source {
    incoming: Incoming,
    memory: Arc<Memory>,
    longest: usize,
    partial: BytesMut,
    /// What is set aside for the message that is being put together.
    room: Option<Reservation>,
    count: u64,
}

impl Messages {
    /// The messages that `incoming` brings.
    pub(crate) fn new(incoming: Incoming, room: Room) -> Rc<Self> {
        let Room { memory, longest, kept: most } = room;
        let reservation = if most > 0 { memory.reserve(STEP) } else { None };
        let partial = BytesMut::new();
        let source = Source { incoming, memory, longest, partial, room: None, count: 0 };
        Rc::new(Self(RefCell::new(State {
            source,
            kept: VecDeque::new(),
            base: 0,
            read: 0,
            replays: reservation.is_some(),
            most,
            size: 0,
            reservation,
        })))
    }

    /// The first message, which a server will get all the same.
    pub(crate) async fn first(&self) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|cx| self.0.borrow_mut().poll_at(0, cx)).await
    }

    /// The next message, for a reader that has had all before it.
    pub(crate) async fn next(&self) -> Option<Result<Bytes, BodyError>> {
        let at = self.0.borrow().read;
        std::future::poll_fn(|cx| self.poll_message(at, cx)).await
    }

    /// How many have come.
    pub(crate) fn count(&self) -> u64 {
        self.0.borrow().source.count
    }

    /// Whether the stream can be read from its first message.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.borrow().replays
    }

    /// From now on they go where they go.
    pub(crate) fn let_go(&self) {
        self.0.borrow_mut().let_go();
    }

    /// The message that stands at `at`, each in its frame, for a server.
    fn poll_message(
        &self,
        at: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = self.0.borrow_mut();
        let message = ready!(state.poll_at(at, cx));
        if matches!(message, Some(Ok(_))) {
            state.read = state.read.max(at + 1);
            if !state.replays {
                state.let_go();
            }
        }
        Poll::Ready(message)
    }
}

impl State {
    fn poll_at(&mut self, at: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let place = at.checked_sub(self.base).and_then(|place| usize::try_from(place).ok());
            if let Some(message) = place.and_then(|place| self.kept.get(place)) {
                return Poll::Ready(Some(Ok(message.clone())));
            }
            match ready!(self.source.poll_next(cx)) {
                Some(Ok(message)) => self.keep(message),
                ended => return Poll::Ready(ended),
            }
        }
    }

    fn keep(&mut self, message: Bytes) {
        self.size += message.len();
        self.kept.push_back(message);
        let Some(reservation) = self.reservation.as_mut().filter(|_| self.replays) else { return };
        let missing = self.size.saturating_sub(reservation.bytes());
        if self.size > self.most || (missing > 0 && !reservation.grow(missing.max(STEP))) {
            self.let_go();
        }
    }

    /// Forgets what a server has had, now and from now on.
    fn let_go(&mut self) {
        self.replays = false;
        while self.base < self.read && self.kept.pop_front().is_some() {
            self.base += 1;
        }
        if self.kept.is_empty() {
            self.reservation = None;
        }
    }
}

impl Source {
    /// The next message in its frame.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let wanted = grpc::frame_length(&self.partial);
            if let Some(wanted) = wanted {
                if wanted > self.longest {
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                if self.partial.len() >= wanted {
                    self.count += 1;
                    let message = self.partial.split_to(wanted).freeze();
                    self.room = None;
                    return Poll::Ready(Some(Ok(message)));
                }
            }
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None if !self.partial.is_empty() => {
                    return Poll::Ready(Some(Err(BodyError::Cut)));
                }
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Client(error)))),
                Some(Ok(frame)) => {
                    let part = frame.into_data().unwrap_or_default();
                    if !self.has_room(self.partial.len() + part.len()) {
                        return Poll::Ready(Some(Err(BodyError::TooLarge)));
                    }
                    self.partial.extend_from_slice(&part);
                }
            }
        }
    }

    /// Whether there is memory for so many bytes of a message.
    fn has_room(&mut self, size: usize) -> bool {
        let set_aside = STEP + self.room.as_ref().map_or(0, Reservation::bytes);
        let Some(missing) = size.checked_sub(set_aside).filter(|missing| *missing > 0) else {
            return true;
        };
        match &mut self.room {
            Some(room) => room.grow(missing.max(STEP)),
            None => {
                self.room = self.memory.reserve(missing.max(STEP));
                self.room.is_some()
            }
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
    at: u64,
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
