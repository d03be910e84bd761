//! What can go wrong with supervised processes and their guardian.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why something about processes could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guardian's socket cannot be had.
    #[error("the guardian's socket {path} cannot be used")]
    Socket {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another guardian serves the same state directory.
    #[error("another guardian holds {path}")]
    Held {
        /// The lock.
        path: PathBuf,
    },
    /// The guardian could not be started.
    #[error("the guardian cannot be started")]
    Launch(#[source] io::Error),
    /// The guardian said nothing in time.
    #[error("the guardian did not answer within {0:?}")]
    Late(Duration),
    /// The connection to the guardian broke.
    #[error("the connection to the guardian broke")]
    Broken(#[source] io::Error),
    /// The guardian said something else than was asked.
    #[error("the guardian refused: {0}")]
    Refused(String),
    /// No such endpoint has a process.
    #[error("{pool}/{endpoint} has no process")]
    Unknown {
        /// The pool.
        pool: String,
        /// The endpoint.
        endpoint: String,
    },
    /// Too many orders wait, or the supervisor has ended.
    #[error("the supervisor takes no orders now")]
    Busy,
}
