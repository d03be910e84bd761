//! Climbing the chain: the policy says what to do next, this does it.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::CONTENT_ENCODING;
use http::{Response, StatusCode};
use mainstay_config::Fixed;
use mainstay_policy::chain::{Choice, Climb, Next, Reason};
use mainstay_policy::{Class, Moment, SentState};
use mainstay_protocol::{Error, Protocol};
use mainstay_telemetry::record::End;

use super::ask::{Ask, Kind};
use super::assembly::Assembly;
use super::attempt::{Answer, Attempted, Order, attempt};
use super::fault::Fault;
use super::hold::Held;
use super::local::{self, Said};
use super::reply::{self, Mark};
use super::sequence::{self, Part};
use super::{admission, affinity, exhausted, headers, judge, refuse};
use crate::aftermath::{Asked, Heard};
use crate::client::AnswerBody;
use crate::flight::Flight;
use crate::last_good::Kept;
use crate::poison::Suspects;

/// What is known while a request climbs.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) assembly: Assembly,
    /// Whether a step of lesser quality has contributed to the assembly.
    pub(super) degraded: bool,
    /// What a server said of its failure: the best error there is if nothing else answers.
    pub(super) last_error: Option<Box<Answer>>,
    /// Why the request fits none of the sources inside the gateway.
    pub(super) misfit: Option<Fault>,
    /// Failures that may have been the request's own fault.
    pub(super) suspects: Suspects,
    /// Why a pool of another protocol could not be asked.
    pub(super) unsaid: Option<Fault>,
    /// Why no server had room for it.
    pub(super) shed: Option<Fault>,
}

/// What one rung of the climb came to.
pub(super) enum Rung {
    /// On to whatever the policy says next.
    Onward,
    /// A server's answer is the client's.
    Server(Box<Answer>, End),
    /// The assembly is the client's answer.
    Assembled,
    /// What servers answered to the same before, and how long ago in seconds.
    Again(Arc<Kept>, u64),
    /// The same for everybody.
    Fixed(Fixed),
    /// The gateway itself says what the model takes and gives.
    Metadata(bytes::Bytes),
    /// The request is at fault.
    Broken(Fault),
    /// The request fails wherever it goes, while others do not.
    Poison,
}

/// Answers `ask` by the first step of its chain that can, beginning `now`.
#[expect(clippy::manual_async_fn, reason = "an `async fn` would hold its arguments twice")]
pub(super) fn climb(
    mut flight: Flight,
    mut ask: Ask,
    mut now: Moment,
) -> impl Future<Output = Response<AnswerBody>> {
    async move {
        let worker = Rc::clone(&flight.worker);
        let limit = worker.view().limits.replay;
        let mut part = match sequence::enter(&mut ask, limit, now) {
            Ok(part) => part,
            Err(fault) => return refuse(flight, &fault),
        };
        let mut climb = begin(&ask, part.as_ref());
        let mut progress = Progress::default();
        admission::enter(&mut flight, &ask, &mut climb, now);
        loop {
            let (step, rung) = match worker.decide(&mut climb, now) {
                Next::Attempt(choice) => {
                    if let Some(part) = &part {
                        part.tries(&choice, now);
                    }
                    let at = (&choice, now);
                    let tried = pin!(try_member(&mut flight, &ask, &mut climb, &mut progress, at));
                    (choice.step, tried.await)
                }
                // Boxed: rare, and larger than all the rest.
                Next::Local(step) => {
                    let asked = try_local(&mut flight, &ask, &mut climb, &mut progress, step);
                    (step, Box::pin(asked).await)
                }
                Next::Wait => {
                    let waiting = admission::wait(&mut flight, &ask, &mut climb, now);
                    progress.shed = Box::pin(waiting).await;
                    (0, Rung::Onward)
                }
                Next::Await(pause) => {
                    ask.route.waiting.wait(&mut climb, pause).await;
                    (0, Rung::Onward)
                }
                Next::Exhausted => {
                    let reason = climb.reason();
                    match part.as_mut().map(|part| part.unanswered(&mut ask, &flight, now)) {
                        // Its sequence begins anew, wherever it can.
                        Some(Ok(())) if progress.shed.is_none() => {
                            climb = begin(&ask, part.as_ref());
                            continue;
                        }
                        Some(Err(Some(fault))) if progress.shed.is_none() => {
                            return refuse(flight, &fault);
                        }
                        _ => return exhausted::answer(flight, &ask, progress, reason),
                    }
                }
            };
            if !matches!(rung, Rung::Onward) {
                flight.record.step = u8::try_from(step).unwrap_or(u8::MAX);
                flight.record.reason = climb.reason();
                if let Some(part) = &part {
                    part.answered(&rung, step);
                }
                // What belongs to a sequence means nothing to anyone else, nor at another time.
                if ask.route.is_heard() && part.is_none() {
                    return hear(flight, ask, progress, rung, step);
                }
                return deliver(flight, &ask, progress, rung, step);
            }
            now = worker.clock.now();
        }
    }
}

