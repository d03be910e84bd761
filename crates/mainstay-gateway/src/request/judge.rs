//! Whether an answer that came is good enough to be the client's.
//!
//! An answer is read only where a guard or a rule wants to look into it; every other one stays the
//! bytes that it came in. One that breaks a guard counts as none, and its server is blamed; of a
//! batch only the rows that do, as long as there are others.

use std::sync::Arc;

use mainstay_policy::chain::{Choice, Climb, Reason};
use mainstay_policy::{Class, Guard, Moment, SentState};
use mainstay_protocol::oip::answer::Response;
use mainstay_protocol::oip::guard::{Broken, Finding};
use mainstay_protocol::{Protocol, form};
use mainstay_telemetry::record::End;

use super::ask::{Ask, Kind};
use super::assembly::{Assembly, Candidate, Judged};
use super::attempt::{Answer, blame};
use super::climb::{Progress, Rung};
use super::hold::Held;
use super::{guard, headers, local};
use crate::flight::Flight;
use crate::snapshot::{Member, Source, Step};
use crate::upstream::Failure;

/// What must be judged or marked is held whole, as far as bodies are ever kept whole.
pub(super) fn hold_limit(flight: &Flight, ask: &Ask, progress: &Progress, step: usize) -> usize {
    let limits = &flight.worker.view().limits;
    let step = &ask.route.steps[step];
    let whole = ask.kind == Kind::Infer
        && ask.protocol.has_tensors()
        && (step.degraded || must_be_read(ask, step, &progress.assembly));
    if whole || ask.once { limits.replay.max(limits.hold) } else { limits.hold }
}

/// Whether something wants to look into the answers of this step.
fn must_be_read(ask: &Ask, step: &Step, assembly: &Assembly) -> bool {
    ask.protocol.has_tensors()
        && (step.confidence.is_some()
            || !ask.route.guards.is_empty()
            || assembly.has_best()
            || step.speaks(ask.protocol) != ask.protocol)
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
    let speaks = step.speaks(ask.protocol);
    let success = answer.parts.status.is_success();
    let body = match &answer.held {
        Held::Whole(body) if speaks == ask.protocol => body,
        Held::Whole(body) if success => body,
        _ if speaks == ask.protocol => return Rung::Server(answer, End::Answered),
        // What cannot be read whole cannot be translated.
        _ => {
            let why = (None, "it is too long to be translated, or no prediction");
            return refuse((flight, ask), climb, progress, (choice, answer), why);
        }
    };
    let passes = ask.kind != Kind::Infer || !success;
    if passes || !must_be_read(ask, step, &progress.assembly) {
        return Rung::Server(answer, End::Answered);
    }
    let message = (&body[..], headers::json_len(&answer.parts.headers));
    let read = form::read_answer(speaks, message, ask.context());
    let read = match read {
        // Nobody is to blame for what is not declared.
        Err(error) if error.is_untranslatable() => {
            return unread((flight, ask), climb, progress, answer, speaks);
        }
        read => read.map(|response| renamed(response, ask, &progress.assembly, speaks)),
    };
    let judged = read.map_err(|error| unreadable(ask, &error)).and_then(|response| {
        let server = member(&step.source, choice.member);
        let server = server.map(|member| (member, answer.at, answer.now));
        let from = Origin { step, served_by: &answer.upstream.label, server };
        take(flight, ask, progress, from, response)
    });
    match judged {
        Ok((Judged::Accepted, _)) if speaks == ask.protocol => Rung::Server(answer, End::Answered),
        Ok((judged, None)) => {
            answer.judge(Ok(()), flight);
            progress.suspects.answered(ask);
            progress.degraded |= step.degraded;
            onward_or_assembled(climb, progress, &judged)
        }
        // Some rows are as good as those of others; the rest is for somebody else.
        Ok((_, Some(broken))) => {
            progress.degraded |= step.degraded;
            let why = (Some(broken.guard), &*broken.detail);
            refuse((flight, ask), climb, progress, (choice, answer), why)
        }
        Err((guard, detail)) => {
            refuse((flight, ask), climb, progress, (choice, answer), (guard, &detail))
        }
    }
}

/// An answer that the gateway does not know enough to read: in the client's own protocol it is the
/// client's all the same, unless others have answered a part of it.
fn unread(
    (flight, ask): (&mut Flight, &Ask),
    climb: &mut Climb<'_>,
    progress: &Progress,
    mut answer: Box<Answer>,
    speaks: Protocol,
) -> Rung {
    if speaks == ask.protocol && !progress.assembly.has_best() {
        return Rung::Server(answer, End::Answered);
    }
    answer.judge(Ok(()), flight);
    climb.leave(Reason::NotTranslated);
    Rung::Onward
}

/// A translated answer goes by the names of the client: its own for the model and for the request.
fn renamed(mut response: Response, ask: &Ask, assembly: &Assembly, speaks: Protocol) -> Response {
    if speaks != ask.protocol {
        response.model_name = ask.called().model.into_owned();
        response.id = assembly.outline(ask).ok().and_then(|request| request.id.clone());
    }
    response
}

/// Why an answer, or a part of it, is none: the guard that it broke, if it was one, and a line.
type Refused = (Option<Guard>, String);

fn unreadable(ask: &Ask, error: &mainstay_protocol::Error) -> Refused {
    ((!ask.route.guards.is_empty()).then_some(Guard::Readable), error.to_string())
}

fn member(source: &Source, at: usize) -> Option<&Member> {
    match source {
        Source::Pool(pool) => pool.members.get(at),
        Source::Embedded(_) | Source::LastGood | Source::Default(_) | Source::Fixed(_) => None,
    }
}

