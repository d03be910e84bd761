//! Layer 4: connections of any protocol, passed on to an endpoint of a pool.
//!
//! A connection is balanced when it is accepted, by the same policy that balances requests: it
//! climbs the pools behind its listener ([`mainstay_policy::chain`]), and an endpoint that refuses
//! or does not answer costs it an attempt and nothing else. From then on bytes are passed on in
//! both directions, each side's end as what it was: an end as an end, a reset as a reset.
//!
//! ```text
//! acceptor ──socket──▶ worker ──▶ session   one connection from its first byte to its end
//!                                 origin    whose it is, by the PROXY protocol
//!                                 seek      which endpoint, attempt by attempt
//!                                 visit     what the connection is at its target: load, outcome
//!                                 relay     bytes both ways, spliced where they are many
//! control runtime                 writers   who alone may be written to, pool by pool
//! ```
//!
//! What can still happen to an open connection is for the worker's sweep to say (`sessions`): it
//! idles for too long, its endpoint is drained, lost, or not the one in use any more.

/// Stands for the model in the state of an endpoint that serves none.
pub(crate) const MODEL: &str = "tcp";

mod listener;
mod origin;
mod pipe;
mod relay;
mod seek;
mod session;
mod sessions;
mod visit;
mod writers;

pub(crate) use listener::{Behind, Listener};
pub(crate) use session::serve;
pub(crate) use sessions::Sessions;
pub(crate) use writers::{Claims, Writers};
