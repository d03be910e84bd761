//! What a request may spend: how many tries, how long each may take, how long to pause between.
//!
//! Retries save single requests and can drown a whole pool: when every request fails, three
//! attempts are three times the load on servers that already cannot carry one. So retries are a
//! share of what was asked in the last seconds (the retry budget of Finagle and of the *Site
//! Reliability Engineering* book, chapter 22), pauses grow and are random, and the time of a
//! request is divided so that one hung attempt leaves room for what stands behind it.
//!
//! Over retries and hedges together stands the amplification: requests sent for each request
//! that came, within a window, with a hard cap that no other setting can lift.

mod backoff;
mod division;
mod hedge;
mod pause;
mod ratio;

pub use self::backoff::Backoff;
pub use self::division::{Division, SENSIBLE, attempt_limit};
pub use self::hedge::{HedgeAfter, HedgeBudget, HedgeSettings};
pub use self::pause::{LONGEST_PAUSE, Pause};
pub use self::ratio::{AmplificationSettings, RetryBudget, RetrySettings};
