//! The paths of `TensorFlow` Serving's REST API and KServe's V1 protocol.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use mainstay_protocol::oip::Encoded;
use mainstay_protocol::oip::metadata::Model;
use mainstay_protocol::v1::path::{self, Verb};
use mainstay_protocol::v1::status;
use mainstay_protocol::{Called, Protocol, form};

use super::super::ask::Kind;
use super::super::fault::Fault;
use super::super::{own, reply};
use super::Heading;
use crate::client::AnswerBody;
use crate::snapshot::Route;
use crate::worker::Worker;

/// What a request asks for; `None` where its path is not of this protocol.
pub(super) fn heading(worker: &Worker, parts: &Parts) -> Result<Option<Heading>, Fault> {
    let Some((called, verb)) = path::recognise(parts.uri.path()) else { return Ok(None) };
    let kind = match verb {
        Verb::Status => return how_is(worker, parts, &called).map(Some),
        Verb::Metadata => Kind::Metadata,
        Verb::Predict => Kind::Infer,
        Verb::Other => Kind::Other,
    };
    check_method(kind, &parts.method)?;
    let route = own::route(worker, &called.model)?;
    let declared = !route.outputs.is_empty() && !route.has_pool_of(Protocol::V1);
    if kind == Kind::Metadata && declared {
        return Ok(Some(Heading::Own(describe(&called, &route))));
    }
    Ok(Some(Heading::Model(Protocol::V1, kind, route)))
}

/// What a model takes and gives that no server of this protocol could be asked for.
fn describe(called: &Called<'_>, route: &Route) -> Response<AnswerBody> {
    let model = Model {
        name: called.model.to_string(),
        versions: called.version.iter().map(ToString::to_string).collect(),
        platform: "mainstay".to_owned(),
        inputs: route.inputs.clone(),
        outputs: route.outputs.clone(),
    };
    let body = form::write_metadata(Protocol::V1, &model);
    reply::own(StatusCode::OK, Encoded { body, json_len: None })
}

fn check_method(kind: Kind, method: &Method) -> Result<(), Fault> {
    let reads = method == Method::GET || method == Method::HEAD;
    match kind {
        Kind::Metadata if !reads => Err(Fault::method("GET")),
        Kind::Infer | Kind::Other if method != Method::POST => Err(Fault::method("POST")),
        Kind::Infer | Kind::Other | Kind::Metadata => Ok(()),
    }
}

/// Whether some step of the model's chain could answer now, in the words of `TensorFlow` Serving
/// and KServe at once.
fn how_is(worker: &Worker, parts: &Parts, called: &Called<'_>) -> Result<Heading, Fault> {
    let method = &parts.method;
    if method != Method::GET && method != Method::HEAD {
        return Err(Fault::method("GET"));
    }
    let ready =
        own::route_available(&*own::visible(worker, parts, &called.model)?, worker.clock.now());
    let body: Bytes = status::render(&called.model, called.version.as_deref(), ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Heading::Own(reply::own(status, Encoded { body, json_len: None })))
}
