//! The paths of `TorchServe`'s inference API.

use http::request::Parts;
use http::{Method, StatusCode};
use mainstay_protocol::oip::Encoded;
use mainstay_protocol::{Protocol, torchserve};

use super::super::ask::Kind;
use super::super::fault::Fault;
use super::super::{own, reply};
use super::Heading;
use crate::worker::Worker;

/// What a request asks for; `None` where its path is not of this protocol.
pub(super) fn heading(worker: &Worker, parts: &Parts) -> Result<Option<Heading>, Fault> {
    let path = parts.uri.path();
    let (ready, body) = match path {
        "/ping" => {
            let ready = own::is_ready(worker);
            (ready, torchserve::ping(ready))
        }
        "/models" => {
            let view = worker.view();
            let routes = view
                .routes
                .iter()
                .filter(|it| it.has_pool_of(Protocol::TorchServe) && own::is_visible(parts, it));
            (true, torchserve::models(routes.map(|route| &*route.name)))
        }
        _ => return predictions(worker, parts),
    };
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(Fault::method("GET"));
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Some(Heading::Own(reply::own(status, Encoded { body, json_len: None }))))
}

/// A prediction, which `TorchServe` takes by any method, or an explanation of one.
fn predictions(worker: &Worker, parts: &Parts) -> Result<Option<Heading>, Fault> {
    let Some(called) = torchserve::recognise(parts.uri.path()) else { return Ok(None) };
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Fault::method("GET, POST and others, not CONNECT or TRACE"));
    }
    let kind = if called.tail.is_empty() { Kind::Infer } else { Kind::Other };
    let route = own::route(worker, &called.model)?;
    Ok(Some(Heading::Model(Protocol::TorchServe, kind, route)))
}
