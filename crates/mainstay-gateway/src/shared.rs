//! What all workers and the housekeeping of one gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mainstay_onnx::Executor;
use mainstay_policy::Moment;
use mainstay_policy::breaker::{State, Transition};
use mainstay_policy::budget::RetryBudget;
use mainstay_policy::target::{Registry, Target};
use mainstay_telemetry::{Clock, Event, EventKind, Telemetry};

use crate::gate::Gates;
use crate::idempotency::Answers;
use crate::memory::Memory;
use crate::snapshot::Snapshot;

/// A worker that has not beaten for this long is stuck: it gets no new connections.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(2);

/// What all workers and the housekeeping share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) registry: Registry,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) retries: RetryBudget,
    /// Who may go on to each model's servers.
    pub(crate) gates: Gates,
    pub(crate) executor: Executor,
    pub(crate) memory: Arc<Memory>,
    /// Answers by idempotency key.
    pub(crate) answers: Arc<Answers>,
    /// One for each worker.
    pub(crate) pulses: Vec<Pulse>,
    /// Whether the gateway is on its way out.
    pub(crate) draining: AtomicBool,
}

/// Whether a worker lives, and how much it has to do.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Client connections that it serves, those on their way to it included.
    pub(crate) connections: AtomicU32,
    /// Nanoseconds: its last sign of life.
    beat: AtomicU64,
}

impl Pulse {
    pub(crate) fn beat(&self, now: Moment) {
        self.beat.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Whether the worker has shown life lately.
    pub(crate) fn is_alive(&self, now: Moment) -> bool {
        now.since(Moment::from_nanos(self.beat.load(Ordering::Relaxed))) < STUCK_AFTER
    }
}

impl Shared {
    /// Whether the gateway is on its way out.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on no request is meant to come any more; what is in flight is finished.
    pub(crate) fn start_draining(&self, cause: &str) {
        if !self.draining.swap(true, Ordering::Relaxed) {
            self.telemetry.event(Event {
                kind: EventKind::Gateway,
                subject: "gateway".to_owned(),
                from: "serving".to_owned(),
                to: "draining".to_owned(),
                cause: cause.to_owned(),
            });
        }
    }

    /// A target asked to be left alone for a while.
    pub(crate) fn paused(&self, target: &Target, after: Duration, status: u16, now: Moment) {
        if target.pause.ask(after, now) {
            let left = target.pause.until(now).map_or(Duration::ZERO, |until| until.since(now));
            self.telemetry.event(Event {
                kind: EventKind::Pause,
                subject: target.key.to_string(),
                from: "asked".to_owned(),
                to: format!("paused for {:.1} s", left.as_secs_f64()),
                cause: format!("it answered {status} with Retry-After: {} s", after.as_secs()),
            });
        }
    }

    /// Tells of a breaker's change; a target whose breaker closed starts with a clean slate in
    /// the balancer, since what it was like before it failed says little of it now, and takes up
    /// its share slowly.
    pub(crate) fn breaker_changed(&self, target: &Target, transition: &Transition) {
        if transition.to == State::Closed {
            target.load.forget();
            target.health.recover(self.clock.now());
        }
        self.telemetry.event(Event {
            kind: EventKind::Breaker,
            subject: target.key.to_string(),
            from: transition.from.as_str().to_owned(),
            to: transition.to.as_str().to_owned(),
            cause: transition.cause.to_string(),
        });
    }
}
