//! The last good answers of servers, for the day without any.
//!
//! Models whose chain has such a step remember what their servers answered: undegraded, judged
//! good, whole, with status 200. An answer stands under the model, its version and 128 bits of a
//! hash over everything in the request that it depends on, and over who asked, unless the step
//! says that callers share. Memory comes first; disk behind it survives a restart.
//!
//! Nothing of this is done on the way of a request: the answer's bytes are handed over when the
//! client has them, and hashed and copied on the control runtime. Each good answer renews its
//! entry, so the oldest entry is the one nobody asked for longest, and the first to expire: it
//! goes first when room is short.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mainstay_config::{self as config, Config};

use crate::request::Question;

mod disk;
mod key;
mod memory;

use disk::Disk;
pub(crate) use key::Key;
use memory::Memory;

/// A disk's copy of the same answer is renewed when it has lived so much of its time: a model
/// that is asked the same all day must not write all day.
const RENEW_AFTER: u32 = 8;

/// Answers above this are not remembered: one of them would push out thousands.
const LARGEST: usize = 1024 * 1024;

/// What one model's step asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) max_age: Duration,
    /// Whether callers get what others got.
    pub(crate) shared: bool,
    /// What the servers that are remembered are asked for: an answer of another version than the
    /// configuration names today is none.
    pub(crate) lineage: u64,
}

/// An answer that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// When it was given, in milliseconds of Unix time, since it outlives the process.
    pub(crate) at: u64,
    /// When disk was given it.
    written: u64,
    pub(crate) json_len: Option<usize>,
    pub(crate) body: Bytes,
}

/// What has been remembered and given again, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) entries: usize,
    /// In memory.
    pub(crate) bytes: usize,
    /// On disk.
    pub(crate) disk_bytes: u64,
    pub(crate) stored: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Not written to disk for want of time.
    pub(crate) lost: u64,
}

/// Every answer that is remembered.
#[derive(Debug)]
pub(crate) struct LastGood {
    memory: Mutex<Memory>,
    /// Opened when a chain first has such a step.
    disk: OnceLock<Disk>,
    stored: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl LastGood {
    /// Room as the configuration says.
    pub(crate) fn new(config: &Config) -> Self {
        let found = Self {
            memory: Mutex::new(Memory::new(config.limits.last_good_memory)),
            disk: OnceLock::new(),
            stored: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        };
        found.fit(config);
        found
    }

    /// Takes as much room as the configuration says from now on; the disk is opened where a chain
    /// has such a step.
    pub(crate) fn fit(&self, config: &Config) {
        self.lock().resize(config.limits.last_good_memory);
        let bytes = config.limits.last_good_disk as u64;
        if let Some(disk) = self.disk.get() {
            disk.resize(bytes);
        } else if bytes > 0 && config.models.iter().any(|model| rule(model).is_some()) {
            let path = config.state_dir.join("last-good.redb");
            self.disk.get_or_init(|| Disk::open(&path, bytes));
        }
    }

    /// Remembers the answer to `ask`. Hashes and copies: not for a data-path thread.
    pub(crate) fn put(
        &self,
        (ask, rule): (Question<'_>, &Rule),
        (answer, json_len): (&Bytes, Option<usize>),
        at: SystemTime,
    ) {
        if answer.len() > LARGEST {
            return;
        }
        let Some(key) = key::of(ask, rule) else { return };
        // A copy: a slice of the buffer that it was read into would keep all of that.
        let body = Bytes::copy_from_slice(answer);
        let at = millis(at);
        let mut kept = Kept { at, written: at, json_len, body };
        let mut memory = self.lock();
        let renewed = memory.get(key).is_some_and(|old| {
            let same = old.body == kept.body && old.json_len == kept.json_len;
            kept.written = old.written;
            same && !is_older(old.written, at, rule.max_age / RENEW_AFTER)
        });
        if !renewed {
            kept.written = at;
        }
        let kept = Arc::new(kept);
        memory.put(key, Arc::clone(&kept));
        drop(memory);
        self.stored.fetch_add(1, Ordering::Relaxed);
        if let Some(disk) = self.disk.get().filter(|_| !renewed) {
            disk.write(key, kept);
        }
    }

    /// The answer to the same as `ask`, with its age in seconds, if one is remembered that is not
    /// too old.
    pub(crate) async fn get(
        &self,
        ask: Question<'_>,
        rule: &Rule,
        now: SystemTime,
    ) -> Option<(Arc<Kept>, u64)> {
        let found = self.find(ask, rule, now).await;
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    async fn find(
        &self,
        ask: Question<'_>,
        rule: &Rule,
        now: SystemTime,
    ) -> Option<(Arc<Kept>, u64)> {
        let (key, now) = (key::of(ask, rule)?, millis(now));
        let in_memory = self.lock().get(key);
        let kept = match in_memory {
            Some(kept) => kept,
            None => {
                let reader = self.disk.get()?.reader()?;
                let read = tokio::task::spawn_blocking(move || reader.read(key)).await;
                Arc::new(read.ok().flatten()?)
            }
        };
        // One from the future: the clock was set back, and nobody knows how old it is.
        let age = now.checked_sub(kept.at)?;
        (u128::from(age) <= rule.max_age.as_millis()).then_some((kept, age / 1000))
    }

    /// What there is, and what has become of it.
    pub(crate) fn counts(&self) -> Counts {
        let (entries, bytes) = self.lock().size();
        let disk = self.disk.get();
        Counts {
            entries,
            bytes,
            disk_bytes: disk.map_or(0, Disk::bytes),
            stored: self.stored.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            lost: disk.map_or(0, Disk::lost),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a model's good answers are remembered, if a step gives them again.
pub(crate) fn rule(model: &config::Model) -> Option<Rule> {
    let rule = model.chain.iter().find_map(|step| match &step.source {
        config::Source::LastGood(rule) => Some(rule),
        _ => None,
    })?;
    let names = model.chain.iter().filter_map(|step| match &step.source {
        config::Source::Pool { model, version, .. } => Some((model, version)),
        _ => None,
    });
    Some(Rule { max_age: rule.max_age, shared: rule.shared, lineage: lineage(names) })
}

/// What a chain's servers are asked for, in one number: the names and versions of its pools.
fn lineage<'a>(names: impl Iterator<Item = (&'a Option<Arc<str>>, &'a Option<Arc<str>>)>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for name in names.flat_map(|(model, version)| [model, version]) {
        let name = name.as_deref().unwrap_or_default();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    (crate::poison::first_128(&hasher.finalize()) >> 64) as u64
}

fn is_older(then: u64, now: u64, age: Duration) -> bool {
    u128::from(now.saturating_sub(then)) > age.as_millis()
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
