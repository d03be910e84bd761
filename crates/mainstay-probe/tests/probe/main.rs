//! Every kind of check against real sockets and processes, and the prober over them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod command;
mod grpc;
mod http;
mod prober;
mod scraper;
mod servers;
mod tcp;

use std::time::Duration;

use mainstay_config::{Config, Pool};
use mainstay_policy::health::Check;
use mainstay_probe::{Found, ModelName, Probe, probe};

/// For a check that is to succeed: no loaded machine takes that long.
const AMPLE: Duration = Duration::from_secs(30);
/// For a check that is to run into it.
const SHORT: Duration = Duration::from_millis(150);

/// The only pool of a configuration: one endpoint, whose probe asks `check`.
fn pool(endpoint: &str, check: &str) -> Pool {
    let text = format!(
        "pools:\n  p:\n    endpoints: [{endpoint}]\n    probe: {{check: {check}}}\n\
         models: {{m: {{chain: [{{pool: p}}]}}}}\n"
    );
    let config = Config::parse("test.yaml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    config.pools.into_iter().next().expect("one pool")
}

/// A check of the server at `url`, ample in time.
fn asked(url: &str, check: &str) -> Probe {
    let pool = pool(url, check);
    let address = Some(pool.endpoints[0].url.clone());
    Probe { address, model: None, check: pool.probe.check, timeout: AMPLE }
}

fn model(name: &str, version: Option<&str>) -> Option<ModelName> {
    Some(ModelName { name: name.into(), version: version.map(Into::into) })
}

/// What a check of the server at `url` finds.
async fn ask(url: &str, check: &str) -> Found {
    probe(&asked(url, check)).await
}

/// The same within [`SHORT`].
async fn ask_shortly(url: &str, check: &str) -> Check {
    probe(&Probe { timeout: SHORT, ..asked(url, check) }).await.check
}

/// Waits until the condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(AMPLE, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}
