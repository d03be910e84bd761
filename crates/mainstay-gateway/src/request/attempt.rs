//! One attempt at one target: send, wait, hold, classify.

use std::borrow::Cow;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderValue, Uri};
use mainstay_policy::chain::{Cause, Choice, Climb};
use mainstay_policy::{Class, Moment, SentState};
use mainstay_protocol::http1::Instead;
use mainstay_protocol::openai::stream::Passage;
use mainstay_protocol::{Called, Protocol, classify, form, sse};
use mainstay_telemetry::record::Attempt;

use super::ask::{Ask, Payload};
use super::climb::Progress;
use super::hold::stream::{Gated, hold_stream};
use super::hold::{Held, hold};
use super::{beside, headers, retry_after, rpc, talk};
use crate::client::Following;
use crate::flight::Flight;
use crate::poison::{Failed, Suspects};
use crate::snapshot::{Member, PoolSource, Source, Upstream};
use crate::timeouts::{after_all, within};
use crate::trial::Trial;
use crate::upstream::{Connection, Exchange, Failure, OutBody, Outgoing, Sending, exchange};
use crate::worker::Worker;

/// What came of an attempt.
pub(super) enum Attempted {
    /// An answer that may be used; whether it is good enough is still to be judged.
    Answered(Box<Answer>),
    /// The server says that the request is at fault: its answer is the client's.
    PassBack(Box<Answer>),
    /// No usable answer. What the server said of it, if it said something, is kept: it is the
    /// best error there is when no other source answers.
    Failed(Failure, Option<Box<Answer>>),
    /// The last permit or place went to someone else: nothing was tried.
    Refused,
    /// The body could be sent once, and has been: nothing was tried.
    Spent,
    /// The request fails wherever it goes, while others do not.
    Poison,
}

/// An answer as a server gave it, not committed yet.
pub(super) struct Answer {
    pub(super) parts: Parts,
    pub(super) held: Held,
    pub(super) upstream: Arc<Upstream>,
    /// With an open body: the connection that it still comes from.
    pub(super) connection: Option<Connection>,
    /// What is known of the stream of a language model.
    pub(super) following: Option<Box<Following>>,
    /// Open until the answer has been judged, or its body has ended. Failures have none.
    pub(super) trial: Option<Trial>,
    /// Where the attempt stands in the record.
    pub(super) at: usize,
    /// When it was complete, or committed.
    pub(super) now: Moment,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    /// Ends the trial, if it is still open.
    pub(super) fn judge(&mut self, result: Result<(), Class>, flight: &mut Flight) {
        let Some(trial) = self.trial.take() else { return };
        flight.attempt_ended(self.at, result.err(), (SentState::Sent, self.status()), self.now);
        trial.finish(result, self.now);
    }
}

/// What an attempt sends, and how far it may go.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) choice: &'a Choice,
    /// The ask's own payload, or the rows of it that are still open.
    pub(super) payload: &'a Payload,
    /// The length of the payload's JSON part, where binary tensors follow it.
    pub(super) json_len: Option<usize>,
    /// Bytes of the answer to hold back before it is committed.
    pub(super) hold: usize,
    /// The time now.
    pub(super) now: Moment,
}

/// An attempt under way.
pub(super) struct Running<'a> {
    pub(super) choice: Choice,
    pub(super) member: &'a Member,
    trial: Trial,
    /// Where it stands in the record.
    at: usize,
    /// How much of the request has left us.
    progress: &'a Sending,
}

/// Makes the attempt that was chosen, and a second one beside it if it is late; says which of
/// them came to what.
pub(super) async fn attempt(
    flight: &mut Flight,
    ask: &Ask,
    climb: &mut Climb<'_>,
    progress: &mut Progress,
    order: &Order<'_>,
) -> (Choice, Attempted) {
    let worker = Rc::clone(&flight.worker);
    let mut choice = *order.choice;
    let Source::Pool(pool) = &ask.route.steps[choice.step].source else {
        return (choice, Attempted::Refused);
    };
    if let Some(talk) = &ask.talk {
        choice.limit = talk.limit(pool, choice.limit);
    }
    if order.payload.is_spent() {
        // The body went to another member and cannot be sent again.
        return (choice, Attempted::Spent);
    }
    let (now, sent) = (order.now, Sending::default());
    let Some(mut running) = begin(flight, pool, (&choice, now), &sent) else {
        return (choice, Attempted::Refused);
    };
    if let Some(talk) = &ask.talk {
        running.trial.carry(talk.head.tokens());
    }
    if !order.payload.is_kept() {
        running.trial.excuse();
    }
    let mut talk = pin!(converse(&worker, ask, order, (pool, running.member), &sent));
    let talked = match choice.hedge_after.filter(|_| order.payload.is_kept()) {
        None => within(&worker, now, choice.limit, talk.as_mut()).await,
        Some(after) => match after_all(&worker, now, after, talk.as_mut()).await {
            Some(talked) => Some(talked),
            // Boxed: rare, and it holds a whole attempt more.
            None => {
                let late = beside::Late { running, talk, order, pool };
                return Box::pin(beside::hedged(flight, ask, climb, progress, late)).await;
            }
        },
    };
    let attempted = settle(flight, ask, progress, pool, (running, talked));
    (choice, attempted)
}

