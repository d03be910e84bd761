//! Messages of tensors in the form of any protocol.
//!
//! What reads, judges, divides and merges predictions knows one form of them, that of the Open
//! Inference Protocol ([`infer::Request`], [`answer::Response`]). Here every other protocol's
//! messages become that form and are made of it again, so that a chain may cross protocols. What
//! is passed through never comes here.

use std::borrow::Cow;

use bytes::Bytes;

use crate::oip::answer::{self, Mark, Response};
use crate::oip::infer::{self, Request};
use crate::oip::{Encoded, error, path};
use crate::{Called, Error, Protocol, TensorSpec};

/// What a message does not say by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The model's name on the side that the message is for or from.
    pub model: &'a str,
    /// Its inputs, as declared; none where they are not known.
    pub inputs: &'a [TensorSpec],
    /// Its outputs, as declared; none where they are not known.
    pub outputs: &'a [TensorSpec],
}

/// Reads a request.
///
/// # Errors
/// It is not of the protocol's form, or its protocol has no tensors.
pub fn read_request(
    protocol: Protocol,
    (body, json_len): (&[u8], Option<usize>),
    _context: Context<'_>,
) -> Result<Request, Error> {
    match protocol {
        Protocol::Oip => infer::parse(body, json_len),
        _ => Err(Error::NoTensors { protocol }),
    }
}

/// Writes a request for a server.
///
/// # Errors
/// The protocol has no words for it.
pub fn write_request(
    protocol: Protocol,
    request: &Request,
    _context: Context<'_>,
) -> Result<Encoded, Error> {
    match protocol {
        Protocol::Oip => Ok(infer::render(request)),
        _ => Err(Error::NoTensors { protocol }),
    }
}

/// Reads a server's answer.
///
/// # Errors
/// It is not of the protocol's form, or its protocol has no tensors.
pub fn read_answer(
    protocol: Protocol,
    (body, json_len): (&[u8], Option<usize>),
    _context: Context<'_>,
) -> Result<Response, Error> {
    match protocol {
        Protocol::Oip => answer::parse(body, json_len),
        _ => Err(Error::NoTensors { protocol }),
    }
}

/// Writes an answer to `request` for a client.
///
/// # Errors
/// The protocol has no words for it.
pub fn write_answer(
    protocol: Protocol,
    response: &Response,
    request: &Request,
    _context: Context<'_>,
) -> Result<Encoded, Error> {
    match protocol {
        Protocol::Oip => answer::render(response, &request.outputs, request.binary_output),
        _ => Err(Error::NoTensors { protocol }),
    }
}

/// Puts a mark into a server's answer, all else as it came.
///
/// # Errors
/// It cannot be read, or the protocol has no place for a mark; headers say it all the same.
pub fn mark(
    protocol: Protocol,
    body: &Bytes,
    json_len: Option<usize>,
    mark: &Mark<'_>,
) -> Result<Encoded, Error> {
    match protocol {
        Protocol::Oip => answer::mark_degraded(body, json_len, mark),
        _ => Err(Error::NoTensors { protocol }),
    }
}

/// The rows that a request asks for, read as far as that takes.
///
/// # Errors
/// As for [`read_request`].
pub fn rows(
    protocol: Protocol,
    message: (&[u8], Option<usize>),
    context: Context<'_>,
) -> Result<usize, Error> {
    match protocol {
        Protocol::Oip => infer::rows_of(message.0, message.1),
        _ => read_request(protocol, message, context).map(|request| request.rows()),
    }
}

/// The model and the version that the path of a request names; `None` where it names none.
#[must_use]
pub fn called(protocol: Protocol, path: &str) -> Option<Called<'_>> {
    match protocol {
        Protocol::Oip => path::recognise(path)?.into_called(),
        _ => None,
    }
}

/// The model that the body of a request names, read no further than that takes; `None` where it
/// names none.
#[must_use]
pub const fn model_name(_protocol: Protocol, _body: &[u8]) -> Option<Cow<'_, str>> {
    None
}

/// The path of the same call at a server below `prefix` that may know the model by another name.
/// `None` where the protocol's paths name no models.
#[must_use]
pub fn path(protocol: Protocol, prefix: &str, called: &Called<'_>) -> Option<String> {
    match protocol {
        Protocol::Oip => {
            let version = called.version.as_deref();
            Some(path::model_path(prefix, &called.model, version, called.tail))
        }
        _ => None,
    }
}

/// What follows the model in the path of a prediction, for one that came in another protocol.
#[must_use]
pub const fn infer_tail(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Oip => "infer",
        _ => "",
    }
}

/// The media type of a protocol's messages; with binary tensors behind the JSON where `binary`.
#[must_use]
pub const fn media_type(protocol: Protocol, binary: bool) -> &'static str {
    match protocol {
        Protocol::OipGrpc => "application/grpc",
        _ if binary => "application/octet-stream",
        _ => "application/json",
    }
}

/// The body of an error of the gateway's own.
#[must_use]
pub fn error_body(_protocol: Protocol, code: &str, message: &str) -> Bytes {
    error::body(&format!("{message} [{code}]"))
}

/// What a server says of its failure, where it can be read.
#[must_use]
pub fn error_message(_protocol: Protocol, body: &[u8]) -> Option<String> {
    error::message(body)
}
