//! Which server a sequence of requests is at.
//!
//! A stateful model keeps what it has seen of a sequence on the server that saw it; a later request
//! means nothing anywhere else. So the first request of a sequence binds it to the server that is
//! asked, and all others go there. When that server is lost, so is the state: the sequence is told
//! to be lost until it begins anew, instead of going on elsewhere as if nothing had happened.
//!
//! ```text
//! unknown ──begins──▶ bound ──server gone──▶ lost ──begins anew──▶ bound
//!                       └──ends, or idle for too long──▶ unknown
//! ```
//!
//! A server that was gone and came back knows nothing any more either: each binding holds the
//! [lives](crate::target::Target::lives) that its server had. The table is bounded: beyond its size
//! whoever was idle the longest is forgotten. Only models that declare sequences have one, so a
//! short lock for each of their requests is what they alone pay.
//!
//! Triton Inference Server, user_guide/architecture (stateful models), protocol extension
//! "sequence": sequence_id, sequence_start, sequence_end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Moment;
use crate::target::Target;

/// Locks of a table; requests of two sequences seldom wait for each other.
const SHARDS: usize = 16;

/// What identifies a sequence: a hash that nobody can make collide.
pub type Id = u128;

/// What becomes of a sequence whose server is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// The client is told, and begins anew.
    #[default]
    Fail,
    /// It begins anew by itself on another server: what went before does no harm if forgotten.
    Restart,
}

/// How sequences are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What becomes of one whose server is lost.
    pub on_loss: OnLoss,
    /// Forgotten after so long without a request. Default 60 s: far longer than servers keep the
    /// state themselves (Triton: 1 s).
    pub idle: Duration,
    /// The most that are known at once. Default 65,536.
    pub most: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { on_loss: OnLoss::default(), idle: Duration::from_secs(60), most: 65_536 }
    }
}

/// The server that a sequence is at.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The model on that server.
    pub target: Arc<Target>,
    /// How often it had been found gone when the sequence began.
    pub lives: u32,
}

/// What is known of a sequence.
#[derive(Clone, Debug)]
pub enum Known {
    /// Nothing: it never began here, has ended, or was idle for too long.
    Unknown,
    /// It is there.
    At(Seat),
    /// Its server was lost.
    Lost,
}

/// The sequences of one model, shared by all workers.
#[derive(Debug)]
pub struct Table {
    shards: [Mutex<HashMap<Id, Entry>>; SHARDS],
    lost: AtomicU64,
}

#[derive(Clone, Debug)]
struct Entry {
    /// `None`: lost.
    at: Option<Seat>,
    used: Moment,
}

impl Seat {
    /// A sequence begins there now.
    #[must_use]
    pub fn at(target: &Arc<Target>) -> Self {
        Self { target: Arc::clone(target), lives: target.lives() }
    }

    /// Whether the server is still the one that it was when the sequence began.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.target.lives() == self.lives
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), lost: AtomicU64::new(0) }
    }
}

impl Table {
    /// What is known of a sequence that has a request now.
    pub fn find(&self, id: Id, settings: &Settings, now: Moment) -> Known {
        let mut shard = self.shard(id);
        let Some(entry) = shard.get_mut(&id) else { return Known::Unknown };
        if entry.is_idle(settings, now) {
            shard.remove(&id);
            return Known::Unknown;
        }
        entry.used = now;
        entry.at.clone().map_or(Known::Lost, Known::At)
    }

    /// It is there from now on.
    pub fn begin(&self, id: Id, at: Seat, settings: &Settings, now: Moment) {
        self.set(id, Entry { at: Some(at), used: now }, settings, now);
    }

    /// Its server is lost; true if that was news.
    pub fn lose(&self, id: Id, settings: &Settings, now: Moment) -> bool {
        let before = self.set(id, Entry { at: None, used: now }, settings, now);
        let news = before.is_none_or(|entry| entry.at.is_some());
        self.lost.fetch_add(u64::from(news), Ordering::Relaxed);
        news
    }

