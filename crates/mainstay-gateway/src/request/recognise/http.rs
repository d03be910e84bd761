//! Paths that models declare, for servers of no protocol that is known here.

use ::http::Method;
use ::http::request::Parts;
use mainstay_protocol::Protocol;
use mainstay_protocol::oip::path;

use super::super::ask::Kind;
use super::super::fault::Fault;
use super::Heading;
use crate::worker::Worker;

/// What a request asks for; `None` where no model declares its path, or where a server that
/// resolves dot segments would find another path in it.
pub(super) fn heading(worker: &Worker, parts: &Parts) -> Result<Option<Heading>, Fault> {
    let path = parts.uri.path();
    let Some(route) = worker.view().route_of_path(path).filter(|_| path::stays_put(path)) else {
        return Ok(None);
    };
    let unusual = parts.method == Method::CONNECT || parts.method == Method::TRACE;
    let named = route.methods.is_empty() || route.methods.contains(&parts.method);
    if unusual || !named {
        return Err(Fault::method("the methods that its model declares"));
    }
    Ok(Some(Heading::Model(Protocol::Http, Kind::Infer, route)))
}
