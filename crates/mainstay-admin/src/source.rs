//! What the listener asks of the gateway.

use std::sync::Arc;
use std::time::Duration;

use mainstay_control::forecast::Forecast;
use mainstay_control::orders::Scope;
use mainstay_policy::health::heartbeat;
use mainstay_telemetry::Telemetry;
use serde::{Deserialize, Serialize};

use crate::instruction::{Carried, Instruction, OrderError, OrderStatus};
use crate::lifecycle::Lifecycle;
use crate::status::Status;

/// A gateway, as its operators see it. All calls answer at once, from what is known already.
pub trait Source: Send + Sync {
    /// Everything that is known of pools and models.
    fn status(&self) -> Status;

    /// Whether the process does its work: none of its workers is stuck. If not, restart it.
    fn live(&self) -> bool;

    /// Whether clients should be sent here: it serves, and does not drain.
    fn readiness(&self) -> Readiness;

    /// Whether everything that it depends on is healthy too.
    fn deep(&self) -> Readiness;

    /// Forces breakers, or gives them back to themselves. Returns how many targets it met.
    ///
    /// # Errors
    /// Nothing has that name.
    fn force_breaker(&self, request: &BreakerOverride) -> Result<usize, OverrideError>;

    /// Carries an operator's order out, or says what would come of it. It is kept before it is
    /// answered, so this may wait for a disk.
    ///
    /// # Errors
    /// Nothing has that name, too little would be left, or it could not be kept.
    fn order(&self, instruction: &Instruction) -> Result<Carried, OrderError>;

    /// The orders that hold, the oldest first.
    fn orders(&self) -> Vec<OrderStatus>;

    /// What would come of the sudden death of everybody in `scope`.
    ///
    /// # Errors
    /// Nothing has that name.
    fn forecast(&self, scope: &Scope) -> Result<Forecast, OrderError>;

    /// An endpoint says that it lives, and how it is.
    ///
    /// # Errors
    /// Nothing has that name.
    /// Where the pool takes endpoints that register themselves, one that it does not know is
    /// registered by the beat.
    fn heartbeat(&self, beat: &Beat) -> Result<Renewal, OverrideError>;

    /// An endpoint that registered itself says that it goes: it gets no new requests from now on.
    ///
    /// # Errors
    /// Nothing has that name, or it did not register itself.
    fn leave(&self, pool: &str, endpoint: &str) -> Result<(), OverrideError>;

    /// The accounts: metrics, records, events.
    fn telemetry(&self) -> &Arc<Telemetry>;

    /// The process, where its configuration and its binary can change while it runs.
    fn lifecycle(&self) -> Option<Arc<dyn Lifecycle>> {
        None
    }
}

/// A verdict on the gateway itself, with what speaks against it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether nothing speaks against it.
    pub ready: bool,
    /// One line for each thing that does, or that is worth knowing.
    pub reasons: Vec<String>,
}

/// What a breaker is forced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Force {
    /// No request passes.
    Open,
    /// Every request passes.
    Closed,
    /// The breaker decides again.
    None,
}

impl Force {
    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::None => "none",
        }
    }
}

/// An operator's word on the breakers of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerOverride {
    /// The pool's name.
    pub pool: String,
    /// The endpoint's name.
    pub endpoint: String,
    /// The model upstream; `None` means all of the endpoint's.
    pub model: Option<String>,
    /// What the breakers are forced to.
    pub force: Force,
    /// Why; kept and shown for as long as it lasts.
    pub reason: String,
    /// How long it lasts, at most a day; zero for [`Force::None`].
    pub lasts: Duration,
}

/// What an endpoint says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// The pool's name.
    pub pool: String,
    /// The endpoint's name.
    pub endpoint: String,
    /// How it is.
    pub state: heartbeat::State,
    /// How busy it is: 0 idle, 1 full.
    pub load: Option<f32>,
    /// How long its word holds; `None` leaves that to the pool.
    pub lifetime: Option<Duration>,
    /// Who it is, where it registers itself.
    pub registration: Registration,
}

/// What an endpoint that registers itself says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registration {
    /// `http://ADDRESS:PORT`; needed for the first beat.
    pub url: Option<String>,
    /// Its share relative to the others.
    pub weight: Option<f32>,
    /// The region that it runs in.
    pub region: Option<String>,
    /// The zone of that region.
    pub zone: Option<String>,
}

/// When an endpoint must speak again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Best after this time.
    pub renew: Duration,
    /// At the latest after this one.
    pub lifetime: Duration,
}

/// Why a word met no target. Each names what there is instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// No pool has that name.
    #[error("there is no such pool; the pools are: {}", .known.join(", "))]
    Pool {
        /// The pools' names.
        known: Vec<String>,
    },
    /// The pool has no such endpoint.
    #[error("the pool has no such endpoint; its endpoints are: {}", .known.join(", "))]
    Endpoint {
        /// The endpoints' names.
        known: Vec<String>,
    },
    /// The endpoint is not known, and may not register itself.
    #[error("the endpoint cannot register itself: {0}")]
    Unregistered(String),
    /// The endpoint does not serve that model.
    #[error("the endpoint has no such model; its models are: {}", .known.join(", "))]
    Model {
        /// The models' names.
        known: Vec<String>,
    },
}

impl Readiness {
    /// Nothing speaks against it.
    #[must_use]
    pub const fn yes() -> Self {
        Self { ready: true, reasons: Vec::new() }
    }

    /// This speaks against it.
    #[must_use]
    pub const fn no(reasons: Vec<String>) -> Self {
        Self { ready: false, reasons }
    }
}
