//! The guardian: the parent of every supervised process, and little else.
//!
//! It has one thread that does everything but write logs, for the kernel ties a child to the
//! thread that started it (`PR_SET_PDEATHSIG`). It ends when it is told to (SIGTERM), or when no
//! gateway has spoken to it for the linger time; then it stops its processes first. Only a
//! process of the same user (or root) may speak to it.

use std::cell::RefCell;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{WaitOptions, getpid, getuid, set_child_subreaper, setsid};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use crate::error::Error;

mod cgroup;
mod child;
pub mod exec;
mod logs;
mod members;
mod wards;

use wards::Wards;

/// Connections at once. A gateway has at most [`ORDERS`](super::supervisor::ORDERS_AT_ONCE) orders
/// under way and one connection that watches; this is room for three. Who finds no place waits for
/// one and is not turned away: a gateway that is shut out could not stop anything any more.
const CONNECTIONS: usize = 128;
/// Looks at the linger time.
const LOOK: Duration = Duration::from_millis(500);

/// How a guardian works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is spoken to.
    pub socket: PathBuf,
    /// How long it keeps its processes while no gateway is there.
    pub linger: Duration,
    /// The program that sets limits and then becomes the process, with its first arguments.
    pub wrapper: Vec<String>,
}

/// Runs a guardian until it is told to end.
///
/// # Errors
/// Another one serves the same socket, or the socket cannot be had.
pub fn run(options: &Options) -> Result<(), Error> {
    // A session of its own: no signal for the gateway's group or terminal reaches it. It fails
    // only for who leads one already.
    let _already = setsid();
    // Orphans of its processes become its children, so that they can be found and reaped.
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        tracing::warn!(%error, "orphans of supervised processes will not be reaped here");
    }
    let _lock = lock(&options.socket.with_extension("lock"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Launch)?;
    let local = LocalSet::new();
    local.block_on(&runtime, serve(options))
}

/// Only one guardian at a time: the lock is the kernel's, and gone with its holder.
fn lock(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::Socket { path: path.to_owned(), source };
    let file = File::options().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    // Whoever could open it could hold it, and keep every guardian out.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    file.try_lock().map_err(|_| Error::Held { path: path.to_owned() })?;
    Ok(file)
}

async fn serve(options: &Options) -> Result<(), Error> {
    let failed = |source| Error::Socket { path: options.socket.clone(), source };
    let mark = options.socket.display().to_string();
    members::sweep(&mark).await;
    let _none = std::fs::remove_file(&options.socket);
    let listener = UnixListener::bind(&options.socket).map_err(failed)?;
    std::fs::set_permissions(&options.socket, Permissions::from_mode(0o600)).map_err(failed)?;
    let wards = Rc::new(RefCell::new(Wards::new(mark, options.wrapper.clone())));
    let reaper = tokio::task::spawn_local(reap(Rc::clone(&wards)));
    let stopper = tokio::task::spawn_local(wards::enforce(Rc::clone(&wards)));
    tracing::info!(pid = std::process::id(), "guarding");
    tokio::select! {
        () = accept(&listener, &wards) => {}
        () = asked_to_end() => tracing::info!("told to end"),
        () = linger(&wards, options.linger) => tracing::info!("no gateway came back"),
    }
    wards::stop_all(&wards).await;
    let _gone = std::fs::remove_file(&options.socket);
    reaper.abort();
    stopper.abort();
    Ok(())
}

async fn accept(listener: &UnixListener, wards: &Rc<RefCell<Wards>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // It is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) if may_speak(&stream) => {
                let wards = Rc::clone(wards);
                tokio::task::spawn_local(async move {
                    wards.borrow_mut().arrived();
                    let _ended = wards::converse(stream, &wards).await;
                    wards.borrow_mut().left();
                    drop(place);
                });
            }
            Ok(_) => tracing::warn!("turned a connection away"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// The mode of the socket says the same; this holds where a directory was opened to others.
fn may_speak(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == getuid().as_raw())
}

async fn asked_to_end() {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
}

async fn linger(wards: &Rc<RefCell<Wards>>, limit: Duration) {
    while wards.borrow().alone_for() < limit {
        tokio::time::sleep(LOOK).await;
    }
}

/// Takes note of everything that ends: processes, and orphans of theirs.
async fn reap(wards: Rc<RefCell<Wards>>) {
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(%error, "cannot learn of ended processes");
            return;
        }
    };
    loop {
        while let Some((pid, status)) = next_ended() {
            wards.borrow_mut().ended(pid, status);
        }
        ended.recv().await;
    }
}

fn next_ended() -> Option<(rustix::process::Pid, rustix::process::WaitStatus)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(found) => return found,
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
