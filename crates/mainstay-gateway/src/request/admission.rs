//! Admission: a place among the model's requests, or a wait for one, or a refusal that says when
//! to come back.

use std::pin::pin;
use std::time::Duration;

use mainstay_policy::Moment;
use mainstay_policy::chain::Climb;
use mainstay_policy::limit::Refusal;

use super::ask::Ask;
use super::fault::Fault;
use crate::flight::Flight;
use crate::gate::{Call, Ticket, Wish};
use crate::timeouts::within;

/// How often someone in line looks for itself whether there is room: a server that comes back
/// calls nobody.
const LOOK: Duration = Duration::from_millis(100);

/// Time that a source inside the gateway needs to answer in a server's place, at most half of
/// what is left.
const LOCAL_NEEDS: Duration = Duration::from_millis(25);

/// Takes a place for the request if there is one; otherwise its climb is held back.
pub(super) fn enter(flight: &mut Flight, ask: &Ask, climb: &mut Climb<'_>, now: Moment) {
    flight.record.priority = ask.priority;
    if !flight.enter(now) {
        climb.hold_back();
    }
}

/// Waits for room and tells the climb whether there is some; the refusal where there is none.
pub(super) async fn wait(
    flight: &mut Flight,
    ask: &Ask,
    climb: &mut Climb<'_>,
    began: Moment,
) -> Option<Fault> {
    // Whoever waits holds nothing.
    let number = flight.step_aside(began);
    let waited = if climb.is_patient() {
        line_up(flight, ask, number, began).await
    } else {
        Err(Refusal::Full)
    };
    let now = flight.worker.clock.now();
    flight.record.queued += now.since(began);
    match waited {
        Ok(ticket) => {
            flight.called(ticket, now);
            climb.room();
            None
        }
        Err(refusal) => {
            climb.no_room();
            Some(refuse(ask, refusal))
        }
    }
}

/// Waits in line until there is a place.
async fn line_up(
    flight: &Flight,
    ask: &Ask,
    number: Option<u64>,
    mut now: Moment,
) -> Result<Ticket, Refusal> {
    let (worker, gate) = (&flight.worker, &ask.route.gate);
    let (until, short) = patience(flight, ask, now, gate.pace().service);
    let Ask { priority, strict, .. } = *ask;
    let deadline = due(flight, ask);
    let mut wish = Wish { priority, deadline, number, strict };
    loop {
        let mut ticket = Ticket::take(gate, worker.clock, wish, now)?;
        wish.number = Some(ticket.number());
        loop {
            let left = until.remaining(now);
            if left.is_zero() {
                return Err(short);
            }
            let called = within(worker, now, left.min(LOOK), pin!(ticket.call())).await;
            now = worker.clock.now();
            match called {
                Some(Call::Go) if gate.bulkhead.enter() => return Ok(ticket),
                // Everybody is called where no server may be asked: there is nothing to wait for.
                Some(Call::Go) if gate.room(strict, now).is_none() => return Err(Refusal::Full),
                // Someone was faster: back to the same place.
                Some(Call::Go) => break,
                Some(Call::Leave(refusal)) => return Err(refusal),
                None => gate.call(now),
            }
        }
    }
}

/// Until when a wait makes sense, and what is said when that has passed.
fn patience(flight: &Flight, ask: &Ask, now: Moment, service: Duration) -> (Moment, Refusal) {
    let gate_wait = ask.route.concurrency.wait;
    let (left, due) = (ask.deadline.remaining(now), due(flight, ask));
    let needs =
        if ask.plan().has_local_from(0) { service.max(LOCAL_NEEDS.min(left / 2)) } else { service };
    let latest = due - needs;
    let patient = now + gate_wait.saturating_sub(flight.record.queued);
    if latest < patient { (latest, Refusal::TooLate) } else { (patient, Refusal::Full) }
}

/// When a server's answer must be there. An attempt is not given what is kept back for the steps
/// behind it: whoever is called later than this allows is cut off, and the server works for nobody.
fn due(flight: &Flight, ask: &Ask) -> Moment {
    let whole = ask.deadline.since(flight.started());
    ask.deadline - ask.plan().reserve(0, whole)
}

/// What the client is told, should nobody else answer it.
fn refuse(ask: &Ask, refusal: Refusal) -> Fault {
    let gate = &ask.route.gate;
    gate.turn_away(ask.priority);
    let retry_after = gate.pace().retry_after(gate.waiting() as usize);
    Fault::shed(&ask.route.name, ask.priority, refusal, retry_after)
}
