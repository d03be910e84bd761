//! The gateway's end of the socket: every question has a deadline, and a guardian that is not
//! there is started.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::supervisor::Options;
use super::wire::{self, Answer, PROTOCOL, Request};
use crate::error::Error;

/// For a question that the guardian answers at once.
const SOON: Duration = Duration::from_secs(5);
/// For a start, which may wait for a slow disk, and for [`Request::Watch`].
const LATER: Duration = Duration::from_secs(30);
/// For a new guardian until it listens; it sweeps first.
const LAUNCH: Duration = Duration::from_secs(15);
/// Between two looks for its socket.
const LOOK: Duration = Duration::from_millis(20);

/// One connection.
#[derive(Debug)]
pub(super) struct Link(UnixStream);

/// A guardian that takes our orders.
#[derive(Clone, Debug)]
pub(super) struct Guardian {
    pub(super) socket: PathBuf,
    pub(super) epoch: u64,
    pub(super) pid: u32,
    /// Whether it had to be started.
    pub(super) is_new: bool,
}

impl Link {
    pub(super) async fn open(socket: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Socket { path: socket.to_owned(), source };
        match timeout(SOON, UnixStream::connect(socket)).await {
            Ok(stream) => Ok(Self(stream.map_err(failed)?)),
            Err(_) => Err(Error::Late(SOON)),
        }
    }

    /// One question and its answer.
    pub(super) async fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        let limit = match request {
            Request::Start { .. } | Request::Watch { .. } => LATER,
            Request::Hello { .. } | Request::Stop { .. } | Request::Forget { .. } => SOON,
        };
        let exchange = async {
            wire::write(&mut self.0, request).await?;
            wire::read(&mut self.0).await
        };
        match timeout(limit, exchange).await {
            Ok(answer) => answer.map_err(Error::Broken),
            Err(_) => Err(Error::Late(limit)),
        }
    }
}

/// The guardian of a state directory: the one that is there, or a new one.
pub(super) async fn guardian(options: &Options) -> Result<Guardian, Error> {
    let socket = options.socket();
    let mut is_new = false;
    let mut link = match Link::open(&socket).await {
        Ok(link) => link,
        Err(_) => {
            is_new = true;
            launch(options, &socket)?;
            patiently(&socket).await?
        }
    };
    match link.ask(&Request::Hello { protocol: PROTOCOL, attends: true }).await? {
        Answer::Welcome { epoch, pid } => Ok(Guardian { socket, epoch, pid, is_new }),
        Answer::Refused(why) => Err(Error::Refused(why)),
        other => Err(Error::Refused(format!("an answer to something else: {other:?}"))),
    }
}

/// For how long nobody has watched who gives the orders; `None` where that is not known.
///
/// # Errors
/// There is no guardian, or it does not answer.
pub(super) async fn unattended(socket: &Path) -> Result<Option<Duration>, Error> {
    let asked = async {
        match Link::open(socket).await?.ask(&Request::Watch { seen: 0, epoch: None }).await? {
            Answer::State { unattended, .. } => Ok(unattended),
            other => Err(Error::Refused(format!("an answer to something else: {other:?}"))),
        }
    };
    timeout(SOON, asked).await.unwrap_or(Err(Error::Late(SOON)))
}

/// Not tied to this process in any way: it is there to outlive it.
fn launch(options: &Options, socket: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(&options.state_dir).map_err(Error::Launch)?;
    let log = options.state_dir.join("guardian.log");
    let log = File::options().create(true).append(true).mode(0o600).open(log);
    let log = log.map_err(Error::Launch)?;
    let child = Command::new(&options.program)
        .arg0("mainstay")
        .arg("guardian")
        .arg("--socket")
        .arg(socket)
        .arg("--linger-seconds")
        .arg(options.linger.as_secs().max(1).to_string())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn();
    // The runtime reaps it if it ends before this process.
    child.map(drop).map_err(Error::Launch)
}

async fn patiently(socket: &Path) -> Result<Link, Error> {
    let end = Instant::now() + LAUNCH;
    loop {
        match Link::open(socket).await {
            Err(Error::Socket { source, .. }) if is_not_yet(&source) && Instant::now() < end => {
                sleep(LOOK).await;
            }
            outcome => return outcome,
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
