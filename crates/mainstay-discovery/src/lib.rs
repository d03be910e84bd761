//! Endpoints that come and go: DNS names, watched files, servers that register themselves.
//!
//! What is decided stands in `mainstay_policy::discovery`; here sources are asked, within
//! deadlines, and what was last known is kept in a file, so that a gateway that starts while DNS
//! is down knows its servers.
//!
//! ```text
//! resolver ─ names ─┐
//! file ─────────────┼─▶ Source (policy decides) ─▶ one list for the pool ─▶ Pools::set
//! heartbeats ───────┘            ▲                        │
//!                     who still answers             state file
//! ```
//!
//! Each source that is asked has a task of its own, so that a resolver that hangs delays nobody
//! else; one more task lets go and removes whom policy tells it to.

mod discovery;
mod file;
mod names;
mod pool;
mod resolver;
mod source;
mod state;
mod system;

pub use discovery::{Discovery, Options};
pub use pool::{Pools, SourceReport};
pub use source::{Beat, Unregistered};
