//! What can be wrong with files of certificates, and with a handshake.

use std::io;
use std::path::PathBuf;

use tokio_rustls::rustls;

/// Why TLS cannot be set up. Messages name files and never what is in them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, or holds no PEM of the kind.
    #[error("{} holds no usable {what}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("certificate and key cannot be used")]
    Pair(#[source] rustls::Error),
    /// The certificates of authorities cannot be used.
    #[error("{} cannot be trusted: {reason}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No certificate can have this name.
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    /// The system has no certificates of authorities.
    #[error("this system has no certificates of authorities; name a file with `ca`")]
    NoRoots,
}

/// Why a handshake did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The peer's certificate is not one to trust; says what is wrong with it.
    #[error("its certificate is refused: {0}")]
    Certificate(String),
    /// Both sides could not agree, or one broke the protocol.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    /// The connection ended.
    #[error("the connection ended during the TLS handshake: {0}")]
    Ended(String),
    /// Our own settings cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// Whether a server says by this that it does not take our certificate, or wants one.
#[must_use]
pub fn is_refusal(error: &io::Error) -> bool {
    use rustls::AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, UnknownCA, UnsupportedCertificate,
    };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = inner else { return false };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate
    )
}

impl Failure {
    /// What an error of a handshake means.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(why)) => Self::Certificate(why.to_string()),
            Some(other) => Self::Handshake(other.to_string()),
            None => Self::Ended(error.to_string()),
        }
    }
}
