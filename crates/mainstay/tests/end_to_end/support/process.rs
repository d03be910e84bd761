//! One process of the program under test, ended with its owner.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::LIMIT;

/// Lines of output that may wait to be read; more are dropped, so that no pipe ever fills.
const WAITING_LINES: usize = 1024;

/// A process of `mainstay`; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    lines: mpsc::Receiver<String>,
    errors: Arc<Mutex<String>>,
}

/// A process that the program itself started; killed when dropped.
pub(crate) struct Stray(Pid);

impl Stray {
    pub(crate) fn new(pid: u32) -> Self {
        Self(Pid::from_raw(pid.cast_signed()).expect("a process"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).expect("the process is there to be signalled");
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = kill_process(self.0, Signal::KILL);
    }
}

/// How a process that was not meant to stay ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    /// Starts the program with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut command(arguments))
    }

    /// Starts the program with a folder of its own for temporary files.
    pub(crate) fn start_in(folder: &Path, arguments: &[&str]) -> Self {
        Self::spawn(command(arguments).env("TMPDIR", folder))
    }

    /// Starts the program with more in its environment.
    pub(crate) fn start_with(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        Self::spawn(command(arguments).envs(environment.iter().copied()))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it has an id");
        let (to, lines) = mpsc::channel(WAITING_LINES);
        let errors = Arc::new(Mutex::new(String::new()));
        each_line(child.stdout.take().expect("stdout is piped"), move |line| {
            let _ = to.try_send(line);
        });
        let kept = Arc::clone(&errors);
        each_line(child.stderr.take().expect("stderr is piped"), move |line| {
            let mut kept = kept.lock().unwrap();
            kept.push_str(&line);
            kept.push('\n');
        });
        Self { child, pid, lines, errors }
    }

    /// What stands behind `marker` on the first line that has it.
    pub(crate) async fn announced(&mut self, marker: &str) -> String {
        let search = async {
            while let Some(line) = self.lines.recv().await {
                if let Some((_, rest)) = line.split_once(marker) {
                    return Some(rest.trim().to_owned());
                }
            }
            None
        };
        match timeout(LIMIT, search).await {
            Ok(Some(found)) => found,
            Ok(None) => panic!("it ended before it said {marker:?}:\n{}", self.errors()),
            Err(_) => panic!("it never said {marker:?}:\n{}", self.errors()),
        }
    }

    /// What it has written on standard error.
    pub(crate) fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    pub(crate) const fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the process is there to be signalled");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        match timeout(LIMIT, self.child.wait()).await {
            Ok(status) => status.expect("it can be waited for"),
            Err(_) => panic!("it did not end:\n{}", self.errors()),
        }
    }

    /// Ends it as a crash would, and waits until its ports are closed.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- process {}\n{}", self.pid.as_raw_nonzero(), self.errors());
        }
    }
}

/// Runs the program to its end.
pub(crate) async fn run(arguments: &[&str], limit: Duration) -> Ended {
    let child = command(arguments).spawn().expect("the program starts");
    let ended = timeout(limit, child.wait_with_output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{arguments:?} did not end within {limit:?}"));
    let output = output.expect("its output can be read");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Hands every line to `take` until the stream ends.
fn each_line(
    stream: impl AsyncRead + Unpin + Send + 'static,
    mut take: impl FnMut(String) + Send + 'static,
) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            take(line);
        }
    });
}
