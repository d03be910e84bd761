//! Which of the targets that may be asked is asked.
//!
//! The default is *power of two choices* over *peak EWMA*: draw two at random and take the one
//! with the lower expected wait. Drawing two is nearly as good as comparing all and, unlike that,
//! does not send every worker to the same target in the same moment (Mitzenmacher 2001). The
//! expected wait is the latency, which rises to each peak at once and falls slowly, times the
//! requests that are already there (Finagle's `PeakEwma`). A failure is scored as a slow answer by
//! whoever records it, so that a target that fails fast does not look like the fastest.

mod load;
pub mod locality;
mod pick;
pub mod ring;
mod slow_start;

pub use self::load::Load;
pub use self::locality::{Distance, Locality};
pub use self::pick::{Candidate, Picked, Rule, Why, pick};
pub use self::ring::{Key, LoadFactor, Seat};
pub use self::slow_start::SlowStart;
