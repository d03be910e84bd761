//! A request in flight and the record of it, finished exactly once.
//!
//! The record ends when the answer's last byte has been handed over, also when that happens in
//! a streamed body long after the head. A flight that is dropped before was cancelled: its
//! client went away.

use std::cell::Cell;
use std::rc::Rc;

use mainstay_policy::limit::Took;
use mainstay_policy::{Class, Guard, Moment, SentState};
use mainstay_protocol::Protocol;
use mainstay_telemetry::record::{Attempt, End, Record, RequestId};

use crate::callers::Pass;
use crate::gate::{Gate, Ticket};
use crate::snapshot::RouteView;
use crate::worker::Worker;

/// One request with its record.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) worker: Rc<Worker>,
    pub(crate) record: Record,
    /// What the client speaks, as far as it is known: errors are said in it.
    pub(crate) protocol: Protocol,
    /// The model that is asked.
    route: Option<RouteView>,
    /// Since when it has a place among its model's requests.
    entered: Option<Moment>,
    /// When its answer was committed, where that is long before its end.
    committed: Option<Moment>,
    /// Its way from the queue to a place at a server.
    ticket: Option<Ticket>,
    /// Its place among the requests of its caller, where callers are known.
    pub(crate) pass: Option<Pass>,
    /// Who is told how it ended, where someone has to know.
    pub(crate) witness: Option<Rc<Cell<Option<Closed>>>>,
    open: bool,
}

/// How a flight ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    pub(crate) end: End,
    /// Whether a server may have executed the request.
    pub(crate) executed: bool,
}

impl Flight {
    /// A flight that begins now.
    pub(crate) fn new(worker: Rc<Worker>) -> Self {
        let started = worker.clock.now();
        let record = Record {
            id: worker.next_id(),
            model: u16::MAX,
            step: u8::MAX,
            started,
            ..Record::default()
        };
        worker.in_flight.set(worker.in_flight.get() + 1);
        Self {
            worker,
            record,
            protocol: Protocol::Oip,
            route: None,
            entered: None,
            committed: None,
            ticket: None,
            pass: None,
            witness: None,
            open: true,
        }
    }

    /// Also what the client is told.
    pub(crate) const fn id(&self) -> RequestId {
        self.record.id
    }

    /// When the request's head had been read.
    pub(crate) const fn started(&self) -> Moment {
        self.record.started
    }

    /// The model that is asked, and in which protocol.
    pub(crate) fn ask_for(&mut self, route: &RouteView, protocol: Protocol) {
        self.protocol = protocol;
        self.record.model = route.id;
        self.route = Some(route.clone());
    }

    /// Takes a place among its model's requests; whether there was one.
    pub(crate) fn enter(&mut self, now: Moment) -> bool {
        let entered = self.gate().is_some_and(Gate::enter);
        self.entered = entered.then_some(now);
        entered
    }

    /// It was called from the queue, and has a place among its model's requests.
    pub(crate) fn called(&mut self, ticket: Ticket, now: Moment) {
        self.entered = Some(now);
        self.ticket = Some(ticket);
    }

    /// Gives its place away in order to wait; its number, if it waited before.
    pub(crate) fn step_aside(&mut self, now: Moment) -> Option<u64> {
        self.leave(false, now);
        self.ticket.take().map(|ticket| ticket.number())
    }

    /// Its answer begins now; the rest of it follows.
    pub(crate) const fn committed(&mut self, now: Moment) {
        self.committed = Some(now);
    }

    /// Gives its place back. What it took says how long requests take, if a server answered.
    fn leave(&mut self, answered: bool, now: Moment) {
        if let Some(entered) = self.entered.take()
            && let Some(gate) = self.gate()
        {
            let answer = self.committed.unwrap_or(now).since(entered);
            gate.leave(answered.then(|| Took { answer, whole: now.since(entered) }), now);
        }
    }

    fn gate(&self) -> Option<&Gate> {
        self.route.as_ref().map(|route| &*route.gate)
    }

    /// Notes an attempt that begins now; says where it stands in the record.
    pub(crate) fn attempt(&mut self, attempt: Attempt, now: Moment) -> usize {
        // It has its place at a server now.
        self.ticket = None;
        self.record.push(Attempt { started_us: micros(now, self.record.started), ..attempt })
    }

    /// Notes how the attempt that stands at `at` ended.
    pub(crate) fn attempt_ended(
        &mut self,
        at: usize,
        class: Option<Class>,
        (sent, status): (SentState, u16),
        now: Moment,
    ) {
        let since_start = micros(now, self.record.started);
        if let Some(attempt) = self.record.attempts.get_mut(at) {
            attempt.class = class;
            attempt.sent = sent;
            attempt.status = status;
            attempt.took_us = since_start.saturating_sub(attempt.started_us);
        }
    }

    /// Notes the guard that the answer of the attempt that stands at `at` broke.
    pub(crate) fn guard_broken(&mut self, at: usize, guard: Guard) {
        if let Some(attempt) = self.record.attempts.get_mut(at) {
            attempt.guard = Some(guard);
        }
    }

    /// The client has, or will have, this status as the end of its request.
    pub(crate) fn end(self, end: End, status: u16) {
        let now = self.worker.clock.now();
        self.end_at(end, status, now);
    }

    /// The same, for a time that is known already.
    pub(crate) fn end_at(mut self, end: End, status: u16, now: Moment) {
        self.record.status = status;
        self.close(end, now);
    }

    fn close(&mut self, end: End, now: Moment) {
        self.open = false;
        self.ticket = None;
        self.leave(end == End::Answered && self.record.attempt_count > 0, now);
        self.record.end = end;
        self.record.took = now.since(self.record.started);
        self.worker.in_flight.set(self.worker.in_flight.get().saturating_sub(1));
        self.worker.telemetry.finish(&self.record);
        if let Some(witness) = self.witness.take() {
            let executed = self.record.attempts().iter().any(may_have_executed);
            witness.set(Some(Closed { end, executed }));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.open {
            self.close(End::Cancelled, self.worker.clock.now());
        }
    }
}

/// A server that says that it is full or not ready has not executed the request.
const fn may_have_executed(attempt: &Attempt) -> bool {
    let declined = matches!(attempt.class, Some(Class::NotReady | Class::Capacity));
    !declined && !matches!(attempt.sent, SentState::NotSent)
}

fn micros(now: Moment, since: Moment) -> u32 {
    u32::try_from(now.since(since).as_micros()).unwrap_or(u32::MAX)
}
