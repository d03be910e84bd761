//! What can go wrong while the accounts are set up; nothing can later.

use std::io;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is neither `error`, `warn`, `info`, `debug`, `trace` or `off` nor a list of
    /// `target=level`.
    #[error("\"{directives}\" is no log level")]
    Level {
        /// What was given.
        directives: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The thread that writes the lines could not be started.
    #[error("the log's thread did not start")]
    Thread(#[source] io::Error),
    /// The program's log is set up already.
    #[error("the log is set up already")]
    Twice,
}
