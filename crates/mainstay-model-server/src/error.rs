//! What keeps the server from starting or going on.

use std::io;
use std::net::SocketAddr;

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Two models of one name.
    #[error("the model {0:?} is given twice")]
    Duplicate(String),
    /// No model at all.
    #[error("a model server needs at least one model")]
    NoModels,
}
