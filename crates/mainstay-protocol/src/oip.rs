//! The Open Inference Protocol V2 over HTTP, with Triton's binary tensor extension.
//!
//! A message is a JSON head, followed by the binary data of those tensors that say so. The
//! header `Inference-Header-Content-Length` tells where the head ends; without it, all is JSON.
//!
//! ```text
//! | {"inputs":[{"name":"x",...,"parameters":{"binary_data_size":16}}]} | 16 bytes of x |
//! |<-------------------- json_len -------------------------------------->|
//! ```
//!
//! Source: <https://github.com/kserve/open-inference-protocol> and Triton's
//! `docs/protocol/extension_binary_data.md`.

pub mod agreement;
pub mod answer;
mod binary;
pub mod confidence;
pub mod default;
pub mod error;
pub mod golden;
pub mod guard;
pub mod infer;
pub(crate) mod json;
pub mod key;
mod members;
pub mod metadata;
mod numbers;
pub mod path;
pub mod repository;
mod rows;
pub mod sequence;
mod wire;

use bytes::Bytes;

use crate::{Data, Datatype, Error, Tensor};

pub(crate) use wire::{checked_shape, refuse_duplicates};

/// The header that tells the length of the JSON head when binary data follows it.
pub const JSON_LENGTH_HEADER: &str = "inference-header-content-length";

/// A message ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The JSON head with the binary data after it.
    pub body: Bytes,
    /// The value of `Inference-Header-Content-Length`; `None` when there is no binary data.
    pub json_len: Option<usize>,
}

/// The elements of a tensor as binary data.
pub(crate) fn raw(tensor: &Tensor) -> Bytes {
    let mut bytes = Vec::new();
    binary::write(tensor, &mut bytes);
    bytes.into()
}

/// The elements of the tensor of this name from exactly `bytes`; `len` is the product of its shape.
pub(crate) fn from_raw(
    tensor: &str,
    datatype: Datatype,
    len: usize,
    bytes: &[u8],
) -> Result<Data, Error> {
    binary::read(tensor, datatype, len, bytes)
}

/// Divides a body into its JSON head and its binary tail.
fn split(body: &[u8], json_len: Option<usize>) -> Result<(&[u8], &[u8]), Error> {
    match json_len {
        None => Ok((body, &[])),
        Some(0) => Err(Error::RawBody),
        Some(json_len) => body
            .split_at_checked(json_len)
            .ok_or(Error::HeaderLength { json_len, body: body.len() }),
    }
}

/// Reads a JSON head, which is an object: serde would take a list of the members as well.
fn object<'a, T: serde::Deserialize<'a>>(head: &'a [u8]) -> Result<T, Error> {
    if head.trim_ascii_start().first().is_some_and(|&first| first != b'{') {
        return Err(Error::Malformed("a message is an object".to_owned()));
    }
    Ok(serde_json::from_slice(head)?)
}
