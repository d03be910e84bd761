//! One attempt as its target's breaker and load see it: admitted, running, and ended once.
//!
//! A trial that is dropped without an end (the client went away, or another source was faster)
//! gives its permit back and says nothing about the target. Where it is not certain whose fault a
//! failure was, its blame waits in a [`Suspect`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::balance::Why;
use mainstay_policy::breaker::Permit;
use mainstay_policy::limit::Sample;
use mainstay_policy::poison::Others;
use mainstay_policy::target::Target;
use mainstay_policy::{Class, Moment, Outcome, Verdict};

use crate::worker::Worker;

/// An admitted attempt.
#[derive(Debug)]
pub(crate) struct Trial {
    worker: Rc<Worker>,
    target: Arc<Target>,
    permit: Option<Permit>,
    started: Moment,
    /// Whether it waits for its client now, and not for its target.
    excused: bool,
    /// What it is guessed to cost, in tokens.
    tokens: u64,
}

impl Trial {
    /// Asks the target's limit and, except in a panic, its breaker; an admitted attempt counts as
    /// in flight from now on. `None`: the last place or permit went to someone else.
    pub(crate) fn begin(
        worker: &Rc<Worker>,
        target: &Arc<Target>,
        (now, why): (Moment, Why),
    ) -> Option<Self> {
        if !target.limiter.try_acquire() {
            return None;
        }
        let admitted = if why == Why::Panic {
            target.breaker.admit_anyway(now).map(|permit| (permit, None))
        } else {
            target.breaker.admit(now)
        };
        let Ok((permit, transition)) = admitted else {
            free(worker, target, Sample::Nothing, now);
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
            excused: false,
            tokens: 0,
        })
    }

    /// It is guessed to cost its target so many tokens.
    pub(crate) fn carry(&mut self, tokens: u64) {
        self.tokens = tokens;
        self.target.load.carry(tokens);
    }

    /// Its target need not count on its tokens any more.
    fn relieve(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        if tokens > 0 {
            self.target.load.relieve(tokens);
        }
    }

    /// From now on it waits for its client, to send its body or to read the answer: that its
    /// target is silent is not the target's doing.
    pub(crate) fn excuse(&mut self) {
        if !self.excused {
            self.excused = true;
            self.target.progress.excuse();
        }
    }

    /// From now on it waits for its target again.
    pub(crate) fn expect(&mut self) {
        if self.excused {
            self.excused = false;
            self.target.progress.expect();
        }
    }

    /// A part of its answer came.
    pub(crate) fn advance(&self) {
        self.target.progress.advance(self.worker.coarse_now.get());
    }

    /// Whether it failed at a server that had asked for no more requests: a server that is shut
    /// down is not to blame for what it breaks off. The attempt then counts as called off.
    fn is_parting(&self, result: Result<(), Class>) -> bool {
        result.is_err_and(Class::blames_target) && self.target.health.verdict() == Verdict::Draining
    }

    /// Whether it ran out of time in the queue of a server that answers others: it is busy, not
    /// broken, and lowering its limit is what helps.
    fn was_queued(&self, class: Class, now: Moment) -> bool {
        class == Class::Timeout && self.target.limiter.is_crowded(self.started, now)
    }

    /// Whether a failure that ends it now speaks against its target.
    pub(crate) fn blames_target(&self, class: Class, now: Moment) -> bool {
        class.blames_target() && !self.was_queued(class, now)
    }

    /// The attempt ended like this.
    pub(crate) fn finish(mut self, result: Result<(), Class>, now: Moment) {
        if self.is_parting(result) {
            return;
        }
        let Some(permit) = self.permit.take() else { return };
        let queued = result.is_err_and(|class| self.was_queued(class, now));
        let latency = self.leave(result, now);
        let result = if queued { Err(Class::Capacity) } else { result };
        report(&self.worker, &self.target, permit, Outcome { result, latency }, now);
    }

    /// The attempt failed, and it is not decided yet whose fault that is: the server is free
    /// again, and blamed when the suspect is dropped, unless that is acquitted.
    pub(crate) fn suspect(mut self, class: Class, now: Moment) -> Option<Suspect> {
        if self.is_parting(Err(class)) {
            return None;
        }
        let permit = self.permit.take()?;
        let outcome = Outcome::failure(class, self.leave(Err(class), now));
        let (worker, target) = (Rc::clone(&self.worker), Arc::clone(&self.target));
        Some(Suspect { worker, target, permit: Some(permit), outcome })
    }

    /// The attempt was cut off, because another one answered first: no blame, but the server
    /// would have taken at least so long.
    pub(crate) fn overtaken(mut self, now: Moment) {
        let Some(permit) = self.permit.take() else { return };
        let latency = now.since(self.started);
        self.target.progress.overtaken(self.started, now);
        self.target.load.overtaken(latency, now);
        self.target.stats.outrun(self.worker.index, latency);
        // One that was cut off early, a hedge for example, says nothing of how long it takes.
        let late = self.target.breaker.usual().is_some_and(|usual| latency > usual);
        let sample = if late { Sample::Took(latency) } else { Sample::Nothing };
        free(&self.worker, &self.target, sample, now);
        self.target.breaker.overtaken(permit, latency, now);
    }

    /// What other requests met at the target lately. Nothing while its breaker is not closed.
    pub(crate) fn others(&self, now: Moment) -> Others {
        let status = self.target.breaker.status(now);
        Others { calls: status.calls, failures: status.failures }
    }

    /// The target has one request less; how long it took.
    fn leave(&self, result: Result<(), Class>, now: Moment) -> Duration {
        let latency = now.since(self.started);
        // A client that did not send its body got no answer that could be counted.
        if !(self.excused && result == Err(Class::ClientFault)) {
            self.target.progress.finish(self.started, result, now);
        }
        match result {
            Ok(()) => self.target.load.finish(Some(latency), now),
            // How fast a request is refused as broken, or not sent at all, says nothing of how
            // fast others are answered.
            Err(Class::ClientFault | Class::Poison | Class::Shortage) => {
                self.target.load.finish(None, now)
            }
            // A server that fails fast must not look like the fastest one.
            Err(_) => self.target.load.failed(latency, now),
        }
        free(&self.worker, &self.target, Sample::of(result, latency), now);
        latency
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.expect();
        self.relieve();
        if let Some(permit) = self.permit.take() {
            // Now, not when it began: those in line are judged by the time that they have left.
            let now = self.worker.clock.now();
            self.target.breaker.release(permit);
            self.target.load.finish(None, now);
            free(&self.worker, &self.target, Sample::Nothing, now);
        }
    }
}

