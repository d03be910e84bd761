//! What all workers and the housekeeping of one gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use mainstay_control::orders::Book;
use mainstay_onnx::Executor;
use mainstay_policy::Moment;
use mainstay_policy::breaker::{State, Transition};
use mainstay_policy::target::{Registry, Target};
use mainstay_telemetry::{Clock, Event, EventKind, Telemetry};
use tokio::sync::watch;

use crate::aftermath::Aftermath;
use crate::groups::Alarm;
use crate::idempotency::Answers;
use crate::last_good::LastGood;
use crate::memory::Memory;
use crate::shortage::Shortage;
use crate::slots::Slots;
use crate::snapshot::Snapshot;
use crate::tcp::Claims;

/// A worker that has not beaten for this long is stuck: it gets no new connections.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(2);

/// What all workers and the housekeeping share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    current: ArcSwap<Snapshot>,
    /// How many snapshots there have been: workers look here whether theirs is the last.
    generation: AtomicU64,
    /// Tells housekeeping of each swap.
    swaps: watch::Sender<u64>,
    pub(crate) registry: Registry,
    pub(crate) telemetry: Arc<Telemetry>,
    /// Numbers for the endpoints' connections.
    pub(crate) slots: Slots,
    pub(crate) executor: Executor,
    pub(crate) memory: Arc<Memory>,
    /// Answers by idempotency key.
    pub(crate) answers: Arc<Answers>,
    /// Good answers, for the day without any.
    pub(crate) last_good: LastGood,
    /// Where answers go that something is made of afterwards.
    pub(crate) aftermath: Aftermath,
    /// One for each worker.
    pub(crate) pulses: Vec<Pulse>,
    /// Whether the gateway is on its way out.
    pub(crate) draining: AtomicBool,
    /// What the gateway itself lacked to open connections.
    pub(crate) shortage: Shortage,
    /// What operators said, to hold for endpoints from their first request on.
    pub(crate) book: ArcSwap<Book>,
    /// What servers say of their roles, and who writes.
    pub(crate) claims: Claims,
    /// Wakes who decides which endpoints are in use.
    pub(crate) alarm: Alarm,
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
    /// What workers and housekeeping share, with the first snapshot.
    pub(crate) fn new(
        snapshot: Snapshot,
        (registry, slots): (Registry, Slots),
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let config = Arc::clone(&snapshot.config);
        Self {
            clock: telemetry.clock(),
            current: ArcSwap::from_pointee(snapshot),
            generation: AtomicU64::new(0),
            swaps: watch::channel(0).0,
            registry,
            slots,
            telemetry,
            executor: Executor::new(config.embedded.threads, config.embedded.queue),
            memory: Arc::new(Memory::new(config.limits.replay_memory)),
            answers: Arc::new(Answers::new(config.limits.idempotency_memory)),
            last_good: LastGood::new(&config),
            aftermath: Aftermath::new(config.limits.shadow_memory),
            pulses: (0..config.workers).map(|_| Pulse::default()).collect(),
            draining: AtomicBool::default(),
            shortage: Shortage::default(),
            book: ArcSwap::default(),
            claims: Claims::default(),
            alarm: Alarm::default(),
        }
    }

    /// What holds now. Workers have a [view](crate::worker::Worker::view) of their own.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// How many snapshots there have been.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Tells of each swap, with the number of the snapshot that is in effect.
    pub(crate) fn swaps(&self) -> watch::Receiver<u64> {
        self.swaps.subscribe()
    }

    /// From now on this one holds; requests in flight finish on the one that they began with.
    pub(crate) fn swap(&self, snapshot: Snapshot) {
        self.memory.resize(snapshot.config.limits.replay_memory);
        self.aftermath.resize(snapshot.config.limits.shadow_memory);
        self.answers.resize(snapshot.config.limits.idempotency_memory);
        self.last_good.fit(&snapshot.config);
        self.current.store(Arc::new(snapshot));
        let last = self.generation.fetch_add(1, Ordering::Release);
        self.swaps.send_replace(last + 1);
    }

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
        self.alarm.raise(self.clock.now());
        self.telemetry.event(Event {
            kind: EventKind::Breaker,
            subject: target.key.to_string(),
            from: transition.from.as_str().to_owned(),
            to: transition.to.as_str().to_owned(),
            cause: transition.cause.to_string(),
        });
    }
}
