//! Requests of a sequence: each goes to the server that has its state, or the client is told that
//! the state is gone.
//!
//! The first request of a sequence chooses freely and binds it; if it could not be executed there,
//! the next server that is asked takes its place. All others are pinned. They are executed once: a
//! server that took a step of a sequence must not take it again, nor may another one.

use std::sync::Arc;
use std::time::Duration;

use mainstay_config::SequenceBy;
use mainstay_policy::chain::{Choice, Pin};
use mainstay_policy::sequence::{Id, Known, OnLoss, Seat, Settings, Table};
use mainstay_policy::{Class, Moment};
use mainstay_protocol::form;
use mainstay_protocol::oip::sequence::Said as Words;
use mainstay_telemetry::record::End;

use super::ask::{Ask, Kind, Payload};
use super::climb::Rung;
use super::fault::Fault;
use crate::flight::Flight;
use crate::poison::first_128;
use crate::shared::Shared;
use crate::snapshot::{Route, RouteView, Source};

/// The sequences of a route.
#[derive(Debug)]
pub(crate) struct Sequences {
    pub(crate) by: SequenceBy,
    pub(crate) settings: Settings,
    pub(crate) table: Arc<Table>,
}

/// A request of a sequence.
#[derive(Clone, Debug)]
pub(super) struct Part {
    route: RouteView,
    id: Id,
    /// The only server that may answer; `None` for the first request.
    pub(super) pin: Option<Pin>,
    /// Whether it is the last one.
    last: bool,
}

/// Why a sequence cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// Nothing is known of it.
    Unknown,
    /// The configuration no longer has its server.
    Unused,
    /// Its server was gone since it began.
    Restarted,
    /// Its server cannot be asked, or may have executed a request without an answer.
    Lost,
}

impl Gone {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "it did not begin here, has ended, or was idle for too long",
            Self::Unused => "its server is no longer used",
            Self::Restarted => "its server was gone since it began",
            Self::Lost => "its server is lost",
        }
    }
}

/// What the request says of its sequence.
struct Said {
    id: Id,
    start: bool,
    end: bool,
}

/// Finds out whether the request belongs to a sequence, and where that is.
///
/// # Errors
/// Its sequence is not known or was lost with its server, or the request cannot be read for it.
pub(super) fn enter(ask: &mut Ask, limit: usize, now: Moment) -> Result<Option<Part>, Fault> {
    let route = ask.route.clone();
    let Some(sequences) = route.sequences.as_ref().filter(|_| ask.kind != Kind::Metadata) else {
        return Ok(None);
    };
    if matches!(ask.payload, Payload::Stream(_)) {
        // All of a stream goes to one server.
        return Ok(None);
    }
    if !ask.payload.is_kept() {
        // Its sequence cannot be read, and anywhere might be the wrong place.
        return Err(Fault::too_large(limit));
    }
    let Some(said) = said(&sequences.by, ask) else { return Ok(None) };
    ask.single = true;
    let mut part = Part { route: route.clone(), id: said.id, pin: None, last: said.end };
    if said.start {
        return Ok(Some(part));
    }
    let gone = match sequences.table.find(said.id, &sequences.settings, now) {
        Known::At(seat) if !seat.is_taken() => Gone::Restarted,
        Known::At(seat) => match pin(&route, &seat) {
            None => Gone::Unused,
            pin => {
                part.pin = pin;
                return Ok(Some(part));
            }
        },
        Known::Lost => Gone::Lost,
        // A header has no word for a beginning: a new value is one.
        Known::Unknown if matches!(sequences.by, SequenceBy::Header(_)) => return Ok(Some(part)),
        Known::Unknown => Gone::Unknown,
    };
    part.lose(ask, gone, now).map(|()| Some(part))
}

/// The value that names the sequence, as an identity.
fn said(by: &SequenceBy, ask: &Ask) -> Option<Said> {
    let identity = |name: &[u8]| {
        let mut hasher = blake3::Hasher::new();
        // One route may stand for many models.
        let model = ask.called().model;
        hasher.update(&(model.len() as u64).to_le_bytes());
        hasher.update(model.as_bytes());
        hasher.update(name);
        first_128(&hasher.finalize())
    };
    match by {
        SequenceBy::Header(name) => {
            let value = ask.headers.get(name).filter(|value| !value.is_empty())?;
            Some(Said { id: identity(value.as_bytes()), start: false, end: false })
        }
        SequenceBy::SequenceId => {
            let said = form::sequence(ask.protocol, (ask.body()?, ask.json_len));
            let Words { id, start, end } = said?;
            Some(Said { id: identity(id.as_bytes()), start, end })
        }
    }
}

