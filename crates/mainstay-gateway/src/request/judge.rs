//! Whether an answer that came is good enough to be the client's.
//!
//! An answer is read only where a rule wants to look into it; every other one stays the bytes that
//! it came in.

use mainstay_policy::chain::{Choice, Climb, Reason};
use mainstay_policy::{Class, SentState};
use mainstay_protocol::oip::answer::{self, Response};
use mainstay_telemetry::record::End;

use super::ask::{Ask, Kind};
use super::assembly::{Candidate, Judged};
use super::attempt::Answer;
use super::climb::{Progress, Rung};
use super::hold::Held;
use super::{headers, local};
use crate::flight::Flight;

/// What must be judged or marked is held whole, as far as bodies are ever kept whole.
pub(super) fn hold_limit(flight: &Flight, ask: &Ask, progress: &Progress, step: usize) -> usize {
    let limits = &flight.worker.shared.snapshot.limits;
    let step = &ask.route.steps[step];
    let whole = ask.kind == Kind::Infer
        && (step.confidence.is_some() || step.degraded || progress.assembly.has_best());
    if whole { limits.replay.max(limits.hold) } else { limits.hold }
}

/// Decides whether a server's answer is good enough.
pub(super) fn server(
    flight: &mut Flight,
    ask: &Ask,
    climb: &mut Climb<'_>,
    progress: &mut Progress,
    (choice, mut answer): (&Choice, Box<Answer>),
) -> Rung {
    let step = &ask.route.steps[choice.step];
    let unruled = step.confidence.is_none() && !progress.assembly.has_best();
    let Held::Whole(body) = &answer.held else {
        return Rung::Server(answer, End::Answered);
    };
    if ask.kind != Kind::Infer || unruled || !answer.parts.status.is_success() {
        return Rung::Server(answer, End::Answered);
    }
    if step.confidence.as_ref().is_some_and(|rule| is_left_out(ask, progress, &rule.output)) {
        // The client asked for other outputs: there is nothing to judge, and nobody to blame.
        return Rung::Server(answer, End::Answered);
    }
    let json_len = headers::json_len(&answer.parts.headers);
    let judged = answer::parse(body, json_len).and_then(|response| {
        let served_by = &answer.upstream.label;
        let rule = step.confidence.as_ref();
        progress.assembly.take(ask, Candidate { rule, served_by, response })
    });
    match judged {
        Ok(Judged::Accepted) => Rung::Server(answer, End::Answered),
        Ok(judged) => {
            answer.judge(Ok(()), flight);
            progress.degraded |= step.degraded;
            onward_or_assembled(climb, &judged)
        }
        Err(error) => {
            tracing::debug!(%error, endpoint = %answer.upstream.label, "an answer cannot be used");
            answer.judge(Err(Class::BadAnswer), flight);
            climb.failed(choice, Class::BadAnswer, SentState::Sent);
            Rung::Onward
        }
    }
}

/// Whether the client asked for some outputs, and not for this one.
fn is_left_out(ask: &Ask, progress: &mut Progress, output: &str) -> bool {
    progress.assembly.request(ask).is_ok_and(|request| {
        !request.outputs.is_empty() && !request.outputs.iter().any(|asked| asked.name == output)
    })
}

/// Decides whether an answer from inside the gateway is good enough.
pub(super) fn local(
    ask: &Ask,
    climb: &mut Climb<'_>,
    progress: &mut Progress,
    (at, response): (usize, Response),
) -> Rung {
    let step = &ask.route.steps[at];
    let served_by = local::label(&step.source);
    let rule = step.confidence.as_ref();
    match progress.assembly.take(ask, Candidate { rule, served_by: &served_by, response }) {
        Ok(judged) => {
            progress.degraded |= step.degraded;
            onward_or_assembled(climb, &judged)
        }
        Err(error) => {
            tracing::warn!(%error, source = %served_by, "an answer cannot be used");
            climb.leave(Reason::EmbeddedUnavailable);
            Rung::Onward
        }
    }
}

fn onward_or_assembled(climb: &mut Climb<'_>, judged: &Judged) -> Rung {
    match judged {
        Judged::Accepted | Judged::Completed => Rung::Assembled,
        Judged::Missing => {
            climb.leave(Reason::LowConfidence);
            climb.has_answer();
            Rung::Onward
        }
    }
}
