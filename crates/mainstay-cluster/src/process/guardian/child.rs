//! The start of one process, up to the moment in which it is itself.

use std::io::{self, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::cgroup::{Group, Root, system_kills};
use super::exec::Orders;
use super::logs::{self, Tail};
use super::members::MARK;
use crate::process::wire::{Limits, Spec};

/// How long a start may take until the program is running: an exec(2) from a network drive.
const PATIENCE: Duration = Duration::from_secs(20);
/// Reasons are no longer.
const LONGEST: u64 = 4096;

/// A process that has been forked and is about to become itself.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) group: Option<Group>,
    pub(super) tail: Tail,
    pub(super) reader: Option<JoinHandle<()>>,
    /// How its limits are kept.
    pub(super) limits: String,
    /// OOM kills of the system before it.
    pub(super) kills_before: u64,
}

/// How it is told what to become, and tells why it cannot.
#[derive(Debug)]
pub(super) struct Handshake {
    socket: UnixStream,
    orders: Orders,
}

/// What names a start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    pub(super) name: &'a str,
    pub(super) mark: &'a str,
    pub(super) run: u64,
}

/// Starts the wrapper.
pub(super) fn spawn(
    name: Name<'_>,
    spec: &Spec,
    wrapper: &[String],
    root: Option<&Root>,
) -> io::Result<(Child, Handshake)> {
    let group = root.and_then(|root| root.group(name.run, name.name, &spec.limits).ok());
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let socket = UnixStream::from_std(ours)?;
    let (output, input) = pipe()?;
    let (program, arguments) = wrapper.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .env(MARK, name.mark)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::from(input.try_clone()?))
        .stderr(Stdio::from(input));
    if let Some((user, group)) = spec.user {
        command.gid(group).uid(user);
    }
    let kills_before = system_kills();
    let started = command.spawn()?;
    // It holds the other ends of the pipe.
    drop(command);
    let pid = Pid::from_raw(started.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
    let joined = group.filter(|group| group.join(started.id().cast_signed()).is_ok());
    let tail = Tail::default();
    let reader = read_output(output, spec, &tail)?;
    let limits = kept_by(&spec.limits, joined.as_ref());
    let held = joined.as_ref().is_some_and(|group| group.memory);
    let orders = Orders {
        parent: std::process::id(),
        argv: spec.argv.clone(),
        dir: spec.dir.clone(),
        memory: spec.limits.memory.filter(|_| !held),
        files: spec.limits.files,
    };
    let child = Child { pid, group: joined, tail, reader: Some(reader), limits, kills_before };
    Ok((child, Handshake { socket, orders }))
}

fn read_output(from: io::PipeReader, spec: &Spec, tail: &Tail) -> io::Result<JoinHandle<()>> {
    let (log, tail) = (spec.log.clone(), tail.clone());
    std::thread::Builder::new()
        .name("output".to_owned())
        .spawn(move || logs::copy(from, &log, &tail))
}

impl Handshake {
    /// Waits until it is itself; why it is not, otherwise.
    pub(super) async fn complete(mut self) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, self.exchange()).await {
            Ok(Ok(refusal)) if refusal.is_empty() => Ok(()),
            Ok(Ok(refusal)) => Err(refusal),
            Ok(Err(error)) => Err(format!("it could not be told what to become: {error}")),
            Err(_) => Err(format!("it was not running {PATIENCE:?} after its start")),
        }
    }

    async fn exchange(&mut self) -> io::Result<String> {
        let orders = serde_json::to_vec(&self.orders)?;
        let length = u32::try_from(orders.len()).map_err(io::Error::other)?;
        self.socket.write_all(&[&length.to_be_bytes(), &*orders].concat()).await?;
        let mut said = Vec::new();
        (&mut self.socket).take(LONGEST).read_to_end(&mut said).await?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

/// How limits are kept, in one line; what is not kept is said too.
fn kept_by(limits: &Limits, group: Option<&Group>) -> String {
    let mut parts = Vec::new();
    if let Some(bytes) = limits.memory {
        let by = match group {
            Some(group) if group.memory => "cgroup v2 (memory.max)",
            _ => "RLIMIT_DATA",
        };
        parts.push(format!("memory {} MiB by {by}", bytes >> 20));
    }
    if let Some(files) = limits.files {
        parts.push(format!("{files} open files by RLIMIT_NOFILE"));
    }
    if let Some(cpu) = limits.cpu {
        parts.push(match group {
            Some(group) if group.cpu => format!("{cpu} processors by cgroup v2 (cpu.max)"),
            _ => format!("{cpu} processors NOT enforced: no cgroup v2 with a cpu controller here"),
        });
    }
    parts.push(match group {
        Some(_) => "held together by cgroup v2".to_owned(),
        None => "held together by session and mark: no writable cgroup v2 here".to_owned(),
    });
    parts.join(", ")
}