/// Asks the breaker and notes the attempt; `None` where it is refused.
pub(super) fn begin<'a>(
    flight: &mut Flight,
    pool: &'a PoolSource,
    (choice, now): (&Choice, Moment),
    progress: &'a Sending,
) -> Option<Running<'a>> {
    let member = &pool.members[choice.member];
    let trial = Trial::begin(&flight.worker, &member.target, (now, choice.why))?;
    let at = flight.attempt(record(choice, member), now);
    Some(Running { choice: *choice, member, trial, at, progress })
}

/// Cuts an attempt off, because another one answered first.
pub(super) fn overtake(flight: &mut Flight, climb: &mut Climb<'_>, running: Running<'_>) {
    let (now, sent) = (flight.worker.clock.now(), running.progress.sent.get());
    flight.attempt_ended(running.at, Some(Class::Overtaken), (sent, 0), now);
    climb.overtaken(&running.choice, sent);
    running.trial.overtaken(now);
}

fn record(choice: &Choice, member: &Member) -> Attempt {
    Attempt {
        target: member.target.id,
        step: u8::try_from(choice.step).unwrap_or(u8::MAX),
        why: choice.why as u8,
        skipped: choice.skipped,
        ..Attempt::default()
    }
}

/// An answer held back.
pub(super) struct Spoken {
    parts: Parts,
    held: Held,
    /// The connection that the body still comes from, if it is open.
    connection: Option<Connection>,
    /// What is known of the stream of a language model.
    following: Option<Box<Following>>,
    /// The class of the failure that it tells of inside.
    failed: Option<Class>,
    /// When it was complete, or committed.
    now: Moment,
}

impl Spoken {
    /// An answer that is no stream of a language model.
    pub(super) const fn new(parts: Parts, held: Held, now: Moment) -> Self {
        Self { parts, held, connection: None, following: None, failed: None, now }
    }

    fn streamed(parts: Parts, gated: Gated, limit: Duration, now: Moment) -> Self {
        let Gated { held, passage, failed, first } = gated;
        let following = Some(Box::new(Following::new(passage, limit, first)));
        Self { following, failed, ..Self::new(parts, held, now) }
    }
}

