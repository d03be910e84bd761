//! Holds every process to what is wanted of it: the shell around the pure state of a process.
//!
//! One task owns the state of all processes. What it waits for comes to it: orders, the guardian's
//! reports, answers to starts, and a tick for what depends on time and verdicts. Readers see the
//! last published state and wait for nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_control::process::{Exit, Restart};
use mainstay_policy::Moment;
use tokio::sync::mpsc;

use super::wire::{Spec, StopRule};
use crate::error::Error;

mod entry;
mod service;

pub use service::Supervisor;

/// Orders that may wait.
const ORDERS: usize = 1024;
/// Starts, and beside them other orders, that are under way at the guardian at once: each has a
/// connection of its own there, and a hundred servers may be wanted in one moment.
pub(super) const ORDERS_AT_ONCE: usize = 16;

/// Where the guardian is, and how it is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that has the `guardian` command.
    pub program: PathBuf,
    /// The folder of the guardian's socket, lock and log.
    pub state_dir: PathBuf,
    /// How long the guardian keeps processes while no gateway is there.
    pub linger: Duration,
    /// Of the jitter.
    pub seed: u64,
}

impl Options {
    /// The guardian's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.state_dir.join("guardian.sock")
    }
}

/// A process that is to be supervised.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The pool's name.
    pub pool: String,
    /// The endpoint's name.
    pub endpoint: String,
    /// What it is made from.
    pub spec: Spec,
    /// How it is started again.
    pub restart: Restart,
    /// How it is stopped.
    pub stop: StopRule,
    /// Whether it is started without being asked for: false for a cold standby.
    pub wanted: bool,
}

/// What probes and requests say of the servers behind the processes.
pub trait Verdicts: Send + Sync {
    /// Whether the server is ready, judged by what was seen of it after `since`.
    fn is_ready(&self, pool: &str, endpoint: &str, since: Moment) -> bool;
}

/// How a supervised process stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// `stopped`, `starting`, `running`, `stopping`, `backing-off` or `crash-loop`; `elsewhere`
    /// while another gateway gives the orders.
    pub state: &'static str,
    /// Whether it is meant to run.
    pub wanted: bool,
    /// Whether what runs was made from another spec than the one that holds.
    pub outdated: bool,
    /// Whether it keeps ending; true also while one of its rare tries is under way.
    pub crash_looping: bool,
    /// Its process id, while it is there.
    pub pid: Option<u32>,
    /// When it was started, while it is there.
    pub started: Option<Moment>,
    /// When it is started again, while it waits.
    pub until: Option<Moment>,
    /// Ends that nobody asked for.
    pub failures: u64,
    /// How its last run ended, and when.
    pub last: Option<(Exit, Moment)>,
    /// Why it is in this state.
    pub why: String,
    /// How its limits are kept, and which are not.
    pub limits: String,
    /// The file of its output.
    pub log: PathBuf,
    /// Its last lines.
    pub tail: Vec<String>,
}

/// A process is named by its pool and its endpoint.
type Key = (String, String);

/// Who gives the orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Command {
    /// This supervisor.
    #[default]
    Ours,
    /// Another gateway, which took over.
    Others,
    /// Nobody any more. This supervisor takes it up as soon as it is told by [`Handle::set`] what
    /// processes there are: the other gateway may have started some that are to be kept.
    Vacant,
}

/// The last published state of every process.
#[derive(Debug, Default)]
struct Board {
    all: Mutex<BTreeMap<Key, Status>>,
    command: Mutex<Command>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Status>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self) -> MutexGuard<'_, Command> {
        self.command.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task is told.
#[derive(Debug)]
enum Order {
    Want { key: Key, wanted: bool, cause: String },
    Set { subjects: Vec<Subject>, cause: String },
    Renew { key: Key, cause: String },
    Retire,
}

/// The hand on all processes: orders in, state out. Nothing here waits.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    board: Arc<Board>,
}

impl Handle {
    /// From now on the process is meant to run.
    ///
    /// # Errors
    /// The endpoint has no process, or too many orders wait.
    pub fn start(&self, pool: &str, endpoint: &str, cause: &str) -> Result<(), Error> {
        self.want(pool, endpoint, true, cause)
    }

    /// From now on the process is not meant to run.
    ///
    /// # Errors
    /// The endpoint has no process, or too many orders wait.
    pub fn stop(&self, pool: &str, endpoint: &str, cause: &str) -> Result<(), Error> {
        self.want(pool, endpoint, false, cause)
    }

    /// From now on these are all processes there are, and others are stopped. One that is there
    /// already keeps what is wanted of it, unless it was a standby and is none any more; one that
    /// was made from another spec runs on as [outdated](Status::outdated), until
    /// [`renew`](Self::renew) gives it its turn or it ends.
    ///
    /// # Errors
    /// Too many orders wait.
    pub fn set(&self, subjects: Vec<Subject>, cause: &str) -> Result<(), Error> {
        self.order(Order::Set { subjects, cause: cause.to_owned() })
    }

    /// Stops the process and starts it again, from the spec that holds.
    ///
    /// # Errors
    /// The endpoint has no process, or too many orders wait.
    pub fn renew(&self, pool: &str, endpoint: &str, cause: &str) -> Result<(), Error> {
        let key = self.known(pool, endpoint)?;
        self.order(Order::Renew { key, cause: cause.to_owned() })
    }

    /// The pools in which something [outdated](Status::outdated) runs.
    #[must_use]
    pub fn outdated_pools(&self) -> BTreeSet<String> {
        let board = self.board.lock();
        let outdated = board.iter().filter(|(_, status)| status.outdated);
        outdated.map(|((pool, _), _)| pool.clone()).collect()
    }

    /// Who gives the orders.
    #[must_use]
    pub fn command(&self) -> Command {
        *self.board.command()
    }

    /// From now on this gateway gives no orders; what runs goes on.
    pub fn retire(&self) {
        let _ended = self.order(Order::Retire);
    }

    /// How the process of an endpoint stands; `None` if it has none.
    #[must_use]
    pub fn status(&self, pool: &str, endpoint: &str) -> Option<Status> {
        self.board.lock().get(&(pool.to_owned(), endpoint.to_owned())).cloned()
    }

    fn known(&self, pool: &str, endpoint: &str) -> Result<Key, Error> {
        let key = (pool.to_owned(), endpoint.to_owned());
        if !self.board.lock().contains_key(&key) {
            return Err(Error::Unknown { pool: key.0, endpoint: key.1 });
        }
        Ok(key)
    }

    fn want(&self, pool: &str, endpoint: &str, wanted: bool, cause: &str) -> Result<(), Error> {
        let key = self.known(pool, endpoint)?;
        self.order(Order::Want { key, wanted, cause: cause.to_owned() })
    }

    fn order(&self, order: Order) -> Result<(), Error> {
        self.orders.try_send(order).map_err(|_| Error::Busy)
    }
}
