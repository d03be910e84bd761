//! The command line: one file for each command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod completions;
mod demo;
mod model_server;
mod serve;
mod tethered;

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
    /// Watch predictions go on while their servers are killed, frozen and restarted.
    Demo(demo::Args),
    /// Serve ONNX models by the Open Inference Protocol, without a gateway.
    ModelServer(model_server::Args),
    /// Serve predictions through a gateway.
    Serve(serve::Args),
    /// Print a shell completion script.
    Completions(completions::Args),
    /// Run a command that ends with its parent.
    #[command(hide = true)]
    Tethered(tethered::Args),
}

impl Command {
    /// Runs the command; the code says how it ended.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(args) => args.run(),
            Self::ModelServer(args) => args.run(),
            Self::Serve(args) => args.run(),
            Self::Completions(args) => Ok(args.run()),
            Self::Tethered(args) => args.run(),
        }
    }
}
