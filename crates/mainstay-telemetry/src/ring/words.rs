//! A record as words of 64 bits, and back.
//!
//! Six words for the request and four for each attempt; the words of attempts that were not
//! made are not written. Durations are whole nanoseconds and end at 584 years.

use std::time::Duration;

use mainstay_policy::limit::Priority;
use mainstay_policy::{Class, Guard, Moment, SentState};

use crate::record::{Attempt, End, MAX_ATTEMPTS, Reason, Record, RequestId, Skipped};

/// Words that a request takes before its attempts.
const HEAD: usize = 6;
/// Words that an attempt takes.
const ATTEMPT: usize = 4;
/// Words of a whole record.
pub(super) const WORDS: usize = HEAD + ATTEMPT * MAX_ATTEMPTS;

/// A record's words.
pub(super) type Words = [u64; WORDS];

/// Hands each word that the record needs to `put`, with its position.
pub(super) fn write(record: &Record, mut put: impl FnMut(usize, u64)) {
    put(0, record.id.0);
    put(1, record.started.as_nanos());
    put(2, nanos(record.took));
    put(3, nanos(record.deadline));
    put(4, u16s([record.model, record.status, record.rows, record.rows_moved]));
    let queued = u16::try_from(record.queued.as_millis()).unwrap_or(u16::MAX);
    put(
        5,
        bytes([
            record.end as u8,
            record.step,
            u8::from(record.degraded) | guard_code(record.guard) << 1,
            record.reason as u8,
            record.attempt_count,
            u8::from(record.replayed) | (record.priority as u8) << 1,
            queued as u8,
            (queued >> 8) as u8,
        ]),
    );
    for (at, attempt) in record.attempts().iter().enumerate() {
        write_attempt(attempt, HEAD + at * ATTEMPT, &mut put);
    }
}

fn write_attempt(attempt: &Attempt, at: usize, put: &mut impl FnMut(usize, u64)) {
    let [a, b, c, d] = attempt.target.to_le_bytes();
    let class = attempt.class.map_or(0, |class| class as u8);
    put(at, bytes([a, b, c, d, attempt.step, attempt.why, class, attempt.sent as u8]));
    let Skipped { verdict, breaker, ejected, limit, tried, paused } = attempt.skipped;
    put(at + 1, u16s([attempt.status, verdict, breaker, tried]));
    put(at + 2, u16s([ejected, limit, paused, guard_code(attempt.guard).into()]));
    put(at + 3, u64::from(attempt.started_us) << 32 | u64::from(attempt.took_us));
}

/// The record of these words, or `None` if they are no record's.
pub(super) fn read(words: &Words) -> Option<Record> {
    let [model, status, rows, rows_moved] = to_u16s(words[4]);
    let [end, step, form, reason, attempt_count, flags, low, high] = words[5].to_le_bytes();
    let mut record = Record {
        id: RequestId(words[0]),
        model,
        started: Moment::from_nanos(words[1]),
        took: Duration::from_nanos(words[2]),
        deadline: Duration::from_nanos(words[3]),
        end: *End::ALL.get(usize::from(end))?,
        status,
        step,
        degraded: form & 1 != 0,
        reason: *Reason::ALL.get(usize::from(reason))?,
        replayed: flags & 1 != 0,
        rows,
        rows_moved,
        priority: Priority::from_code(flags >> 1)?,
        queued: Duration::from_millis(u16::from_le_bytes([low, high]).into()),
        guard: Guard::from_code(form >> 1),
        attempts: Default::default(),
        attempt_count,
    };
    let made = words[HEAD..].chunks_exact(ATTEMPT).take(record.attempts().len());
    for (at, words) in made.enumerate() {
        record.attempts[at] = read_attempt(words)?;
    }
    Some(record)
}

fn read_attempt(words: &[u64]) -> Option<Attempt> {
    let [a, b, c, d, step, why, class, sent] = words[0].to_le_bytes();
    let [status, verdict, breaker, tried] = to_u16s(words[1]);
    let [ejected, limit, paused, guard] = to_u16s(words[2]);
    Some(Attempt {
        target: u32::from_le_bytes([a, b, c, d]),
        step,
        why,
        class: Class::from_code(class),
        sent: sent_state(sent)?,
        status,
        started_us: (words[3] >> 32) as u32,
        took_us: words[3] as u32,
        skipped: Skipped { verdict, breaker, ejected, limit, tried, paused },
        guard: Guard::from_code(guard as u8),
    })
}

fn guard_code(guard: Option<Guard>) -> u8 {
    guard.map_or(0, |guard| guard as u8)
}

fn sent_state(code: u8) -> Option<SentState> {
    const STATES: [SentState; 3] = [SentState::NotSent, SentState::MaybeSent, SentState::Sent];
    STATES.get(usize::from(code)).copied()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const fn bytes(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

fn u16s(parts: [u16; 4]) -> u64 {
    parts.iter().rev().fold(0, |word, part| word << 16 | u64::from(*part))
}

fn to_u16s(word: u64) -> [u16; 4] {
    [word as u16, (word >> 16) as u16, (word >> 32) as u16, (word >> 48) as u16]
}
