//! What a request to the listener gets that is not answered: a status, a code, and a line that
//! says what to do.

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::code::Code;
use crate::instruction::OrderError;
use crate::source::OverrideError;

/// An answer in place of the one that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::BadRequest, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": self.message, "code": self.code.as_str()}));
        let challenge = (self.status == StatusCode::UNAUTHORIZED)
            .then_some([(header::WWW_AUTHENTICATE, "Bearer realm=\"mainstay\"")]);
        (self.status, challenge, body).into_response()
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), Code::BadRequest, rejection.body_text())
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::bad_request(format!("the body is not what this verb takes: {error}"))
    }
}

impl From<OverrideError> for Refusal {
    fn from(error: OverrideError) -> Self {
        match &error {
            OverrideError::Unregistered(_) => {
                Self::new(StatusCode::CONFLICT, Code::Unregistered, error.to_string())
            }
            _ => Self::new(StatusCode::NOT_FOUND, Code::UnknownTarget, error.to_string()),
        }
    }
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        let (status, code) = match error {
            OrderError::Unknown { .. } => (StatusCode::NOT_FOUND, Code::UnknownTarget),
            OrderError::TooLittle(_) => (StatusCode::CONFLICT, Code::TooLittle),
            OrderError::Pointless(_) => (StatusCode::CONFLICT, Code::Pointless),
            OrderError::NotKept { .. } => (StatusCode::INTERNAL_SERVER_ERROR, Code::OrdersFile),
        };
        Self::new(status, code, error.to_string())
    }
}
