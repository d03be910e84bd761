//! What became of one attempt at one target.
//!
//! Breaker, retry and chain act on the [`Class`] of a failure and on how much of the request
//! had been sent; never on a bare status, because the same status means different things from
//! different servers.

use std::time::Duration;

/// Why an attempt gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// The request itself is at fault: pass the answer back, blame nobody.
    ClientFault = 1,
    /// The server or the model is not loaded yet, or no more: move on, no blame.
    NotReady = 2,
    /// The server is full (429, 503 with Retry-After, 507 and friends): move on, no blame.
    Capacity = 3,
    /// The server failed: move on and blame it.
    ServerFault = 4,
    /// CUDA or memory errors that a server does not survive: eject at once.
    FatalAccelerator = 5,
    /// No answer within the attempt's share of the time.
    Timeout = 6,
    /// Refused, reset or closed before the first byte of an answer.
    Unreachable = 7,
    /// The answer stopped before its end.
    Truncated = 8,
    /// An answer came that breaks a guard: malformed, wrong shape, no confidence.
    BadAnswer = 9,
    /// The same request fails on every endpoint it meets: stop there.
    Poison = 10,
    /// Another attempt of the same request answered first, and this one was cut off.
    Overtaken = 11,
    /// The gateway itself had no descriptor, port or buffer left for a connection: move on, and
    /// blame nobody, since no server was asked.
    Shortage = 12,
    /// The request is longer than the model's context: nobody's fault; a step for such requests
    /// may take it.
    ContextLength = 13,
    /// The provider refuses the request for what it says; a step for such requests may take it.
    ContentPolicy = 14,
    /// The provider refuses the gateway's own credentials, or their quota is spent: move on and
    /// leave it alone until somebody has seen to it.
    Credentials = 15,
}

impl Class {
    /// Every class, in the order of the codes.
    pub const ALL: [Self; 15] = [
        Self::ClientFault,
        Self::NotReady,
        Self::Capacity,
        Self::ServerFault,
        Self::FatalAccelerator,
        Self::Timeout,
        Self::Unreachable,
        Self::Truncated,
        Self::BadAnswer,
        Self::Poison,
        Self::Overtaken,
        Self::Shortage,
        Self::ContextLength,
        Self::ContentPolicy,
        Self::Credentials,
    ];

    /// The class with this code (`class as u8`), or `None`.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// Whether the failure counts against the target's breaker.
    #[must_use]
    pub const fn blames_target(self) -> bool {
        match self {
            Self::ClientFault
            | Self::NotReady
            | Self::Capacity
            | Self::Poison
            | Self::Overtaken
            | Self::Shortage
            | Self::ContextLength
            | Self::ContentPolicy => false,
            Self::ServerFault
            | Self::FatalAccelerator
            | Self::Timeout
            | Self::Unreachable
            | Self::Truncated
            | Self::BadAnswer
            | Self::Credentials => true,
        }
    }

    /// Whether another source may be asked after this failure.
    #[must_use]
    pub const fn moves_on(self) -> bool {
        !matches!(self, Self::ClientFault | Self::Poison) && !self.needs_a_step()
    }

    /// Whether only a step that names this [`Cause`](crate::chain::Cause) may be asked after it:
    /// every other source would say the same.
    #[must_use]
    pub const fn needs_a_step(self) -> bool {
        matches!(self, Self::ContextLength | Self::ContentPolicy)
    }

    /// The class in kebab case, as metrics, records and status show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientFault => "client-fault",
            Self::NotReady => "not-ready",
            Self::Capacity => "capacity",
            Self::ServerFault => "server-fault",
            Self::FatalAccelerator => "fatal-accelerator",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Truncated => "truncated",
            Self::BadAnswer => "bad-answer",
            Self::Poison => "poison",
            Self::Overtaken => "overtaken",
            Self::Shortage => "shortage",
            Self::ContextLength => "context-length",
            Self::ContentPolicy => "content-policy",
            Self::Credentials => "credentials",
        }
    }
}

/// How much of a request had left us when its attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum SentState {
    /// Not a byte: repeating it is always harmless.
    #[default]
    NotSent = 0,
    /// It may have been received and executed.
    MaybeSent = 1,
    /// It was received: an answer began.
    Sent = 2,
}

/// One finished attempt, as breakers and balancers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `Ok`, or why there was no usable answer.
    pub result: Result<(), Class>,
    /// From the start of the attempt to its end (the end of the body, for an answer).
    pub latency: Duration,
}

impl Outcome {
    /// A usable answer after `latency`.
    #[must_use]
    pub const fn success(latency: Duration) -> Self {
        Self { result: Ok(()), latency }
    }

    /// A failure of `class` after `latency`.
    #[must_use]
    pub const fn failure(class: Class, latency: Duration) -> Self {
        Self { result: Err(class), latency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_to_their_class() {
        for class in Class::ALL {
            assert_eq!(Class::from_code(class as u8), Some(class));
        }
        assert_eq!(Class::from_code(0), None);
        assert_eq!(Class::from_code(Class::ALL.len() as u8 + 1), None);
    }

    #[test]
    fn what_the_gateway_lacks_is_nobodys_fault_and_moves_on() {
        assert!(!Class::Shortage.blames_target());
        assert!(Class::Shortage.moves_on());
    }

    #[test]
    fn a_clients_fault_blames_nobody_and_stops() {
        assert!(!Class::ClientFault.blames_target());
        assert!(!Class::ClientFault.moves_on());
    }
}
