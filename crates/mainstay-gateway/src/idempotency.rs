//! Answers by idempotency key: one execution, however often the request comes.
//!
//! After draft-ietf-httpapi-idempotency-key-header-06. The first request with a key is executed;
//! duplicates that come meanwhile wait for its answer, later ones get it again for a while. The
//! same key with another request is a mistake of the client's and is told so.
//!
//! One table for all workers, behind a lock: only requests that carry the header, for models that
//! ask for it, ever take it. Its memory is bounded; when it is full the oldest answers go first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::{HeaderMap, StatusCode};
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
    limit: usize,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<Key, Entry, RandomState>,
    /// What can be forgotten, the oldest first.
    order: VecDeque<(Key, u64)>,
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
        Self { book: Mutex::default(), limit }
    }

    /// A request comes with this key.
    pub(crate) fn enter(self: &Arc<Self>, key: Key, request: Fingerprint, now: Moment) -> Entered {
        let mut book = self.lock();
        book.forget_expired(now);
        if let Some(entry) = book.entries.get(&key) {
            let known = entry.request == request;
            match &entry.state {
                State::Done(_, until) if *until <= now => book.remove(key),
                _ if !known => return Entered::Mismatch,
                State::Running(running) => return Entered::Wait(running.clone()),
                State::Done(Some(stored), _) => return Entered::Replay(Arc::clone(stored)),
                State::Done(None, _) => return Entered::Lost,
            }
        }
        if !book.make_room(ENTRY, self.limit) {
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
        let mut book = self.answers.lock();
        let size = stored.as_ref().map_or(0, Stored::size);
        let fits = book.make_room(size, self.answers.limit);
        book.bytes += if fits { size } else { 0 };
        let kept = stored.filter(|_| fits).map(Arc::new);
        if let Some(entry) = book.entries.get_mut(&self.key) {
            entry.bytes += if kept.is_some() { size } else { 0 };
            entry.state = State::Done(kept, now + lasts);
            let known = (self.key, entry.serial);
            book.order.push_back(known);
        }
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
}

impl Book {
    fn insert(&mut self, key: Key, request: Fingerprint, state: State) -> u64 {
        self.last += 1;
        self.bytes += ENTRY;
        self.entries.insert(key, Entry { serial: self.last, request, bytes: ENTRY, state });
        self.last
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.bytes -= entry.bytes;
        }
    }

    /// Forgets answers, the oldest first, until so many more bytes fit; `false` if they never
    /// will.
    fn make_room(&mut self, bytes: usize, limit: usize) -> bool {
        while self.bytes.saturating_add(bytes) > limit {
            let Some((key, serial)) = self.order.pop_front() else { return false };
            if self.entries.get(&key).is_some_and(|entry| entry.serial == serial) {
                self.remove(key);
            }
        }
        true
    }

    /// Forgets what is at the front and past its time.
    fn forget_expired(&mut self, now: Moment) {
        while let Some((key, serial)) = self.order.front().copied() {
            match self.entries.get(&key) {
                Some(Entry { serial: known, state: State::Done(_, until), .. })
                    if *known == serial && *until > now =>
                {
                    return;
                }
                Some(entry) if entry.serial == serial => self.remove(key),
                Some(_) | None => {}
            }
            self.order.pop_front();
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
            assert!(answers.lock().bytes <= answers.limit);
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
        assert_eq!((book.bytes, book.order.len()), (0, 0));
    }
}
