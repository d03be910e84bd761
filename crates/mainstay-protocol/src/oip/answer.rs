//! Inference answers: read where a guard looks into them, written where we answer ourselves,
//! marked where they are degraded.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::infer::RequestedOutput;
use super::wire::{self, Item, Message, RawTensor, TensorParameters};
use super::{Encoded, object, rows, split};
use crate::{Error, Tensor};

mod mark;

pub use mark::{Mark, give_again, mark_degraded};

/// An inference answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// The model that answered.
    pub model_name: String,
    /// Its version, where it has one.
    pub model_version: Option<String>,
    /// The request's id.
    pub id: Option<String>,
    /// Free parameters.
    pub parameters: Map<String, Value>,
    /// The tensors that were inferred.
    pub outputs: Vec<Tensor>,
    /// Free parameters of the outputs, without `binary_data_size`.
    pub tensor_parameters: TensorParameters,
}

impl Response {
    /// The output of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn output(&self, name: &str) -> Result<&Tensor, Error> {
        let found = self.outputs.iter().find(|tensor| tensor.name == name);
        found.ok_or_else(|| Error::Missing { tensor: name.to_owned() })
    }
}

#[derive(Deserialize)]
struct RawResponse<'a> {
    #[serde(borrow, default)]
    model_name: Cow<'a, str>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(borrow)]
    outputs: Vec<RawTensor<'a>>,
}

/// Reads a whole answer.
///
/// # Errors
/// Anything that is not the protocol: a bad answer.
pub fn parse(body: &[u8], json_len: Option<usize>) -> Result<Response, Error> {
    let (head, tail) = split(body, json_len)?;
    let raw: RawResponse<'_> = object(head)?;
    let outputs = wire::read(raw.outputs, tail)?;
    Ok(Response {
        model_name: raw.model_name.into_owned(),
        model_version: raw.model_version,
        id: raw.id,
        parameters: raw.parameters.unwrap_or_default(),
        outputs: outputs.tensors,
        tensor_parameters: outputs.parameters,
    })
}

/// Writes an answer with the outputs that were asked for, in that order; all of them when none
/// was asked for by name, as binary data when `binary_output` says so.
///
/// # Errors
/// An output that is not there, and a value that JSON has no word for (NaN, an infinity, FP16,
/// bytes that are no UTF-8) where JSON was asked for: writing `null` would hand the client a
/// hole as if it were a prediction, so it is a bad answer instead.
pub fn render(
    response: &Response,
    wanted: &[RequestedOutput],
    binary_output: bool,
) -> Result<Encoded, Error> {
    let mut message = Message::new();
    message.member("model_name", &response.model_name);
    if let Some(version) = &response.model_version {
        message.member("model_version", version);
    }
    if let Some(id) = &response.id {
        message.member("id", id);
    }
    if !response.parameters.is_empty() {
        message.member("parameters", &response.parameters);
    }
    let items = select(response, wanted, binary_output)?;
    message.tensors("outputs", items.into_iter())?;
    Ok(message.finish())
}

fn select<'a>(
    response: &'a Response,
    wanted: &[RequestedOutput],
    binary_output: bool,
) -> Result<Vec<Item<'a>>, Error> {
    let item = |tensor: &'a Tensor, binary| Item {
        tensor,
        parameters: response.tensor_parameters.get(&tensor.name),
        binary,
    };
    if wanted.is_empty() {
        return Ok(response.outputs.iter().map(|tensor| item(tensor, binary_output)).collect());
    }
    let find = |output: &RequestedOutput| Ok(item(response.output(&output.name)?, output.binary));
    wanted.iter().map(find).collect()
}

/// The answer with only these rows of every output, in this order.
///
/// # Errors
/// An output does not have a row that is asked for.
pub fn select_rows(response: &Response, rows: &[usize]) -> Result<Response, Error> {
    let outputs = response.outputs.iter().map(|tensor| rows::gather(tensor, rows));
    Ok(Response {
        model_name: response.model_name.clone(),
        model_version: response.model_version.clone(),
        id: response.id.clone(),
        parameters: response.parameters.clone(),
        outputs: outputs.collect::<Result<_, _>>()?,
        tensor_parameters: response.tensor_parameters.clone(),
    })
}

/// Puts the rows of `from`, in order, in the places `rows` of `into`.
///
/// Both must have the same outputs with rows of the same shape and datatype; FP32 and FP64 are
/// converted to what `into` has. Outputs of `from` that `into` does not have are left out.
///
/// # Errors
/// They do not fit each other; `into` may then hold some of the rows.
pub fn merge_rows(into: &mut Response, from: Response, rows: &[usize]) -> Result<(), Error> {
    let mut from = from.outputs;
    for tensor in &mut into.outputs {
        let at = from.iter().position(|other| other.name == tensor.name);
        let Some(at) = at else {
            return Err(Error::Missing { tensor: tensor.name.clone() });
        };
        rows::scatter(tensor, from.swap_remove(at), rows)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
