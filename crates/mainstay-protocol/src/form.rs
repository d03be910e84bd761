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
use crate::oip::metadata::{self, Model};
use crate::oip::sequence::{self, Said};
use crate::oip::{Encoded, error, key, path};
use crate::{Called, Error, Protocol, TensorSpec, grpc, openai, torchserve, v1};

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
    context: Context<'_>,
) -> Result<Request, Error> {
    match protocol {
        Protocol::Oip => infer::parse(body, json_len),
        Protocol::V1 => v1::request::parse(body, context.inputs),
        Protocol::OipGrpc => grpc::infer::read_request(body),
        _ => Err(Error::NoTensors { protocol }),
    }
}

/// A request as far as it can be known without its tensors: its id, how it is laid out, which
/// outputs it asks for. Where the tensors are typed by the message itself, they are there as well.
///
/// # Errors
/// As for [`read_request`].
pub fn outline(
    protocol: Protocol,
    message: (&[u8], Option<usize>),
    context: Context<'_>,
) -> Result<Request, Error> {
    match protocol {
        Protocol::V1 => v1::request::outline(message.0),
        _ => read_request(protocol, message, context),
    }
}

/// The request with only `rows` of the batch, where that takes no reading of its tensors; `None`
/// where it does.
#[must_use]
pub fn select_rows(protocol: Protocol, body: &[u8], rows: &[usize]) -> Option<Encoded> {
    match protocol {
        Protocol::V1 => v1::request::select_rows(body, rows).ok(),
        _ => None,
    }
}

/// Writes a request for a server.
///
/// # Errors
/// The protocol has no words for it.
pub fn write_request(
    protocol: Protocol,
    request: &Request,
    context: Context<'_>,
) -> Result<Encoded, Error> {
    match protocol {
        Protocol::Oip => Ok(infer::render(&*v1::request::leave(request)?)),
        Protocol::OipGrpc => {
            grpc::infer::write_request(&*v1::request::leave(request)?, context.model)
        }
        Protocol::V1 => v1::request::render(request, context),
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
    context: Context<'_>,
) -> Result<Response, Error> {
    match protocol {
        Protocol::V1 => v1::answer::parse(body, context),
        Protocol::Oip => answer::parse(body, json_len),
        Protocol::OipGrpc => grpc::infer::read_answer(body),
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
        Protocol::OipGrpc => grpc::infer::write_answer(response, request),
        Protocol::V1 => v1::answer::render(response, request),
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
        Protocol::OipGrpc => grpc::mark(body, mark),
        _ => Err(Error::NoTensors { protocol }),
    }
}

/// An answer as it was given to one request, as the answer to another of the same content: under
/// that one's id, and with a mark.
///
/// # Errors
/// One of them cannot be read.
pub fn give_again(
    protocol: Protocol,
    (kept, kept_json): (&[u8], Option<usize>),
    (asked, asked_json): (&[u8], Option<usize>),
    mark: &Mark<'_>,
) -> Result<Encoded, Error> {
    match protocol {
        Protocol::Oip => {
            let id = infer::id(asked, asked_json)?;
            answer::give_again(kept, kept_json, id, mark)
        }
        Protocol::OipGrpc => grpc::give_again(kept, asked, mark),
        Protocol::V1 => Ok(Encoded { body: Bytes::copy_from_slice(kept), json_len: None }),
        _ => Err(Error::NoTensors { protocol }),
    }
}

/// Hands every part of a request that its answer depends on to `feed`, in an order that does not
/// depend on how the client orders them.
///
/// # Errors
/// It is not of the protocol's form, or its protocol has no tensors.
pub fn identity(
    protocol: Protocol,
    (body, json_len): (&[u8], Option<usize>),
    mut feed: impl FnMut(&[u8]),
) -> Result<(), Error> {
    match protocol {
        Protocol::Oip => infer::identity(body, json_len, feed),
        Protocol::OipGrpc => grpc::identity(body, feed),
        Protocol::V1 => {
            feed(body);
            Ok(())
        }
        _ => Err(Error::NoTensors { protocol }),
    }
}

/// What a request says of its sequence; `None` where it belongs to none.
#[must_use]
pub fn sequence(protocol: Protocol, (body, json_len): (&[u8], Option<usize>)) -> Option<Said> {
    match protocol {
        Protocol::Oip => sequence::read(body, json_len),
        Protocol::OipGrpc => grpc::sequence(body),
        _ => None,
    }
}

/// The same request as the first of its sequence; `None` where that cannot be said.
#[must_use]
pub fn restarted(protocol: Protocol, (body, json_len): (&[u8], Option<usize>)) -> Option<Encoded> {
    match protocol {
        Protocol::Oip => sequence::restarted(body, json_len),
        Protocol::OipGrpc => grpc::restarted(body),
        _ => None,
    }
}

/// The first value of the input of this name, as binary data would have it; `None` where there is
/// none.
#[must_use]
pub fn first_value(
    protocol: Protocol,
    (body, json_len): (&[u8], Option<usize>),
    input: &str,
) -> Option<Vec<u8>> {
    match protocol {
        Protocol::Oip => key::first_value(body, json_len, input),
        Protocol::OipGrpc => grpc::infer::first_value(body, input),
        _ => None,
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
        Protocol::V1 => v1::request::rows(message.0),
        _ => read_request(protocol, message, context).map(|request| request.rows()),
    }
}

/// The model and the version that the path of a request names; `None` where it names none.
#[must_use]
pub fn called(protocol: Protocol, path: &str) -> Option<Called<'_>> {
    match protocol {
        Protocol::Oip => path::recognise(path)?.into_called(),
        Protocol::V1 => v1::path::recognise(path).map(|(called, _)| called),
        Protocol::TorchServe => torchserve::recognise(path),
        _ => None,
    }
}

