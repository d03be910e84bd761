//! `mainstay status`: how a running gateway stands, in tables.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use console::Term;
use mainstay_admin::Status;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior};

use crate::admin_client::AdminClient;
use crate::commands::look::Look;

mod view;

/// Between two looks of `--watch`.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `mainstay status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mainstay status --watch\n  \
    mainstay status --json | jq '.models[] | {name, requests, degraded, failed}'")]
pub(crate) struct Args {
    /// Print the status as JSON; with --watch, one object a line.
    #[arg(long)]
    json: bool,
    /// Look again every second until Ctrl-C.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    admin: AdminClient,
}

impl Args {
    /// Shows the status once, or until Ctrl-C.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        runtime.block_on(async {
            println!("{}", self.look().await?);
            if self.watch {
                self.watch().await?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    /// The status as it is to be shown.
    async fn look(&self) -> anyhow::Result<String> {
        let status: Status = self.admin.get("/api/status").await?;
        Ok(match (self.json, self.watch) {
            (true, true) => serde_json::to_string(&status)?,
            (true, false) => serde_json::to_string_pretty(&status)?,
            (false, _) => view::render(&status, Look::of_stdout()),
        })
    }

    /// A gateway that goes away is what one may be watching for, so that is shown and not the
    /// end.
    async fn watch(&self) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.tick().await;
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                shown = self.look_again(&mut looks) => shown?,
            }
        }
    }

    async fn look_again(&self, looks: &mut Interval) -> std::io::Result<()> {
        looks.tick().await;
        match self.look().await {
            Ok(look) => self.redraw(&look),
            Err(error) if self.json => writeln!(std::io::stderr(), "mainstay: {error:#}"),
            Err(error) => self.redraw(&format!("{error:#}")),
        }
    }

    fn redraw(&self, text: &str) -> std::io::Result<()> {
        let term = Term::stdout();
        if term.is_term() && !self.json {
            term.clear_screen()?;
        }
        term.write_line(text)
    }
}