/// The same as [`deliver`], for a model of whose answers something is made afterwards.
fn hear(
    flight: Flight,
    ask: Ask,
    progress: Progress,
    rung: Rung,
    step: usize,
) -> Response<AnswerBody> {
    let worker = Rc::clone(&flight.worker);
    let now = worker.clock.now();
    let took = now.since(flight.started());
    let (target, answer) = match &rung {
        Rung::Server(answer, End::Answered) => {
            let attempt = flight.record.attempts().get(answer.at);
            (attempt.map(|attempt| attempt.target), server_answer(answer))
        }
        Rung::Assembled => (None, None),
        _ => return deliver(flight, &ask, progress, rung, step),
    };
    // An answer that was translated exists nowhere but here.
    let translated = matches!(rung, Rung::Assembled)
        && !progress.degraded
        && ask.route.steps[step].speaks(ask.protocol) != ask.protocol;
    let response = deliver(flight, &ask, progress, rung, step);
    let own = || Some((response.body().bytes()?, headers::json_len(response.headers())));
    let answer = if translated { own() } else { answer };
    let good = answer.is_some() && !ask.route.steps[step].degraded;
    let sampled =
        tells_tensors(&ask) && ask.route.rehearsal.as_ref().is_some_and(|it| it.takes(now));
    let wanted = sampled || (good && ask.route.last_good.is_some());
    if let Some(asked) = wanted.then(|| Asked::of(ask)).flatten() {
        let at = worker.clock.wall(now);
        let heard = Heard { asked, step, target, answer, good, sampled, took, at };
        worker.shared.aftermath.tell(heard);
    }
    response
}

/// Whether it can be asked of other sources in the shadow, and their answers compared.
fn tells_tensors(ask: &Ask) -> bool {
    ask.kind == Kind::Infer && ask.protocol.has_tensors() && ask.protocol != Protocol::OipGrpc
}

/// The bytes of a whole answer, and the length of its JSON part, where it can be read.
fn server_answer(answer: &Answer) -> Option<(bytes::Bytes, Option<usize>)> {
    let Held::Whole(body) = &answer.held else { return None };
    let headers = &answer.parts.headers;
    let plain = answer.parts.status == StatusCode::OK && !headers.contains_key(CONTENT_ENCODING);
    plain.then(|| (body.clone(), headers::json_len(headers)))
}

/// A climb from the first step on, with what the request itself says of its way.
fn begin<'a>(ask: &'a Ask, part: Option<&Part>) -> Climb<'a> {
    let mut climb = Climb::new(ask.plan(), ask.deadline, ask.kind != Kind::Other);
    if !ask.is_repeatable() {
        climb.forbid_repeat();
    }
    if let Some(key) = affinity::key(ask) {
        climb.keep_together(key);
    }
    if ask.spilled {
        climb.stay();
    }
    if let Some(pin) = part.and_then(|part| part.pin) {
        climb.pin(pin);
    }
    climb
}

/// Hands the client what the climb came to.
fn deliver(
    mut flight: Flight,
    ask: &Ask,
    mut progress: Progress,
    rung: Rung,
    step: usize,
) -> Response<AnswerBody> {
    let degraded = ask.route.steps[step].degraded;
    let reason = flight.record.reason;
    match rung {
        Rung::Server(answer, end) => {
            progress.suspects.answered(ask);
            let degraded = degraded && end == End::Answered;
            let mark = degraded.then(|| Mark::new(answer.upstream.label.to_string(), reason));
            reply::server(flight, ask, *answer, mark.as_ref(), end)
        }
        Rung::Assembled => reply::assembled(flight, ask, &progress, reason),
        Rung::Again(kept, age) => {
            let served_by = local::label(&ask.route.steps[step].source).to_string();
            let mark = Mark { age: Some(age), ..Mark::new(served_by, reason) };
            reply::again(flight, ask, &kept, &mark)
        }
        Rung::Fixed(fixed) => {
            let served_by = local::label(&ask.route.steps[step].source).to_string();
            reply::fixed(flight, ask, fixed, &Mark::new(served_by, reason))
        }
        Rung::Metadata(body) => {
            let served_by = local::label(&ask.route.steps[step].source).to_string();
            let mark = degraded.then_some(Mark::new(served_by, reason));
            reply::metadata(flight, ask, body, mark.as_ref())
        }
        Rung::Broken(fault) => refuse(flight, &fault),
        Rung::Poison => {
            flight.record.reason = Reason::Poison;
            let remember = ask.route.poison.as_ref().map(|table| table.remember());
            refuse(flight, &Fault::poison(&ask.route.name, remember.unwrap_or_default()))
        }
        Rung::Onward => refuse(flight, &Fault::no_source(&ask.route.name, reason.as_str())),
    }
}

