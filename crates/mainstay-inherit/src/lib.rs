//! Open descriptors handed to a process that is started, and taken by it.
//!
//! They stand from 3 on, counted in `LISTEN_FDS` and named in `LISTEN_FDNAMES`, as service managers
//! hand over listening sockets (sd_listen_fds(3)). That a number is a descriptor, and nobody else's,
//! cannot be known by the compiler: this is the only crate of the workspace with unsafe code, apart
//! from all others so that it can be read at once.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, dup2, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;
/// Beyond what is handed over: nobody hands over more.
const MOST: RawFd = 32;

/// Whether the descriptors of this process have been taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors that this process was given, each with its name (empty where it has none), once;
/// nothing the second time. What this process starts does not get them.
///
/// `LISTEN_PID` must be this process', where it is set: what was meant for another one is left.
///
/// # Errors
/// A descriptor that is counted is not open.
pub fn take() -> std::io::Result<Vec<(String, OwnedFd)>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i64>().ok());
    let is_mine = number("LISTEN_PID").is_none_or(|pid| pid == i64::from(std::process::id()));
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, (MOST - FIRST).into());
    if !is_mine || count == 0 || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let fds = FIRST..FIRST + count as RawFd;
    fds.map(|fd| Ok((names.next().unwrap_or_default(), adopt(fd)?))).collect()
}

fn adopt(fd: RawFd) -> std::io::Result<OwnedFd> {
    // SAFETY: whoever started this process says by its environment that this descriptor was opened
    // for it, and `TAKEN` lets it be taken once. One that is not open is refused below and not
    // closed.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    if let Err(error) = fcntl_getfd(&owned) {
        let _not_ours = owned.into_raw_fd();
        return Err(error.into());
    }
    fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// Has `command` start with these descriptors, each with its name, and with the environment that
/// says so.
///
/// # Errors
/// There is no room for another descriptor.
pub fn hand_over(command: &mut Command, fds: Vec<(&str, OwnedFd)>) -> std::io::Result<()> {
    let names: Vec<_> = fds.iter().map(|(name, _)| *name).collect();
    command
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env_remove("LISTEN_PID");
    // Out of the way of the numbers that they are to have.
    let aside = fds.iter().map(|(_, fd)| fcntl_dupfd_cloexec(fd, MOST));
    let aside = aside.collect::<Result<Vec<_>, _>>()?;
    let place = move || {
        for (fd, at) in aside.iter().zip(FIRST..) {
            debug_assert!(fd.as_raw_fd() >= MOST, "it was moved out of the way");
            // SAFETY: in the child, before it becomes another program: whatever had this number is
            // lost with the old program anyway. It is not closed here.
            let mut target = unsafe { OwnedFd::from_raw_fd(at) };
            let placed = dup2(fd, &mut target);
            let _stays_open = target.into_raw_fd();
            placed?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls that are safe there are made (dup2); nothing
    // is allocated and no lock taken.
    unsafe { command.pre_exec(place) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_handed_over_is_there_under_its_number() {
        let (mut own, theirs) = UnixStream::pair().expect("two sockets");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $LISTEN_FDS $LISTEN_FDNAMES >&4"]);
        let other = OwnedFd::from(own.try_clone().expect("a copy"));
        hand_over(&mut command, vec![("a", other), ("b", theirs.into())]).expect("there is room");
        assert!(command.status().expect("it runs").success());
        drop(command);
        let mut said = String::new();
        own.read_to_string(&mut said).expect("what it said");
        assert_eq!(said, "2 a:b\n");
    }

    #[test]
    fn nothing_is_taken_where_nothing_was_given() {
        assert!(take().expect("no error").is_empty());
    }
}
