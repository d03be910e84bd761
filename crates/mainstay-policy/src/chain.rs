//! The fallback chain: which source is asked next, for how long, and why.
//!
//! A [`Plan`] is what the configuration says; a [`Climb`] is one request on its way through it.
//! The gateway asks the climb for the [`Next`] thing to do, does it, and tells the climb how it
//! went. Everything that is decided on the way is decided here, so that a simulation or a drill
//! climbs exactly as production does.
//!
//! What a climb keeps to:
//! - one deadline and one count of attempts for all steps; a hung attempt always leaves the
//!   reserve of the steps behind it;
//! - an attempt that never left us is free: it cost no server anything. All others count, and
//!   each beyond the first also draws on the gateway's retry budget;
//! - when attempts or retries are spent, the local steps (embedded models, default predictions)
//!   can still answer: they cost no server anything either;
//! - where servers are full, another pool with room is asked at once; only then the request
//!   waits, and only then a local step answers in its place;
//! - what may have been executed is repeated only where that is harmless;
//! - an attempt that takes longer than usual may be hedged: a second one runs beside it at another
//!   member, if the request may be repeated and the share of hedges allows it; it counts as an
//!   attempt, and draws on shares of its own;
//! - a step may be for certain causes alone ([`Causes`]); it is passed over after any other
//!   failure;
//! - before a client sees an error, endpoints that health alone had ruled out are tried once
//!   more, after a pause: a wrong probe must not cost an answer. A member that asked to be left
//!   alone is waited for then, if the deadline leaves the time.

mod cause;
pub mod climb;
mod eligible;
mod last_resort;
pub mod plan;
mod returning;
mod supply;

#[cfg(test)]
mod tests;

pub use cause::{Cause, Causes};
pub use climb::{Choice, Climb, Context, MAX_ATTEMPTS, Next, Pin};
pub use eligible::may_be_asked;
pub use last_resort::LastResort;
pub use plan::{Local, Member, Plan, Pool, Step};
pub use supply::supplies;

/// Why a later step of the chain answered than the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The first step answered.
    #[default]
    None = 0,
    /// No endpoint of the earlier pools was available: dead, loading or open breakers.
    NoEndpoint = 1,
    /// Attempts at the earlier steps failed.
    AttemptsFailed = 2,
    /// The earlier answers were not confident enough.
    LowConfidence = 3,
    /// The share of retries was spent.
    RetryBudgetSpent = 4,
    /// The attempts of this request were spent.
    AttemptsSpent = 5,
    /// Too little time was left for another attempt.
    OutOfTime = 6,
    /// The request may have been executed and may not be repeated.
    NotRepeatable = 7,
    /// The earlier step's embedded model is not loaded or failed.
    EmbeddedUnavailable = 8,
    /// The earlier answers broke a guard.
    GuardBroken = 9,
    /// The same request fails wherever it goes while others do not.
    Poison = 10,
    /// Every server that could have answered had as much under way as it can do, and so had the
    /// queue before them.
    AtLimit = 11,
    /// The earlier pool is on its way back and takes no more than its share.
    Returning = 12,
    /// Nobody was left in a pool, and the model is to fail fast.
    FailFast = 13,
    /// Nobody came back to a pool while the request waited.
    WaitedInVain = 14,
    /// The request has no words in the protocol of the earlier pool.
    NotTranslated = 15,
    /// The request is longer than the earlier model's context.
    ContextLength = 16,
    /// The earlier provider refused the request for what it says.
    ContentPolicy = 17,
}

impl Reason {
    /// Every reason, in the order of the codes.
    pub const ALL: [Self; 18] = [
        Self::None,
        Self::NoEndpoint,
        Self::AttemptsFailed,
        Self::LowConfidence,
        Self::RetryBudgetSpent,
        Self::AttemptsSpent,
        Self::OutOfTime,
        Self::NotRepeatable,
        Self::EmbeddedUnavailable,
        Self::GuardBroken,
        Self::Poison,
        Self::AtLimit,
        Self::Returning,
        Self::FailFast,
        Self::WaitedInVain,
        Self::NotTranslated,
        Self::ContextLength,
        Self::ContentPolicy,
    ];

    /// The reason in kebab case, as headers, parameters and records show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoEndpoint => "no-endpoint",
            Self::AttemptsFailed => "attempts-failed",
            Self::LowConfidence => "low-confidence",
            Self::RetryBudgetSpent => "retry-budget-spent",
            Self::AttemptsSpent => "attempts-spent",
            Self::OutOfTime => "out-of-time",
            Self::NotRepeatable => "not-repeatable",
            Self::EmbeddedUnavailable => "embedded-unavailable",
            Self::GuardBroken => "guard-broken",
            Self::Poison => "poison",
            Self::AtLimit => "at-limit",
            Self::Returning => "returning",
            Self::FailFast => "fail-fast",
            Self::WaitedInVain => "waited-in-vain",
            Self::NotTranslated => "not-translated",
            Self::ContextLength => "context-length",
            Self::ContentPolicy => "content-policy",
        }
    }
}

/// Members that were passed over when a target was chosen, as bits by their position in the
/// pool (the first 16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Their verdict takes no traffic.
    pub verdict: u16,
    /// Their breaker refused.
    pub breaker: u16,
    /// Ejected: worse than their peers, and the others carry the load.
    pub ejected: u16,
    /// Full, as far as their limit of requests in flight knows.
    pub limit: u16,
    /// Already tried by this request.
    pub tried: u16,
    /// They asked to be left alone for a while (`Retry-After`).
    pub paused: u16,
}
