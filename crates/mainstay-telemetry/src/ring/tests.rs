//! Records survive their way through words, and torn ones are never read.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_policy::{Class, Guard, Moment, SentState};
use proptest::prelude::*;

use super::*;
use crate::record::{Attempt, End, MAX_ATTEMPTS, Reason, RequestId, Skipped};

fn attempt() -> impl Strategy<Value = Attempt> {
    let sent =
        prop_oneof![Just(SentState::NotSent), Just(SentState::MaybeSent), Just(SentState::Sent)];
    let class = prop::option::of(prop::sample::select(Class::ALL.to_vec()));
    let numbers = any::<(u32, u8, u8, u16, u32, u32)>();
    let skipped = any::<[u16; 5]>();
    let guard = prop::option::of(prop::sample::select(Guard::ALL.to_vec()));
    (numbers, class, sent, skipped, guard).prop_map(|(numbers, class, sent, skipped, guard)| {
        let (target, step, why, status, started_us, took_us) = numbers;
        let [verdict, breaker, ejected, limit, tried] = skipped;
        let paused = verdict ^ tried;
        let skipped = Skipped { verdict, breaker, ejected, limit, tried, paused };
        Attempt { target, step, why, class, sent, status, started_us, took_us, skipped, guard }
    })
}

fn record() -> impl Strategy<Value = Record> {
    let numbers = any::<(u64, u16, u64, u64, u64, u16, u8, bool, u16, u16)>();
    let end = prop::sample::select(End::ALL.to_vec());
    let reason = prop::sample::select(Reason::ALL.to_vec());
    let attempts = prop::collection::vec(attempt(), 0..=MAX_ATTEMPTS);
    (numbers, end, reason, attempts).prop_map(|(numbers, end, reason, attempts)| {
        let (id, model, started, took, deadline, status, step, degraded, rows, moved) = numbers;
        let mut record = Record {
            id: RequestId(id),
            model,
            started: Moment::from_nanos(started),
            took: Duration::from_nanos(took),
            deadline: Duration::from_nanos(deadline),
            end,
            status,
            step,
            degraded,
            reason,
            rows,
            rows_moved: moved,
            replayed: degraded != (rows > 7),
            guard: (moved % 2 == 1).then_some(Guard::Finite),
            ..Record::default()
        };
        for attempt in attempts {
            record.push(attempt);
        }
        record
    })
}

proptest! {
    #[test]
    fn a_record_comes_back_as_it_was(record in record()) {
        let ring = Ring::new(1);
        ring.push(&record);
        prop_assert_eq!(ring.records().collect::<Vec<_>>(), vec![record]);
    }

    #[test]
    fn a_slot_forgets_what_it_held(first in record(), second in record()) {
        let ring = Ring::new(1);
        ring.push(&first);
        ring.push(&second);
        prop_assert_eq!(ring.records().collect::<Vec<_>>(), vec![second]);
    }

    #[test]
    fn any_words_are_read_without_panic(words in any::<[u64; WORDS]>()) {
        let _ = words::read(&words);
    }
}

/// A record whose every number follows from `seed`, so that a torn one shows.
fn consistent(seed: u32) -> Record {
    let part = seed as u16;
    let mut record = Record {
        id: RequestId(u64::from(seed)),
        model: part,
        started: Moment::from_nanos(u64::from(seed)),
        took: Duration::from_nanos(u64::from(seed)),
        deadline: Duration::from_nanos(u64::from(seed)),
        status: part,
        rows: part,
        rows_moved: part,
        ..Record::default()
    };
    for _ in 0..MAX_ATTEMPTS {
        let [verdict, breaker, ejected, limit, tried, paused] = [part; 6];
        let skipped = Skipped { verdict, breaker, ejected, limit, tried, paused };
        let attempt = Attempt {
            target: seed,
            status: part,
            started_us: seed,
            took_us: seed,
            skipped,
            ..Attempt::default()
        };
        record.push(attempt);
    }
    record
}

#[test]
fn readers_that_race_with_the_writer_never_see_a_torn_record() {
    const READERS: usize = 3;
    const WRITES: u32 = 200_000;
    let (ring, done) = (Ring::new(8), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut read = 0_u64;
                    while !done.load(Ordering::Relaxed) || read == 0 {
                        for record in ring.records() {
                            assert_eq!(record, consistent(record.id.0 as u32));
                            read += 1;
                        }
                    }
                    read
                })
            })
            .collect();
        (1..=WRITES).for_each(|seed| ring.push(&consistent(seed)));
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

#[test]
fn a_slot_that_is_being_written_is_left_out() {
    let ring = Ring::new(2);
    ring.push(&consistent(1));
    ring.push(&consistent(2));
    ring.slots[0].sequence.fetch_add(1, Ordering::Relaxed);
    assert_eq!(ring.records().map(|record| record.id.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn the_oldest_records_give_way() {
    let ring = Ring::new(4);
    (1..=10).for_each(|seed| ring.push(&consistent(seed)));
    let ids: BTreeSet<_> = ring.records().map(|record| record.id.0).collect();
    assert_eq!(ids, BTreeSet::from([7, 8, 9, 10]));
}

#[test]
fn a_ring_without_slots_keeps_nothing() {
    let ring = Ring::new(0);
    ring.push(&consistent(1));
    assert_eq!(ring.records().count(), 0);
}
