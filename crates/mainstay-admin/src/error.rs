//! Why the listener could not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::code::Code;

/// Why the listener could not start; each with its [`Code`] and its remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token file cannot be read or written.
    #[error(
        "{}: the operators' token cannot be kept in {}; set admin.token-file or state-dir to a \
         place that the gateway may write to",
        Code::TokenFile,
        .path.display()
    )]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The token file can be read by others than its owner.
    #[error(
        "{}: {} has mode {mode:03o}, so others than its owner can use the token; run: chmod 600 {}",
        Code::TokenExposed,
        .path.display(),
        .path.display()
    )]
    TokenExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The token file holds no token.
    #[error(
        "{}: {} holds no token (32 to 512 printable characters on one line); remove it, and a new \
         one is made at the next start",
        Code::TokenMalformed,
        .path.display()
    )]
    TokenMalformed {
        /// The file.
        path: PathBuf,
    },
    /// The audit trail cannot be opened.
    #[error(
        "{}: the audit trail cannot be kept in {}; set state-dir to a place that the gateway may \
         write to",
        Code::AuditFile,
        .path.display()
    )]
    Audit {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("{}: the system gave no random bytes for the operators' token", Code::TokenFile)]
    Random(#[source] getrandom::Error),
    /// The listener's address cannot be had.
    #[error(
        "{}: cannot listen on {address} for administration; set admin.address to a free one",
        Code::Listen
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TokenFile { .. } | Self::Random(_) => Code::TokenFile,
            Self::TokenExposed { .. } => Code::TokenExposed,
            Self::TokenMalformed { .. } => Code::TokenMalformed,
            Self::Listen { .. } => Code::Listen,
            Self::Audit { .. } => Code::AuditFile,
        }
    }
}
