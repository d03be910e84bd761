//! The latest records of one worker, readable from elsewhere while it goes on writing.
//!
//! One slot holds one record as words; slots are overwritten in turn. Each is a sequence lock
//! made of atomics: the writer makes the sequence number odd, writes, and makes it even again;
//! a reader that finds it odd or changed has read a torn record and leaves it out. The writer
//! never waits. Fences as in Boehm, "Can seqlocks get along with programming language memory
//! models?" (MSPC 2012), section 4.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::record::Record;

mod words;

use words::{WORDS, Words};

/// A reader that loses the race this often leaves the record out: it is being overwritten.
const READS: usize = 4;

/// Records of one worker.
#[derive(Debug)]
pub(crate) struct Ring {
    slots: Box<[Slot]>,
    /// How many records were ever written; touched by the writer alone.
    written: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Odd while the record is being written, 0 before the first.
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Ring {
    pub(crate) fn new(capacity: usize) -> Self {
        let slots = (0..capacity).map(|_| Slot::default()).collect();
        Self { slots, written: AtomicU64::new(0) }
    }

    /// Writes over the oldest record. Only one thread may write.
    pub(crate) fn push(&self, record: &Record) {
        let written = self.written.load(Ordering::Relaxed);
        let Some(at) = written.checked_rem(self.slots.len() as u64) else { return };
        self.slots[at as usize].write(record);
        self.written.store(written + 1, Ordering::Relaxed);
    }

    /// Every record that could be read whole, in no order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        self.slots.iter().filter_map(Slot::read)
    }
}

impl Slot {
    fn write(&self, record: &Record) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        words::write(record, |at, word| self.words[at].store(word, Ordering::Relaxed));
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    fn read(&self) -> Option<Record> {
        (0..READS).find_map(|_| self.try_read()).and_then(|words| words::read(&words))
    }

    fn try_read(&self) -> Option<Words> {
        let before = self.sequence.load(Ordering::Acquire);
        if before == 0 || before % 2 == 1 {
            return None;
        }
        let words = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        (self.sequence.load(Ordering::Relaxed) == before).then_some(words)
    }
}

#[cfg(test)]
mod tests;
