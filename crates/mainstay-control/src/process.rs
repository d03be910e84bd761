//! Supervised processes: when one is started, given up for a while, stopped, and how many there
//! should be.
//!
//! [`supervise`] holds one process to what is wanted of it, [`stop`] ends one within its grace,
//! [`replicas`] says how many a load needs, [`rolling`] whose turn it is when they are replaced,
//! [`exit`] names how a process ended.

pub mod exit;
pub mod replicas;
pub mod rolling;
pub mod stop;
pub mod supervise;

pub use exit::{Cause, Exit};
pub use replicas::Replicas;
pub use stop::Stop;
pub use supervise::{Change, Command, Event, Process, Restart, State, Step};
