//! gRPC, and the Open Inference Protocol over it: messages, statuses and what may be read of both.
//!
//! ```text
//! | 0 | length, big-endian u32 | ModelInferRequest { 1: name, 2: version, ..., 7: raw tensors } |
//! |<-- frame: 5 bytes -------->|<------------------ message -------------------------------->|
//! ```
//!
//! A body is one frame for each message. What is passed through is never decoded: [`named`] walks
//! over the fields of a message and reads those that name the model. Whole messages are decoded
//! ([`infer`]) only where a rule, a source inside the gateway or another protocol wants tensors.
//!
//! The structs of messages are generated from `proto/*.proto` and committed, since a build script
//! would need a compiler of its own; a test generates them again and compares.
//!
//! Sources: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, the files in `proto/`.

use std::borrow::Cow;

use crate::Called;

mod call;
mod edit;
mod frame;
pub mod health;
pub mod infer;
mod message;
mod own;
mod parameters;
mod reflection;
mod status;
mod walk;

pub use call::{Call, recognise};
pub use edit::{give_again, identity, mark, restarted, sequence};
pub use frame::{Frames, first, frame, frame_length, open, sole, take};
pub use own::{
    about_model, index, is_ready, model_metadata, model_ready, server_live, server_metadata,
    server_ready, stream_answer, stream_error, wants_ready,
};
pub use reflection::{Reflection, reflect};
pub use status::{Code, decode_message, encode_message, format_timeout, parse_timeout};
pub use walk::{Named, named, renamed};

/// The media type of requests and answers; a suffix (`+proto`) may follow.
pub const MEDIA_TYPE: &str = "application/grpc";

/// The path of a prediction.
pub const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// The path of a stream of predictions.
pub const STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// The path that asks whether a model is ready.
pub const MODEL_READY: &str = "/inference.GRPCInferenceService/ModelReady";

/// The path that asks whether a server is.
pub const SERVER_READY: &str = "/inference.GRPCInferenceService/ServerReady";

/// The messages, as `proto/` describes them.
pub mod proto {
    #![expect(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]

    /// The Open Inference Protocol with Triton's calls.
    pub mod inference {
        include!("grpc/generated/inference.rs");
    }
    /// The health of servers.
    pub mod health {
        include!("grpc/generated/grpc.health.v1.rs");
    }
    /// What services there are.
    pub mod reflection {
        include!("grpc/generated/grpc.reflection.v1.rs");
    }
}

/// The model and the version that the message in `body` names; a compressed one is read for it.
/// `None` where it names none, or cannot be read.
#[must_use]
pub fn called(body: &[u8]) -> Option<Called<'_>> {
    let owned = |text: &str| Cow::<'static, str>::Owned(text.to_owned());
    match open(body).ok()? {
        Cow::Borrowed(message) => {
            let Named { name, version, .. } = named(message).ok()?;
            let version = (!version.is_empty()).then_some(Cow::Borrowed(version));
            (!name.is_empty()).then_some(Called { model: Cow::Borrowed(name), version, tail: "" })
        }
        Cow::Owned(message) => {
            let Named { name, version, .. } = named(&message).ok()?;
            let version = (!version.is_empty()).then(|| owned(version));
            (!name.is_empty()).then_some(Called { model: owned(name), version, tail: "" })
        }
    }
}

/// Whether a media type is gRPC's.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(MEDIA_TYPE.as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

#[cfg(test)]
mod tests;
