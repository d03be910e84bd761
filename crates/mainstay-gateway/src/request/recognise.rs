//! Protocol and model from the path and headers; the body is not looked at.

mod callers;
mod grpc;
mod http;
mod oip;
mod openai;
mod torchserve;
mod v1;
mod v1_models;

use std::time::Duration;

use ::http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName};
use ::http::request::Parts;
use ::http::{Response, Uri};
use bytes::Bytes;
use mainstay_policy::Moment;
use mainstay_policy::limit::Priority;
use mainstay_protocol::grpc::{Call, parse_timeout};
use mainstay_protocol::{Protocol, form};

use super::admit::Admitted;
use super::ask::{Ask, Kind, Payload};
use super::fault::Fault;
use super::talk::Talk;
use super::{headers, rpc};
use crate::callers::{Denied, Who};
use crate::client::AnswerBody;
use crate::snapshot::RouteView;
use crate::worker::Worker;

pub(super) use grpc::is_grpc;

/// What came of a request's head.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(super) enum Recognised {
    /// The gateway answered for itself.
    Own(Response<AnswerBody>),
    /// A model is asked; the body is yet to be read.
    Ask(Ask),
    /// The body says which model is asked.
    Nameless(Box<Nameless>),
    /// A call of gRPC that the gateway answers for itself, or a stream.
    Rpc(Box<Rpc>),
}

/// What a path asks for, in its protocol.
pub(super) enum Heading {
    /// The gateway answers for itself.
    Own(Response<AnswerBody>),
    /// A model.
    Model(Protocol, Kind, RouteView),
    /// The model that the body names.
    InBody(Protocol, Kind),
    /// Something of gRPC that needs more than a head.
    Rpc(Call),
}

/// A call of gRPC that the gateway answers for itself, or a stream.
pub(super) struct Rpc {
    pub(super) call: Call,
    parts: Parts,
    trusted: bool,
}

impl Rpc {
    /// The head of the request.
    pub(super) const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The request of a stream, once its first message has named the model.
    pub(super) fn ask(
        self,
        route: RouteView,
        name: &str,
        (payload, now): (Payload, Moment),
    ) -> Result<Ask, Fault> {
        let kind = (Protocol::OipGrpc, Kind::Other, Some(name));
        let mut ask = ask(route, self.parts, kind, (self.trusted, now))?;
        ask.named = Some(name.into());
        ask.payload = payload;
        Ok(ask)
    }
}

/// A request whose model is named in its body.
pub(super) struct Nameless {
    pub(super) protocol: Protocol,
    kind: Kind,
    parts: Parts,
    trusted: bool,
    now: Moment,
    /// What its body says beside the model, once it has been read.
    pub(super) talk: Option<Box<Talk>>,
}

impl Nameless {
    /// Path and query.
    pub(super) const fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    /// The fault as this caller may see it.
    pub(super) fn hidden(&self, fault: Fault) -> Fault {
        callers::hidden(fault, &self.parts)
    }

    /// The request, once its body has said which model it is for.
    pub(super) fn ask(
        self,
        route: RouteView,
        name: &str,
        admitted: Admitted,
    ) -> Result<Ask, Fault> {
        let Self { protocol, kind, parts, trusted, now, talk } = self;
        let mut ask = ask(route, parts, (protocol, kind, Some(name)), (trusted, now))?;
        if *ask.route.name != *name {
            ask.named = Some(name.into());
        }
        ask.talk = talk;
        ask.payload = admitted.payload;
        ask.reservation = admitted.reservation;
        Ok(ask)
    }
}

/// Recognises a request by its head.
pub(super) fn recognise(
    worker: &Worker,
    mut parts: Parts,
    trusted: bool,
    now: Moment,
) -> Result<Recognised, (Protocol, Fault)> {
    if worker.is_guarded() {
        callers::identify(worker, &mut parts)?;
    }
    let heading = heading(worker, &parts)
        .map_err(|(protocol, fault)| (protocol, callers::hidden(fault, &parts)))?;
    match heading {
        Heading::Own(response) => Ok(Recognised::Own(response)),
        Heading::Model(protocol, kind, route) => {
            ask(route, parts, (protocol, kind, None), (trusted, now))
                .map(Recognised::Ask)
                .map_err(|fault| (protocol, fault))
        }
        Heading::InBody(protocol, kind) => {
            let nameless = Nameless { protocol, kind, parts, trusted, now, talk: None };
            Ok(Recognised::Nameless(Box::new(nameless)))
        }
        Heading::Rpc(call) => Ok(Recognised::Rpc(Box::new(Rpc { call, parts, trusted }))),
    }
}

/// Each protocol knows its own paths.
fn heading(worker: &Worker, parts: &Parts) -> Result<Heading, (Protocol, Fault)> {
    if is_grpc(parts) {
        return grpc::heading(parts).map_err(|fault| (Protocol::OipGrpc, fault));
    }
    match oip::heading(worker, parts).map_err(|fault| (Protocol::Oip, fault))? {
        Some(heading) => Ok(heading),
        None => other_heading(worker, parts),
    }
}

/// Says what a request asks for, in one protocol.
type Recogniser = fn(&Worker, &Parts) -> Result<Option<Heading>, Fault>;

/// The protocols after the one that costs least, in the order in which they are asked.
const OTHERS: [(Protocol, Recogniser); 5] = [
    (Protocol::V1, v1_models::heading),
    (Protocol::V1, v1::heading),
    (Protocol::OpenAi, openai::heading),
    (Protocol::TorchServe, torchserve::heading),
    (Protocol::Http, http::heading),
];

