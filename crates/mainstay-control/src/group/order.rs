//! What operators may say of a pool.

use std::sync::Arc;

/// An operator's word. Drain, maintenance and weight hold until they are taken back; a failover
/// holds until a failback.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// The endpoint takes no new requests; its post goes to a spare.
    Drain {
        /// Its name.
        endpoint: Arc<str>,
    },
    /// The endpoint is not touched at all, not even when an error is the alternative.
    Maintenance {
        /// Its name.
        endpoint: Arc<str>,
    },
    /// The end of a drain or of maintenance.
    Undrain {
        /// Its name.
        endpoint: Arc<str>,
    },
    /// The endpoint's weight is multiplied by this factor; 1 is as configured.
    Weight {
        /// Its name.
        endpoint: Arc<str>,
        /// Above 0.
        factor: f32,
    },
    /// Carry out the failover that is proposed; if none is, move a post to a spare.
    Failover {
        /// Who gives its post up; `None` for whoever is proposed, or the least preferred in use.
        from: Option<Arc<str>>,
        /// Who takes it; `None` for the most preferred that is ready.
        to: Option<Arc<str>>,
    },
    /// Give posts back to whom they belong now, without waiting for stability or a window.
    Failback {
        /// Who comes back; `None` for everybody.
        endpoint: Option<Arc<str>>,
    },
}

impl Order {
    /// The verb, as commands and events show it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Drain { .. } => "drain",
            Self::Maintenance { .. } => "maintenance",
            Self::Undrain { .. } => "undrain",
            Self::Weight { .. } => "weight",
            Self::Failover { .. } => "failover",
            Self::Failback { .. } => "failback",
        }
    }

    /// The endpoints that it names.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<str>> {
        let (first, second) = match self {
            Self::Drain { endpoint }
            | Self::Maintenance { endpoint }
            | Self::Undrain { endpoint }
            | Self::Weight { endpoint, .. } => (Some(endpoint), None),
            Self::Failover { from, to } => (from.as_ref(), to.as_ref()),
            Self::Failback { endpoint } => (endpoint.as_ref(), None),
        };
        first.into_iter().chain(second)
    }
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No endpoint of the pool has this name.
    #[error("the pool has no endpoint {0:?}")]
    Unknown(Arc<str>),
    /// It makes no sense as things stand.
    #[error("{0}")]
    Pointless(String),
}