/// Makes an attempt and judges what came of it.
async fn try_member(
    flight: &mut Flight,
    ask: &Ask,
    climb: &mut Climb<'_>,
    progress: &mut Progress,
    (choice, mut now): (&Choice, Moment),
) -> Rung {
    if !choice.delay.is_zero() {
        tokio::time::sleep(choice.delay).await;
        now = flight.worker.clock.now();
    }
    let server = ask.route.steps[choice.step].speaks(ask.protocol);
    if !ask.reaches(server) {
        progress.unsaid = Some(Fault::not_spoken(&ask.route.name, ask.protocol));
        climb.leave(Reason::NotTranslated);
        return Rung::Onward;
    }
    let remainder = match progress.assembly.remainder(ask, server) {
        Ok(remainder) => remainder,
        Err(error) => return not_translated(climb, progress, &error),
    };
    let (payload, json_len) =
        remainder.as_ref().map_or((&ask.payload, ask.json_len), |(rows, len)| (rows, *len));
    let hold = judge::hold_limit(flight, ask, progress, choice.step);
    let order = Order { choice, payload, json_len, hold, now };
    let (choice, attempted) = pin!(attempt(flight, ask, climb, progress, &order)).await;
    let choice = &choice;
    match attempted {
        Attempted::Answered(answer) => {
            judge::server(flight, ask, climb, progress, (choice, answer))
        }
        Attempted::PassBack(answer) if !progress.assembly.has_best() && server == ask.protocol => {
            Rung::Server(answer, End::ClientFault)
        }
        Attempted::PassBack(mut answer) if !progress.assembly.has_best() => {
            answer.judge(Err(Class::ClientFault), flight);
            Rung::Broken(Fault::said_by_server(server, answer.parts.status, answer.held.bytes()))
        }
        Attempted::PassBack(mut answer) => {
            // What was asked was ours, made of the client's rows; another step may take it.
            answer.judge(Err(Class::ClientFault), flight);
            climb.failed(choice, Class::ClientFault, SentState::Sent);
            climb.leave(Reason::AttemptsFailed);
            Rung::Onward
        }
        Attempted::Failed(failure, None) if failure.class == Class::ClientFault => {
            Rung::Broken(Fault::broken(&"the body broke off, or is larger than it may be"))
        }
        Attempted::Failed(failure, said) => {
            climb.failed(choice, failure.class, failure.sent);
            if progress.suspects.is_shunned() {
                let (whose, now) = ((&*flight.worker.shared, ask), flight.worker.clock.now());
                if Box::pin(progress.suspects.look_for_life(whose, now)).await {
                    return Rung::Poison;
                }
                if ask.plan().has_local_from(choice.step + 1) {
                    climb.close_pools(Reason::Poison);
                }
            }
            // What a server says in another protocol means nothing to the client.
            let said = said.filter(|_| server == ask.protocol);
            progress.last_error = said.or_else(|| progress.last_error.take());
            Rung::Onward
        }
        Attempted::Poison => Rung::Poison,
        Attempted::Spent => {
            climb.close_pools(Reason::NotRepeatable);
            Rung::Onward
        }
        Attempted::Refused => {
            climb.refused(choice);
            Rung::Onward
        }
    }
}

/// The request cannot be said in the words of a pool: that is for the next step, unless it cannot
/// be read at all.
fn not_translated(climb: &mut Climb<'_>, progress: &mut Progress, error: &Error) -> Rung {
    let partial = progress.assembly.has_best();
    if !partial && !error.is_untranslatable() {
        return Rung::Broken(Fault::broken(error));
    }
    progress.unsaid = Some(Fault::not_translated(error));
    climb.leave(if partial { Reason::LowConfidence } else { Reason::NotTranslated });
    Rung::Onward
}

/// Asks a source inside the gateway.
async fn try_local(
    flight: &mut Flight,
    ask: &Ask,
    climb: &mut Climb<'_>,
    progress: &mut Progress,
    at: usize,
) -> Rung {
    match local::ask(&flight.worker, ask, &mut progress.assembly, at).await {
        Said::Answer(response) => judge::local(flight, ask, climb, progress, (at, response)),
        Said::Again(kept, age) => Rung::Again(kept, age),
        Said::Fixed(fixed) => Rung::Fixed(fixed),
        Said::Metadata(body) => Rung::Metadata(body),
        Said::Broken(error) => Rung::Broken(Fault::broken(&error)),
        Said::Misfit(error) => {
            progress.misfit = Some(Fault::broken(&error));
            climb.leave(Reason::EmbeddedUnavailable);
            Rung::Onward
        }
        Said::Nothing(reason) => {
            climb.leave(reason);
            Rung::Onward
        }
    }
}
