//! `mainstay guardian`: the parent of supervised processes. Started by the gateway, not by hand.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use mainstay_cluster::process::guardian::{self, Options, exec};
use mainstay_telemetry::log;

/// This program, also where its file has been replaced since it was started.
const PROGRAM: &str = "/proc/self/exe";

/// Arguments of `mainstay guardian`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    step: Option<Step>,
    /// Where the gateway speaks to it.
    #[arg(long, value_name = "PATH", required = true)]
    socket: Option<PathBuf>,
    /// How long processes are kept while no gateway is there.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    linger_seconds: u64,
}

/// What else the program does for the guardian.
#[derive(Debug, clap::Subcommand)]
enum Step {
    /// Take orders on standard input, set limits and become the supervised process.
    Exec,
}

impl Args {
    /// Guards until it is told to end; or becomes a supervised process.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(Step::Exec) = self.step {
            return exec::run().context("there are no orders");
        }
        let _flush = log::init("info", log::Format::Json).context("cannot start the log")?;
        let options = Options {
            socket: self.socket.context("no socket")?,
            linger: Duration::from_secs(self.linger_seconds),
            wrapper: [PROGRAM, "guardian", "exec"].map(str::to_owned).to_vec(),
        };
        guardian::run(&options).context("the guardian ended")?;
        Ok(ExitCode::SUCCESS)
    }
}
