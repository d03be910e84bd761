//! What all workers of a gateway account for, and who reads it.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_policy::Moment;
use mainstay_policy::health::Check;
use mainstay_policy::outlier::Cause;

use crate::clock::Clock;
use crate::counters::{Counters, ENDS, Layout, REASONS, TOKENS};
use crate::event::{Event, EventKind, Journal, StampedEvent};
use crate::names::{Catalog, Names, Shape, Shown};
use crate::record::{End, Record, RequestId};
use crate::ring::Ring;
use crate::tally::Tally;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Workers that will finish requests, at least 1.
    pub workers: usize,
    /// Records of the latest requests, over all workers. Default 4096 (1 MB).
    pub recent: usize,
    /// Records of the latest requests that were retried, degraded or not answered, over all
    /// workers. Default 4096.
    pub kept: usize,
}

/// The accounts of one gateway, shared by all who write and read them.
#[derive(Debug)]
pub struct Telemetry {
    clock: Clock,
    started: Moment,
    /// Changed by a reload alone.
    book: Mutex<Book>,
    shards: Vec<Shard>,
    /// Golden requests by target and result; one task writes those of a target.
    golden: Tally,
    journal: Journal,
    /// Ejections by the kind of their cause.
    ejections: [AtomicU64; Cause::KINDS.len()],
}

/// What the numbers stand for.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) layout: Arc<Layout>,
}

/// The hand of one worker on the accounts: only one thread may hold it, so it is not `Sync`.
#[derive(Debug)]
pub struct Worker {
    telemetry: Arc<Telemetry>,
    index: usize,
    /// As it was when a model was met for the first time.
    layout: RefCell<Arc<Layout>>,
}

/// What became of all requests for one model since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelTotals {
    /// Finished requests, whatever their end.
    pub requests: u64,
    /// Those with an answer of lesser quality, marked as such.
    pub degraded: u64,
    /// Those whose client saw an error that was not its own: failed, shed or cut.
    pub failed: u64,
    /// Attempts beyond the first of their request.
    pub retries: u64,
    /// Attempts made beside a late one.
    pub hedges: u64,
    /// Those of them whose answer was the request's.
    pub hedges_won: u64,
    /// Requests refused because they fail wherever they go while others do not.
    pub poisoned: u64,
    /// Answers given again for an idempotency key.
    pub replayed: u64,
    /// Requests that reached at least one server.
    pub forwarded: u64,
    /// Attempts that may have reached a server.
    pub sent: u64,
}

/// What one worker writes.
#[derive(Debug)]
struct Shard {
    counters: Counters,
    recent: Ring,
    kept: Ring,
}

impl Default for Settings {
    fn default() -> Self {
        Self { workers: 1, recent: 4096, kept: 4096 }
    }
}

impl ModelTotals {
    /// Attempts for each request that reached a server: 1.0 when nothing is retried.
    #[must_use]
    pub fn amplification(&self) -> f64 {
        if self.forwarded == 0 { 1.0 } else { self.sent as f64 / self.forwarded as f64 }
    }
}

impl Telemetry {
    /// Accounts with room for what `names` names.
    #[must_use]
    pub fn new(settings: Settings, names: Names, clock: Clock) -> Arc<Self> {
        let mut layout = Layout::new();
        names.steps.iter().for_each(|steps| layout.add(steps.len()));
        let workers = settings.workers.max(1);
        let shard = |_| Shard {
            counters: Counters::new(&layout, names.targets.len()),
            recent: Ring::new(settings.recent.div_ceil(workers)),
            kept: Ring::new(settings.kept.div_ceil(workers)),
        };
        let shards = (0..workers).map(shard).collect();
        let golden = Tally::new(names.targets.len() * Check::ALL.len());
        let book = Book { catalog: Arc::default(), layout: Arc::new(Layout::new()) };
        let telemetry = Self {
            clock,
            started: clock.now(),
            book: Mutex::new(book),
            shards,
            golden,
            journal: Journal::default(),
            ejections: Default::default(),
        };
        telemetry.begin(names);
        Arc::new(telemetry)
    }