/// The model that the body of a request names, read no further than that takes; `None` where it
/// names none.
#[must_use]
pub fn model_name(protocol: Protocol, body: &[u8]) -> Option<Cow<'_, str>> {
    called_in_body(protocol, body).map(|called| called.model)
}

/// The model and the version that the body of a request names.
#[must_use]
pub fn called_in_body(protocol: Protocol, body: &[u8]) -> Option<Called<'_>> {
    match protocol {
        Protocol::OipGrpc => grpc::called(body),
        _ => None,
    }
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
        Protocol::OipGrpc => Some(format!("{prefix}{}", grpc::INFER)),
        Protocol::V1 => Some(v1::path::model_path(prefix, called)),
        Protocol::TorchServe => Some(torchserve::model_path(prefix, called)),
        _ => None,
    }
}

/// What follows the model in the path of a prediction, for one that came in another protocol.
#[must_use]
pub const fn infer_tail(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Oip => "infer",
        Protocol::V1 => ":predict",
        _ => "",
    }
}

/// What a model takes and gives, as the body of the answer that says it.
#[must_use]
pub fn write_metadata(protocol: Protocol, model: &Model) -> Bytes {
    match protocol {
        Protocol::OipGrpc => grpc::model_metadata(model),
        Protocol::V1 => v1::metadata::render(model),
        _ => metadata::render_model(model),
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
pub fn error_body(protocol: Protocol, status: u16, code: &str, message: &str) -> Bytes {
    match protocol {
        // The text of its status.
        Protocol::OipGrpc => format!("{message} [{code}]").into(),
        Protocol::OpenAi => openai::error::body(code, &format!("{message} [{code}]")),
        Protocol::TorchServe => torchserve::error(status, code, message),
        _ => error::body(&format!("{message} [{code}]")),
    }
}

/// What a server says of its failure, where it can be read.
#[must_use]
pub fn error_message(protocol: Protocol, body: &[u8]) -> Option<String> {
    match protocol {
        Protocol::OipGrpc => (!body.is_empty()).then(|| String::from_utf8_lossy(body).into_owned()),
        Protocol::OpenAi => openai::error::Said::read(body).map(|said| said.message),
        _ => error::message(body),
    }
}
