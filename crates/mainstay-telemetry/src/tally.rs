//! Counters with a single writer, in an array that grows while it is written.
//!
//! The first part is as large as the configuration at the start asks for; what a later one adds
//! stands in further parts, each twice as large as the last. Nothing is ever moved, so growing
//! disturbs no writer, and a gateway that is never reconfigured pays one comparison.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The least size of the first further part.
const LEAST: usize = 64;
/// Further parts: more than memory has room for.
const PARTS: usize = 32;

type Part = Box<[AtomicU64]>;

/// Counters with a single writer.
#[derive(Debug)]
pub(crate) struct Tally {
    first: Part,
    more: [OnceLock<Part>; PARTS],
}

impl Tally {
    pub(crate) fn new(size: usize) -> Self {
        Self { first: part(size), more: [const { OnceLock::new() }; PARTS] }
    }

    /// Makes room for so many counters.
    pub(crate) fn grow(&self, size: usize) {
        let mut room = self.first.len();
        for (at, more) in self.more.iter().enumerate() {
            if room >= size {
                return;
            }
            room += more.get_or_init(|| part(self.base() << at)).len();
        }
    }

    /// Adds to a counter; one that does not exist is left out.
    #[inline]
    pub(crate) fn add(&self, index: usize, by: u64) {
        if let Some(counter) = self.counter(index) {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, index: usize) -> u64 {
        self.counter(index).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Sets these to nothing. Nobody may be writing to them.
    pub(crate) fn clear(&self, indexes: Range<usize>) {
        let counters = indexes.filter_map(|index| self.counter(index));
        counters.for_each(|counter| counter.store(0, Ordering::Relaxed));
    }

    #[inline]
    fn counter(&self, index: usize) -> Option<&AtomicU64> {
        match self.first.get(index) {
            Some(counter) => Some(counter),
            None => self.further(index - self.first.len()),
        }
    }

    /// The counter at this place behind the first part.
    #[cold]
    fn further(&self, index: usize) -> Option<&AtomicU64> {
        let base = self.base();
        let part = (index / base + 1).ilog2();
        let before = base * ((1 << part) - 1);
        self.more.get(part as usize)?.get()?.get(index - before)
    }

    /// The size of the first further part.
    fn base(&self) -> usize {
        self.first.len().max(LEAST)
    }
}

fn part(size: usize) -> Part {
    (0..size).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_stays_while_it_grows() {
        let tally = Tally::new(3);
        for size in [3, 4, 70, 200, 5_000] {
            tally.grow(size);
            (0..size).for_each(|at| tally.add(at, 1));
        }
        assert_eq!((tally.get(0), tally.get(3), tally.get(69)), (5, 4, 3));
        assert_eq!((tally.get(199), tally.get(4_999)), (2, 1));
        tally.clear(0..200);
        assert_eq!((tally.get(199), tally.get(200)), (0, 1));
    }

    #[test]
    fn a_counter_that_does_not_exist_is_left_out() {
        let tally = Tally::new(0);
        tally.add(7, 1);
        assert_eq!(tally.get(7), 0);
    }
}