    fn begin(&self, names: Names) {
        let shapes = names.models.into_iter().zip(names.steps);
        let shapes: Vec<_> = shapes.map(|(model, steps)| Shape { model, steps }).collect();
        let models = self.number_models(&shapes).into_iter().flatten().collect();
        let targets = (0..).zip(names.targets).collect();
        self.show_at(Shown { models, targets, golden: names.golden }, Moment::ZERO);
    }

    /// The number of each model in records; the same name with other steps is another number.
    /// `None` for those that records have no room for.
    pub fn number_models(&self, shapes: &[Shape]) -> Vec<Option<u16>> {
        let mut book = self.lock();
        let (mut catalog, mut layout) =
            (Catalog::clone(&book.catalog), Layout::clone(&book.layout));
        let number = |shape: &Shape| {
            let (number, is_new) = catalog.number(shape);
            if is_new {
                layout.add(shape.steps.len());
            }
            number
        };
        let numbers = shapes.iter().map(number).collect();
        let targets = catalog.target_room();
        self.shards.iter().for_each(|shard| shard.counters.grow(&layout, targets));
        *book = Book { catalog: Arc::new(catalog), layout: Arc::new(layout) };
        numbers
    }

    /// From now on this is what is shown. Counters of a number that stands for another target
    /// than before begin anew: nobody may count under it any more.
    pub fn show(&self, shown: Shown) {
        self.show_at(shown, self.clock.now());
    }

    fn show_at(&self, shown: Shown, now: Moment) {
        let mut book = self.lock();
        let mut catalog = Catalog::clone(&book.catalog);
        let reused = catalog.show(shown, now);
        let targets = catalog.target_room();
        for shard in &self.shards {
            shard.counters.grow(&book.layout, targets);
            reused.iter().for_each(|target| shard.counters.forget_target(*target));
        }
        let each = Check::ALL.len();
        self.golden.grow(targets * each);
        reused.iter().for_each(|target| self.golden.clear(target * each..(target + 1) * each));
        book.catalog = Arc::new(catalog);
    }

    /// The hand of worker `index` (counted from 0; beyond the number of workers the last one).
    /// Ask once for each: two hands on one shard would lose counts.
    #[must_use]
    pub fn worker(self: &Arc<Self>, index: usize) -> Worker {
        let index = index.min(self.shards.len() - 1);
        let layout = RefCell::new(self.book().layout);
        Worker { telemetry: Arc::clone(self), index, layout }
    }

    /// The clock that all moments of these accounts come from.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// When these accounts were opened.
    #[must_use]
    pub const fn started(&self) -> Moment {
        self.started
    }

    /// What the indexes in records stand for.
    #[must_use]
    pub fn names(&self) -> Arc<Catalog> {
        self.book().catalog
    }

    /// The record of a request, if it is still in a ring.
    #[must_use]
    pub fn request(&self, id: RequestId) -> Option<Record> {
        let rings = self.shards.iter().flat_map(|shard| [&shard.kept, &shard.recent]);
        rings.flat_map(Ring::records).find(|record| record.id == id)
    }

    /// At most `limit` records, the latest first; with `only_kept` those that were retried,
    /// degraded or not answered.
    #[must_use]
    pub fn recent(&self, limit: usize, only_kept: bool) -> Vec<Record> {
        let rings = self.shards.iter().map(|s| if only_kept { &s.kept } else { &s.recent });
        let mut records: Vec<_> = rings.flat_map(Ring::records).collect();
        records.sort_unstable_by_key(|record| Reverse(record.started));
        records.truncate(limit);
        records
    }

    /// Stamps an event, keeps it, counts it and logs it.
    pub fn event(&self, event: Event) {
        self.journal.add(self.clock, event);
    }

    /// Counts a golden request at the target with this number.
    pub fn golden(&self, target: u32, result: Check) {
        self.golden.add(golden_cell(target, result), 1);
    }

    /// How many golden requests at this target came to this.
    pub(crate) fn golden_count(&self, target: u32, result: Check) -> u64 {
        self.golden.get(golden_cell(target, result))
    }

    /// At most `limit` events with a number above `seq`, the oldest first. The last 1024 are
    /// kept.
    #[must_use]
    pub fn events_since(&self, seq: u64, limit: usize) -> Vec<StampedEvent> {
        self.journal.since(seq, limit)
    }

