//! The command line: one file for each command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod completions;

/// Keeps predictions flowing when something breaks.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a shell completion script.
    Completions(completions::Args),
}

impl Command {
    /// Runs the command; the code says how it ended.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Completions(args) => Ok(args.run()),
        }
    }
}
