//! One attempt as its target's breaker and load see it: admitted, running, and ended once.
//!
//! A trial that is dropped without an end (the client went away, or another source was faster)
//! gives its permit back and says nothing about the target.

use std::rc::Rc;
use std::sync::Arc;

use mainstay_policy::breaker::{Permit, Refusal};
use mainstay_policy::target::Target;
use mainstay_policy::{Class, Moment, Outcome};

use crate::worker::Worker;

/// An admitted attempt.
#[derive(Debug)]
pub(crate) struct Trial {
    worker: Rc<Worker>,
    target: Arc<Target>,
    permit: Option<Permit>,
    started: Moment,
}

impl Trial {
    /// Asks the target's breaker; an admitted attempt counts as in flight from now on.
    pub(crate) fn begin(
        worker: &Rc<Worker>,
        target: &Arc<Target>,
        now: Moment,
    ) -> Result<Self, Refusal> {
        let (permit, transition) = target.breaker.admit(now)?;
        if let Some(transition) = transition {
            worker.shared.breaker_changed(target, &transition);
        }
        target.load.start();
        Ok(Self {
            worker: Rc::clone(worker),
            target: Arc::clone(target),
            permit: Some(permit),
            started: now,
        })
    }

    /// The attempt ended like this.
    pub(crate) fn finish(mut self, result: Result<(), Class>, now: Moment) {
        let Some(permit) = self.permit.take() else { return };
        let latency = now.since(self.started);
        match result {
            Ok(()) | Err(Class::ClientFault) => self.target.load.finish(Some(latency), now),
            // A server that fails fast must not look like the fastest one.
            Err(_) => self.target.load.failed(latency, now),
        }
        let outcome = Outcome { result, latency };
        let worker = &self.worker;
        let transition = worker
            .with_rng(|rng| self.target.breaker.record(worker.index, permit, outcome, now, rng));
        if let Some(transition) = transition {
            worker.shared.breaker_changed(&self.target, &transition);
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.target.breaker.release(permit);
            self.target.load.finish(None, self.started);
        }
    }
}
