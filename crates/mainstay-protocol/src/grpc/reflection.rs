//! Server reflection: what services there are, and the descriptions of their messages.
//!
//! The descriptions are made from `proto/` and committed, as the structs are. Both versions of
//! the service have the same messages.

use bytes::Bytes;
use prost::Message;

use super::frame::{frame, open};
use super::proto::reflection::server_reflection_request::MessageRequest;
use super::proto::reflection::server_reflection_response::MessageResponse;
use super::proto::reflection::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
};
use super::status::Code;
use crate::Error;

/// One file: its name, its package and its description.
type File = (&'static str, &'static str, &'static [u8]);

/// The files, and the services that they describe.
const FILES: [File; 4] = [
    ("inference.proto", "inference", include_bytes!("generated/inference.bin")),
    ("health.proto", "grpc.health.v1", include_bytes!("generated/health.bin")),
    ("reflection_v1.proto", "grpc.reflection.v1", include_bytes!("generated/reflection_v1.bin")),
    (
        "reflection_v1alpha.proto",
        "grpc.reflection.v1alpha",
        include_bytes!("generated/reflection_v1alpha.bin"),
    ),
];

/// The services that are listed.
const SERVICES: [&str; 4] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
];

/// The answer to one question.
pub type Reflection = Bytes;

/// Answers one question of a stream; `body` holds one frame.
///
/// # Errors
/// It holds no question.
pub fn reflect(body: &[u8]) -> Result<Reflection, Error> {
    let message = open(body)?;
    let asked = ServerReflectionRequest::decode(&message[..])
        .map_err(|error| Error::Message(error.to_string()))?;
    let answer = ServerReflectionResponse {
        valid_host: asked.host.clone(),
        message_response: Some(answer(asked.message_request.as_ref())),
        original_request: Some(asked),
    };
    Ok(frame(&answer.encode_to_vec()))
}

fn answer(asked: Option<&MessageRequest>) -> MessageResponse {
    let found = match asked {
        Some(MessageRequest::ListServices(_)) => {
            let one = |name: &str| ServiceResponse { name: name.to_owned() };
            let service = SERVICES.iter().map(|name| one(name)).collect();
            return MessageResponse::ListServicesResponse(ListServiceResponse { service });
        }
        Some(MessageRequest::FileByFilename(name)) => {
            FILES.iter().find(|(known, ..)| known == name)
        }
        Some(MessageRequest::FileContainingSymbol(symbol)) => {
            FILES.iter().find(|(_, package, _)| is_inside(symbol, package))
        }
        _ => None,
    };
    match found {
        Some((.., description)) => {
            let description = Bytes::from_static(description);
            let file_descriptor_proto = vec![description];
            MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                file_descriptor_proto,
            })
        }
        None => MessageResponse::ErrorResponse(ErrorResponse {
            error_code: Code::NotFound.number().into(),
            error_message: "not described here".to_owned(),
        }),
    }
}

/// Whether a symbol is of this package, and not of one whose name only begins like it.
fn is_inside(symbol: &str, package: &str) -> bool {
    let rest = symbol.strip_prefix(package).and_then(|rest| rest.strip_prefix('.'));
    rest.is_some_and(|rest| rest.starts_with(char::is_uppercase))
}
