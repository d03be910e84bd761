//! Checks that the repository runs on itself: `cargo xtask check`.
//!
//! What a compiler or clippy can see is left to them. These are the rules that only the tree as a
//! whole can break: the direction of dependencies, a page for every error code, headers, links.
//! Each check is also a test of this crate, so that `cargo nextest run` finds the same faults.

use std::process::ExitCode;

mod check;
mod source;

const USAGE: &str = "usage: cargo xtask check     run every check, with a report of long files";

fn main() -> anyhow::Result<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some("check") => check::run(&source::root()),
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}
