//! gRPC: the media type says it, the path says which call.

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Version};
use mainstay_protocol::Protocol;
use mainstay_protocol::grpc::{self, Call};

use super::super::ask::Kind;
use super::super::fault::Fault;
use super::Heading;

/// Whether a request is gRPC's: only HTTP/2 has the trailers that an answer needs.
pub(in crate::request) fn is_grpc(parts: &Parts) -> bool {
    parts.version == Version::HTTP_2
        && parts.headers.get(CONTENT_TYPE).is_some_and(|value| grpc::is_grpc(value.as_bytes()))
}

/// What a request of gRPC asks for.
pub(super) fn heading(parts: &Parts) -> Result<Heading, Fault> {
    let path = parts.uri.path();
    let call = grpc::recognise(path).ok_or_else(|| Fault::no_such_call(path))?;
    if parts.method != Method::POST {
        return Err(Fault::method("POST"));
    }
    match call {
        Call::Infer => Ok(Heading::InBody(Protocol::OipGrpc, Kind::Infer)),
        Call::ModelMetadata => Ok(Heading::InBody(Protocol::OipGrpc, Kind::Metadata)),
        Call::AboutModel => Ok(Heading::InBody(Protocol::OipGrpc, Kind::Other)),
        Call::RepositoryChange => Err(Fault::no_such_call(path)),
        call => Ok(Heading::Rpc(call)),
    }
}
