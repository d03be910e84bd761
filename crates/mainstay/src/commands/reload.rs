//! `mainstay reload` and `mainstay upgrade`: another configuration or another binary, without a lost
//! request.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use crate::admin_client::{self, AdminClient};

/// Exit code of a configuration that is refused.
const REFUSED: u8 = 2;

/// Arguments of `mainstay reload`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 0: the file is in effect. 2: it was refused, and everything goes on \
    as before."
)]
pub(crate) struct Args {
    /// Print what the gateway answers: the difference, or the faults.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    operator: Operator,
}

/// Arguments of `mainstay upgrade`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The gateway starts its program's file anew, hands it the listening sockets, \
    and drains when\nthe new process is ready. Exit code 0: the new process serves. 2: the old one \
    serves on."
)]
pub(crate) struct UpgradeArgs {
    /// Print what the gateway answers.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    operator: Operator,
}

/// Who asks, and whom.
#[derive(Debug, clap::Args)]
struct Operator {
    /// The file with the operators' token. Default: where a gateway of this user keeps it.
    #[arg(long, env = "MAINSTAY_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminClient,
}

impl Args {
    /// Has the gateway read its file again.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let done = self.operator.ask("/api/reload")?;
        Ok(show(&done, self.json, |answer| answer["text"].as_str().unwrap_or_default().to_owned()))
    }
}

impl UpgradeArgs {
    /// Has the gateway hand over to its program's new file.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let done = self.operator.ask("/api/upgrade")?;
        Ok(show(&done, self.json, |answer| format!("process {} serves now\n", answer["pid"])))
    }
}

impl Operator {
    /// What the gateway answers; whether it did what it was asked.
    fn ask(&self, path: &str) -> anyhow::Result<(bool, Value)> {
        let default = || mainstay_config::default_state_dir().join("admin-token");
        let token = admin_client::token(&self.token_file.clone().unwrap_or_else(default))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        runtime.block_on(self.admin.order(path, &token))
    }
}

fn show(
    (done, answer): &(bool, Value),
    json: bool,
    told: impl FnOnce(&Value) -> String,
) -> ExitCode {
    if json {
        println!("{answer:#}");
    } else if *done {
        print!("{}", told(answer));
    } else {
        refuse(answer);
    }
    if *done { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) }
}

/// Each fault in a line of its own, as `mainstay check` prints them.
fn refuse(answer: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for fault in answer["faults"].as_array().into_iter().flatten() {
        let place = format!("{}:{}:{}", text(&fault["file"]), fault["line"], fault["column"]);
        eprintln!("{place}: {}: {}", text(&fault["code"]), text(&fault["message"]));
        eprintln!("  help: {}", text(&fault["help"]));
    }
    eprintln!("{}: {}", text(&answer["code"]), text(&answer["error"]));
}
