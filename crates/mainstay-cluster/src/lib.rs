//! What a gateway does beyond its own process: the servers that it starts, watches and stops.

mod error;
pub mod process;

pub use error::Error;
