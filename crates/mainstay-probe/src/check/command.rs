//! A program as a check: exit code 0 passes.
//!
//! Run without a shell, with nothing of the gateway's environment but the search path, in a
//! process group of its own, so that it can be killed with everything that it started. What it
//! prints goes nowhere: a check that talks must neither fill our memory nor wait for a reader.

use std::process::Stdio;
use std::time::Duration;

use mainstay_policy::health::Check;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::Found;

/// Where programs are looked for when the gateway itself has no search path.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs `argv` for at most `timeout`.
pub(super) async fn run(argv: &[String], timeout: Duration) -> Found {
    let mut child = match start(argv) {
        Ok(child) => child,
        Err(error) => return Found { check: Check::Failed, ..Found::unreachable(&error) },
    };
    let _group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    match tokio::time::timeout(timeout, child.wait()).await {
        Ok(Ok(status)) if status.success() => Found::new(Check::Passed, "exit code 0"),
        Ok(Ok(status)) => Found::new(Check::Failed, status.to_string()),
        Ok(Err(error)) => Found::new(Check::Failed, error.to_string()),
        Err(_) => Found::new(Check::TimedOut, format!("still running after {timeout:?}")),
    }
}

/// The command's process group; dropping it kills what is left of it, also when the probe itself
/// is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // After a time-out the program itself is not reaped yet, so the number is still its
            // own. After a normal end it is kept by whatever the program left behind; where
            // nothing is left there is nobody to kill, which is what is wanted.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

fn start(argv: &[String]) -> std::io::Result<Child> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "no program"))?;
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}
