//! A decision record: why one request was answered as it was.
//!
//! Plain data of fixed size, filled on the worker's stack while the request climbs its chain and
//! handed to [`crate::Worker::finish`] once, at the end of the answer's body. Names are left to
//! the reader: the record holds indexes into [`crate::Names`].

use std::fmt;
use std::time::Duration;

use mainstay_policy::balance::Why;
use mainstay_policy::limit::Priority;
use mainstay_policy::{Class, Guard, Moment, SentState};

pub use mainstay_policy::chain::{Reason, Skipped};

/// Attempts that one record can hold; a budget never allows more.
pub const MAX_ATTEMPTS: usize = 6;

/// The identity of one request: unique within a gateway's life and very likely beyond it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for RequestId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// How a request ended, as its client saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum End {
    /// Answered by a step of the chain.
    #[default]
    Answered = 0,
    /// Refused as the client's own fault (400, 404, 405, 413, ...), by us or by a server.
    ClientFault = 1,
    /// Shed: the gateway or everything behind it is full.
    Shed = 2,
    /// No step could answer: the client saw an error.
    Failed = 3,
    /// The client went away before its answer was complete.
    Cancelled = 4,
    /// The answer was cut after its first bytes had been passed on.
    Cut = 5,
}

impl End {
    /// Every end, in the order of the codes.
    pub const ALL: [Self; 6] =
        [Self::Answered, Self::ClientFault, Self::Shed, Self::Failed, Self::Cancelled, Self::Cut];

    /// The end in kebab case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ClientFault => "client-fault",
            Self::Shed => "shed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Cut => "cut",
        }
    }
}

/// One try at one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Index into [`crate::Names::targets`].
    pub target: u32,
    /// Step of the chain.
    pub step: u8,
    /// Why this target was chosen: a `mainstay_policy::balance::Why` code.
    pub why: u8,
    /// `None`: a usable answer.
    pub class: Option<Class>,
    /// How much of the request had left us when the attempt ended.
    pub sent: SentState,
    /// Status of the answer, 0 if none came.
    pub status: u16,
    /// Start, in microseconds after the request's own.
    pub started_us: u32,
    /// Duration in microseconds; to the end of the body for the attempt that answered.
    pub took_us: u32,
    /// What was passed over.
    pub skipped: Skipped,
    /// The guard that the answer broke, in some rows at the least. With a usable answer: the one
    /// that raised an alarm.
    pub guard: Option<Guard>,
}

impl Attempt {
    /// Whether it was made beside a late one.
    #[must_use]
    pub const fn is_hedge(&self) -> bool {
        self.why == Why::Hedged as u8
    }

    /// How long it took.
    #[must_use]
    pub const fn took(&self) -> Duration {
        Duration::from_micros(self.took_us as u64)
    }
}

/// Everything that was decided for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Record {
    /// Also sent to the client as `x-mainstay-request-id`.
    pub id: RequestId,
    /// Index into [`crate::Names::models`]; `u16::MAX` where no model was recognised.
    pub model: u16,
    /// When the request's head had been read.
    pub started: Moment,
    /// From there to the end of the answer.
    pub took: Duration,
    /// The deadline that applied, from the start.
    pub deadline: Duration,
    /// How it ended.
    pub end: End,
    /// Status that the client got.
    pub status: u16,
    /// Step that answered; `u8::MAX` if none did. With rows from several steps, the last.
    pub step: u8,
    /// Whether the answer was of lesser quality, and said so.
    pub degraded: bool,
    /// Why not the first step.
    pub reason: Reason,
    /// Whether the answer is that of an earlier request with the same idempotency key.
    pub replayed: bool,
    /// Rows of the batch (0 when the body was not parsed), and how many a later step answered.
    pub rows: u16,
    /// Rows that a later step than the first answered.
    pub rows_moved: u16,
    /// How much it mattered when not all could be served.
    pub priority: Priority,
    /// How long it waited for room, in whole milliseconds up to 65 s.
    pub queued: Duration,
    /// The guard that the answer of a source inside the gateway broke.
    pub guard: Option<Guard>,
    /// The attempts that were made: `attempts[..attempt_count]`.
    pub attempts: [Attempt; MAX_ATTEMPTS],
    /// How many of `attempts` are filled.
    pub attempt_count: u8,
}

impl Record {
    /// The attempts that were made, in order.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts[..usize::from(self.attempt_count).min(MAX_ATTEMPTS)]
    }

    /// Adds an attempt, and says where it stands; beyond [`MAX_ATTEMPTS`] the last one is
    /// overwritten.
    pub fn push(&mut self, attempt: Attempt) -> usize {
        let at = usize::from(self.attempt_count).min(MAX_ATTEMPTS - 1);
        self.attempts[at] = attempt;
        self.attempt_count = u8::try_from(at + 1).unwrap_or(u8::MAX);
        at
    }

    /// Whether someone may want to read it later: retried, degraded or not answered.
    #[must_use]
    pub fn is_remarkable(&self) -> bool {
        self.attempt_count > 1 || self.degraded || self.end != End::Answered || self.rows_moved > 0
    }
}
