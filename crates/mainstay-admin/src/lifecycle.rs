//! What the listener asks of the process: another configuration, another binary.
//!
//! Unlike the calls of a [`Source`](crate::Source) these take their time: files are read, models
//! loaded, a process started. They go on when the one who asked has gone away.

use std::pin::Pin;

use serde_json::Value;

/// An answer that takes its time.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A process whose configuration and binary change while it runs.
pub trait Lifecycle: Send + Sync {
    /// What the configuration says that is in effect, as hashes by name: enough to compare another
    /// one with, and nothing to read secrets from.
    fn configuration(&self) -> Later<Value>;

    /// Reads the configuration's file again and puts it into effect; answers with the difference.
    fn reload(&self) -> Later<Result<Value, Refused>>;

    /// Starts the program's file anew, hands it the listening sockets, and drains when it is
    /// ready; answers with the new process.
    fn upgrade(&self) -> Later<Result<Value, Refused>>;
}

/// Why everything goes on as before.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// In one line.
    pub why: String,
    /// Every fault of the configuration, as `mainstay check --json` lists them.
    pub faults: Vec<Value>,
}

impl Refused {
    /// For a reason that is no fault of the configuration's text.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), faults: Vec::new() }
    }
}
