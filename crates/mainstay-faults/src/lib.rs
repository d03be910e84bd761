//! A server of the Open Inference Protocol V2, and of the OpenAI API, over HTTP/1.1 that misbehaves
//! on purpose.
//!
//! It listens on a real socket and writes its answers byte by byte, since a proper HTTP library
//! would refuse most of what it has to do. What it does is a [`Script`]: rules by path, model,
//! request number, share and time, so that a run can be repeated; and the script can be changed
//! while it serves. It keeps a journal of every request, with what was executed and what was
//! answered, from which duplicates and amplification are counted.
//!
//! Tests start it in their own process:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let server = mainstay_faults::Server::start("{rules: [{behave: 500, path: infer}]}".parse()?).await?;
//! println!("http://{}", server.address());
//! server.play("{}".parse()?); // repaired
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! The program of the same name serves one in a process of its own, which can be stopped by
//! SIGSTOP and killed by SIGKILL; [`program`] finds it.

mod answer;
mod behaviour;
mod control;
mod journal;
mod language;
mod misbehave;
mod script;
mod server;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use behaviour::Behaviour;
pub use control::Control;
pub use journal::{Counts, Entry, Journal};
pub use script::{Capacity, Latency, Paths, Rule, Script};
pub use server::Server;
pub use wire::Kind;

/// What can be wrong before anything is served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The script is not one.
    #[error("the script cannot be read: {0}")]
    Script(String),
    /// A listener or the journal's file.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The program `mainstay-faults`, built where it is missing.
///
/// It lies beside the other programs of the same target folder. Cargo builds the programs of the
/// packages that are tested, and a test of another package may be all that was asked for.
///
/// # Errors
/// There is no target folder around the running program, or cargo cannot build.
pub fn program() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    // target/debug/deps/test-0123 or target/debug/program
    let folder =
        own.parent().map(|path| if path.ends_with("deps") { path.parent() } else { Some(path) });
    let folder = folder.flatten().ok_or_else(|| io::Error::other("no target folder"))?;
    let program = folder.join("mainstay-faults");
    if !program.exists() {
        build(folder)?;
    }
    Ok(program)
}

fn build(folder: &Path) -> io::Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "mainstay-faults"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let done = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
    if done.success() {
        Ok(())
    } else {
        Err(io::Error::other("cargo cannot build mainstay-faults"))
    }
}
