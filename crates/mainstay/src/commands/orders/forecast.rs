//! `mainstay forecast`: what would happen if a zone, a region or an endpoint died now.

use std::process::ExitCode;

use mainstay_control::forecast::Forecast;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Whom, block_on, refused, table};
use crate::admin_client::AdminClient;
use crate::commands::look::Look;

/// Arguments of `mainstay forecast`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mainstay forecast --zone eu-west-1a\n  \
    mainstay forecast fraud-v2/10.0.0.1:8000 --json | jq .missing")]
pub(crate) struct WhatIf {
    #[command(flatten)]
    whom: Whom,
    /// Print the forecast as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminClient,
}

impl WhatIf {
    /// Asks and shows.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let forecast: Forecast = match self.admin.get(&self.path()).await {
                Ok(forecast) => forecast,
                Err(error) => return refused(error),
            };
            if self.json {
                println!("{}", serde_json::to_string_pretty(&forecast)?);
            } else {
                println!("{}", table::forecast(&forecast, Look::of_stdout()));
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    fn path(&self) -> String {
        let plain = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let Whom { endpoint, zone, region } = &self.whom;
        let query = match (endpoint, zone, region) {
            (Some(at), ..) => format!("pool={}&endpoint={}", plain(&at.pool), plain(&at.endpoint)),
            (_, Some(zone), _) => format!("zone={}", plain(zone)),
            (_, _, region) => format!("region={}", plain(region.as_deref().unwrap_or_default())),
        };
        format!("/v1/forecast?{query}")
    }
}
