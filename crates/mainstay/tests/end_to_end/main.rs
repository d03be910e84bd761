//! The real program, end to end: real processes that are killed and frozen, and peers that
//! misbehave byte by byte. Each file is a theme and reads as a list of drills.
//!
//! One test binary rather than one for each theme: it links once, and every helper is used.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

mod admin;
mod attacks;
mod balance;
mod chain;
mod client_faults;
mod demo;
mod discovery;
mod drain;
mod freeze;
mod golden;
mod groups;
mod guards;
mod hedging;
mod idempotency;
mod keys;
mod kill;
mod language;
mod last_good;
mod locality;
mod network_faults;
mod orders;
mod outliers;
mod overload;
mod passthrough;
mod plain_http;
mod poison;
mod processes;
mod protocol;
mod redundancy;
mod rehearsal;
mod reload;
mod replacement;
mod service_manager;
mod start;
mod streams;
mod tcp;
mod tls;
mod unprivileged;
mod upgrade;
mod v1;
mod verdicts;
