//! Answers and refusals as HTTP.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use mainstay_onnx::Fault;
use mainstay_protocol::grpc::Code;
use mainstay_protocol::oip::{Encoded, JSON_LENGTH_HEADER, error};

use crate::repository::Absent;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Where the words of a model that is not ready begin.
const NOT_READY: &str = "is not ready";
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A request that is not answered with what it asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), header: None }
    }

    /// The client's fault.
    pub(super) fn bad(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Not now; 400 as Triton has it. The words stand before any name, so that a gateway that
    /// does not trust quoted text still reads them.
    pub(super) fn not_ready(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("{NOT_READY}: {why}"))
    }

    /// Nothing of the kind here.
    pub(super) fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// A call that is not done here.
    pub(super) fn unimplemented() -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "this call is not done here")
    }

    /// As gRPC says it.
    pub(super) fn status(self) -> (Code, String) {
        let not_ready = self.message.starts_with(NOT_READY);
        let code = match self.status {
            StatusCode::BAD_REQUEST if not_ready => Code::Unavailable,
            StatusCode::SERVICE_UNAVAILABLE => Code::ResourceExhausted,
            status => Code::of_http(status.as_u16()),
        };
        (code, self.message)
    }

    /// The server's fault.
    pub(super) fn broken(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// Another method is needed.
    pub(super) fn method(needed: &Method) -> Self {
        let allow = HeaderValue::from_str(needed.as_str()).ok().map(|value| (ALLOW, value));
        let message = format!("the method must be {needed}");
        Self { header: allow, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }

    /// A body beyond the limit.
    pub(super) fn too_long(limit: usize) -> Self {
        let message = format!("a body may have at most {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// A body in an encoding that we do not read.
    pub(super) fn compressed() -> Self {
        let message = "compressed bodies are not read; send them as they are";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// An output that cannot be written as asked: the client's fault if it asked for what there
    /// is not, the model's if it gave what JSON cannot say.
    pub(super) fn of_output(error: mainstay_protocol::Error) -> Self {
        use mainstay_protocol::Error::NotJson;
        let broken = matches!(error, NotJson { .. });
        if broken { Self::broken(&error.to_string()) } else { error.into() }
    }
}

impl From<mainstay_protocol::Error> for Refusal {
    fn from(error: mainstay_protocol::Error) -> Self {
        Self::bad(&error.to_string())
    }
}

impl From<mainstay_onnx::Error> for Refusal {
    fn from(error: mainstay_onnx::Error) -> Self {
        match error.fault() {
            Fault::Client => Self::bad(&error.to_string()),
            Fault::Model => Self::broken(&error.detail()),
            Fault::Busy => Self {
                header: Some((RETRY_AFTER, HeaderValue::from_static("1"))),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            },
        }
    }
}

impl From<Absent> for Refusal {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Unknown { known } => {
                Self::not_found(&format!("no such model; there are: {}", known.join(", ")))
            }
            Absent::Version => {
                Self::not_found(&format!("models have the version {} only", crate::VERSION))
            }
            Absent::NotReady(reason) => Self::not_ready(&reason),
        }
    }
}

/// The refusal as an answer in the protocol's shape.
pub(super) fn refuse(refusal: Refusal) -> Response<Full<Bytes>> {
    let mut response = ok(error::body(&refusal.message));
    *response.status_mut() = refusal.status;
    response.headers_mut().extend(refusal.header);
    response
}

/// An answer in JSON; an empty body has no type.
pub(super) fn ok(body: Bytes) -> Response<Full<Bytes>> {
    let typed = !body.is_empty();
    let mut response = Response::new(Full::new(body));
    if typed {
        response.headers_mut().insert(CONTENT_TYPE, JSON);
    }
    response
}

/// An inference answer, with the length of its JSON head if binary data follows.
pub(super) fn ok_encoded(encoded: Encoded) -> Response<Full<Bytes>> {
    let mut response = ok(encoded.body);
    if let Some(json_len) = encoded.json_len {
        let name = HeaderName::from_static(JSON_LENGTH_HEADER);
        response.headers_mut().insert(name, json_len.into());
        response.headers_mut().insert(CONTENT_TYPE, BINARY);
    }
    response
}