/// Where the server of a seat stands in the route's chain.
fn pin(route: &Route, seat: &Seat) -> Option<Pin> {
    route.steps.iter().enumerate().find_map(|(step, source)| {
        let Source::Pool(pool) = &source.source else { return None };
        let member = pool.members.iter().position(|it| Arc::ptr_eq(&it.target, &seat.target))?;
        Some(Pin { step, member })
    })
}

impl Part {
    /// The first request is tried at this member: if it can be executed there, the sequence is.
    pub(super) fn tries(&self, choice: &Choice, now: Moment) {
        let Some(sequences) = self.route.sequences.as_ref().filter(|_| self.pin.is_none()) else {
            return;
        };
        if let Source::Pool(pool) = &self.route.steps[choice.step].source
            && let Some(member) = pool.members.get(choice.member)
        {
            sequences.table.begin(self.id, Seat::at(&member.target), &sequences.settings, now);
        }
    }

    /// The request has this answer, of the step `at`.
    pub(super) fn answered(&self, rung: &Rung, at: usize) {
        let Some(sequences) = &self.route.sequences else { return };
        let by_server = matches!(self.route.steps[at].source, Source::Pool(_));
        let usable = matches!(rung, Rung::Server(_, End::Answered) | Rung::Assembled);
        let ends = if by_server && usable { self.last } else { self.pin.is_none() };
        if ends {
            sequences.table.end(self.id);
        }
    }

    /// Nobody answered: what that means for the sequence. `Ok`: it begins anew.
    ///
    /// # Errors
    /// `Some`: the client is told that the sequence is lost; `None`: whatever else there is to say.
    pub(super) fn unanswered(
        &mut self,
        ask: &mut Ask,
        flight: &Flight,
        now: Moment,
    ) -> Result<(), Option<Fault>> {
        if self.pin.is_none() {
            if let Some(sequences) = &self.route.sequences {
                sequences.table.end(self.id);
            }
            return Err(None);
        }
        let last = flight.record.attempts().last().and_then(|attempt| attempt.class);
        match last {
            // The server is there, and says what it has to say; or nobody could ask it.
            Some(
                Class::Capacity
                | Class::ServerFault
                | Class::BadAnswer
                | Class::ClientFault
                | Class::Shortage,
            ) => Err(None),
            _ => self.lose(ask, Gone::Lost, now).map_err(Some),
        }
    }

    /// The state of the sequence is gone. `Ok`: the request begins it anew.
    fn lose(&mut self, ask: &mut Ask, gone: Gone, now: Moment) -> Result<(), Fault> {
        let Some(sequences) = &self.route.sequences else { return Ok(()) };
        if gone != Gone::Unknown {
            sequences.table.lose(self.id, &sequences.settings, now);
        }
        self.pin = None;
        if sequences.settings.on_loss == OnLoss::Restart && restart(&sequences.by, ask) {
            return Ok(());
        }
        Err(Fault::sequence_lost(&self.route.name, gone.as_str()))
    }
}

/// Makes the request the first of its sequence; whether that could be said.
fn restart(by: &SequenceBy, ask: &mut Ask) -> bool {
    if matches!(by, SequenceBy::Header(_)) {
        return true;
    }
    let restarted = ask.body().and_then(|body| form::restarted(ask.protocol, (body, ask.json_len)));
    let Some(encoded) = restarted else { return false };
    if encoded.json_len.is_some() {
        ask.json_len = encoded.json_len;
        super::headers::describe_body(&mut ask.headers, encoded.body.len(), encoded.json_len);
    }
    ask.payload = Payload::Kept(encoded.body);
    true
}

/// Between two looks for sequences that were idle for too long.
const SWEEP: Duration = Duration::from_secs(1);

/// Forgets sequences that were idle for too long, for as long as it runs.
pub(crate) async fn sweep_sequences(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        shared.registry.sweep_sequences(shared.clock.now());
    }
}
