//! The data path: listeners, connections, and the way of a request.
//!
//! One thread with a current-thread runtime for each worker, each with connections of its own
//! to every endpoint; accepted sockets are handed to the least loaded worker. What workers share
//! (targets, retries, metrics) is held in atomics. Housekeeping (probes, models to reload, the
//! admin listener) lives on a runtime of its own, so that it never delays a request.
//!
//! ```text
//! acceptor ──socket──▶ worker ──▶ client/     one connection, HTTP/1.1 or HTTP/2
//!                                 request/    recognise ▸ admit ▸ climb ▸ commit ▸ mark
//!                                 upstream/   connections, one exchange
//!                                 flight      the record of it all, finished at the end
//! ```

mod accept;
mod aftermath;
mod build;
mod callers;
mod client;
mod discovered;
mod embedded;
mod error;
mod flight;
mod gate;
mod gateway;
mod groups;
mod handover;
mod idempotency;
mod last_good;
mod lifecycle;
mod locality;
mod memory;
mod observe;
mod orders;
mod outliers;
mod overload;
mod poison;
mod processes;
mod reconfigure;
mod rehearsal;
mod request;
mod service;
mod shared;
mod shortage;
mod slots;
mod snapshot;
mod source;
mod tcp;
mod timeouts;
mod tls;
mod trial;
mod upstream;
mod worker;

pub use error::Error;
pub use gateway::{Gateway, Origin, Running};
pub use handover::Inherited;
pub use lifecycle::Lifecycle;
pub use reconfigure::Reconfigure;
