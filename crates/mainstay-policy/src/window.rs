//! A sliding time window of a few counters, cheap to write and summed when read.
//!
//! Ten buckets cover the window; the oldest is dropped as a whole, so a sum spans between nine
//! and ten tenths of it. A bucket is one word: a stamp and the counters side by side, so that a
//! count and the turn to a new bucket are one compare-and-swap and a reader never sees half of
//! either. Each worker writes to a shard of its own on a cache line of its own; sharing a shard
//! is slower but still exact.
//!
//! A bucket belongs to a tick and a tag. A reader asks for one tag only: a breaker that closes
//! changes its tag and so begins with an empty window, without touching the shards of others.
//!
//! When a counter is full all counters of its bucket are halved: what is read from a window is
//! the ratio of its counters, and that stays. The stamp repeats after 2^(59 - counter bits)
//! ticks; a bucket that was not written in all that time would be counted once more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Moment;

/// Buckets of a window.
const BUCKETS: usize = 10;
/// Bits of a bucket's stamp that hold the tag; the rest is the tick.
const TAG_BITS: u32 = 5;

/// A sharded window of `FIELDS` counters of `BITS` bits each.
#[derive(Debug)]
pub(crate) struct Window<const FIELDS: usize, const BITS: u32> {
    /// Nanoseconds of one bucket.
    width: u64,
    shards: Box<[Shard]>,
}

/// Two cache lines, since processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard([AtomicU64; BUCKETS]);

impl<const FIELDS: usize, const BITS: u32> Window<FIELDS, BITS> {
    const COUNTERS: u32 = BITS * FIELDS as u32;
    const FULL: u64 = (1 << BITS) - 1;
    const STAMP: u64 = u64::MAX << Self::COUNTERS;

    /// An empty window over the last `span`, with at least one shard.
    pub(crate) fn new(span: Duration, shards: usize) -> Self {
        let width = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX) / BUCKETS as u64;
        let shards = (0..shards.max(1)).map(|_| Shard::default()).collect();
        Self { width: width.max(1), shards }
    }

    /// Adds one to each counter whose flag is set. An unknown shard counts as the first.
    pub(crate) fn add(&self, shard: usize, now: Moment, tag: u8, flags: [bool; FIELDS]) {
        let Some(shard) = self.shards.get(shard).or_else(|| self.shards.first()) else { return };
        let tick = now.as_nanos() / self.width;
        let stamp = Self::stamp(tick, tag);
        let bucket = &shard.0[slot(tick)];
        let mut seen = bucket.load(Ordering::Relaxed);
        loop {
            let kept = if seen & Self::STAMP == stamp { seen } else { stamp };
            let next = Self::counted(kept, flags);
            match bucket.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(current) => seen = current,
            }
        }
    }

    /// The sums over all shards of what was counted under `tag` within the window.
    pub(crate) fn totals(&self, now: Moment, tag: u8) -> [u32; FIELDS] {
        let tick = now.as_nanos() / self.width;
        let mut totals = [0u32; FIELDS];
        for back in 0..(BUCKETS as u64).min(tick.saturating_add(1)) {
            let stamp = Self::stamp(tick - back, tag);
            let slot = slot(tick - back);
            for shard in &self.shards {
                let word = shard.0[slot].load(Ordering::Relaxed);
                if word & Self::STAMP == stamp {
                    for (at, total) in totals.iter_mut().enumerate() {
                        *total = total.saturating_add(Self::field(word, at));
                    }
                }
            }
        }
        totals
    }

    const fn stamp(tick: u64, tag: u8) -> u64 {
        ((tick << TAG_BITS) | (tag as u64 & ((1 << TAG_BITS) - 1))) << Self::COUNTERS
    }

    const fn field(word: u64, at: usize) -> u32 {
        ((word >> (BITS * at as u32)) & Self::FULL) as u32
    }

    fn counted(word: u64, flags: [bool; FIELDS]) -> u64 {
        let full = (0..FIELDS).any(|at| u64::from(Self::field(word, at)) == Self::FULL);
        let room = if full { Self::halved(word) } else { word };
        flags
            .iter()
            .enumerate()
            .fold(room, |sum, (at, flag)| sum + (u64::from(*flag) << (BITS * at as u32)))
    }

    fn halved(word: u64) -> u64 {
        (0..FIELDS).fold(word & Self::STAMP, |sum, at| {
            sum | (u64::from(Self::field(word, at) / 2) << (BITS * at as u32))
        })
    }
}

const fn slot(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = Window<2, 8>;

    const fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let window = Pair::new(Duration::from_secs(10), 1);
        window.add(0, at(500), 0, [true, false]);
        window.add(0, at(9_900), 0, [true, true]);
        assert_eq!(window.totals(at(9_999), 0), [2, 1]);
        assert_eq!(window.totals(at(10_000), 0), [1, 1]);
        assert_eq!(window.totals(at(60_000), 0), [0, 0]);
    }

    #[test]
    fn a_new_turn_of_the_ring_replaces_its_bucket() {
        let window = Pair::new(Duration::from_secs(10), 1);
        window.add(0, at(100), 0, [true, true]);
        window.add(0, at(10_100), 0, [true, false]);
        assert_eq!(window.totals(at(10_100), 0), [1, 0]);
    }

    #[test]
    fn shards_are_summed_and_tags_kept_apart() {
        let window = Pair::new(Duration::from_secs(10), 3);
        for shard in 0..3 {
            window.add(shard, at(100), 4, [true, shard == 1]);
        }
        window.add(99, at(2_000), 4, [true, false]);
        assert_eq!(window.totals(at(3_000), 4), [4, 1]);
        assert_eq!(window.totals(at(3_000), 5), [0, 0]);
    }

    #[test]
    fn a_full_bucket_keeps_its_ratio() {
        let window = Pair::new(Duration::from_secs(10), 1);
        for call in 0..10_000 {
            window.add(0, at(1), 0, [true, call % 4 == 0]);
        }
        let [calls, part] = window.totals(at(1), 0);
        assert!((127..=255).contains(&calls), "{calls}");
        assert!((calls / 5..=calls / 3).contains(&part), "{part} of {calls}");
    }

    #[test]
    fn a_shared_shard_loses_no_count() {
        let window = Window::<1, 30>::new(Duration::from_secs(10), 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| window.add(0, at(5), 0, [true])));
            }
        });
        assert_eq!(window.totals(at(5), 0), [40_000]);
    }
}
