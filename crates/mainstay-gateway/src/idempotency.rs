//! Answers by idempotency key: one execution, however often the request comes.
//!
//! After draft-ietf-httpapi-idempotency-key-header-06. The first request with a key is executed;
//! duplicates that come meanwhile wait for its answer, later ones get it again for a while. The
//! same key with another request is a mistake of the client's and is told so.
//!
//! One table for all workers, behind a lock: only requests that carry the header, for models that
//! ask for it, ever take it. Its memory is bounded; what is past its time goes first, and then,
//! when it is full, the oldest answers. Answers are copied: as slices of the buffers that they
//! were read into they would keep far more than is counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::{HeaderMap, HeaderValue, StatusCode};
use mainstay_policy::Moment;
use mainstay_policy::poison::Fingerprint;
use mainstay_telemetry::RequestId;
use mainstay_telemetry::record::End;
use tokio::sync::watch;

/// What an entry takes beside its answer's bytes, about.
const ENTRY: usize = 512;

/// Who asks with which key of which model: 128 bits of a hash over all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) u128);

/// An answer that can be given again.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The request that was executed.
    pub(crate) id: RequestId,
    pub(crate) end: End,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What a request with a key finds.
#[derive(Debug)]
pub(crate) enum Entered {
    /// It is the first: it is to be executed.
    First(Lease),
    /// Another one is being executed. The receiver's end tells when to look again.
    Wait(watch::Receiver<()>),
    /// It was executed before.
    Replay(Arc<Stored>),
    /// It was executed before, and its answer could not be kept.
    Lost,
    /// The key belongs to another request.
    Mismatch,
    /// There is no room for another key.
    Full,
}

/// The right to execute a key's request. Dropped without an answer, the next one may.
#[derive(Debug)]
pub(crate) struct Lease {
    answers: Arc<Answers>,
    key: Key,
    serial: u64,
    /// Dropped last: whoever waits looks again.
    _running: watch::Sender<()>,
}

/// Every key and its answer.
#[derive(Debug)]
pub(crate) struct Answers {
    book: Mutex<Book>,
    /// Bytes of all entries together.
    limit: AtomicUsize,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<Key, Entry, RandomState>,
    /// What can be forgotten, the oldest first: exactly the entries that are done, by serial.
    order: BTreeMap<u64, Key>,
    /// The same, by the time until which they are kept: lifetimes differ between models.
    expiry: BTreeSet<(Moment, u64)>,
    bytes: usize,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    serial: u64,
    request: Fingerprint,
    bytes: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Running(watch::Receiver<()>),
    /// The answer, or that there was one; until then.
    Done(Option<Arc<Stored>>, Moment),
}

impl Answers {
    /// Room for so many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { book: Mutex::default(), limit: AtomicUsize::new(limit) }
    }

    /// Another limit from now on; the next answers make the room.
    pub(crate) fn resize(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// A request comes with this key.
    pub(crate) fn enter(self: &Arc<Self>, key: Key, request: Fingerprint, now: Moment) -> Entered {
        let mut book = self.lock();
        book.forget_expired(now);
        if let Some(entry) = book.entries.get(&key) {
            let known = entry.request == request;
            return match &entry.state {
                _ if !known => Entered::Mismatch,
                State::Running(running) => Entered::Wait(running.clone()),
                State::Done(Some(stored), _) => Entered::Replay(Arc::clone(stored)),
                State::Done(None, _) => Entered::Lost,
            };
        }
        if !book.make_room(ENTRY, self.limit()) {
            return Entered::Full;
        }
        let (sender, receiver) = watch::channel(());
        let serial = book.insert(key, request, State::Running(receiver));
        Entered::First(Lease { answers: Arc::clone(self), key, serial, _running: sender })
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// It was executed, with this answer; `None` where that cannot be kept.
    pub(crate) fn remember(self, stored: Option<Stored>, lasts: Duration, now: Moment) {
        let limit = self.answers.limit();
        // Copied before the lock is taken.
        let stored = stored.filter(|stored| stored.size() <= limit).map(Stored::copied);
        let mut book = self.answers.lock();
        book.forget_expired(now);
        let size = stored.as_ref().map_or(0, Stored::size);
        let kept = stored.filter(|_| book.make_room(size, limit)).map(Arc::new);
        book.done(self.key, kept, now + lasts);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut book = self.answers.lock();
        let mine = book.entries.get(&self.key).is_some_and(|entry| {
            entry.serial == self.serial && matches!(entry.state, State::Running(_))
        });
        if mine {
            book.remove(self.key);
        }
    }
}

impl Stored {
    fn size(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        self.body.len() + headers.sum::<usize>()
    }

    /// The same in memory of its own, without the buffers that it is a slice of.
    fn copied(mut self) -> Self {
        self.body = Bytes::copy_from_slice(&self.body);
        for value in self.headers.values_mut() {
            // What was a value is one again.
            if let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) {
                copy.set_sensitive(value.is_sensitive());
                *value = copy;
            }
        }
        self
    }
}

