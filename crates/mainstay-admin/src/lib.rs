//! The administrative listener: status, metrics, records and operator verbs.
//!
//! It knows no gateway: what it shows and what it may change comes through [`Source`], which the
//! gateway implements, so that a test (or another program) can stand in for one.

pub mod source;
pub mod status;

pub use source::{BreakerOverride, Force, OverrideError, Readiness, Source};
pub use status::Status;
