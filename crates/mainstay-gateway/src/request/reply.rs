//! Answers in their final form: cleaned, marked where they are degraded, and accounted.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use mainstay_config::Fixed;
use mainstay_policy::Class;
use mainstay_policy::chain::Reason;
use mainstay_protocol::classify::Flavour;
use mainstay_protocol::oip::{Encoded, answer};
use mainstay_protocol::{Protocol, form};
use mainstay_telemetry::record::{End, Record};

use super::ask::{Ask, Kind};
use super::attempt::Answer;
use super::climb::Progress;
use super::fault::Fault;
use super::hold::Held;
use super::{headers, refuse, resume, talk};
use crate::client::{AnswerBody, Begun, Committed, OpenBody, pass_on};
use crate::flight::Flight;
use crate::last_good::Kept;
use crate::snapshot::{Route, Source};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// What a degraded answer says of itself.
pub(super) struct Mark {
    pub(super) served_by: String,
    pub(super) reason: Reason,
    /// How long ago it was given first, in seconds, where it is given again.
    pub(super) age: Option<u64>,
}

impl Mark {
    pub(super) const fn new(served_by: String, reason: Reason) -> Self {
        Self { served_by, reason, age: None }
    }

    fn parameters(&self) -> answer::Mark<'_> {
        let reason = self.reason.as_str();
        answer::Mark { served_by: &self.served_by, reason, age: self.age }
    }

    fn put(&self, headers: &mut HeaderMap) {
        put(headers, headers::SERVED_BY, &self.served_by);
        headers.insert(headers::DEGRADED, HeaderValue::from_static("true"));
        headers.insert(headers::REASON, HeaderValue::from_static(self.reason.as_str()));
        if let Some(age) = self.age {
            headers.insert(headers::AGE, HeaderValue::from(age));
        }
    }
}

/// A server's own answer. Without a mark its bytes are the server's.
pub(super) fn server(
    mut flight: Flight,
    ask: &Ask,
    mut answer: Answer,
    mark: Option<&Mark>,
    end: End,
) -> Response<AnswerBody> {
    let seen = headers::Seen::of(&answer.parts.headers);
    headers::clean(&mut answer.parts.headers, seen);
    flight.record.degraded = mark.is_some();
    if let Some(mark) = mark {
        mark.put(&mut answer.parts.headers);
        mark_body(ask, &mut answer, mark);
    }
    if mark.is_some() || flight.record.attempt_count > 1 {
        put(&mut answer.parts.headers, headers::SERVED_BY, &answer.upstream.label);
        put_trail(&mut answer.parts.headers, &flight.record, &ask.route);
    }
    // An error that was kept while others were asked is not what took the time.
    let now = if answer.trial.is_some() { answer.now } else { flight.worker.clock.now() };
    if matches!(answer.held, Held::Whole(_)) {
        answer.judge(Ok(()), &mut flight);
    }
    if ask.talk.is_some() && end == End::Answered {
        talk::count(&flight, &answer);
    }
    let status = answer.status();
    let Answer { mut parts, held, upstream, connection, mut following, trial, at, .. } = answer;
    let body = match (held, connection, trial) {
        (Held::Whole(bytes), ..) => {
            flight.end_at(end, status, now);
            AnswerBody::whole(bytes)
        }
        (Held::Open(queue, rest), Some(connection), Some(trial)) => {
            if end == End::Answered {
                resume::follow(&flight.worker, ask, &mut following);
            }
            if following.is_some() {
                // An error may have to follow what the server announced.
                parts.headers.remove(CONTENT_LENGTH);
            }
            let result = if end == End::ClientFault { Err(Class::ClientFault) } else { Ok(()) };
            let parts = Committed {
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
            };
            flight.committed(now);
            AnswerBody::open(OpenBody::new(parts, flight))
        }
        (Held::Stream(queue, call), _, Some(trial)) => {
            let messages = ask.messages();
            let flavour = flavour(ask, &flight.record, at);
            flight.committed(now);
            pass_on(Begun { queue, call, upstream, flavour, trial, at, messages }, flight)
        }
        // An error of a server that is too long to be held is told by its beginning.
        (Held::Open(mut queue, _) | Held::Stream(mut queue, _), ..) => {
            flight.end(end, status);
            let beginning = queue.pop_front().unwrap_or_default();
            headers::describe_body(&mut parts.headers, beginning.len(), None);
            AnswerBody::whole(beginning)
        }
    };
    Response::from_parts(parts, body)
}

/// The dialect of the server of an attempt.
fn flavour(ask: &Ask, record: &Record, at: usize) -> Flavour {
    let step = record.attempts().get(at).map(|attempt| usize::from(attempt.step));
    match step.and_then(|step| ask.route.steps.get(step)).map(|step| &step.source) {
        Some(Source::Pool(pool)) => pool.flavour,
        _ => Flavour::Auto,
    }
}

/// Puts the mark into the answer's own parameters, where it has some that can be read.
fn mark_body(ask: &Ask, answer: &mut Answer, mark: &Mark) {
    let Held::Whole(body) = &answer.held else { return };
    if ask.kind != Kind::Infer || !answer.parts.status.is_success() {
        return;
    }
    let json_len = headers::json_len(&answer.parts.headers);
    if let Ok(Encoded { body, json_len }) =
        form::mark(ask.protocol, body, json_len, &mark.parameters())
    {
        headers::describe_body(&mut answer.parts.headers, body.len(), json_len);
        answer.held = Held::Whole(body);
    }
}

