//! `mainstay breaker POOL ENDPOINT`: an operator's word on the breakers of an endpoint.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;
use serde_json::json;

use crate::admin_client::{self, AdminClient};

/// Arguments of `mainstay breaker`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mainstay breaker fraud-v2 10.0.0.1:8000 --force open --for 30m --reason 'replacing a disk'\n  \
    mainstay breaker fraud-v2 10.0.0.1:8000 --force none --reason 'disk replaced'")]
pub(crate) struct Args {
    /// The pool's name.
    pool: String,
    /// The endpoint's name within the pool.
    endpoint: String,
    /// Only this model's breaker, by its name upstream; all of the endpoint's otherwise.
    #[arg(long)]
    model: Option<String>,
    /// Let no request pass, let every request pass, or let the breaker decide again.
    #[arg(long, value_parser = ["open", "closed", "none"])]
    force: String,
    /// Why; shown in status and logs.
    #[arg(long)]
    reason: String,
    /// How long it lasts, at most 24h.
    #[arg(
        long = "for",
        value_name = "DURATION",
        required_if_eq_any([("force", "open"), ("force", "closed")])
    )]
    lasts: Option<String>,
    /// The file with the operators' token. Default: where a gateway of this user keeps it.
    #[arg(long, env = "MAINSTAY_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminClient,
}

/// What the gateway did.
#[derive(Deserialize)]
struct Done {
    targets: usize,
}

impl Args {
    /// Forces the breakers, or gives them back to themselves.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let default = || mainstay_config::default_state_dir().join("admin-token");
        let token = admin_client::token(&self.token_file.clone().unwrap_or_else(default))?;
        let order = json!({
            "pool": self.pool,
            "endpoint": self.endpoint,
            "model": self.model,
            "force": self.force,
            "reason": self.reason,
            "for": self.lasts,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let done: Done = runtime.block_on(self.admin.post("/api/breakers", &token, &order))?;
        println!("{}", self.told(done.targets));
        Ok(ExitCode::SUCCESS)
    }

    fn told(&self, targets: usize) -> String {
        let breakers = if targets == 1 { "breaker" } else { "breakers" };
        let subject = format!("{targets} {breakers} of {}/{}", self.pool, self.endpoint);
        match &self.lasts {
            Some(lasts) if self.force != "none" => {
                format!("{subject} forced {} for {lasts}: {}", self.force, self.reason)
            }
            _ => format!("{subject} decide for themselves again: {}", self.reason),
        }
    }
}
