//! TLS with endpoints: what handshakes found, for everybody who asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_tls::{Client, Failure};

/// TLS with one endpoint.
#[derive(Debug)]
pub(crate) struct Outward {
    pub(crate) client: Arc<Client>,
    /// Whether the last handshake failed for what was shown or could not be agreed to.
    refused: AtomicBool,
    /// What the last handshakes showed; `None` before the first one.
    shown: Mutex<Option<Result<(), Failure>>>,
}

impl Outward {
    pub(crate) const fn new(client: Arc<Client>) -> Self {
        Self { client, refused: AtomicBool::new(false), shown: Mutex::new(None) }
    }

    /// Notes how a handshake went. That a connection ended on the way says nothing of TLS.
    pub(crate) fn note(&self, failure: Option<&Failure>) {
        if matches!(failure, Some(Failure::Ended(_))) {
            return;
        }
        let was = self.refused.swap(failure.is_some(), Ordering::Relaxed);
        if was || failure.is_some() {
            let shown = failure.map_or(Ok(()), |failure| Err(failure.clone()));
            *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        }
    }
}
