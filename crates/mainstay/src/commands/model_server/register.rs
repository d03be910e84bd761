//! A model server that registers itself with a gateway: by heartbeats while it serves, and with a
//! word when it goes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mainstay_admin::Token;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::admin_client::{AdminAddress, AdminClient, token};

/// After a heartbeat that was not taken.
const AGAIN: Duration = Duration::from_secs(1);
/// The shortest time between two heartbeats, whatever the gateway says.
const SHORTEST: Duration = Duration::from_millis(50);
/// And the longest: a gateway that was restarted should not wait for longer.
const LONGEST: Duration = Duration::from_secs(60);
/// From the word that it goes to the end of the listener: requests that were on their way arrive.
const GRACE: Duration = Duration::from_millis(250);

/// Where to register; shared by nobody else.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Register {
    /// The admin listener of a gateway to register with, by heartbeats.
    #[arg(long = "register", value_name = "ADDR", requires_all = ["pool", "token_file"])]
    gateway: Option<AdminAddress>,
    /// The pool to join; it must let servers register themselves.
    #[arg(long, value_name = "POOL", requires = "gateway")]
    pool: Option<String>,
    /// The file with the gateway's heartbeat token.
    #[arg(long, value_name = "FILE", requires = "gateway")]
    token_file: Option<PathBuf>,
    /// Its name in the pool; host:port by default.
    #[arg(long, value_name = "NAME", requires = "gateway")]
    name: Option<String>,
    /// How the gateway reaches this server; http:// and the listening address by default.
    #[arg(long, value_name = "URL", requires = "gateway")]
    advertise: Option<String>,
}

/// A server that sends heartbeats.
#[derive(Debug)]
pub(super) struct Registration {
    member: Arc<Member>,
    beating: JoinHandle<()>,
}

#[derive(Debug)]
struct Member {
    gateway: AdminClient,
    token: Token,
    path: String,
    url: String,
}

/// When to speak again.
#[derive(Deserialize)]
struct Renewal {
    renew_seconds: f64,
}

impl Register {
    /// Begins to send heartbeats for a server at this address, if that was asked for.
    pub(super) fn begin(self, at: SocketAddr) -> anyhow::Result<Option<Registration>> {
        let (Some(gateway), Some(pool)) = (self.gateway, self.pool) else { return Ok(None) };
        let file = self.token_file.context("--register needs --token-file")?;
        let name = self.name.unwrap_or_else(|| at.to_string());
        let member = Arc::new(Member {
            gateway: gateway.into(),
            token: token(&file)?,
            path: format!("/v1/heartbeats/{pool}/{name}"),
            url: self.advertise.unwrap_or_else(|| format!("http://{at}")),
        });
        let beating = tokio::spawn(beat(Arc::clone(&member)));
        Ok(Some(Registration { member, beating }))
    }
}

impl Registration {
    /// Says that the server goes, and gives the gateway the time to heed it.
    pub(super) async fn end(self) {
        self.beating.abort();
        match self.member.gateway.delete(&self.member.path, &self.member.token).await {
            Ok(()) => tokio::time::sleep(GRACE).await,
            Err(error) => eprintln!("mainstay: the gateway does not know that we go: {error:#}"),
        }
    }
}

/// Sends heartbeats for as long as it is polled; trouble is told once.
async fn beat(member: Arc<Member>) {
    let mut told = None;
    loop {
        let body = json!({ "url": member.url, "state": "ready" });
        let beat = member.gateway.put::<Renewal>(&member.path, &member.token, &body).await;
        let wait = match beat {
            Ok(Renewal { renew_seconds }) => {
                if told.take().is_some() {
                    eprintln!("mainstay: registered again");
                }
                Duration::try_from_secs_f64(renew_seconds).unwrap_or(AGAIN).clamp(SHORTEST, LONGEST)
            }
            Err(error) => {
                let trouble = format!("{error:#}");
                if told.as_ref() != Some(&trouble) {
                    eprintln!("mainstay: not registered: {trouble}");
                }
                told = Some(trouble);
                AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}