    /// How many were lost since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// It has ended.
    pub fn end(&self, id: Id) {
        self.shard(id).remove(&id);
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets those that were idle for too long. Meant for a control loop; the table keeps within
    /// its bounds without it.
    pub fn sweep(&self, settings: &Settings, now: Moment) {
        for shard in &self.shards {
            lock(shard).retain(|_, entry| !entry.is_idle(settings, now));
        }
    }

    fn set(&self, id: Id, entry: Entry, settings: &Settings, now: Moment) -> Option<Entry> {
        let mut shard = self.shard(id);
        let most = settings.most.div_ceil(SHARDS);
        if shard.len() >= most && !shard.contains_key(&id) {
            make_room(&mut shard, settings, now);
        }
        shard.insert(id, entry)
    }

    fn shard(&self, id: Id) -> MutexGuard<'_, HashMap<Id, Entry>> {
        lock(&self.shards[(id % SHARDS as u128) as usize])
    }
}

impl Entry {
    fn is_idle(&self, settings: &Settings, now: Moment) -> bool {
        now.since(self.used) >= settings.idle
    }
}

fn lock(shard: &Mutex<HashMap<Id, Entry>>) -> MutexGuard<'_, HashMap<Id, Entry>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets whoever is idle; if nobody is, whoever was idle the longest.
fn make_room(shard: &mut HashMap<Id, Entry>, settings: &Settings, now: Moment) {
    let before = shard.len();
    shard.retain(|_, entry| !entry.is_idle(settings, now));
    if shard.len() == before
        && let Some(oldest) = shard.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id)
    {
        shard.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{self, Key};

    const START: Moment = Moment::from_millis(1_000_000);

    fn seat() -> Seat {
        let text = Arc::<str>::from("x");
        let key = Key { pool: text.clone(), endpoint: text.clone(), model: text, version: None };
        Seat::at(&Arc::new(Target::new(3, key, &target::Settings::default(), 1)))
    }

    fn is_there(table: &Table, id: Id, settings: &Settings, now: Moment) -> bool {
        matches!(table.find(id, settings, now), Known::At(_))
    }

    fn settings() -> Settings {
        Settings { idle: Duration::from_secs(10), most: 32, ..Settings::default() }
    }

    const fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn a_sequence_is_where_it_began_until_it_ends() {
        let (table, settings) = (Table::default(), settings());
        assert!(matches!(table.find(1, &settings, START), Known::Unknown));
        table.begin(1, seat(), &settings, START);
        assert!(is_there(&table, 1, &settings, at(1)));
        table.end(1);
        assert!(matches!(table.find(1, &settings, at(1)), Known::Unknown));
    }

    #[test]
    fn a_server_that_was_gone_is_another_one() {
        let seat = seat();
        assert!(seat.is_taken());
        seat.target.found_gone();
        assert!(!seat.is_taken());
    }

    #[test]
    fn each_request_keeps_it_from_being_idle() {
        let (table, settings) = (Table::default(), settings());
        table.begin(1, seat(), &settings, START);
        assert!(is_there(&table, 1, &settings, at(9)));
        assert!(is_there(&table, 1, &settings, at(18)));
        assert!(matches!(table.find(1, &settings, at(28)), Known::Unknown));
        assert!(table.is_empty());
    }

    #[test]
    fn a_lost_one_stays_lost_until_it_begins_anew() {
        let (table, settings) = (Table::default(), settings());
        table.begin(1, seat(), &settings, START);
        assert!(table.lose(1, &settings, at(1)));
        assert!(!table.lose(1, &settings, at(1)), "no news");
        assert_eq!(table.lost(), 1);
        assert!(matches!(table.find(1, &settings, at(2)), Known::Lost));
        table.begin(1, seat(), &settings, at(3));
        assert!(is_there(&table, 1, &settings, at(3)));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let (table, settings) = (Table::default(), settings());
        for id in 0..1_000 {
            table.begin(id, seat(), &settings, START + Duration::from_millis(id as u64));
        }
        assert_eq!(table.len(), 32);
        assert!(is_there(&table, 999, &settings, at(1)));
        assert!(matches!(table.find(0, &settings, at(1)), Known::Unknown));
        table.sweep(&settings, at(60));
        assert!(table.is_empty());
    }
}
