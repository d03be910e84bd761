//! The administrative listener: status, metrics, records and operator verbs.
//!
//! It knows no gateway: what it shows and what it may change comes through [`Source`], which the
//! gateway implements, so that a test (or another program) can stand in for one.
//!
//! Reading is open to whoever reaches the listener, which by default stands on loopback; every
//! verb needs the operators' token, since loopback is no proof of identity: any page in a
//! browser on the same machine can post to it.
//!
//! ```text
//! GET  /livez /readyz /healthz/deep      200 or 503, with the reasons
//! GET  /metrics                          OpenMetrics
//! GET  /api/status                       status.rs
//! GET  /api/events?since=SEQ&limit=N     changes of state, the oldest first
//! GET  /api/requests?kept=BOOL&limit=N   decision records, the latest first
//! GET  /api/requests/{id}                one of them
//! POST /api/breakers                     force a breaker, or give it back to itself
//! GET  /api/configuration                hashes of what is in effect, to compare with
//! POST /api/reload                       read the configuration's file again
//! POST /api/upgrade                      hand over to the program's new file
//! GET  /v1/orders                        operators' orders that hold
//! POST /v1/orders                        drain, maintenance, weight, failover and the way back
//! GET  /v1/forecast?zone=Z               what would come of a zone's death, or another's
//! PUT  /v1/heartbeats/{pool}/{endpoint}  an endpoint says that it lives, and how it is
//! ```

mod api;
mod audit;
pub mod code;
mod error;
mod gauges;
mod guard;
mod instruction;
pub mod lifecycle;
mod refusal;
mod server;
pub mod source;
pub mod status;
pub mod token;

pub use api::{LONGEST_LIFETIME, LONGEST_ORDER, LONGEST_OVERRIDE};
pub use code::Code;
pub use error::Error;
pub use instruction::{Act, Carried, Instruction, Met, OrderError, OrderStatus};
pub use lifecycle::{Later, Lifecycle, Refused};
pub use server::Admin;
pub use source::{
    Beat, BreakerOverride, Force, OverrideError, Readiness, Registration, Renewal, Source,
};
pub use status::{CallerStatus, CertificateStatus, Status};
pub use token::Token;
