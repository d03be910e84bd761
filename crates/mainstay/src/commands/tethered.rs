//! `mainstay tethered --to PID -- COMMAND…`: runs a command that ends with the process that
//! started it, whatever ends that one.
//!
//! The demo starts its servers so. Cleaning up at its own end is not enough: a demo that is
//! killed cannot clean up, and its servers would hold their ports and memory for ever. The kernel
//! can (`PR_SET_PDEATHSIG`, prctl(2)), if the child itself asks for it.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::Cli;

/// Arguments of `mainstay tethered`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mainstay tethered --to $$ -- serve --config mainstay.yaml")]
pub(crate) struct Args {
    /// The process to end with; it must be the parent.
    #[arg(long, value_name = "PID")]
    to: i32,
    /// The command with its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Args {
    /// Ties this process to its parent and becomes the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        set_parent_process_death_signal(Some(Signal::KILL)).context("cannot be tied")?;
        // The parent may have ended before the kernel was asked.
        let parent = getppid().map(|parent| parent.as_raw_nonzero().get());
        anyhow::ensure!(parent == Some(self.to), "process {} is not the parent", self.to);
        let arguments = std::iter::once("mainstay".to_owned()).chain(self.command);
        Cli::parse_from(arguments).command.run()
    }
}
