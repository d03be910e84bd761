//! The paths of the OpenAI API.

use http::Method;
use http::request::Parts;
use mainstay_protocol::Protocol;
use mainstay_protocol::openai::path;

use super::super::ask::Kind;
use super::super::fault::Fault;
use super::Heading;
use crate::worker::Worker;

/// What a request asks for; `None` where its path is not of this API.
pub(super) fn heading(_worker: &Worker, parts: &Parts) -> Result<Option<Heading>, Fault> {
    match path::recognise(parts.uri.path()) {
        None => Ok(None),
        Some(_) if parts.method != Method::POST => Err(Fault::method("POST")),
        Some(_) => Ok(Some(Heading::InBody(Protocol::OpenAi, Kind::Infer))),
    }
}
