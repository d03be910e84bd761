//! What a request may spend: how many tries, how long each may take, how long to pause between.
//!
//! Retries save single requests and can drown a whole pool: when every request fails, three
//! attempts are three times the load on servers that already cannot carry one. So retries are a
//! share of what was asked in the last seconds (the retry budget of Finagle and of the *Site
//! Reliability Engineering* book, chapter 22), pauses grow and are random, and the time of a
//! request is divided so that one hung attempt leaves room for what stands behind it.

mod backoff;
mod division;
mod ratio;

pub use self::backoff::Backoff;
pub use self::division::{Division, SENSIBLE, attempt_limit};
pub use self::ratio::{RetryBudget, RetrySettings};
