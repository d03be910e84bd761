//! What the data path decides: breakers, balance, budgets, health and the fallback chain.
//!
//! Pure ring: no runtime, no sockets, no clock, no ambient randomness. Time comes in as a
//! [`Moment`], chance as a [`fastrand::Rng`] that the caller seeded. What is shared between
//! workers is held in atomics, and each step over it is a pure function applied by
//! compare-and-swap, so that production, simulation and drills run the same code.

pub mod balance;
pub mod breaker;
pub mod budget;
pub mod chain;
pub mod discovery;
pub mod failback;
pub mod guard;
pub mod health;
pub mod limit;
pub mod moment;
pub mod outcome;
pub mod outlier;
pub mod poison;
pub mod ratio;
pub mod rehearsal;
pub mod role;
pub mod sequence;
pub mod standing;
pub mod target;
pub mod verdict;
mod window;

pub use guard::Guard;
pub use moment::Moment;
pub use outcome::{Class, Outcome, SentState};
pub use ratio::Ratio;
pub use standing::{Place, Standing};
pub use verdict::Verdict;
