//! What a supervised process is before it becomes itself: it takes its limits upon itself.
//!
//! Between fork and exec almost nothing is safe to do, so nothing is done there: the guardian
//! starts this program with the user and environment of the process, and this program gives
//! itself a session, the signal of its parent's death and its limits, and then becomes the
//! process. It learns what to become over a socket on its standard input, and so waits until the
//! guardian has put it into its cgroup. That socket closes with a successful exec(2); before that
//! it tells why there was none.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{
    Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit, setsid,
};
use serde::{Deserialize, Serialize};

/// The code of a program that never became another one, as shells have it.
const NOT_STARTED: u8 = 127;
/// No orders are longer.
const MAX_BYTES: u32 = 1024 * 1024;

/// What to become.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    /// The guardian; who finds another parent comes too late.
    pub(super) parent: u32,
    /// The program and its arguments.
    pub(super) argv: Vec<String>,
    /// The working directory.
    pub(super) dir: Option<PathBuf>,
    /// `RLIMIT_DATA`, in bytes.
    pub(super) memory: Option<u64>,
    /// `RLIMIT_NOFILE`.
    pub(super) files: Option<u64>,
}

/// Takes orders on standard input and becomes what they say; returns only if that fails.
///
/// # Errors
/// There were no orders.
pub fn run() -> io::Result<ExitCode> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let orders = read(&mut socket)?;
    let Err(failure) = become_it(&orders);
    socket.write_all(failure.as_bytes())?;
    Ok(ExitCode::from(NOT_STARTED))
}

fn read(socket: &mut UnixStream) -> io::Result<Orders> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length).min(MAX_BYTES) as usize;
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn become_it(orders: &Orders) -> Result<Infallible, String> {
    setsid().map_err(|error| said("no session of its own", error))?;
    // After the change of user, which would undo it (prctl(2)).
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| said("cannot be tied to the guardian", error))?;
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get().cast_unsigned());
    if parent != Some(orders.parent) {
        return Err("the guardian has ended".to_owned());
    }
    if let Some(dir) = &orders.dir {
        std::env::set_current_dir(dir)
            .map_err(|error| format!("working directory {}: {error}", dir.display()))?;
    }
    for (resource, most) in [(Resource::Data, orders.memory), (Resource::Nofile, orders.files)] {
        if most.is_some() {
            let limit = Rlimit { current: most, maximum: most };
            setrlimit(resource, limit).map_err(|error| said("a limit cannot be set", error))?;
        }
    }
    let (program, arguments) = orders.argv.split_first().ok_or("no program")?;
    let error = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    Err(format!("{program}: {error}"))
}

fn said(what: &str, error: rustix::io::Errno) -> String {
    format!("{what}: {}", io::Error::from(error))
}
