//! Clock, metrics, decision records and logs.

pub mod clock;
pub mod record;

pub use clock::Clock;
pub use record::{Record, RequestId};