#[cold]
fn other_heading(worker: &Worker, parts: &Parts) -> Result<Heading, (Protocol, Fault)> {
    for (protocol, recognise) in OTHERS {
        if let Some(heading) = recognise(worker, parts).map_err(|fault| (protocol, fault))? {
            return Ok(heading);
        }
    }
    Err((Protocol::Oip, Fault::no_such_path(parts.uri.path())))
}

fn ask(
    route: RouteView,
    parts: Parts,
    (protocol, kind, named): (Protocol, Kind, Option<&str>),
    (trusted, now): (bool, Moment),
) -> Result<Ask, Fault> {
    let Parts { method, uri, mut headers, extensions, .. } = parts;
    let seen = headers::Seen::of(&headers);
    let strict = route.never_degrade || seen.refuses_degraded(&headers);
    let json_len = if seen.json_len { json_len(&headers)? } else { None };
    let wished = match protocol {
        Protocol::OipGrpc => grpc_wished(&headers),
        _ if seen.timeout => wished(&headers),
        _ => None,
    };
    let deadline = now + wished.map_or(route.deadline, |wished| wished.min(route.deadline));
    let priority = priority(&mut headers, (route.view().priorities.header.as_ref(), trusted))
        .unwrap_or(route.priority);
    let spilled = seen.was_spilled(&headers);
    headers::clean(&mut headers, seen);
    let (priority, pass) = match &route.view().callers {
        None => (priority, None),
        Some(_) => {
            let who = extensions.get::<Who>().ok_or_else(|| Fault::denied(Denied::Nameless))?;
            let called = named.is_none().then(|| form::called(protocol, uri.path())).flatten();
            let model = named.or_else(|| called.as_ref().map(|called| &*called.model));
            let asked = (&*route.name, model.unwrap_or(&route.name));
            let pass = who.enter(asked, now).map_err(Fault::denied)?;
            who.mark(&mut headers);
            (who.caller.grant.priority.unwrap_or(priority), Some(pass))
        }
    };
    if route.reads || route.speaks != Some(protocol) || protocol == Protocol::OpenAi {
        // What must be judged, translated, followed, or given again under another id, must be
        // readable.
        headers.remove(ACCEPT_ENCODING);
        if protocol == Protocol::OipGrpc {
            headers.remove(rpc::ACCEPT_ENCODING);
        }
    }
    Ok(Ask {
        protocol,
        talk: None,
        named: None,
        method,
        uri: origin_form(uri),
        headers,
        kind,
        route,
        strict,
        once: false,
        single: false,
        spilled,
        json_len,
        payload: Payload::Kept(Bytes::new()),
        deadline,
        priority,
        reservation: None,
        pass,
    })
}

/// What a trusted client says of its request. From others the header is dropped, so that a
/// server behind the gateway does not believe it either.
fn priority(
    headers: &mut HeaderMap,
    (name, trusted): (Option<&HeaderName>, bool),
) -> Option<Priority> {
    let name = name?;
    if !trusted {
        headers.remove(name);
        return None;
    }
    headers.get(name).and_then(|value| Priority::from_name(value.as_bytes()))
}

fn json_len(headers: &HeaderMap) -> Result<Option<usize>, Fault> {
    let Some(value) = headers.get(headers::INFERENCE_HEADER_LENGTH) else { return Ok(None) };
    headers::number(value).map(Some).ok_or_else(|| {
        Fault::broken(&"the Inference-Header-Content-Length header is not a number of bytes")
    })
}

/// How long the client says that it will wait; it may only shorten the route's deadline.
fn wished(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(headers::REQUEST_TIMEOUT)?;
    duration(value.to_str().ok()?)
}

/// The same, as gRPC says it.
fn grpc_wished(headers: &HeaderMap) -> Option<Duration> {
    parse_timeout(headers.get(rpc::TIMEOUT)?.as_bytes())
}

/// `150ms`, `2s`, or a plain number of seconds.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.trim().parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Path and query alone: HTTP/2 and absolute-form requests name the gateway, not the server.
fn origin_form(uri: Uri) -> Uri {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return uri;
    }
    uri.into_parts().path_and_query.map_or_else(|| Uri::from_static("/"), Uri::from)
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    #[test]
    fn a_client_says_how_long_it_waits() {
        let wish = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(headers::REQUEST_TIMEOUT, HeaderValue::from_static(value));
            wished(&headers).map(|wish| wish.as_millis())
        };
        assert_eq!(wish("150ms"), Some(150));
        assert_eq!(wish("0.5"), Some(500));
        assert_eq!(wish("0.25s"), Some(250));
        assert_eq!(wish("30"), Some(30_000));
        assert_eq!(wish("soon"), None);
        assert_eq!(wish("-1"), None);
    }

    #[test]
    fn only_trusted_clients_name_a_priority() {
        let name = HeaderName::from_static("x-priority");
        let said = |value, trusted| {
            let mut headers = HeaderMap::new();
            headers.insert(name.clone(), HeaderValue::from_static(value));
            let priority = priority(&mut headers, (Some(&name), trusted));
            (priority, headers.contains_key(&name))
        };
        assert_eq!(said("High", true), (Some(Priority::High), true));
        assert_eq!(said("whatever", true), (None, true));
        assert_eq!(said("high", false), (None, false));
    }

    #[test]
    fn the_gateways_own_name_is_not_sent_on() {
        let uri = origin_form(Uri::from_static("http://gateway:8080/v2/models/m?x=1"));
        assert_eq!(uri.to_string(), "/v2/models/m?x=1");
    }
}