/// Gives the place at the target to whoever waits for it.
pub(crate) fn free(worker: &Worker, target: &Target, sample: Sample, now: Moment) {
    target.limiter.release(sample, now);
    worker.freed(target.id, now);
}

/// Tells the target's breaker, and whoever compares it with its peers, what became of an attempt.
pub(crate) fn report(
    worker: &Rc<Worker>,
    target: &Arc<Target>,
    permit: Permit,
    outcome: Outcome,
    now: Moment,
) {
    target.stats.record(worker.index, &outcome);
    if outcome.result.is_err_and(Class::blames_target) {
        worker.shared.alarm.raise(now);
    }
    let transition =
        worker.with_rng(|rng| target.breaker.record(worker.index, permit, outcome, now, rng));
    if let Some(transition) = transition {
        worker.shared.breaker_changed(target, &transition);
    }
}

/// A failure whose blame is provisional. Dropping it blames the target.
#[derive(Debug)]
pub(crate) struct Suspect {
    worker: Rc<Worker>,
    target: Arc<Target>,
    permit: Option<Permit>,
    outcome: Outcome,
}

impl Suspect {
    /// The request itself was at fault.
    pub(crate) fn acquit(mut self) {
        if let Some(permit) = self.permit.take() {
            self.target.breaker.release(permit);
        }
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            // Now, not when it failed: windows are not written backwards.
            let now = self.worker.clock.now();
            report(&self.worker, &self.target, permit, self.outcome, now);
        }
    }
}
