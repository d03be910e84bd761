//! The operators' verbs: each is an order with a reason, and each can be tried dry.
//!
//! The gateway decides and refuses; here its words are shown. Exit codes: 0 done, or a dry run of
//! what would be done; 1 failed; 2 refused, or a dry run of what would be.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use mainstay_admin::Carried;
use serde_json::{Value, json};

use crate::admin_client::{self, AdminClient, Refusal};
use crate::commands::look::Look;

mod forecast;
mod table;
mod verbs;
mod wait;

pub(crate) use forecast::WhatIf;
pub(crate) use verbs::{Drain, Failback, Failover, Maintenance, Undrain, Weight};

/// What a refused order exits with.
const REFUSED: u8 = 2;

/// What all verbs take.
#[derive(Debug, clap::Args)]
struct Order {
    /// Why; recorded in the event, and shown in the status while the order holds.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Say what would happen, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do it though too little would be left.
    #[arg(long)]
    force: bool,
    /// Print what the gateway answers as JSON.
    #[arg(long)]
    json: bool,
    /// The file with the operators' token. Default: where a gateway of this user keeps it.
    #[arg(long, env = "MAINSTAY_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminClient,
}

/// Whom an order meets: an endpoint, or a place.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// The endpoint, as the status names it.
    #[arg(value_name = "POOL/ENDPOINT", value_parser = endpoint)]
    endpoint: Option<Endpoint>,
    /// Every endpoint in this zone.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Every endpoint in this region.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

/// `POOL/ENDPOINT`.
#[derive(Clone, Debug)]
struct Endpoint {
    pool: String,
    endpoint: String,
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    match text.split_once('/') {
        Some((pool, endpoint)) if !pool.is_empty() && !endpoint.is_empty() => {
            Ok(Endpoint { pool: pool.to_owned(), endpoint: endpoint.to_owned() })
        }
        _ => Err("an endpoint is POOL/ENDPOINT, for example fraud-v2/10.0.0.1:8000".to_owned()),
    }
}

impl Whom {
    /// Adds it to the body of an order.
    fn add_to(&self, body: &mut Value) {
        if let Some(Endpoint { pool, endpoint }) = &self.endpoint {
            body["pool"] = json!(pool);
            body["endpoint"] = json!(endpoint);
        }
        if let Some(zone) = &self.zone {
            body["zone"] = json!(zone);
        }
        if let Some(region) = &self.region {
            body["region"] = json!(region);
        }
    }
}

impl Order {
    /// Gives the order and shows what came of it; `wait` is how long to wait for what is in flight.
    fn run(self, mut body: Value, wait: Option<Duration>) -> anyhow::Result<ExitCode> {
        for (key, value) in [
            ("reason", self.reason.as_ref().map(|reason| json!(reason))),
            ("dry_run", self.dry_run.then_some(json!(true))),
            ("force", self.force.then_some(json!(true))),
        ] {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        block_on(async {
            let carried = match self.give(&body).await {
                Ok(carried) => carried,
                Err(error) => return refused(error),
            };
            self.show(&carried)?;
            if !carried.refused.is_empty() && !carried.done {
                return Ok(ExitCode::from(REFUSED));
            }
            match wait.filter(|_| carried.done) {
                Some(wait) => wait::until_empty(&self.admin, &carried.endpoints, wait).await,
                None => Ok(ExitCode::SUCCESS),
            }
        })
    }

    async fn give(&self, body: &Value) -> anyhow::Result<Carried> {
        let default = || mainstay_config::default_state_dir().join("admin-token");
        let token = admin_client::token(&self.token_file.clone().unwrap_or_else(default))?;
        self.admin.post("/v1/orders", &token, body).await
    }

    fn show(&self, carried: &Carried) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(carried)?);
        } else {
            println!("{}", table::carried(carried, Look::of_stdout()));
        }
        Ok(())
    }
}

/// A refusal is the operator's to read, with a code of its own.
fn refused(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    match error.downcast_ref::<Refusal>() {
        Some(refusal) if refusal.is_refused() => {
            eprintln!("mainstay: {refusal}");
            Ok(ExitCode::from(REFUSED))
        }
        _ => Err(error),
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(work)
}
