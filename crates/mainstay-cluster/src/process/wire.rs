//! What gateway and guardian say to each other: JSON behind its length (32 bits, big endian).
//!
//! One request, one answer. A gateway that says [`Request::Hello`] gets an epoch, and orders of
//! older epochs are refused from then on: while one gateway hands over to the next, only the next
//! one gives orders. Times are ages, since the two have no clock in common.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_control::process::Exit;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The version of these messages.
pub const PROTOCOL: u32 = 1;
/// No message is longer: the status of a thousand processes with their last lines.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What the gateway asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// From now on I give the orders.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Whether I name my epoch whenever I watch, so that my end is noticed. Older gateways do
        /// not.
        #[serde(default)]
        attends: bool,
    },
    /// Start a process.
    Start {
        /// Of the last [`Answer::Welcome`].
        epoch: u64,
        /// Its name: pool and endpoint.
        name: String,
        /// What it is made from.
        spec: Box<Spec>,
    },
    /// Stop a process: ask, wait for its grace, kill.
    Stop {
        /// Of the last [`Answer::Welcome`].
        epoch: u64,
        /// Its name.
        name: String,
        /// The number of the start that is meant: an order that comes late stops no other. `None`
        /// for whichever runs.
        #[serde(default)]
        run: Option<u64>,
        /// How.
        stop: StopRule,
        /// Whether it is stopped for not having been ready in time.
        not_ready: bool,
    },
    /// Forget a process that does not run.
    Forget {
        /// Of the last [`Answer::Welcome`].
        epoch: u64,
        /// Its name.
        name: String,
    },
    /// How everything stands, as soon as it is another state than the one seen, and at the latest
    /// after some seconds.
    Watch {
        /// The number of the state that is known; 0 for none.
        seen: u64,
        /// The epoch of who gives the orders; `None` for who only looks.
        #[serde(default)]
        epoch: Option<u64>,
    },
}

/// What the guardian answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::Hello`].
    Welcome {
        /// To be named in orders.
        epoch: u64,
        /// The guardian's own process id.
        pid: u32,
    },
    /// To [`Request::Start`]: it runs.
    Started {
        /// Its process id.
        pid: u32,
        /// The number of this start.
        run: u64,
    },
    /// To [`Request::Start`]: it could not be started; kept as its last exit too.
    NotStarted {
        /// Why.
        exit: Exit,
    },
    /// It is done, or has begun.
    Done,
    /// It is not done.
    Refused(String),
    /// To [`Request::Watch`].
    State {
        /// The number of this state.
        seen: u64,
        /// The latest epoch; 0 from a guardian that does not say.
        #[serde(default)]
        epoch: u64,
        /// For how long nobody of the latest epoch has watched; `None` where that is not known.
        #[serde(default)]
        unattended: Option<Duration>,
        /// Every process that was ever started and not forgotten.
        processes: Vec<Report>,
    },
}

/// What a process is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// All of its environment.
    pub env: Vec<(String, String)>,
    /// User and group id, if others than the guardian's.
    pub user: Option<(u32, u32)>,
    /// Its working directory.
    pub dir: Option<PathBuf>,
    /// What it may take.
    pub limits: Limits,
    /// How it is stopped when nobody is left to say how.
    pub stop: StopRule,
    /// Where its output goes.
    pub log: Log,
    /// Names this spec: a process of another one has to be started anew.
    pub fingerprint: String,
}

/// What a process may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
    /// Processors.
    pub cpu: Option<f64>,
}

/// How a process is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRule {
    /// The signal that asks it to end.
    pub signal: i32,
    /// How long it may take before it is killed with all that it started.
    pub grace: Duration,
}

/// Where output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The file.
    pub path: PathBuf,
    /// Beyond so many bytes another file is begun.
    pub size: u64,
    /// So many older files are kept.
    pub files: u32,
}

/// How one process stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Its process id, while it (or something that it started) is there.
    pub pid: Option<u32>,
    /// How often it was started.
    pub run: u64,
    /// How long ago it was started.
    pub age: Duration,
    /// How it is stopped where nobody says otherwise.
    pub stop: StopRule,
    /// The spec that it was started from.
    pub fingerprint: String,
    /// How its limits are kept, and which are not.
    pub limits: String,
    /// How its last run ended.
    pub last: Option<Ended>,
    /// Ends that nobody asked for.
    pub failures: u64,
    /// The file of its output.
    pub log: PathBuf,
    /// Its last lines.
    pub tail: Vec<String>,
}

/// The end of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The number of its start.
    pub run: u64,
    /// How.
    pub exit: Exit,
    /// How long ago.
    pub age: Duration,
}

/// Reads one message.
///
/// # Errors
/// The connection ends or breaks, or the message is too long or cannot be understood.
pub async fn read<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let length = stream.read_u32().await? as usize;
    if length > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

/// Writes one message.
///
/// # Errors
/// The connection breaks, or the message is too long.
pub async fn write<T: Serialize>(stream: &mut UnixStream, message: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= MAX_BYTES);
    let length = length.ok_or_else(|| io::Error::other("the message is too long"))?;
    stream.write_all(&[&length.to_be_bytes(), &*bytes].concat()).await
}
