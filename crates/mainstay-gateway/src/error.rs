//! Why a gateway does not start, or does not change.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a gateway does not start, or does not change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client listener's address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address from the configuration.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An embedded model does not load: one that a reload brings, or any where `strict-start` is
    /// on.
    #[error("the embedded model {path} does not load")]
    EmbeddedModel {
        /// The model's file.
        path: PathBuf,
        /// What is wrong with it; names the operator that is missing.
        #[source]
        source: mainstay_onnx::Error,
    },
    /// Every step of a model's chain is an embedded model that does not load.
    #[error("no step of the model {model:?} can answer: none of its embedded models loads")]
    EmptyChain {
        /// The model's name.
        model: String,
    },
    /// What cannot change while the gateway runs.
    #[error("cannot change while running: {}; restart, or run `mainstay upgrade`", .keys.join(", "))]
    Fixed {
        /// The keys of the configuration.
        keys: Vec<String>,
    },
    /// The overlay names a pool that the configuration does not have.
    #[error("there is no pool {pool:?}")]
    NoPool {
        /// The name.
        pool: String,
    },
    /// A thread or runtime could not be started.
    #[error("cannot start a worker")]
    Worker(#[source] std::io::Error),
    /// The admin listener does not start.
    #[error("the admin listener does not start")]
    Admin(#[source] mainstay_admin::Error),
}

/// An error with its causes, in one line.
pub(crate) fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
