//! What one connection is at its target: a place, an attempt, and for as long as it lasts, load.
//!
//! The attempt is over long before the connection: the first byte that comes back, or a while
//! without a reset, says that it went well. Breakers and peers hear of it then. The place and the
//! load are given back at the end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::breaker::Permit;
use mainstay_policy::limit::Sample;
use mainstay_policy::target::Target;
use mainstay_policy::{Class, Moment, Outcome, Verdict};

use crate::trial;
use crate::worker::Worker;

/// An admitted connection.
#[derive(Debug)]
pub(super) struct Visit {
    worker: Rc<Worker>,
    target: Arc<Target>,
    /// Until it is known how the attempt went.
    permit: Option<Permit>,
    started: Moment,
    /// How long it took to be accepted.
    took: Duration,
    /// Whether the target's silence is excused, since nobody knows who is to speak.
    excused: bool,
    /// Whether it still counts as load.
    counts: bool,
}

impl Visit {
    /// Asks the target's limit and its breaker; `anyway` overrides the breaker. `None`: there is
    /// no place, or no permit.
    pub(super) fn begin(
        worker: &Rc<Worker>,
        target: &Arc<Target>,
        (now, anyway): (Moment, bool),
    ) -> Option<Self> {
        if !target.limiter.try_acquire() {
            return None;
        }
        let admitted = if anyway {
            target.breaker.admit_anyway(now).map(|permit| (permit, None))
        } else {
            target.breaker.admit(now)
        };
        let Ok((permit, transition)) = admitted else {
            trial::free(worker, target, Sample::Nothing, now);
            return None;
        };
        if let Some(transition) = transition {
            worker.shared.breaker_changed(target, &transition);
        }
        let others = target.load.start();
        target.progress.begin(others == 0, now);
        Some(Self {
            worker: Rc::clone(worker),
            target: Arc::clone(target),
            permit: Some(permit),
            started: now,
            took: Duration::ZERO,
            excused: false,
            counts: true,
        })
    }

    pub(super) const fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The target accepted the connection; whether it does any good is still to be seen.
    pub(super) fn accepted(&mut self, now: Moment) {
        self.took = now.since(self.started);
        self.excused = true;
        self.target.progress.excuse();
    }

    /// The attempt went well. Only the first call counts.
    pub(super) fn went_well(&mut self, now: Moment) {
        if let Some(permit) = self.permit.take() {
            self.target.progress.finish(self.started, Ok(()), now);
            let outcome = Outcome::success(self.took);
            trial::report(&self.worker, &self.target, permit, outcome, now);
        }
    }

    /// The attempt failed, unless it went well before; a target on its way out is not to blame.
    pub(super) fn failed(mut self, class: Class, now: Moment) {
        let Some(permit) = self.permit.take() else { return };
        if self.target.health.verdict() == Verdict::Draining {
            self.target.breaker.release(permit);
            return;
        }
        if class == Class::Shortage {
            // What the gateway lacks says nothing of an endpoint.
            self.target.breaker.release(permit);
            return;
        }
        let latency = now.since(self.started);
        self.expect();
        self.target.progress.finish(self.started, Err(class), now);
        self.counts = false;
        self.target.load.failed(latency, now);
        trial::free(&self.worker, &self.target, Sample::Nothing, now);
        trial::report(&self.worker, &self.target, permit, Outcome::failure(class, latency), now);
    }

    fn expect(&mut self) {
        if std::mem::take(&mut self.excused) {
            self.target.progress.expect();
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.expect();
        if let Some(permit) = self.permit.take() {
            self.target.breaker.release(permit);
        }
        if self.counts {
            let now = self.worker.clock.now();
            self.target.load.finish(None, now);
            trial::free(&self.worker, &self.target, Sample::Nothing, now);
        }
    }
}
