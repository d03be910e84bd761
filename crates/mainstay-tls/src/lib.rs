//! TLS on both sides, by rustls: what is trusted, what is shown to the peer, and what becomes of
//! both when their files change.
//!
//! Everything here names its provider of cryptography ([`provider`]), so that the program has
//! one, whatever its dependencies would take by default: ring, which a C compiler alone builds.
//! Versions and cipher suites are rustls's own: TLS 1.2 and 1.3, nothing that is known to be
//! weak.

pub mod client;
mod error;
mod files;
pub mod server;
mod stream;
pub mod watch;

use std::sync::{Arc, LazyLock};

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

pub use client::{Client, Settings};
pub use error::{Error, Failure, is_refusal};
pub use server::{Listening, Server};
pub use stream::{Stream, Unopened};
pub use tokio_rustls::{client::TlsStream as ClientStream, server::TlsStream as ServerStream};

/// HTTP/1.1 in the negotiation of protocols (RFC 7301).
pub const HTTP1: &[u8] = b"http/1.1";
/// HTTP/2 there.
pub const HTTP2: &[u8] = b"h2";

/// The one provider of cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(ring::default_provider()));
    Arc::clone(&PROVIDER)
}
