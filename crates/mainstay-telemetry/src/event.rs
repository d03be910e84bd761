//! Events: every change of state, with its cause, numbered and kept for a while.
//!
//! Events are rare (a verdict, a breaker, an operator's word), so the queue behind them is a
//! plain locked one; it is bounded, and its oldest entry gives way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mainstay_policy::Moment;

use crate::clock::Clock;

/// How many events are kept: an afternoon of a flapping endpoint.
const KEPT: usize = 1024;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// The verdict on a target.
    Verdict = 0,
    /// The state of a target's breaker.
    Breaker = 1,
    /// The availability of a step of a model's chain.
    Step = 2,
    /// A dependency of an endpoint or of the gateway itself.
    Dependency = 3,
    /// A word of an operator: a forced breaker, with the reason that was given.
    Operator = 4,
    /// The gateway itself: started, draining, stopped.
    Gateway = 5,
    /// A target that asked not to be asked for a while (`Retry-After`).
    Pause = 6,
    /// A request that was found to be poison.
    Poison = 7,
    /// The share of a target: ejected, on probation, on its ramp, serving.
    Rotation = 8,
    /// What a guard makes of a target's answers over a while: varied, or all the same.
    Guard = 9,
    /// Whether a model turns requests away for want of room.
    Overload = 10,
    /// The endpoints of a pool, and the sources that name them.
    Discovery = 11,
    /// What rehearsals show of a fallback: proven, failing, stale, disagreeing.
    Rehearsal = 12,
    /// A supervised process: started, ready, ended, given up for a while; or the guardian.
    Process = 13,
    /// Which endpoints of a pool are in use, and the way of standbys there.
    Group = 14,
    /// The shares of near and far servers of a pool.
    Locality = 15,
    /// Certificates: read again, refused, about to expire; handshakes with servers.
    Tls = 16,
    /// A verb on the admin listener: by whom, from where, and how it ended.
    Audit = 17,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What changed.
    pub kind: EventKind,
    /// Who changed: `pool/endpoint/model`, `model/step`, `gateway`.
    pub subject: String,
    /// The state before.
    pub from: String,
    /// The state from now on.
    pub to: String,
    /// Why, in one line.
    pub cause: String,
}

/// An event with its number and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedEvent {
    /// Grows by one with each event, from 1.
    pub seq: u64,
    /// When it happened.
    pub at: Moment,
    /// The same for people to read.
    pub wall: SystemTime,
    /// What happened.
    pub event: Event,
}

/// The events that are kept.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    kept: Mutex<Kept>,
    counts: [AtomicU64; EventKind::ALL.len()],
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    events: VecDeque<StampedEvent>,
}

impl EventKind {
    /// Every kind, in the order of the codes.
    pub const ALL: [Self; 18] = [
        Self::Verdict,
        Self::Breaker,
        Self::Step,
        Self::Dependency,
        Self::Operator,
        Self::Gateway,
        Self::Pause,
        Self::Poison,
        Self::Rotation,
        Self::Guard,
        Self::Overload,
        Self::Discovery,
        Self::Rehearsal,
        Self::Process,
        Self::Group,
        Self::Locality,
        Self::Tls,
        Self::Audit,
    ];

    /// The kind in kebab case, as metrics, logs and the API show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Breaker => "breaker",
            Self::Step => "step",
            Self::Dependency => "dependency",
            Self::Operator => "operator",
            Self::Gateway => "gateway",
            Self::Pause => "pause",
            Self::Poison => "poison",
            Self::Rotation => "rotation",
            Self::Guard => "guard",
            Self::Overload => "overload",
            Self::Discovery => "discovery",
            Self::Rehearsal => "rehearsal",
            Self::Process => "process",
            Self::Group => "group",
            Self::Locality => "locality",
            Self::Tls => "tls",
            Self::Audit => "audit",
        }
    }
}

impl Journal {
    /// Stamps, keeps, counts and logs an event.
    pub(crate) fn add(&self, clock: Clock, event: Event) {
        tracing::info!(
            target: "mainstay::event",
            kind = event.kind.as_str(),
            subject = event.subject,
            from = event.from,
            to = event.to,
            cause = event.cause,
            "state changed"
        );
        self.counts[event.kind as usize].fetch_add(1, Ordering::Relaxed);
        self.keep(clock, event);
    }

    fn keep(&self, clock: Clock, event: Event) {
        let mut kept = self.lock();
        let at = clock.now();
        kept.last += 1;
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        let seq = kept.last;
        kept.events.push_back(StampedEvent { seq, at, wall: clock.wall(at), event });
    }

    /// At most `limit` of the kept events with a number above `seq`, the oldest first.
    pub(crate) fn since(&self, seq: u64, limit: usize) -> Vec<StampedEvent> {
        let kept = self.lock();
        let first = kept.events.partition_point(|event| event.seq <= seq);
        kept.events.range(first..).take(limit).cloned().collect()
    }

    /// The number of the latest event; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last
    }

    /// How many events of this kind there have been.
    pub(crate) fn count(&self, kind: EventKind) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(subject: usize) -> Event {
        Event {
            kind: EventKind::Breaker,
            subject: subject.to_string(),
            from: "closed".to_owned(),
            to: "open".to_owned(),
            cause: "5 failures in a row".to_owned(),
        }
    }

    #[test]
    fn the_oldest_events_give_way_and_numbers_go_on() {
        let (journal, clock) = (Journal::default(), Clock::start());
        (0..KEPT + 10).for_each(|subject| journal.add(clock, event(subject)));
        let all = journal.since(0, usize::MAX);
        assert_eq!(all.len(), KEPT);
        assert_eq!((all[0].seq, all[0].event.subject.as_str()), (11, "10"));
        assert_eq!(journal.last(), (KEPT + 10) as u64);
        assert_eq!(journal.count(EventKind::Breaker), (KEPT + 10) as u64);
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped() {
        let (journal, clock) = (Journal::default(), Clock::start());
        (0..5).for_each(|subject| journal.add(clock, event(subject)));
        let first = journal.since(0, 2);
        let rest = journal.since(first[1].seq, 10);
        assert_eq!(rest.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(journal.since(5, 10).is_empty());
        assert!(first[0].at <= rest[2].at);
    }
}
