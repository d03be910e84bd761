//! Going on with a stream that was cut, at another server of the same quality.
//!
//! The request is asked again with what was already said as the beginning of its answer, in a
//! climb of its own: with a new deadline, since the first one held until the first content, and
//! without steps of lesser quality, since nobody could tell where one answer ends and the other
//! begins. What a client sees of it is decided in `mainstay_protocol::openai::continuation`.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use mainstay_policy::chain::{Choice, Climb, Next};
use mainstay_policy::{Class, SentState};
use mainstay_protocol::openai::continuation::Told;
use mainstay_telemetry::record::End;

use super::ask::{Ask, Payload};
use super::attempt::{Answer, Attempted, Order, attempt};
use super::climb::Progress;
use super::hold::Held;
use super::talk::Talk;
use crate::client::{Committed, Following};
use crate::flight::Flight;
use crate::memory::Reservation;
use crate::snapshot::Source;
use crate::worker::Worker;

/// How often one answer is taken up again; a server that is lost each time is not the only trouble.
const MOST: u8 = 2;

/// A request whose stream can go on elsewhere.
#[derive(Debug)]
pub(crate) struct Resumable {
    ask: Ask,
    told: Told,
    /// Tokens that servers before the present one have said.
    spent: u64,
    left: u8,
    /// The memory that the request takes while its answer is on its way.
    _reservation: Option<Reservation>,
}

/// What came of going on.
pub(crate) enum Resumed {
    /// More of the stream, on its way.
    Open(Box<Committed>),
    /// The rest of it.
    Whole { rest: Bytes, label: Arc<str> },
    /// Nobody could.
    Nobody,
}

impl Resumable {
    /// A request that may be continued; `None` where its model or what it asks for forbids it.
    pub(super) fn of(worker: &Worker, ask: &Ask) -> Option<Box<Self>> {
        let talk = ask.talk.as_ref().filter(|_| ask.route.continues)?;
        if !(talk.head.stream && talk.head.continuable && ask.is_repeatable()) {
            return None;
        }
        let body = ask.body()?.clone();
        let reservation = worker.shared.memory.reserve(body.len())?;
        let ask = copy(ask, talk.clone(), body);
        let told = Told::default();
        Some(Box::new(Self { ask, told, spent: 0, left: MOST, _reservation: Some(reservation) }))
    }

    /// Listens to what the client is told.
    pub(crate) fn hear(&mut self, events: &Bytes) {
        self.told.hear(events);
    }

    /// The events of a server that went on, as the client gets them.
    pub(crate) fn adopt(&self, events: &Bytes) -> Bytes {
        self.told.adopt(events)
    }

    /// The memory that it keeps of what was said.
    pub(crate) const fn held(&self) -> usize {
        self.told.text.len()
    }

    /// The request with which another server goes on, after so many more tokens; `None` where it
    /// cannot be.
    pub(crate) fn again(&mut self, worker: &Worker, tokens: u64) -> Option<Ask> {
        self.left = self.left.checked_sub(1)?;
        self.spent += tokens;
        let talk = self.ask.talk.as_ref()?;
        let body = self.told.request(talk.form, self.ask.body()?, &talk.head, self.spent)?;
        let talk = Talk::read(&self.ask.uri, &body).ok()?;
        let mut ask = copy(&self.ask, talk, body);
        ask.deadline = worker.clock.now() + ask.route.deadline;
        Some(ask)
    }
}

fn copy(ask: &Ask, talk: Box<Talk>, body: Bytes) -> Ask {
    Ask {
        protocol: ask.protocol,
        talk: Some(talk),
        named: ask.named.clone(),
        method: ask.method.clone(),
        uri: ask.uri.clone(),
        headers: HeaderMap::clone(&ask.headers),
        kind: ask.kind,
        route: ask.route.clone(),
        strict: true,
        once: false,
        single: false,
        spilled: ask.spilled,
        json_len: None,
        payload: Payload::Kept(body),
        deadline: ask.deadline,
        priority: ask.priority,
        reservation: None,
        pass: None,
    }
}

/// Asks the servers of the model to go on; the one at `lost` only if nobody else is there.
pub(crate) async fn resume(mut flight: Flight, ask: Ask, lost: Option<u32>) -> (Flight, Resumed) {
    let worker = Rc::clone(&flight.worker);
    let mut climb = Climb::new(ask.plan(), ask.deadline, false);
    climb.goes_on();
    let mut progress = Progress::default();
    let mut avoid = lost;
    loop {
        let now = worker.clock.now();
        let Next::Attempt(choice) = worker.decide(&mut climb, now) else {
            return (flight, Resumed::Nobody);
        };
        if avoid.is_some() && target_of(&ask, &choice) == avoid {
            avoid = None;
            climb.refused(&choice);
            continue;
        }
        let (payload, hold) = (&ask.payload, worker.view().limits.hold);
        let order = Order { choice: &choice, payload, json_len: None, hold, now };
        let tried = attempt(&mut flight, &ask, &mut climb, &mut progress, &order);
        match Box::pin(tried).await {
            (_, Attempted::Answered(answer)) => {
                let resumed = taken_up(&mut flight, *answer);
                return (flight, resumed);
            }
            (_, Attempted::PassBack(mut answer)) => {
                answer.judge(Err(Class::ClientFault), &mut flight);
                return (flight, Resumed::Nobody);
            }
            (choice, Attempted::Failed(failure, _)) => {
                climb.failed(&choice, failure.class, failure.sent);
            }
            (choice, Attempted::Refused) => climb.refused(&choice),
            (_, Attempted::Spent | Attempted::Poison) => return (flight, Resumed::Nobody),
        }
    }
}

fn target_of(ask: &Ask, choice: &Choice) -> Option<u32> {
    let Source::Pool(pool) = &ask.route.steps.get(choice.step)?.source else { return None };
    pool.members.get(choice.member).map(|member| member.target.id)
}

fn taken_up(flight: &mut Flight, mut answer: Answer) -> Resumed {
    if answer.following.is_none() {
        // No stream, though one was asked for: it cannot be put behind the first.
        answer.judge(Err(Class::BadAnswer), flight);
        return Resumed::Nobody;
    }
    let label = Arc::clone(&answer.upstream.label);
    if let Held::Whole(rest) = &answer.held {
        let rest = rest.clone();
        answer.judge(Ok(()), flight);
        return Resumed::Whole { rest, label };
    }
    let status = answer.status();
    let Answer { held, upstream, connection, following, trial, at, .. } = answer;
    match (held, connection, trial) {
        (Held::Open(queue, rest), Some(connection), Some(trial)) => {
            let (end, result) = (End::Answered, Ok(()));
            Resumed::Open(Box::new(Committed {
                queue,
                rest,
                status,
                upstream,
                connection,
                trial,
                at,
                end,
                result,
                following,
            }))
        }
        _ => Resumed::Nobody,
    }
}

/// The stream that was held until here, ready to be taken up elsewhere where that is allowed.
pub(super) fn follow(worker: &Worker, ask: &Ask, following: &mut Option<Box<Following>>) {
    if let Some(following) = following {
        following.resumes(Resumable::of(worker, ask));
    }
}

/// Notes in the record that an attempt whose answer had begun was cut.
pub(crate) fn note_cut(flight: &mut Flight, at: usize, class: Class, status: u16) {
    let now = flight.worker.clock.now();
    flight.attempt_ended(at, Some(class), (SentState::Sent, status), now);
}
