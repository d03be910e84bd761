//! Holding an answer against the guards of its model.

use std::sync::PoisonError;

use mainstay_policy::{Guard, Moment};
use mainstay_protocol::oip::answer::Response;
use mainstay_protocol::oip::guard::constant::{self, Change, Seen, Then};
use mainstay_protocol::oip::guard::{Asked, Broken, Finding};
use mainstay_telemetry::{Event, EventKind};

use super::ask::Ask;
use super::assembly::Assembly;
use crate::flight::Flight;
use crate::snapshot::Member;

/// What the guards make of an answer by itself.
pub(super) fn look(ask: &Ask, assembly: &mut Assembly, response: &Response) -> Finding {
    let guards = &ask.route.guards.each;
    if guards.is_empty() {
        return Finding::Sound;
    }
    let asked = Asked { specs: &ask.route.outputs, rows: rows(ask, assembly), ..Asked::default() };
    let found = guards.check(response, asked);
    // The client may have asked for some outputs only, or for others to be made of them: a look
    // at the request, which only a broken form makes worth while.
    if !matches!(&found, Finding::Whole(broken) if is_form(broken.guard)) {
        return found;
    }
    match assembly.request(ask) {
        Ok(request) => guards.check(response, Asked { wanted: &request.outputs, ..asked }),
        Err(_) => found,
    }
}

/// The rows that were asked for, where there is a batch.
fn rows(ask: &Ask, assembly: &Assembly) -> Option<usize> {
    ask.route.batch.then(|| assembly.rows_asked(ask)).flatten()
}

const fn is_form(guard: Guard) -> bool {
    matches!(guard, Guard::Present | Guard::Datatype | Guard::Shape)
}

/// What the row of answers that this one ends makes of it.
///
/// # Errors
/// The output is constant, and the model's guards reject that.
pub(super) fn compare(
    flight: &mut Flight,
    ask: &Ask,
    assembly: &Assembly,
    ((member, at, now), response): ((&Member, usize, Moment), &Response),
) -> Result<(), Broken> {
    let Some(settings) = &ask.route.guards.constant else { return Ok(()) };
    let rows = if ask.route.batch { rows(ask, assembly) } else { Some(1) };
    let (Some(rows), Some(body)) = (rows, ask.body()) else { return Ok(()) };
    let answer = constant::fingerprint(response, &settings.outputs, Some(rows));
    let seen = Seen { answer, request: request(body) };
    let mut sameness = member.sameness.lock().unwrap_or_else(PoisonError::into_inner);
    let (next, change) = sameness.step(seen, now, settings);
    *sameness = next;
    drop(sameness);
    if let Some(change) = change {
        if matches!(change, Change::Constant { .. }) {
            flight.guard_broken(at, Guard::Constant);
        }
        tell(flight, ask, member, change);
    }
    if next.is_constant() && settings.then == Then::Reject {
        let detail = "one and the same answer to different requests".to_owned();
        return Err(Broken { guard: Guard::Constant, detail });
    }
    Ok(())
}

/// A fingerprint of what is asked: of everything from the inputs on, since an id before them is
/// another one each time.
fn request(body: &[u8]) -> u64 {
    const INPUTS: &[u8] = b"\"inputs\"";
    let from = body.windows(INPUTS.len()).position(|part| part == INPUTS).unwrap_or(0);
    constant::of_bytes(&body[from..])
}

fn tell(flight: &Flight, ask: &Ask, member: &Member, change: Change) {
    let (from, to) = match change {
        Change::Constant { .. } => ("varied", "constant"),
        Change::Varied => ("constant", "varied"),
    };
    flight.worker.shared.telemetry.event(Event {
        kind: EventKind::Guard,
        subject: format!("{} for {}", member.target.key, ask.route.name),
        from: from.to_owned(),
        to: to.to_owned(),
        cause: change.to_string(),
    });
}