/// Where an answer comes from.
#[derive(Clone, Copy)]
struct Origin<'a> {
    step: &'a Step,
    served_by: &'a Arc<str>,
    /// The server, which attempt that was, and when it answered.
    server: Option<(&'a Member, usize, Moment)>,
}

/// Holds an answer against guards and rule, and takes what of it can be used. Beside what came of
/// it, why some rows cannot be.
fn take(
    flight: &mut Flight,
    ask: &Ask,
    progress: &mut Progress,
    from: Origin<'_>,
    response: Response,
) -> Result<(Judged, Option<Broken>), Refused> {
    let refused = |broken: Broken| (Some(broken.guard), broken.detail);
    let asked = progress.assembly.rows_asked(ask);
    let (void, first) = match guard::look(ask, &mut progress.assembly, &response) {
        Finding::Sound => (Vec::new(), None),
        Finding::Rows { rows, first } if Some(rows.len()) < asked => (rows, Some(first)),
        Finding::Rows { first, .. } => return Err(refused(first)),
        Finding::Whole(broken) => return Err(refused(broken)),
    };
    if let (Some(server), None) = (from.server, &first) {
        guard::compare(flight, ask, &progress.assembly, (server, &response)).map_err(refused)?;
    }
    // Where the client asked for other outputs there is nothing to judge, and nobody to blame.
    let rule = from.step.confidence.as_ref();
    let rule = rule.filter(|rule| !is_left_out(ask, progress, &rule.output));
    let local = from.server.is_none() || from.step.speaks(ask.protocol) != ask.protocol;
    if rule.is_none() && first.is_none() && !progress.assembly.has_best() && !local {
        return Ok((Judged::Accepted, None));
    }
    let candidate = Candidate { rule, served_by: from.served_by, response, void: &void };
    let judged = progress.assembly.take(ask, candidate);
    judged.map(|judged| (judged, first)).map_err(|error| (None, error.to_string()))
}

/// Whether the client asked for some outputs, and not for this one.
fn is_left_out(ask: &Ask, progress: &mut Progress, output: &str) -> bool {
    progress.assembly.request(ask).is_ok_and(|request| {
        !request.outputs.is_empty() && !request.outputs.iter().any(|asked| asked.name == output)
    })
}

/// The answer, or a part of it, counts as none, and its server is blamed; unless the request
/// turns out to be the reason.
fn refuse(
    (flight, ask): (&mut Flight, &Ask),
    climb: &mut Climb<'_>,
    progress: &mut Progress,
    (choice, mut answer): (&Choice, Box<Answer>),
    (guard, detail): (Option<Guard>, &str),
) -> Rung {
    tracing::debug!(detail, endpoint = %answer.upstream.label, "an answer cannot be used");
    let (class, sent, now) = (Class::BadAnswer, SentState::Sent, answer.now);
    flight.attempt_ended(answer.at, Some(class), (sent, answer.status()), now);
    climb.failed(choice, class, sent);
    if let Some(guard) = guard {
        flight.guard_broken(answer.at, guard);
        climb.guard_broken();
    }
    let member = member(&ask.route.steps[choice.step].source, choice.member);
    let (Some(member), Some(trial)) = (member, answer.trial.take()) else { return Rung::Onward };
    let ended = (trial, Failure::new(class, sent), now);
    if blame((flight, ask), progress, member, ended) { Rung::Poison } else { Rung::Onward }
}

/// Decides whether an answer from inside the gateway is good enough. Default predictions were
/// held against the guards when the configuration was read, remembered answers when they came.
pub(super) fn local(
    flight: &mut Flight,
    ask: &Ask,
    climb: &mut Climb<'_>,
    progress: &mut Progress,
    (at, response): (usize, Response),
) -> Rung {
    let step = &ask.route.steps[at];
    let served_by = local::label(&step.source);
    let judged = if let Source::Default(_) | Source::LastGood = &step.source {
        let candidate = Candidate { rule: None, served_by: &served_by, response, void: &[] };
        let judged = progress.assembly.take(ask, candidate);
        judged.map(|judged| (judged, None)).map_err(|error| (None, error.to_string()))
    } else {
        let from = Origin { step, served_by: &served_by, server: None };
        take(flight, ask, progress, from, response)
    };
    match judged {
        Ok((judged, None)) => {
            progress.degraded |= step.degraded;
            onward_or_assembled(climb, progress, &judged)
        }
        Ok((_, Some(broken))) => {
            progress.degraded |= step.degraded;
            leave(flight, climb, (Some(broken.guard), &broken.detail), &served_by)
        }
        Err((guard, detail)) => leave(flight, climb, (guard, &detail), &served_by),
    }
}

/// A source inside the gateway gave no usable answer, or not for every row.
fn leave(
    flight: &mut Flight,
    climb: &mut Climb<'_>,
    (guard, detail): (Option<Guard>, &str),
    served_by: &str,
) -> Rung {
    tracing::warn!(detail, source = served_by, "an answer cannot be used");
    flight.record.guard = guard.or(flight.record.guard);
    climb.leave(guard.map_or(Reason::EmbeddedUnavailable, |_| Reason::GuardBroken));
    Rung::Onward
}

fn onward_or_assembled(climb: &mut Climb<'_>, progress: &Progress, judged: &Judged) -> Rung {
    match judged {
        Judged::Accepted | Judged::Completed => Rung::Assembled,
        Judged::Missing => {
            climb.leave(Reason::LowConfidence);
            if progress.assembly.is_complete() {
                climb.has_answer();
            }
            Rung::Onward
        }
    }
}