    /// The number of the latest event; 0 before the first.
    #[must_use]
    pub fn last_event(&self) -> u64 {
        self.journal.last()
    }

    /// What became of all requests for the model with this index.
    #[must_use]
    pub fn totals(&self, model: u16) -> ModelTotals {
        let Book { catalog, layout } = self.book();
        let models: Vec<_> = catalog.alike(model).into_iter().map(|it| layout.model(it)).collect();
        let cells = models.iter().flat_map(|model| layout.cells(*model));
        let each =
            |kinds: usize| cells.clone().flat_map(move |cell| cell * kinds..(cell + 1) * kinds);
        let failed = cells.clone().flat_map(|cell| {
            [End::Failed, End::Shed, End::Cut].map(|end| cell * ENDS + end as usize)
        });
        let of = |tally: fn(&Counters) -> &Tally| self.sum(tally, models.iter().copied());
        ModelTotals {
            requests: self.sum(|c| &c.requests, each(ENDS)),
            degraded: self.sum(|c| &c.degraded, each(REASONS)),
            failed: self.sum(|c| &c.requests, failed),
            retries: of(|c| &c.retries),
            hedges: of(|c| &c.hedges),
            hedges_won: of(|c| &c.hedges_won),
            poisoned: of(|c| &c.poisoned),
            replayed: of(|c| &c.replayed),
            forwarded: of(|c| &c.forwarded),
            sent: of(|c| &c.sent),
        }
    }

    /// How many events of this kind there have been.
    #[must_use]
    pub fn event_count(&self, kind: EventKind) -> u64 {
        self.journal.count(kind)
    }

    /// Counts an ejection for a cause of this kind, a number of [`Cause::KINDS`].
    pub fn ejected(&self, kind: usize) {
        if let Some(count) = self.ejections.get(kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ejections so far, by the kind of their cause.
    pub(crate) fn ejections(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.ejections.iter().map(|count| count.load(Ordering::Relaxed));
        Cause::KINDS.into_iter().zip(counts)
    }

    /// What the numbers stand for now.
    pub(crate) fn book(&self) -> Book {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of each worker.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.shards.iter().map(|shard| &shard.counters)
    }

    /// These counters, summed over all workers.
    pub(crate) fn sum(
        &self,
        tally: impl Fn(&Counters) -> &Tally,
        indexes: impl IntoIterator<Item = usize>,
    ) -> u64 {
        let sum = |at| self.shards.iter().map(|shard| tally(&shard.counters).get(at)).sum::<u64>();
        indexes.into_iter().map(sum).sum()
    }
}

fn golden_cell(target: u32, result: Check) -> usize {
    let at = Check::ALL.iter().position(|check| *check == result).unwrap_or_default();
    target as usize * Check::ALL.len() + at
}

impl Worker {
    /// Accounts for a finished request. Takes no lock (but for the first request to a model that
    /// a reload brought) and allocates nothing.
    pub fn finish(&self, record: &Record) {
        let shard = &self.telemetry.shards[self.index];
        let mut layout = self.layout.borrow_mut();
        if !layout.knows(record.model) {
            *layout = self.telemetry.book().layout;
        }
        shard.counters.count(&layout, record);
        shard.recent.push(record);
        if record.is_remarkable() {
            shard.kept.push(record);
        }
    }

    /// Counts the tokens of an answer of a language model: of its prompt, and its own.
    pub fn tokens(&self, model: u16, [prompt, answer]: [u64; 2]) {
        let place = self.layout.borrow().model(model) * TOKENS.len();
        let counters = &self.telemetry.shards[self.index].counters;
        counters.tokens.add(place, prompt);
        counters.tokens.add(place + 1, answer);
    }

    /// The first content of a stream came so long after its attempt had begun.
    pub fn first_token(&self, target: u32, after: Duration) {
        self.telemetry.shards[self.index].counters.first_tokens.observe(target as usize, after);
    }

    /// So long lay between two pieces of content of a stream.
    pub fn token_gap(&self, target: u32, gap: Duration) {
        self.telemetry.shards[self.index].counters.token_gaps.observe(target as usize, gap);
    }
}

#[cfg(test)]
mod tests;
