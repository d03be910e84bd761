//! Every request that came, and what became of it.
//!
//! In memory for whoever asks, bounded; and line by line in a file, which outlives a process that
//! is killed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_telemetry::Clock;
use serde::Serialize;

use crate::wire::Request;
use crate::{Behaviour, Kind};

/// Entries that are kept in memory; those beyond it are only counted, and in the file.
const KEPT: usize = 200_000;

/// One request.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Counts from 0.
    pub number: u64,
    /// When it had been read: milliseconds of wall time since 1970, to compare with other logs.
    pub at_ms: f64,
    /// Which connection, counted from 0.
    pub connection: u64,
    /// What it asked for.
    pub kind: Kind,
    /// The path.
    pub path: String,
    /// The model in the path.
    pub model: Option<String>,
    /// The client's name for it: the header `x-request-id`, else `id` in the body.
    pub id: Option<String>,
    /// What the script made of it; `full` where no worker and no room in the queue was left.
    pub behaviour: String,
    /// Whether the model ran.
    pub executed: bool,
    /// Whether everything was written that should be; `None` while it runs.
    pub answered: Option<bool>,
    /// From the arrival to the end, in milliseconds.
    pub took_ms: Option<f64>,
}

/// Sums over all requests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Requests, by kind.
    pub requests: BTreeMap<String, u64>,
    /// Requests, by behaviour.
    pub behaviours: BTreeMap<String, u64>,
    /// Times that a model ran.
    pub executions: u64,
    /// Of these, the ones that this server had run before for the same id.
    pub duplicates: u64,
}

/// The journal of one server.
#[derive(Debug)]
pub struct Journal {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    entries: Vec<Entry>,
    counts: Counts,
    executions: HashMap<String, u64>,
    file: Option<File>,
}

impl Journal {
    /// An empty one, that is also written to `file`, if given, after what it holds.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(file: Option<&Path>) -> io::Result<Self> {
        let open = |path| File::options().create(true).append(true).open(path);
        let file = file.map(open).transpose()?;
        let inner = Inner { file, ..Inner::default() };
        Ok(Self { clock: Clock::start(), inner: Mutex::new(inner) })
    }

    /// Every entry from this number on.
    #[must_use]
    pub fn since(&self, number: u64) -> Vec<Entry> {
        let inner = self.inner();
        inner.entries.iter().filter(|entry| entry.number >= number).cloned().collect()
    }

    /// The sums.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner().counts.clone()
    }

    /// How often the model ran, by id.
    #[must_use]
    pub fn executions(&self) -> HashMap<String, u64> {
        self.inner().executions.clone()
    }

    /// Writes down that a request has come.
    pub(crate) fn begin(&self, request: &Request, connection: u64, behave: Behaviour) -> Entry {
        let mut inner = self.inner();
        let entry = Entry {
            number: inner.next,
            at_ms: self.now_ms(),
            connection,
            kind: request.kind(),
            path: request.path.clone(),
            model: request.model().map(str::to_owned),
            id: id(request),
            behaviour: behave.to_string(),
            executed: false,
            answered: None,
            took_ms: None,
        };
        inner.next += 1;
        inner.count(&entry);
        inner.write(&entry);
        if inner.entries.len() < KEPT {
            inner.entries.push(entry.clone());
        }
        entry
    }

    /// Writes down that its model ran.
    pub(crate) fn execute(&self, entry: &mut Entry) {
        entry.executed = true;
        let mut inner = self.inner();
        inner.counts.executions += 1;
        if let Some(id) = &entry.id {
            let times = inner.executions.entry(id.clone()).or_default();
            *times += 1;
            let again = u64::from(*times > 1);
            inner.counts.duplicates += again;
        }
        inner.replace(entry);
    }

    /// Writes down how it ended.
    pub(crate) fn end(&self, mut entry: Entry, answered: bool) {
        entry.answered = Some(answered);
        entry.took_ms = Some(self.now_ms() - entry.at_ms);
        let mut inner = self.inner();
        inner.replace(&entry);
        inner.write(&entry);
    }

    fn now_ms(&self) -> f64 {
        let wall = self.clock.wall(self.clock.now());
        wall.duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, entry: &Entry) {
        let kind = format!("{:?}", entry.kind).to_lowercase();
        *self.counts.requests.entry(kind).or_default() += 1;
        *self.counts.behaviours.entry(entry.behaviour.clone()).or_default() += 1;
    }

    fn replace(&mut self, entry: &Entry) {
        let place = usize::try_from(entry.number).ok();
        if let Some(kept) = place.and_then(|place| self.entries.get_mut(place)) {
            *kept = entry.clone();
        }
    }

    /// A line each time something is known; a reader takes the last line of a number.
    fn write(&mut self, entry: &Entry) {
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(entry).unwrap_or_default() + "\n";
            // A full disk must not change what the server does.
            let _ = file.write_all(line.as_bytes());
        }
    }
}

fn id(request: &Request) -> Option<String> {
    if let Some(id) = request.header("x-request-id") {
        return Some(id.to_owned());
    }
    let body: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
    body.get("id")?.as_str().map(str::to_owned)
}
