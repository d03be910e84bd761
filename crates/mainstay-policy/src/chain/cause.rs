//! Why a chain goes on to its next step, and which steps are for which causes.
//!
//! A step without causes takes every failure that moves on. One that names causes is asked for
//! these alone: a model with a larger context for requests that were too long, a provider of
//! last resort for rate limits. Requests that are too long, or that a provider refuses for what
//! they say, move on to steps that name this and to no others, since any other source would say
//! the same.

use crate::outcome::Class;

/// What made the last source fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cause {
    /// It failed, could not be reached, or nobody was there to ask.
    #[default]
    ServerError = 0,
    /// It did not answer in time.
    Timeout = 1,
    /// It was full, or allows no more for now.
    RateLimit = 2,
    /// The request is longer than its context.
    ContextLength = 3,
    /// It refuses the request for what it says.
    ContentPolicy = 4,
}

impl Cause {
    /// Every cause with its name in a configuration.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::ServerError, "server-error"),
        (Self::Timeout, "timeout"),
        (Self::RateLimit, "rate-limit"),
        (Self::ContextLength, "context-length"),
        (Self::ContentPolicy, "content-policy"),
    ];

    /// The cause that a failure is.
    #[must_use]
    pub const fn of(class: Class) -> Self {
        match class {
            Class::ContextLength => Self::ContextLength,
            Class::ContentPolicy => Self::ContentPolicy,
            Class::Capacity => Self::RateLimit,
            Class::Timeout => Self::Timeout,
            Class::ClientFault
            | Class::NotReady
            | Class::ServerFault
            | Class::FatalAccelerator
            | Class::Unreachable
            | Class::Truncated
            | Class::BadAnswer
            | Class::Poison
            | Class::Overtaken
            | Class::Shortage
            | Class::Credentials => Self::ServerError,
        }
    }

    /// Whether only steps that name it are for it.
    const fn must_be_named(self) -> bool {
        matches!(self, Self::ContextLength | Self::ContentPolicy)
    }
}

/// The causes that a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Causes(u8);

impl Default for Causes {
    /// Everything that moves on.
    fn default() -> Self {
        let all = Cause::NAMES.iter().filter(|(cause, _)| !cause.must_be_named());
        all.fold(Self::none(), |causes, (cause, _)| causes.and(*cause))
    }
}

impl Causes {
    /// No cause; one is added with [`and`](Self::and).
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// These and one more.
    #[must_use]
    pub const fn and(self, cause: Cause) -> Self {
        Self(self.0 | 1 << cause as u8)
    }

    /// Whether a step for these is asked after a failure of this cause.
    #[must_use]
    pub const fn hold(self, cause: Cause) -> bool {
        self.0 >> cause as u8 & 1 == 1
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_name_nothing_take_what_moves_on() {
        for class in Class::ALL {
            let stops = matches!(class, Class::ClientFault | Class::Poison);
            let taken = Causes::default().hold(Cause::of(class));
            assert_eq!(taken || stops, class.moves_on() || stops, "{class:?}");
        }
    }

    #[test]
    fn steps_take_what_they_name() {
        let causes = Causes::none().and(Cause::ContextLength).and(Cause::Timeout);
        assert!(causes.hold(Cause::ContextLength) && causes.hold(Cause::Timeout));
        assert!(!causes.hold(Cause::ServerError) && !causes.is_empty());
    }
}