/// An answer put together in the gateway.
pub(super) fn assembled(
    mut flight: Flight,
    ask: &Ask,
    progress: &Progress,
    reason: Reason,
) -> Response<AnswerBody> {
    let (rows, moved) = progress.assembly.rows();
    flight.record.rows = u16::try_from(rows).unwrap_or(u16::MAX);
    flight.record.rows_moved = u16::try_from(moved).unwrap_or(u16::MAX);
    flight.record.degraded = progress.degraded;
    let Some((best, served_by)) = progress.assembly.best() else {
        return refuse(flight, &Fault::no_source(&ask.route.name, reason.as_str()));
    };
    let (mut best, mark) = (best.clone(), Mark::new(served_by, reason));
    if progress.degraded {
        mark.parameters().write_to(&mut best.parameters);
    }
    let rendered = progress
        .assembly
        .outline(ask)
        .and_then(|request| form::write_answer(ask.protocol, &best, &request, ask.context()));
    let encoded = match rendered {
        Ok(encoded) => encoded,
        Err(error) => return refuse(flight, &Fault::broken(&error)),
    };
    let mut response = own(StatusCode::OK, encoded);
    if progress.degraded {
        mark.put(response.headers_mut());
    }
    put_trail(response.headers_mut(), &flight.record, &ask.route);
    flight.end(End::Answered, StatusCode::OK.as_u16());
    response
}

/// What servers answered to the same before, as the answer to this request.
pub(super) fn again(
    mut flight: Flight,
    ask: &Ask,
    kept: &Kept,
    mark: &Mark,
) -> Response<AnswerBody> {
    let body = ask.body().map(|bytes| &bytes[..]).unwrap_or_default();
    let (kept, asked) = ((&kept.body[..], kept.json_len), (body, ask.json_len));
    let given = form::give_again(ask.protocol, kept, asked, &mark.parameters());
    let encoded = match given {
        Ok(encoded) => encoded,
        Err(error) => return refuse(flight, &Fault::broken(&error)),
    };
    let mut response = own(StatusCode::OK, encoded);
    flight.record.degraded = true;
    mark.put(response.headers_mut());
    put_trail(response.headers_mut(), &flight.record, &ask.route);
    flight.end(End::Answered, StatusCode::OK.as_u16());
    response
}

/// A default that is no tensors: one body for everybody.
pub(super) fn fixed(
    mut flight: Flight,
    ask: &Ask,
    fixed: Fixed,
    mark: &Mark,
) -> Response<AnswerBody> {
    let mut response = own(StatusCode::OK, Encoded { body: fixed.body, json_len: None });
    response.headers_mut().insert(CONTENT_TYPE, fixed.content_type);
    flight.record.degraded = true;
    mark.put(response.headers_mut());
    put_trail(response.headers_mut(), &flight.record, &ask.route);
    flight.end(End::Answered, StatusCode::OK.as_u16());
    response
}

/// What a model takes and gives, said by the gateway itself.
pub(super) fn metadata(
    mut flight: Flight,
    ask: &Ask,
    body: Bytes,
    mark: Option<&Mark>,
) -> Response<AnswerBody> {
    let mut response = own(StatusCode::OK, Encoded { body, json_len: None });
    flight.record.degraded = mark.is_some();
    if let Some(mark) = mark {
        mark.put(response.headers_mut());
    }
    put_trail(response.headers_mut(), &flight.record, &ask.route);
    flight.end(End::Answered, StatusCode::OK.as_u16());
    response
}

/// An error of the gateway's own, in the protocol's form.
pub(super) fn fault(protocol: Protocol, fault: &Fault) -> Response<AnswerBody> {
    let body = form::error_body(protocol, fault.status.as_u16(), fault.code, &fault.message);
    let mut response = own(fault.status, Encoded { body, json_len: None });
    let headers = response.headers_mut();
    headers.insert(headers::ERROR, HeaderValue::from_static(fault.code));
    headers.insert(headers::RETRY, HeaderValue::from_static(fault.retry.as_str()));
    if fault.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mainstay\""));
    }
    if let Some(seconds) = fault.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A body of the gateway's own making.
pub(super) fn own(status: StatusCode, encoded: Encoded) -> Response<AnswerBody> {
    let Encoded { body, json_len } = encoded;
    let content_type = if json_len.is_some() { BINARY } else { JSON };
    let mut response = Response::new(AnswerBody::whole(Bytes::new()));
    *response.status_mut() = status;
    headers::describe_body(response.headers_mut(), body.len(), json_len);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    *response.body_mut() = AnswerBody::whole(body);
    response
}

/// Says every attempt and what became of it, for example
/// `fraud-v2/10.0.0.1:8000 unreachable 1ms; fraud-v2/10.0.0.2:8000 ok 4ms`.
fn put_trail(headers: &mut HeaderMap, record: &Record, route: &Route) {
    let mut trail = String::new();
    for attempt in record.attempts() {
        let who = member_label(route, usize::from(attempt.step), attempt.target);
        let how = attempt.class.map_or("ok", |class| class.as_str());
        let separator = if trail.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _infallible =
            write!(trail, "{separator}{who} {how} {}ms", attempt.took_us.div_ceil(1000));
    }
    if !trail.is_empty() {
        put(headers, headers::TRAIL, &trail);
    }
}

fn member_label(route: &Route, step: usize, target: u32) -> &str {
    let Some(Source::Pool(pool)) = route.steps.get(step).map(|step| &step.source) else {
        return "?";
    };
    pool.members
        .iter()
        .find(|member| member.target.id == target)
        .map_or("?", |member| &member.upstream.label)
}

/// Sets a header to a text of ours; a name that no header can carry is left out.
fn put(headers: &mut HeaderMap, name: http::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
