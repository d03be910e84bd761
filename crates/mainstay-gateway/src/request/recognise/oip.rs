//! The paths of the Open Inference Protocol V2 over HTTP.

use http::Method;
use http::request::Parts;
use mainstay_protocol::Protocol;
use mainstay_protocol::oip::path::{self, Call};

use super::super::ask::Kind;
use super::super::fault::Fault;
use super::super::own;
use super::Heading;
use crate::worker::Worker;

/// What a request asks for; `None` where its path is not of this protocol.
pub(super) fn heading(worker: &Worker, parts: &Parts) -> Result<Option<Heading>, Fault> {
    let Some(call) = path::recognise(parts.uri.path()) else { return Ok(None) };
    let kind = match &call {
        Call::Infer { .. } => Kind::Infer,
        Call::ModelMetadata { .. } => Kind::Metadata,
        Call::Other { .. } => Kind::Other,
        _ => return own::answer(worker, parts, &call).map(|it| Some(Heading::Own(it))),
    };
    check_method(kind, &parts.method)?;
    let route = own::route(worker, call.model().unwrap_or_default())?;
    Ok(Some(Heading::Model(Protocol::Oip, kind, route)))
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
