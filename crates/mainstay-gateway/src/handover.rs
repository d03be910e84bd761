//! Listening sockets from the process before, and to the one after.
//!
//! Sockets come as file descriptors from 3 on, counted in `LISTEN_FDS` and named in
//! `LISTEN_FDNAMES`, as systemd hands them over (sd_listen_fds(3)): `http` and `grpc` for clients,
//! `admin` for operators, `tcp-NAME` for those of a TCP listener. A process that takes over from
//! another one says on its standard input, which is a socket then, that it is ready. Until it does
//! the one before serves on; both accept from the same queue, so that no connection is refused in
//! between.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;

/// Set for a process that takes over.
const TAKES_OVER: &str = "MAINSTAY_TAKES_OVER";
/// Put before the name of a TCP listener.
const TCP: &str = "tcp-";
/// The longest that a new process may take to be ready: it loads its embedded models first.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What it says then.
const READY: &[u8] = b"ready\n";

/// The sockets that this process was given.
#[derive(Debug, Default)]
pub struct Inherited {
    http: Option<TcpListener>,
    grpc: Option<TcpListener>,
    admin: Option<TcpListener>,
    /// By the names of the listeners.
    tcp: HashMap<String, TcpListener>,
    takes_over: bool,
}

impl Inherited {
    /// Takes what the environment names. Once in a process.
    ///
    /// # Errors
    /// A descriptor that is named is no listening socket.
    pub fn from_env() -> std::io::Result<Self> {
        let mut own =
            Self { takes_over: std::env::var_os(TAKES_OVER).is_some(), ..Self::default() };
        for (name, fd) in mainstay_inherit::take()? {
            let listener = TcpListener::from(fd);
            listener.set_nonblocking(true)?;
            match &*name {
                "admin" => own.admin = Some(listener),
                "grpc" => own.grpc = Some(listener),
                "http" => own.http = Some(listener),
                name if name.starts_with(TCP) => {
                    own.tcp.insert(name[TCP.len()..].to_owned(), listener);
                }
                _ if own.http.is_none() => own.http = Some(listener),
                _ => own.admin = Some(listener),
            }
        }
        Ok(own)
    }

    /// The socket for clients, if it fits what the configuration says.
    pub(crate) fn take_http(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let takes_over = self.takes_over;
        self.http.take().filter(|listener| fits(listener, address, takes_over))
    }

    /// The further socket for clients, if it fits what the configuration says.
    pub(crate) fn take_grpc(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let takes_over = self.takes_over;
        self.grpc.take().filter(|listener| fits(listener, address, takes_over))
    }

    /// The socket of a TCP listener, if it fits what the configuration says.
    pub(crate) fn take_tcp(&mut self, name: &str, address: SocketAddr) -> Option<TcpListener> {
        let takes_over = self.takes_over;
        self.tcp.remove(name).filter(|listener| fits(listener, address, takes_over))
    }

    /// The socket for operators, if it fits what the configuration says.
    pub(crate) fn take_admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let takes_over = self.takes_over;
        self.admin.take().filter(|listener| fits(listener, address, takes_over))
    }

    /// Whether another process serves until this one is ready.
    pub(crate) const fn takes_over(&self) -> bool {
        self.takes_over
    }

    /// Tells the process before that this one serves.
    pub(crate) fn tell_ready(&self) {
        if self.takes_over
            && let Err(error) = rustix::io::write(std::io::stdin().as_fd(), READY)
        {
            tracing::warn!(%error, "the process before could not be told that this one is ready");
        }
    }
}

/// A socket that a service manager opened is used as it is. One of the process before is used
/// unless the configuration names another address by now.
fn fits(listener: &TcpListener, address: SocketAddr, takes_over: bool) -> bool {
    let same = listener.local_addr().is_ok_and(|own| own == address);
    !takes_over || same || address.port() == 0
}