impl Book {
    fn insert(&mut self, key: Key, request: Fingerprint, state: State) -> u64 {
        self.last += 1;
        self.bytes += ENTRY;
        self.entries.insert(key, Entry { serial: self.last, request, bytes: ENTRY, state });
        self.last
    }

    /// The entry's request was executed; what is kept of its answer fits.
    fn done(&mut self, key: Key, kept: Option<Arc<Stored>>, until: Moment) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let size = kept.as_ref().map_or(0, |stored| stored.size());
        self.bytes += size;
        entry.bytes += size;
        entry.state = State::Done(kept, until);
        self.order.insert(entry.serial, key);
        self.expiry.insert((until, entry.serial));
    }

    fn remove(&mut self, key: Key) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.bytes -= entry.bytes;
        if let State::Done(_, until) = entry.state {
            self.order.remove(&entry.serial);
            self.expiry.remove(&(until, entry.serial));
        }
    }

    /// Forgets answers, the oldest first, until so many more bytes fit. `false`, and nothing is
    /// forgotten, if they do not even fit beside what is being executed.
    fn make_room(&mut self, bytes: usize, limit: usize) -> bool {
        let running = (self.entries.len() - self.order.len()) * ENTRY;
        if running.saturating_add(bytes) > limit {
            return false;
        }
        while self.bytes.saturating_add(bytes) > limit {
            let Some((_, key)) = self.order.first_key_value() else { return false };
            self.remove(*key);
        }
        true
    }

    /// Forgets what is past its time.
    fn forget_expired(&mut self, now: Moment) {
        while let Some((until, serial)) = self.expiry.first().copied()
            && until <= now
        {
            self.expiry.pop_first();
            if let Some(key) = self.order.get(&serial) {
                self.remove(*key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(1_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const REQUEST: Fingerprint = Fingerprint(1);

    fn stored(size: usize) -> Stored {
        Stored {
            id: RequestId(7),
            end: End::Answered,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: vec![b'x'; size].into(),
        }
    }

    fn first(answers: &Arc<Answers>, key: u128) -> Lease {
        match answers.enter(Key(key), REQUEST, NOW) {
            Entered::First(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_is_executed_and_the_others_wait_and_get_its_answer() {
        let answers = Arc::new(Answers::new(1 << 20));
        let lease = first(&answers, 1);
        let Entered::Wait(waits) = answers.enter(Key(1), REQUEST, NOW) else { panic!("waits") };
        assert!(waits.has_changed().is_ok(), "it still runs");
        lease.remember(Some(stored(10)), MINUTE, NOW);
        assert!(waits.has_changed().is_err(), "its end is seen");
        let again = answers.enter(Key(1), REQUEST, NOW);
        assert!(matches!(again, Entered::Replay(stored) if stored.id == RequestId(7)));
        assert!(matches!(answers.enter(Key(1), Fingerprint(2), NOW), Entered::Mismatch));
        assert!(matches!(answers.enter(Key(1), REQUEST, NOW + MINUTE), Entered::First(_)));
    }

    #[test]
    fn whoever_did_not_end_leaves_the_key_to_the_next() {
        let answers = Arc::new(Answers::new(1 << 20));
        drop(first(&answers, 1));
        first(&answers, 1).remember(None, MINUTE, NOW);
        assert!(matches!(answers.enter(Key(1), REQUEST, NOW), Entered::Lost));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let answers = Arc::new(Answers::new(20 * 1024));
        for key in 0..100 {
            first(&answers, key).remember(Some(stored(1024)), MINUTE, NOW);
            assert!(answers.lock().bytes <= answers.limit());
        }
        assert!(matches!(answers.enter(Key(99), REQUEST, NOW), Entered::Replay(_)));
        assert!(matches!(answers.enter(Key(0), REQUEST, NOW), Entered::First(_)));
        first(&answers, 200).remember(Some(stored(1 << 20)), MINUTE, NOW);
        assert!(matches!(answers.enter(Key(200), REQUEST, NOW), Entered::Lost));
        let running: Vec<_> = (300..400).map(|key| answers.enter(Key(key), REQUEST, NOW)).collect();
        assert!(matches!(running.last(), Some(Entered::Full)));
        drop(running);
        assert!(matches!(answers.enter(Key(300), REQUEST, NOW), Entered::First(_)));
    }

    #[test]
    fn what_is_past_its_time_takes_no_room() {
        let answers = Arc::new(Answers::new(1 << 20));
        (0..10).for_each(|key| first(&answers, key).remember(Some(stored(9)), MINUTE, NOW));
        let lease = answers.enter(Key(50), REQUEST, NOW + MINUTE);
        assert_eq!(answers.lock().entries.len(), 1);
        drop(lease);
        let book = answers.lock();
        assert_eq!((book.bytes, book.order.len(), book.expiry.len()), (0, 0, 0));
    }

    #[test]
    fn what_can_never_fit_drives_nothing_out() {
        let answers = Arc::new(Answers::new(20 * 1024));
        first(&answers, 1).remember(Some(stored(1024)), MINUTE, NOW);
        let running: Vec<_> = (10..30).map(|key| first(&answers, key)).collect();
        // It would fit an empty table, and not one with what is being executed.
        first(&answers, 2).remember(Some(stored(12 * 1024)), MINUTE, NOW);
        assert!(matches!(answers.enter(Key(2), REQUEST, NOW), Entered::Lost));
        assert!(matches!(answers.enter(Key(1), REQUEST, NOW), Entered::Replay(_)));
        drop(running);
    }

    #[test]
    fn a_long_lifetime_does_not_keep_what_is_past_its_time() {
        let answers = Arc::new(Answers::new(1 << 20));
        first(&answers, 1).remember(Some(stored(9)), 60 * MINUTE, NOW);
        (10..20).for_each(|key| first(&answers, key).remember(Some(stored(9)), MINUTE, NOW));
        let lease = answers.enter(Key(50), REQUEST, NOW + MINUTE);
        let again = answers.enter(Key(1), REQUEST, NOW + MINUTE);
        assert!(matches!(again, Entered::Replay(_)), "it is not forgotten early");
        drop(lease);
        let book = answers.lock();
        assert_eq!((book.entries.len(), book.order.len(), book.expiry.len()), (1, 1, 1));
    }

    #[test]
    fn what_is_past_its_time_goes_before_what_is_older() {
        let answers = Arc::new(Answers::new(4 * 1024));
        first(&answers, 1).remember(Some(stored(1024)), 60 * MINUTE, NOW);
        let lease = first(&answers, 2);
        first(&answers, 3).remember(Some(stored(1024)), MINUTE, NOW);
        lease.remember(Some(stored(1024)), MINUTE, NOW + MINUTE);
        let again = answers.enter(Key(1), REQUEST, NOW + MINUTE);
        assert!(matches!(again, Entered::Replay(_)));
    }

    #[test]
    fn no_answer_keeps_the_buffer_that_it_was_read_into() {
        let answers = Arc::new(Answers::new(1 << 20));
        let buffer = Bytes::from(vec![b'x'; 64 * 1024]);
        let value = HeaderValue::from_maybe_shared(buffer.slice(100..110)).expect("a value");
        let headers = [(http::header::ETAG, value)].into_iter().collect();
        let answer = Stored { body: buffer.slice(..10), headers, ..stored(0) };
        first(&answers, 1).remember(Some(answer), MINUTE, NOW);
        assert!(buffer.is_unique());
        let Entered::Replay(kept) = answers.enter(Key(1), REQUEST, NOW) else { panic!("kept") };
        assert_eq!((kept.body.len(), kept.headers[http::header::ETAG].len()), (10, 10));
    }
}
