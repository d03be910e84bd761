//! What is known of the targets, and the verdicts that follow.
//!
//! Probes, heartbeats and scraped counters are noted as they come; what requests show stands in
//! the targets. A loop looks at it all ten times a second and has the policy judge; it alone
//! writes verdicts, tells of each change with its cause, and keeps the evidence for the status.

mod board;
mod peers;
mod witness;

pub(crate) use board::Board;
pub(crate) use witness::{Prober, golden_of};