/// The whole conversation, to be cut off by the attempt's limit.
pub(super) async fn converse(
    worker: &Rc<Worker>,
    ask: &Ask,
    order: &Order<'_>,
    (pool, member): (&PoolSource, &Member),
    progress: &Sending,
) -> Result<Spoken, Failure> {
    if pool.protocol == Protocol::OipGrpc {
        // Boxed: of another protocol than the one that costs least.
        return Box::pin(rpc::converse(worker, ask, order, (pool, member), progress)).await;
    }
    let upstream = &*member.upstream;
    let uri = upstream_uri(ask, pool, upstream)
        .ok_or(Failure::new(Class::ClientFault, SentState::NotSent))?;
    // A streamed body cannot be made again, so its exchange cannot be repeated either.
    let repeatable = ask.is_repeatable() && order.payload.is_kept();
    let instead = instead(worker, ask, order, (pool, upstream));
    let own = talk::headers(ask, upstream);
    let renamed = talk::renamed(ask, pool, upstream);
    let outgoing = Outgoing {
        method: &ask.method,
        uri: &uri,
        headers: own.as_deref().unwrap_or(&ask.headers),
        retried: order.choice.step > 0 || order.choice.again,
        instead: &instead,
    };
    let at = (&**worker, order.now);
    let put_back = |body| order.payload.put_back(body);
    let exchanged = pin!(exchange(
        at,
        upstream,
        (progress, repeatable),
        &outgoing,
        || match &renamed {
            Some(bytes) => Some(OutBody::whole(bytes.clone())),
            None => order.payload.body(),
        },
        put_back,
    ));
    let Exchange { response, mut connection } = exchanged.await?;
    let (parts, body) = response.into_parts();
    let events = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .filter(|value| parts.status.is_success() && sse::is_event_stream(value))
        .map(|_| sse::Gate::new());
    let came = || member.target.progress.advance(worker.coarse_now.get());
    let failure = |class| Failure::new(class, SentState::Sent);
    let mut spoken = match ask.talk.as_ref().filter(|_| events.is_some()) {
        None => {
            let held = pin!(hold((body, &mut connection), order.hold, events, came));
            Spoken::new(parts, held.await.map_err(failure)?, worker.clock.now())
        }
        // Boxed: of one protocol, and rare.
        Some(talk) => {
            let expected = talk.head.expected(talk.form, ask.body().map_or(&[][..], |it| it));
            let passage = Passage::new(talk.form).of_choices(expected);
            let gate = (passage, pool.streams.prove);
            let gated = Box::pin(hold_stream((body, &mut connection), gate, came));
            let limit = pool.streams.inter_token.unwrap_or(upstream.idle_timeout);
            let gated = gated.await.map_err(failure)?;
            let now = worker.clock.now();
            if let Some(first) = gated.first {
                let after = now.since(order.now).saturating_sub(first.elapsed());
                worker.telemetry.first_token(member.target.id, after);
            }
            Spoken::streamed(parts, gated, limit, now)
        }
    };
    let now = spoken.now;
    if matches!(spoken.held, Held::Whole(_)) {
        // A streamed body may still be on its way there, in front of whoever came next.
        if order.payload.is_kept() {
            worker.connections.put(upstream, connection, now);
        }
    } else {
        spoken.connection = Some(connection);
    }
    Ok(spoken)
}

/// Path and query at the endpoint: the client's own, unless the pool knows the model under
/// another name or version or speaks another protocol, or the endpoint lives below a prefix.
/// `None` if that is too long.
fn upstream_uri(ask: &Ask, pool: &PoolSource, upstream: &Upstream) -> Option<Uri> {
    let translated = pool.protocol != ask.protocol;
    let renamed = pool.model.is_some() || pool.version.is_some();
    if !translated && !renamed && upstream.prefix.is_empty() {
        return Some(ask.uri.clone());
    }
    let asked = ask.called();
    let called = Called {
        model: Cow::Borrowed(pool.model.as_deref().unwrap_or(&asked.model)),
        version: pool.version.as_deref().or(asked.version.as_deref()).map(Cow::Borrowed),
        tail: if translated { form::infer_tail(pool.protocol) } else { asked.tail },
    };
    let path = form::path(pool.protocol, &upstream.prefix, &called);
    let mut path = path.unwrap_or_else(|| format!("{}{}", upstream.prefix, ask.uri.path()));
    if let Some(query) = ask.uri.query().filter(|_| !translated) {
        path.push('?');
        path.push_str(query);
    }
    Uri::try_from(path).ok()
}

/// What is told of the time that is left, and of a payload that is not the client's own.
fn instead(
    worker: &Worker,
    ask: &Ask,
    order: &Order<'_>,
    (pool, upstream): (&PoolSource, &Upstream),
) -> [Option<Instead>; 4] {
    let left = worker.timeout_value(ask.left(order.now));
    let timeout = Some((headers::REQUEST_TIMEOUT, Some(left)));
    let own = std::ptr::eq(order.payload, &raw const ask.payload);
    // Other bytes than the client's: the JSON part has another length, or is all there is.
    let json_len =
        (!own).then(|| (headers::INFERENCE_HEADER_LENGTH, order.json_len.map(HeaderValue::from)));
    let spilled =
        upstream.elsewhere.then(|| (headers::SPILLED, Some(HeaderValue::from_static("1"))));
    let media = (pool.protocol != ask.protocol).then(|| {
        let media = form::media_type(pool.protocol, order.json_len.is_some());
        (CONTENT_TYPE, Some(HeaderValue::from_static(media)))
    });
    [timeout, json_len, spilled, media]
}

