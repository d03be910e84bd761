//! Wire formats and failure classes of the protocols that model servers speak, without I/O.
//!
//! - [`http1`]: HTTP/1.1 as a client speaks it.
//! - [`oip`]: the Open Inference Protocol V2 over HTTP: paths, requests, answers, metadata.
//! - [`certificate`]: whose an X.509 certificate is, and until when.
//! - [`classify`]: what a status and an error body mean, by server flavour.
//! - [`dns`]: where servers are, as a stub resolver asks for it.
//! - [`form`]: messages of tensors in the form of any protocol.
//! - [`grpc`]: gRPC, and the Open Inference Protocol over it.
//! - [`openai`]: the OpenAI API over HTTP: requests, streams, errors.
//! - [`prometheus`]: what servers count themselves.
//! - [`proxy_protocol`]: whose connection it is that a proxy passes on.
//! - [`redis`]: what Redis servers say of themselves, and Sentinels of them.
//! - [`sse`]: where the first content of an event stream begins.
//! - [`tensor`]: the vocabulary that all of them share.
//! - [`torchserve`]: the paths and small answers of `TorchServe`'s inference API.
//! - [`v1`]: `TensorFlow` Serving's REST API and KServe's V1 protocol.
//!
//! Every reader here meets bytes from outside: none panics, none allocates by a size that the
//! bytes only claim.

pub mod certificate;
pub mod classify;
pub mod dns;
mod error;
pub mod form;
pub mod grpc;
pub mod http1;
pub mod oip;
pub mod openai;
pub mod prometheus;
mod protocol;
pub mod proxy_protocol;
pub mod redis;
pub mod sse;
pub mod tensor;
pub mod torchserve;
pub mod v1;

pub use error::Error;
pub use protocol::{Called, Protocol};
pub use tensor::{Data, Datatype, Tensor, TensorSpec};
