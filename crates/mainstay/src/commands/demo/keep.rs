//! `--keep`: everything stays up, with lines to try.

use super::digits;
use super::process;
use super::stage::Stage;

/// Prints what can be tried, and waits for Ctrl-C.
pub(super) async fn until_interrupted(stage: &Stage) -> anyhow::Result<()> {
    let digit = stage.folder().join("digit.json");
    let first = digits::all()?.swap_remove(0);
    std::fs::write(&digit, &first.body)?;
    let (http, admin) = (stage.http(), stage.admin());
    let servers: Vec<_> = stage
        .forest
        .iter()
        .chain(&stage.boosting)
        .map(|server| {
            format!("  {:11} http://{}  pid {}", server.name, server.address, server.pid())
        })
        .collect();
    let pids: Vec<_> = stage.forest.iter().map(|server| server.pid().to_string()).collect();
    eprintln!(
        "
Everything goes on running until Ctrl-C. The servers:
{servers}
  gateway     http://{http}  configuration {config}

Ask for a prediction (it shows a {label}):
  curl -i -d @{digit} http://{http}/v2/models/digits/infer
Break the first pool, then ask again:
  kill -9 {pids}
See what the gateway thinks, and why a request was answered as it was:
  mainstay status --admin {admin}
  curl -s http://{admin}/api/requests/ID      (ID: x-mainstay-request-id of an answer)
  curl -s http://{admin}/metrics
",
        servers = servers.join("\n"),
        config = stage.config.display(),
        label = first.label,
        digit = digit.display(),
        pids = pids.join(" "),
    );
    process::interrupted().await;
    Ok(())
}
