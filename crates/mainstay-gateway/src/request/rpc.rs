//! What only gRPC has: calls that the gateway answers for itself, streams, and the form of answers.
//!
//! On its way an answer looks as one over HTTP does: a success with a body, or an error with the
//! HTTP status that stands for its code and with its text as the body. So everything between reads
//! one form. What a server said beyond that travels along in a [`Status`]; only when the answer
//! leaves is it [dressed](dress): a status in the trailers, or, for an error, trailers alone.

mod converse;
mod own;
mod stream;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Response, StatusCode};
use mainstay_policy::Class;
use mainstay_protocol::classify::{self, Flavour};
use mainstay_protocol::grpc::{self, Code};

use super::headers;
use crate::client::AnswerBody;

pub(super) use converse::converse;
pub(super) use own::{Answered, answer};

/// The status of a call.
pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What it says.
pub(crate) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// How long a caller waits.
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Compressions that a client reads.
pub(super) const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static(grpc::MEDIA_TYPE);

/// How a server ended a call.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) code: Code,
    pub(super) message: String,
    /// Everything that came behind the answer.
    pub(super) trailers: HeaderMap,
}

impl Status {
    /// What `trailers` say; `None` where they say nothing.
    pub(super) fn of(trailers: HeaderMap) -> Option<Self> {
        let code = Code::parse(trailers.get(STATUS)?.as_bytes());
        let said = trailers.get(MESSAGE).map(|value| grpc::decode_message(value.as_bytes()));
        let message = said.map(std::borrow::Cow::into_owned).unwrap_or_default();
        Some(Self { code, message, trailers })
    }
}

/// Whether a server's answer is usable, or the class of its failure. One that is no gRPC is judged
/// as HTTP.
pub(super) fn class(flavour: Flavour, parts: &Parts, body: &[u8]) -> Option<Class> {
    let judged = match parts.extensions.get::<Status>() {
        Some(status) => classify::grpc(flavour, status.code, &status.message),
        None => classify::response(flavour, parts.status.as_u16(), false, body),
    };
    judged.err()
}

/// Gives an answer the form of gRPC.
pub(super) fn dress(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    let status = response.extensions_mut().remove::<Status>();
    let http = std::mem::replace(response.status_mut(), StatusCode::OK);
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.remove(headers::INFERENCE_HEADER_LENGTH);
    if !headers.get(CONTENT_TYPE).is_some_and(|value| grpc::is_grpc(value.as_bytes())) {
        headers.insert(CONTENT_TYPE, MEDIA_TYPE);
    }
    // A stream has its own end.
    let Some(body) = response.body().bytes() else { return response };
    let code = status.as_ref().map_or_else(|| Code::of_http(http.as_u16()), |status| status.code);
    let mut trailers = status.as_ref().map(|it| it.trailers.clone()).unwrap_or_default();
    if code == Code::Ok {
        trailers.insert(STATUS, HeaderValue::from_static("0"));
        *response.body_mut() = AnswerBody::trailed(body, trailers);
        return response;
    }
    let text =
        status.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), |status| status.message);
    response.headers_mut().extend(trailers);
    put_status(response.headers_mut(), code, &text);
    *response.body_mut() = AnswerBody::whole(Bytes::new());
    response
}

/// Puts a status into headers or trailers.
pub(super) fn put_status(into: &mut HeaderMap, code: Code, text: &str) {
    into.insert(STATUS, HeaderValue::from(u16::from(code.number())));
    // What is percent-encoded is always a valid value.
    if let Ok(text) = HeaderValue::from_str(&grpc::encode_message(text)) {
        into.insert(MESSAGE, text);
    }
}
