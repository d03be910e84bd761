//! Small changes to messages, all else as it came.
//!
//! Of a field that is there twice the last one counts, and of a parameter that is there twice too:
//! what is added stands at the end.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Map, Value};

use super::frame::{frame, open, sole};
use super::proto::inference::{ModelInferRequest, ModelInferResponse};
use super::{named, parameters, walk};
use crate::Error;
use crate::oip::Encoded;
use crate::oip::answer::Mark;
use crate::oip::sequence::{self, Said};

/// The field of a request and of an answer that is the client's own name for it.
const ID: u64 = 3;
/// The field that has the free parameters.
const PARAMETERS: u64 = 4;

/// Adds a mark to the parameters of the answer in `body`.
///
/// # Errors
/// It is no message, or compressed.
pub fn mark(body: &[u8], mark: &Mark<'_>) -> Result<Encoded, Error> {
    let (compressed, message) = sole(body)?;
    if compressed {
        return Err(Error::Compressed);
    }
    walk::check(message)?;
    marked(message.to_vec(), None, mark)
}

/// The answer in `kept` as one to the request in `asked`, under that one's id and with a mark.
///
/// # Errors
/// One of them is no message.
pub fn give_again(kept: &[u8], asked: &[u8], mark: &Mark<'_>) -> Result<Encoded, Error> {
    let (kept, asked) = (open(kept)?, open(asked)?);
    marked(walk::only(&kept, |number| number != ID)?, Some(named(&asked)?.id), mark)
}

fn marked(mut message: Vec<u8>, id: Option<&str>, mark: &Mark<'_>) -> Result<Encoded, Error> {
    let mut said = Map::new();
    mark.write_to(&mut said);
    let parameters: BTreeMap<_, _> = parameters::write(&said)?;
    let id = id.unwrap_or_default().to_owned();
    let added = ModelInferResponse { id, parameters, ..Default::default() };
    message.extend_from_slice(&added.encode_to_vec());
    Ok(Encoded { body: frame(&message), json_len: None })
}

/// Hands what an answer to the request in `body` depends on to `feed`: all but its id.
///
/// # Errors
/// It is no message.
pub fn identity(body: &[u8], mut feed: impl FnMut(&[u8])) -> Result<(), Error> {
    feed(&walk::only(&open(body)?, |number| number != ID)?);
    Ok(())
}

/// What the request in `body` says of its sequence.
#[must_use]
pub fn sequence(body: &[u8]) -> Option<Said> {
    let message = walk::only(&open(body).ok()?, |number| number == PARAMETERS).ok()?;
    let sent = ModelInferRequest::decode(&message[..]).ok()?;
    let mut parameters = parameters::read(&sent.parameters).ok()?;
    sequence::said(|name| parameters.remove(name))
}

/// The same request as the first of its sequence.
#[must_use]
pub fn restarted(body: &[u8]) -> Option<Encoded> {
    let mut message = open(body).ok()?.into_owned();
    walk::check(&message).ok()?;
    let mut said = Map::new();
    said.insert(sequence::START.to_owned(), Value::Bool(true));
    let parameters = parameters::write(&said).ok()?;
    let added = ModelInferRequest { parameters, ..Default::default() };
    message.extend_from_slice(&added.encode_to_vec());
    Some(Encoded { body: frame(&message), json_len: None })
}
