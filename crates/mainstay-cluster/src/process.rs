//! Supervised processes: started, watched and stopped, by a guardian that outlives the gateway.
//!
//! ```text
//! gateway ── supervisor ── Unix socket (0600) ── guardian ── exec wrapper → server
//!            decides when    length-prefixed      parent of     sets limits, session, and
//!            (pure, control)  JSON, deadlines      all servers   the signal of its parent's death
//! ```
//!
//! Two processes, because two things must hold at once: a gateway that dies must not take its
//! servers along, and how a server died can only be learnt by its parent. The guardian is that
//! parent and nothing else: it starts what it is told, remembers how each ended, and stops what
//! it is told. All that is decided (when to start again, when to give up) is decided in the
//! gateway, by [`mainstay_control::process`]; a gateway that comes back finds everything as it is.
//!
//! When the guardian dies the kernel kills its servers (`PR_SET_PDEATHSIG`), and the next guardian
//! kills what they left, by a mark in their environment, before it starts anything: nothing is
//! ever started twice on one port.

mod client;
pub mod guardian;
mod supervisor;
pub mod wire;

pub use supervisor::{Command, Handle, Options, Status, Subject, Supervisor, Verdicts};
