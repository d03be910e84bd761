//! The second layer: a file that survives a restart and any crash.
//!
//! One thread writes, in batches of one transaction each, so that a request never waits for a
//! disk; a full queue drops what comes. The file is bounded in bytes of answers; the oldest give
//! way. It belongs to one process at a time: while the one before still holds it (an upgrade in
//! place), memory alone is used, and the file is tried again.

use std::fs::{OpenOptions, create_dir_all};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Kept, Key};

/// By key: when the answer was given, where its JSON part ends plus one (0: all of it is JSON),
/// and the answer.
const ANSWERS: TableDefinition<'_, u128, (u64, u64, &[u8])> = TableDefinition::new("answers-1");
/// The same keys by age: when the answer was given, and its bytes.
const AGES: TableDefinition<'_, (u64, u128), u64> = TableDefinition::new("ages-1");

/// Answers on their way to the thread.
const QUEUE: usize = 1024;
/// So long a batch is gathered: one transaction, and one wait for the disk, for all of it.
const BATCH_FOR: Duration = Duration::from_millis(200);
/// Entries of one batch at most.
const BATCH: usize = 512;
/// Between two tries at a file that somebody else holds.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Pages that redb keeps in memory: the first layer is ours.
const PAGES: usize = 8 * 1024 * 1024;
/// What an entry takes beside its answer's bytes, about.
const ENTRY: u64 = 128;

type Fallible<T> = Result<T, Box<redb::Error>>;

/// The file, and the thread that writes it.
#[derive(Debug)]
pub(super) struct Disk {
    store: Arc<Store>,
    queue: Option<SyncSender<(Key, Arc<Kept>)>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    lost: AtomicU64,
}

/// The file itself.
pub(super) struct Store {
    path: PathBuf,
    limit: AtomicU64,
    open: ArcSwapOption<Database>,
    /// Bytes of all answers in it.
    bytes: AtomicU64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens the file, or begins to try.
    pub(super) fn open(path: &Path, limit: u64) -> Self {
        let store = Arc::new(Store {
            path: path.to_path_buf(),
            limit: AtomicU64::new(limit),
            open: ArcSwapOption::empty(),
            bytes: AtomicU64::new(0),
        });
        store.open();
        let (queue, answers) = sync_channel(QUEUE);
        let writing = Arc::clone(&store);
        let thread = std::thread::Builder::new()
            .name("last-good".to_owned())
            .spawn(move || writing.run(&answers));
        if let Err(error) = &thread {
            tracing::error!(%error, "last good answers are not kept on disk");
        }
        let thread = Mutex::new(thread.ok());
        Self { store, queue: Some(queue), thread, lost: AtomicU64::new(0) }
    }

    /// Hands an answer to the thread; drops it if that cannot keep up.
    pub(super) fn write(&self, key: Key, kept: Arc<Kept>) {
        let sent = self.queue.as_ref().map(|queue| queue.try_send((key, kept)));
        if let Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None = sent {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Who can read from it, off the data path; `None` while somebody else holds the file.
    pub(super) fn reader(&self) -> Option<Arc<Store>> {
        self.store.open.load().is_some().then(|| Arc::clone(&self.store))
    }

    /// Takes so many bytes from the next answer on.
    pub(super) fn resize(&self, limit: u64) {
        self.store.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes of all answers in it.
    pub(super) fn bytes(&self) -> u64 {
        self.store.bytes.load(Ordering::Relaxed)
    }

    /// Answers that were not written.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Disk {
    /// What was handed over is written.
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread for last good answers panicked");
        }
    }
}

impl Store {
    /// The answer of this key.
    pub(super) fn read(&self, key: Key) -> Option<Kept> {
        let database = self.open.load_full()?;
        let read = || -> Fallible<Option<Kept>> {
            let transaction = database.begin_read().map_err(boxed)?;
            let answers = transaction.open_table(ANSWERS).map_err(boxed)?;
            let found = answers.get(key.0).map_err(boxed)?;
            Ok(found.map(|found| {
                let (at, json_len, body) = found.value();
                let json_len = json_len.checked_sub(1).and_then(|len| usize::try_from(len).ok());
                Kept { at, written: at, json_len, body: Bytes::copy_from_slice(body) }
            }))
        };
        read().unwrap_or_else(|error| {
            tracing::warn!(%error, "a last good answer cannot be read");
            None
        })
    }

    /// Writes what comes until nobody can send any more.
    fn run(&self, answers: &Receiver<(Key, Arc<Kept>)>) {
        while let Some(batch) = next_batch(answers) {
            if self.open.load().is_none() {
                self.open();
            }
            let Some(database) = self.open.load_full() else { continue };
            if batch.is_empty() {
                continue;
            }
            if let Err(error) = self.write(&database, &batch) {
                tracing::warn!(%error, "last good answers cannot be written");
            }
        }
    }

    /// Opens the file. One that cannot be read is put aside: what is in it only helps.
    fn open(&self) {
        match self.try_open() {
            Ok(()) => {}
            Err(error) if is_held(&error) => {
                tracing::debug!(path = %self.path.display(), "another process has the last good answers");
            }
            Err(error) => {
                let aside = self.path.with_extension("broken");
                tracing::warn!(%error, aside = %aside.display(), "the last good answers are put aside");
                let moved =
                    std::fs::rename(&self.path, &aside).map_err(|e| boxed(redb::Error::Io(e)));
                if let Err(error) = moved.and_then(|()| self.try_open()) {
                    tracing::error!(%error, "last good answers are not kept on disk");
                }
            }
        }
    }

