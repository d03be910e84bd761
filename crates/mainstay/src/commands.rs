//! The command line: one file for each command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod breaker;
mod check;
mod completions;
mod demo;
mod exchange;
mod golden;
mod guardian;
mod init;
mod look;
mod model_server;
mod orders;
mod reload;
mod schema;
mod serve;
mod status;
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
    /// Say everything that is wrong with a configuration, at once.
    Check(check::Args),
    /// Ask model servers what they have and write a first configuration.
    Init(init::Args),
    /// Record a request with its right answer, to be asked as a probe.
    Golden(golden::Args),
    /// Serve ONNX models by the Open Inference Protocol, without a gateway.
    ModelServer(model_server::Args),
    /// Serve predictions through a gateway.
    Serve(serve::Args),
    /// Show how a running gateway stands: models, servers, breakers.
    Status(status::Args),
    /// Force the breakers of an endpoint open or closed for a time, or let them decide again.
    Breaker(breaker::Args),
    /// Take an endpoint, a zone or a region out of traffic; what is in flight is finished.
    Drain(orders::Drain),
    /// Put back what was drained.
    Undrain(orders::Undrain),
    /// Keep an endpoint from ever being asked while it is worked on.
    Maintenance(orders::Maintenance),
    /// Give an endpoint more or less of the traffic.
    Weight(orders::Weight),
    /// Put a standby of a pool into use, by hand.
    Failover(orders::Failover),
    /// Give a pool's traffic back to whom it belongs.
    Failback(orders::Failback),
    /// Say what would happen if a zone, a region or an endpoint died now.
    Forecast(orders::WhatIf),
    /// Have a running gateway read its configuration again.
    Reload(reload::Args),
    /// Have a running gateway hand over to its program's new file, without a lost request.
    Upgrade(reload::UpgradeArgs),
    /// Print the JSON Schema of the configuration, or an example with every option.
    Schema(schema::Args),
    /// Print a shell completion script.
    Completions(completions::Args),
    /// Be the parent of supervised processes.
    #[command(hide = true)]
    Guardian(guardian::Args),
    /// Run a command that ends with its parent.
    #[command(hide = true)]
    Tethered(tethered::Args),
}

impl Command {
    /// Runs the command; the code says how it ended.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(args) => args.run(),
            Self::Demo(args) => args.run(),
            Self::Golden(args) => args.run(),
            Self::Guardian(args) => args.run(),
            Self::Init(args) => args.run(),
            Self::ModelServer(args) => args.run(),
            Self::Serve(args) => args.run(),
            Self::Reload(args) => args.run(),
            Self::Upgrade(args) => args.run(),
            Self::Status(args) => args.run(),
            Self::Breaker(args) => args.run(),
            Self::Drain(args) => args.run(),
            Self::Undrain(args) => args.run(),
            Self::Maintenance(args) => args.run(),
            Self::Weight(args) => args.run(),
            Self::Failover(args) => args.run(),
            Self::Failback(args) => args.run(),
            Self::Forecast(args) => args.run(),
            Self::Schema(args) => Ok(args.run()),
            Self::Completions(args) => Ok(args.run()),
            Self::Tethered(args) => args.run(),
        }
    }
}