/// What the next process is started with.
#[derive(Debug)]
pub(crate) struct Successor {
    /// As it was when this process began: the file may have been replaced since.
    program: Option<PathBuf>,
    arguments: Vec<OsString>,
    /// By name, until this process leaves.
    sockets: Mutex<Option<Vec<(String, TcpListener)>>>,
}

impl Successor {
    /// A process like this one, which is handed these sockets.
    pub(crate) fn new(http: TcpListener, admin: TcpListener) -> Self {
        let arguments = std::env::args_os().skip(1).collect();
        let sockets = vec![("http".to_owned(), http), ("admin".to_owned(), admin)];
        let sockets = Mutex::new(Some(sockets));
        Self { program: std::env::current_exe().ok(), arguments, sockets }
    }

    /// The same with a copy of the further socket for clients.
    ///
    /// # Errors
    /// It cannot be copied.
    pub(crate) fn with_grpc(self, grpc: Option<&TcpListener>) -> std::io::Result<Self> {
        if let Some(listener) = grpc {
            let copy = ("grpc".to_owned(), listener.try_clone()?);
            self.sockets().get_or_insert_default().push(copy);
        }
        Ok(self)
    }

    /// The same with copies of these sockets of TCP listeners.
    ///
    /// # Errors
    /// A socket cannot be copied.
    pub(crate) fn with_tcp(self, tcp: &[(Arc<str>, TcpListener)]) -> std::io::Result<Self> {
        for (name, listener) in tcp {
            let copy = (format!("{TCP}{name}"), listener.try_clone()?);
            self.sockets().get_or_insert_default().push(copy);
        }
        Ok(self)
    }

    /// Closes the sockets: from now on nobody is kept waiting at them.
    pub(crate) fn close(&self) {
        self.sockets().take();
    }

    fn sockets(&self) -> MutexGuard<'_, Option<Vec<(String, TcpListener)>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it and waits until it is ready; its number.
    ///
    /// # Errors
    /// Why it does not serve. It has ended then.
    pub(crate) async fn start(&self) -> Result<u32, String> {
        let program = self.program.as_ref().ok_or("it is not known where the program's file is")?;
        if std::process::id() == 1 {
            return Err("this is process 1, with which all others would end".to_owned());
        }
        let (own, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
        let mut command = std::process::Command::new(program);
        command
            .args(&self.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .env(TAKES_OVER, "1")
            // Signs of life are asked for from whoever is the main process; this names another one.
            .env_remove("WATCHDOG_PID");
        self.hand_over(&mut command).map_err(|error| error.to_string())?;
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", program.display()))?;
        let pid = child.id().unwrap_or_default();
        let ready = tokio::time::timeout(READY_WITHIN, until_ready(own)).await;
        let why = match ready {
            Ok(true) => return Ok(pid),
            Ok(false) => "it ended before it was ready".to_owned(),
            Err(_) => format!("it was not ready within {READY_WITHIN:?}"),
        };
        // It may have ended by itself.
        let _gone = child.kill().await;
        Err(format!("process {pid}: {why}"))
    }

    fn hand_over(&self, command: &mut std::process::Command) -> std::io::Result<()> {
        let sockets = self.sockets();
        let sockets = sockets.as_ref().ok_or_else(|| std::io::Error::other("it is leaving"))?;
        let mut copies = Vec::with_capacity(sockets.len());
        for (name, socket) in sockets {
            copies.push((&**name, socket.try_clone()?.into()));
        }
        mainstay_inherit::hand_over(command, copies)
    }
}

/// Whether the other side said that it is ready, before it went away.
async fn until_ready(stream: UnixStream) -> bool {
    let Ok(()) = stream.set_nonblocking(true) else { return false };
    let Ok(mut stream) = tokio::net::UnixStream::from_std(stream) else { return false };
    let mut said = [0; READY.len()];
    stream.read_exact(&mut said).await.is_ok() && said == *READY
}