/// Classifies what came, tells the breaker of failures, and leaves answers to be judged. `None`
/// talked on until its time was over.
pub(super) fn settle(
    flight: &mut Flight,
    ask: &Ask,
    progress: &mut Progress,
    pool: &PoolSource,
    (running, talked): (Running<'_>, Option<Result<Spoken, Failure>>),
) -> Attempted {
    let Running { choice, member, mut trial, at, progress: sent } = running;
    let spoken = talked.unwrap_or_else(|| Err(out_of_time(sent)));
    let Spoken { parts, held, connection, following, failed, now } = match spoken {
        Ok(spoken) => spoken,
        Err(failure) => {
            let now = flight.worker.clock.now();
            if failure.gone {
                member.target.found_gone();
            }
            if failure.class != Class::ClientFault {
                // It was not its client that it waited for.
                trial.expect();
            }
            flight.attempt_ended(at, Some(failure.class), (failure.sent, 0), now);
            let poison = blame((flight, ask), progress, member, (trial, failure, now));
            return if poison { Attempted::Poison } else { Attempted::Failed(failure, None) };
        }
    };
    let status = parts.status.as_u16();
    // An answer that is one says nothing of when to come again.
    let pause = (!parts.status.is_success())
        .then(|| retry_after::read(&parts.headers, &flight.worker.clock, now))
        .flatten()
        .or_else(|| retry_after::reset(&parts.headers).filter(|_| status == 429));
    let class = match pool.protocol {
        Protocol::OipGrpc => rpc::class(pool.flavour, &parts, held.bytes()),
        _ => classify::response(pool.flavour, status, pause.is_some(), held.bytes()).err(),
    };
    let class = if ask.talk.is_some() {
        talk::weighed(class.or(failed), (status, held.bytes()), &member.upstream)
    } else {
        class
    };
    let upstream = Arc::clone(&member.upstream);
    let trial = Some(trial);
    let answer = Answer { parts, held, upstream, connection, following, trial, at, now };
    let mut answer = Box::new(answer);
    match class {
        None => Attempted::Answered(answer),
        Some(class) if !goes_on(class, ask, choice.step) => {
            if matches!(answer.held, Held::Whole(_)) {
                answer.judge(Err(class), flight);
            }
            Attempted::PassBack(answer)
        }
        Some(class) => {
            if let Some(after) = pause.filter(|_| class == Class::Capacity) {
                flight.worker.shared.paused(&member.target, after, status, now);
            }
            let failure = Failure::new(class, SentState::Sent);
            flight.attempt_ended(at, Some(class), (SentState::Sent, status), now);
            let trial = answer.trial.take();
            let poison =
                trial.is_some_and(|it| blame((flight, ask), progress, member, (it, failure, now)));
            // Where the status says that all is well, the client must not be told so; nor what a
            // provider says of credentials that are ours.
            let ours = class == Class::Credentials || answer.parts.status.is_success();
            let said = Some(answer).filter(|_| !ours);
            if poison { Attempted::Poison } else { Attempted::Failed(failure, said) }
        }
    }
}

/// Whether another source is asked after a failure of this class.
fn goes_on(class: Class, ask: &Ask, step: usize) -> bool {
    class.moves_on() || (class.needs_a_step() && ask.plan().goes_on_for(step, Cause::of(class)))
}

/// A client that is slow to send its body is not the server's fault; a server that is slow to
/// take it is.
fn out_of_time(sending: &Sending) -> Failure {
    let sent = sending.sent.get();
    let owed = sent == SentState::MaybeSent && sending.client_owes.get();
    Failure::new(if owed { Class::ClientFault } else { Class::Timeout }, sent)
}

/// Blames the target, or holds the blame back until it is known whose fault the failure is. True
/// where the request has turned out to be poison.
pub(super) fn blame(
    (flight, ask): (&Flight, &Ask),
    progress: &mut Progress,
    member: &Member,
    (trial, failure, now): (Trial, Failure, Moment),
) -> bool {
    let Failure { class, sent, .. } = failure;
    if trial.blames_target(class, now) {
        let others = trial.others(now);
        let (upstream, target) = (&*member.upstream, &*member.target);
        let failed = Failed { upstream, target, class, sent, others, now };
        if Suspects::may_be(ask, &failed) {
            let whose = (&*flight.worker.shared, ask);
            let suspect = trial.suspect(class, now);
            return suspect.is_some_and(|it| progress.suspects.hold(whose, &failed, it));
        }
    }
    trial.finish(Err(class), now);
    false
}
