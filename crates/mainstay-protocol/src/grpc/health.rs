//! The health of a server and of its services, as load balancers ask for it.
//!
//! A service is the server itself (no name), the inference service, or a model by its name.

use bytes::Bytes;
use prost::Message;

use super::frame::{frame, open};
use super::proto::health::health_check_response::ServingStatus;
use super::proto::health::{HealthCheckRequest, HealthCheckResponse};
use crate::Error;

/// The service of predictions, which is as healthy as the server.
pub const INFERENCE: &str = "inference.GRPCInferenceService";

/// The service that is asked for.
///
/// # Errors
/// The body holds no question.
pub fn service(body: &[u8]) -> Result<String, Error> {
    let message = open(body)?;
    let asked = HealthCheckRequest::decode(&message[..]);
    asked.map(|asked| asked.service).map_err(|error| Error::Message(error.to_string()))
}

/// The answer: whether it serves; `None` for a service that there is not.
#[must_use]
pub fn answer(serves: Option<bool>) -> Bytes {
    let status = match serves {
        None => ServingStatus::ServiceUnknown,
        Some(true) => ServingStatus::Serving,
        Some(false) => ServingStatus::NotServing,
    };
    frame(&HealthCheckResponse { status: status.into() }.encode_to_vec())
}
