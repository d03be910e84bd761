//! Protocol, model and version from the path and headers; the body is not looked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, Response, Uri};
use mainstay_policy::Moment;
use mainstay_policy::limit::Priority;
use mainstay_protocol::oip::path::{self, Call};

use super::ask::{Ask, Kind, Payload};
use super::fault::Fault;
use super::{headers, own};
use crate::client::AnswerBody;
use crate::snapshot::Route;
use crate::worker::Worker;

/// What came of a request's head.
pub(super) enum Recognised {
    /// The gateway answered for itself.
    Own(Response<AnswerBody>),
    /// A model is asked; the body is yet to be read.
    Ask(Ask),
}

/// Recognises a request by its head.
pub(super) fn recognise(
    worker: &Worker,
    parts: Parts,
    trusted: bool,
    now: Moment,
) -> Result<Recognised, Fault> {
    let path = parts.uri.path();
    let call = path::recognise(path).ok_or_else(|| Fault::no_such_path(path))?;
    let kind = match &call {
        Call::Infer { .. } => Kind::Infer,
        Call::ModelMetadata { .. } => Kind::Metadata,
        Call::Other { .. } => Kind::Other,
        _ => return own::answer(worker, &parts.method, &call).map(Recognised::Own),
    };
    check_method(kind, &parts.method)?;
    let route = own::route(worker, call.model().unwrap_or_default())?;
    let route = Arc::clone(route);
    drop(call);
    ask(worker, parts, kind, (route, trusted, now)).map(Recognised::Ask)
}

fn check_method(kind: Kind, method: &Method) -> Result<(), Fault> {
    match kind {
        Kind::Infer if method != Method::POST => Err(Fault::method("POST")),
        Kind::Metadata if method != Method::GET && method != Method::HEAD => {
            Err(Fault::method("GET"))
        }
        Kind::Other if method == Method::CONNECT || method == Method::TRACE => {
            Err(Fault::method("GET, POST and others, not CONNECT or TRACE"))
        }
        Kind::Infer | Kind::Metadata | Kind::Other => Ok(()),
    }
}

fn ask(
    worker: &Worker,
    parts: Parts,
    kind: Kind,
    (route, trusted, now): (Arc<Route>, bool, Moment),
) -> Result<Ask, Fault> {
    let Parts { method, uri, mut headers, .. } = parts;
    let strict = route.never_degrade || refuses_degraded(&headers);
    let json_len = json_len(&headers)?;
    let deadline = deadline(&headers, route.deadline, now);
    let priority =
        priority(&mut headers, (worker.shared.snapshot.priorities.header.as_ref(), trusted))
            .unwrap_or(route.priority);
    headers::clean(&mut headers);
    if !route.guards.is_empty() || route.steps.iter().any(|step| step.confidence.is_some()) {
        // What must be judged must be readable.
        headers.remove(ACCEPT_ENCODING);
    }
    let mut ask = Ask {
        method,
        uri: origin_form(uri),
        headers,
        kind,
        route,
        strict,
        once: false,
        json_len,
        payload: Payload::Kept(Bytes::new()),
        deadline,
        told: 0,
        priority,
        reservation: None,
    };
    // Told once, and again only where time has passed: see the attempt.
    ask.told = ask.left(now);
    ask.headers.insert(headers::REQUEST_TIMEOUT, worker.timeout_value(ask.told));
    Ok(ask)
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

fn refuses_degraded(headers: &HeaderMap) -> bool {
    headers.get(headers::DEGRADE).is_some_and(|value| value.as_bytes() == b"never")
}

fn json_len(headers: &HeaderMap) -> Result<Option<usize>, Fault> {
    let Some(value) = headers.get(headers::INFERENCE_HEADER_LENGTH) else { return Ok(None) };
    headers::number(value).map(Some).ok_or_else(|| {
        Fault::broken(&"the Inference-Header-Content-Length header is not a number of bytes")
    })
}

/// The size that a client announced; `None` where it did not or it cannot be read.
pub(super) fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH).and_then(headers::number)
}

/// The route's deadline, or the client's if that is sooner.
fn deadline(headers: &HeaderMap, configured: Duration, now: Moment) -> Moment {
    let wished = headers
        .get(headers::REQUEST_TIMEOUT)
        .and_then(|value| value.to_str().ok())
        .and_then(duration);
    now + wished.map_or(configured, |wished| wished.min(configured))
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
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_client_may_only_shorten_the_deadline() {
        let timeout = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(headers::REQUEST_TIMEOUT, HeaderValue::from_static(value));
            deadline(&headers, Duration::from_secs(1), Moment::ZERO).as_millis()
        };
        assert_eq!(timeout("150ms"), 150);
        assert_eq!(timeout("0.5"), 500);
        assert_eq!(timeout("0.25s"), 250);
        assert_eq!(timeout("30"), 1000);
        assert_eq!(timeout("soon"), 1000);
        assert_eq!(timeout("-1"), 1000);
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
