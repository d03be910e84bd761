//! Waiting for what is in flight at drained endpoints.

use std::process::ExitCode;
use std::time::Duration;

use mainstay_admin::{Met, Status};
use tokio::time::Instant;

use crate::admin_client::AdminClient;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until nothing is in flight at these, for `limit` at most; the code says which it was.
pub(super) async fn until_empty(
    admin: &AdminClient,
    endpoints: &[Met],
    limit: Duration,
) -> anyhow::Result<ExitCode> {
    let end = Instant::now() + limit;
    loop {
        let status: Status = admin.get("/api/status").await?;
        let left: u32 = endpoints.iter().map(|met| in_flight(&status, met)).sum();
        if left == 0 {
            let took = limit - end.saturating_duration_since(Instant::now());
            eprintln!("nothing is in flight any more, after {:.1} s", took.as_secs_f64());
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= end {
            eprintln!(
                "mainstay: {left} requests are still in flight after {limit:?}; the order holds"
            );
            return Ok(ExitCode::FAILURE);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn in_flight(status: &Status, met: &Met) -> u32 {
    let pools = status.pools.iter().filter(|pool| pool.name == met.pool);
    let endpoints = pools.flat_map(|pool| &pool.endpoints).filter(|e| e.name == met.endpoint);
    endpoints.flat_map(|endpoint| &endpoint.models).map(|target| target.in_flight).sum()
}
