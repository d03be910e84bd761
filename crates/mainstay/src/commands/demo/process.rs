//! A process of this same program, tied to the demo and ended with it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// A server that has not said that it listens by then never will.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running process; killed when dropped, and by the kernel if the demo itself is killed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: Pid,
    addresses: Vec<SocketAddr>,
}

impl Process {
    /// Starts the program with these arguments and waits until it has said so many addresses on
    /// which it listens. Its log goes to a file.
    pub(super) async fn start(
        arguments: &[String],
        log: &Path,
        addresses: usize,
    ) -> anyhow::Result<Self> {
        let mut child = spawn(arguments, log)?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.context("the process has no id")?;
        let stdout = child.stdout.take().context("its output is not piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let Ok(said) = timeout(READY_WITHIN, listen(&mut lines, addresses)).await else {
            bail!("{} was not ready in time; its log:\n{}", arguments[0], tail(log));
        };
        let addresses = said.with_context(|| format!("{}: {}", arguments[0], tail(log)))?;
        // What it says later is nobody's concern, but its pipe must not fill up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, pid, addresses })
    }

    /// Where it listens, in the order in which it said so.
    pub(super) fn address(&self, index: usize) -> SocketAddr {
        self.addresses[index]
    }

    /// Its process id.
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal; one that has ended already is left alone.
    pub(super) fn signal(&self, signal: Signal) {
        // The id is still ours: it is not given to another process before the child was waited for.
        let _gone = kill_process(self.pid, signal);
    }

    /// Kills it and waits for its end.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("it cannot be killed")
    }
}

fn spawn(arguments: &[String], log: &Path) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("where is this program?")?;
    let log = File::options().create(true).append(true).open(log)?;
    let child = Command::new(program)
        .args(["tethered", "--to", &std::process::id().to_string(), "--"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C is the demo's; it ends them itself.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// Reads `mainstay: … on http://ADDRESS` so many times.
async fn listen(
    lines: &mut Lines<BufReader<ChildStdout>>,
    count: usize,
) -> anyhow::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    while found.len() < count {
        let line = lines.next_line().await?.context("it ended before it was ready")?;
        if let Some((_, address)) = line.split_once(" on http://") {
            found.push(address.trim().parse()?);
        }
    }
    Ok(found)
}

/// The end of a log.
fn tail(log: &Path) -> String {
    const LINES: usize = 10;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn interrupted() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => std::future::pending().await,
    }
}
