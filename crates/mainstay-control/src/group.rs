//! A group: the endpoints of one pool and the rule that says how many of them are in use.
//!
//! Every redundancy scheme is one rule. `active: all` is active-active, `active: 1` is
//! active-passive, `active: N` of more is N+M; `standby` says what it takes to use a spare.

mod order;
mod rule;
mod window;

pub use order::{Order, Refusal};
pub use rule::{Active, Damping, Distance, Failback, Mode, Range, Rule, Standby};
pub use window::{BadWindow, Wall, Window};
