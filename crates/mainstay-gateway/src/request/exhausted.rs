//! What is answered when every step has been tried.

use http::Response;
use mainstay_config::Exhausted;
use mainstay_policy::Class;
use mainstay_policy::chain::Reason;
use mainstay_telemetry::record::End;

use super::ask::Ask;
use super::climb::Progress;
use super::fault::Fault;
use super::{refuse, reply};
use crate::client::AnswerBody;
use crate::flight::Flight;

/// The best answer that came, if the route takes it; else the error that says most: what a
/// server said of itself, or what the gateway knows.
pub(super) fn answer(
    mut flight: Flight,
    ask: &Ask,
    mut progress: Progress,
    reason: Reason,
) -> Response<AnswerBody> {
    flight.record.reason = reason;
    if progress.assembly.is_complete() {
        if ask.route.exhausted == Exhausted::Error || ask.strict {
            return refuse(flight, &Fault::not_confident(&ask.route.name));
        }
        progress.degraded = true;
        return reply::assembled(flight, ask, &progress, reason);
    }
    if let Some(unsaid) = progress.unsaid.take_if(|_| flight.record.attempts().is_empty()) {
        return refuse(flight, &unsaid);
    }
    let last = flight.record.attempts().last().and_then(|attempt| attempt.class);
    if let Some(said) = progress.last_error.take() {
        let end = if last == Some(Class::Capacity) { End::Shed } else { End::Failed };
        return reply::server(flight, ask, *said, None, end);
    }
    if let Some(misfit) = progress.misfit.take() {
        return refuse(flight, &misfit);
    }
    if let Some(shed) = progress.shed.take() {
        return refuse(flight, &shed);
    }
    let out_of_time = reason == Reason::OutOfTime || last == Some(Class::Timeout);
    let fault = if out_of_time {
        Fault::out_of_time(&ask.route.name)
    } else {
        Fault::no_source(&ask.route.name, reason.as_str())
    };
    refuse(flight, &fault)
}