    fn try_open(&self) -> Fallible<()> {
        make_private(&self.path).map_err(|error| boxed(redb::Error::Io(error)))?;
        let mut builder = Database::builder();
        let database = builder.set_cache_size(PAGES).create(&self.path).map_err(boxed)?;
        let transaction = database.begin_write().map_err(boxed)?;
        transaction.open_table(ANSWERS).map_err(boxed)?;
        let mut bytes = 0;
        {
            let ages = transaction.open_table(AGES).map_err(boxed)?;
            for entry in ages.iter().map_err(boxed)? {
                let (_, size) = entry.map_err(boxed)?;
                bytes += size.value();
            }
        }
        transaction.commit().map_err(boxed)?;
        self.bytes.store(bytes, Ordering::Relaxed);
        self.open.store(Some(Arc::new(database)));
        Ok(())
    }

    fn write(&self, database: &Database, batch: &[(Key, Arc<Kept>)]) -> Fallible<()> {
        let transaction = database.begin_write().map_err(boxed)?;
        let mut bytes = self.bytes.load(Ordering::Relaxed);
        {
            let mut answers = transaction.open_table(ANSWERS).map_err(boxed)?;
            let mut ages = transaction.open_table(AGES).map_err(boxed)?;
            for (Key(key), kept) in batch {
                let json_len = kept.json_len.map_or(0, |len| len as u64 + 1);
                let size = kept.body.len() as u64 + ENTRY;
                let old = answers.insert(key, (kept.at, json_len, &*kept.body)).map_err(boxed)?;
                let old = old.map(|old| old.value().0);
                if let Some(at) = old
                    && let Some(size) = ages.remove((at, *key)).map_err(boxed)?
                {
                    bytes = bytes.saturating_sub(size.value());
                }
                ages.insert((kept.at, *key), size).map_err(boxed)?;
                bytes += size;
            }
            let limit = self.limit.load(Ordering::Relaxed);
            while bytes > limit {
                let Some(oldest) = ages.pop_first().map_err(boxed)? else { break };
                let ((_, key), size) = (oldest.0.value(), oldest.1.value());
                drop(oldest);
                answers.remove(key).map_err(boxed)?;
                bytes = bytes.saturating_sub(size);
            }
        }
        transaction.commit().map_err(boxed)?;
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// What comes within the time of one batch; empty where nothing does. `None`: nobody can send any
/// more.
fn next_batch(answers: &Receiver<(Key, Arc<Kept>)>) -> Option<Vec<(Key, Arc<Kept>)>> {
    let mut batch = match answers.recv_timeout(TRY_AGAIN) {
        Ok(first) => vec![first],
        Err(RecvTimeoutError::Timeout) => Vec::new(),
        Err(RecvTimeoutError::Disconnected) => return None,
    };
    if !batch.is_empty() {
        std::thread::park_timeout(BATCH_FOR);
    }
    batch.extend(answers.try_iter().take(BATCH));
    Some(batch)
}

/// Makes the file, so that only its owner may read it: it holds predictions.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).open(path).map(|_| ())
}

fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

fn is_held(error: &redb::Error) -> bool {
    matches!(error, redb::Error::DatabaseAlreadyOpen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(at: u64, len: usize) -> Arc<Kept> {
        let json_len = (len > 10).then_some(10);
        Arc::new(Kept { at, written: at, json_len, body: Bytes::from(vec![7; len]) })
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last-good.redb");
        let disk = Disk::open(&path, 1 << 20);
        disk.write(Key(1), kept(5, 100));
        disk.write(Key(2), kept(6, 3));
        drop(disk);
        let disk = Disk::open(&path, 1 << 20);
        let store = disk.reader().unwrap();
        assert_eq!(store.read(Key(1)).as_ref(), Some(&*kept(5, 100)));
        assert_eq!(store.read(Key(2)).unwrap().json_len, None);
        assert_eq!((store.read(Key(3)), disk.bytes()), (None, 103 + 2 * ENTRY));
    }

    #[test]
    fn the_oldest_give_way_and_an_answer_stands_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last-good.redb");
        let disk = Disk::open(&path, 3 * (100 + ENTRY));
        for (at, key) in [(1, 1), (2, 2), (3, 3), (4, 1), (5, 4)] {
            disk.write(Key(key), kept(at, 100));
        }
        drop(disk);
        let disk = Disk::open(&path, 3 * (100 + ENTRY));
        let store = disk.reader().unwrap();
        assert_eq!(disk.bytes(), 3 * (100 + ENTRY));
        let there: Vec<_> = (1..=4).filter(|key| store.read(Key(*key)).is_some()).collect();
        assert_eq!(there, [1, 3, 4]);
        assert_eq!(store.read(Key(1)).unwrap().at, 4);
    }

    #[test]
    fn a_file_that_is_none_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last-good.redb");
        std::fs::write(&path, b"no database at all, though a file of some length").unwrap();
        let disk = Disk::open(&path, 1 << 20);
        assert!(disk.reader().is_some());
        assert!(path.with_extension("broken").exists());
    }

    #[test]
    fn a_file_that_another_holds_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last-good.redb");
        let first = Disk::open(&path, 1 << 20);
        first.write(Key(1), kept(1, 10));
        let second = Disk::open(&path, 1 << 20);
        assert!(second.reader().is_none());
        assert!(!path.with_extension("broken").exists());
    }
}
