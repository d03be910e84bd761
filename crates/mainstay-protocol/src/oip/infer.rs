//! Inference requests: read only where a rule, an embedded model or a batch of rows needs it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};

pub use super::wire::TensorParameters;
use super::wire::{self, Item, Message, RawTensor};
use super::{Encoded, json, object, rows, split};
use crate::{Error, Tensor};

mod first_shape;
mod identity;

pub use first_shape::rows_of;
pub use identity::{id, identity};

/// The request parameter that asks for all outputs as binary data.
const BINARY_DATA_OUTPUT: &str = "binary_data_output";
/// The output parameter that asks for this output as binary data.
const BINARY_DATA: &str = "binary_data";

/// An inference request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The client's own name for the request, echoed in the answer.
    pub id: Option<String>,
    /// Free parameters, without `binary_data_output`.
    pub parameters: Map<String, Value>,
    /// The tensors to infer from, at least one.
    pub inputs: Vec<Tensor>,
    /// Free parameters of the inputs, without `binary_data_size`.
    pub tensor_parameters: TensorParameters,
    /// The outputs asked for; none means all.
    pub outputs: Vec<RequestedOutput>,
    /// Whether outputs not named in `outputs` are wanted as binary data.
    pub binary_output: bool,
    /// Whether an input came as binary data, so that the server is known to read it.
    pub binary_input: bool,
    /// How its own protocol laid the tensors out.
    pub layout: Layout,
}

/// How a request has its tensors, and its answer in the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Each with name, datatype and shape.
    #[default]
    Tensors,
    /// Row by row, as `instances` of the V1 protocol.
    Rows,
    /// Each as a whole, as `inputs` of the V1 protocol.
    Columns,
}

/// An output that the client asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Whether it is wanted as binary data.
    pub binary: bool,
    /// Free parameters, for example Triton's `classification`; without `binary_data`.
    pub parameters: Map<String, Value>,
}

impl Request {
    /// The rows of the batch: the first dimension of the first input.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.inputs.first().map_or(1, Tensor::rows)
    }
}

#[derive(Deserialize)]
struct RawRequest<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(borrow)]
    inputs: Vec<RawTensor<'a>>,
    #[serde(borrow, default)]
    outputs: Option<Vec<RawOutput<'a>>>,
}

#[derive(Deserialize)]
struct RawOutput<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
}

/// Reads a whole request.
///
/// `json_len` is the value of `Inference-Header-Content-Length`, if the header is there.
///
/// # Errors
/// Anything that is not the protocol: all of it is the client's fault.
pub fn parse(body: &[u8], json_len: Option<usize>) -> Result<Request, Error> {
    let (head, tail) = split(body, json_len)?;
    let raw: RawRequest<'_> = object(head)?;
    if raw.inputs.is_empty() {
        return Err(Error::NoInputs);
    }
    let mut parameters = raw.parameters.unwrap_or_default();
    let binary_output = take_flag(&mut parameters, BINARY_DATA_OUTPUT).unwrap_or(false);
    let outputs = raw.outputs.unwrap_or_default();
    let inputs = wire::read(raw.inputs, tail)?;
    Ok(Request {
        id: raw.id,
        parameters,
        inputs: inputs.tensors,
        tensor_parameters: inputs.parameters,
        outputs: outputs.into_iter().map(|output| output.requested(binary_output)).collect(),
        binary_output,
        binary_input: inputs.binary,
        layout: Layout::Tensors,
    })
}

fn take_flag(parameters: &mut Map<String, Value>, name: &str) -> Option<bool> {
    parameters.remove(name).and_then(|value| value.as_bool())
}

impl RawOutput<'_> {
    fn requested(self, binary_output: bool) -> RequestedOutput {
        let mut parameters = self.parameters.unwrap_or_default();
        let binary = take_flag(&mut parameters, BINARY_DATA).unwrap_or(binary_output);
        RequestedOutput { name: self.name.into_owned(), binary, parameters }
    }
}

/// Writes a request, for example one for some rows of a batch.
///
/// Inputs are binary data where the client sent binary data, and where JSON has no word for a
/// value (which only binary data can have brought).
#[must_use]
pub fn render(request: &Request) -> Encoded {
    let mut message = Message::new();
    if let Some(id) = &request.id {
        message.member("id", id);
    }
    write_parameters(&mut message, request);
    let written =
        message.tensors("inputs", request.inputs.iter().map(|tensor| item(request, tensor)));
    debug_assert!(written.is_ok(), "item() chooses binary data wherever JSON would fail");
    if !request.outputs.is_empty() {
        let outputs =
            request.outputs.iter().map(|output| output_head(output, request.binary_output));
        message.member("outputs", &outputs.collect::<Vec<_>>());
    }
    message.finish()
}

fn item<'a>(request: &'a Request, tensor: &'a Tensor) -> Item<'a> {
    Item {
        tensor,
        parameters: request.tensor_parameters.get(&tensor.name),
        binary: request.binary_input || json::check(tensor).is_err(),
    }
}

fn write_parameters(message: &mut Message, request: &Request) {
    let mut parameters = request.parameters.clone();
    if request.binary_output {
        parameters.insert(BINARY_DATA_OUTPUT.to_owned(), Value::Bool(true));
    }
    if !parameters.is_empty() {
        message.member("parameters", &parameters);
    }
}

fn output_head(output: &RequestedOutput, binary_output: bool) -> Value {
    let mut parameters = output.parameters.clone();
    if output.binary != binary_output {
        parameters.insert(BINARY_DATA.to_owned(), Value::Bool(output.binary));
    }
    if parameters.is_empty() {
        json!({ "name": output.name })
    } else {
        json!({ "name": output.name, "parameters": parameters })
    }
}

/// The request with only `rows` of the batch, in that order.
///
/// # Errors
/// A row that is not there, or an input whose first dimension is not the batch.
pub fn select_rows(request: &Request, rows: &[usize]) -> Result<Request, Error> {
    let expected = request.rows();
    let select = |tensor: &Tensor| match tensor.rows() {
        found if found != expected => {
            Err(Error::Rows { tensor: tensor.name.clone(), expected, found })
        }
        _ => rows::gather(tensor, rows),
    };
    let inputs = request.inputs.iter().map(select).collect::<Result<_, _>>()?;
    Ok(Request {
        id: request.id.clone(),
        parameters: request.parameters.clone(),
        inputs,
        tensor_parameters: request.tensor_parameters.clone(),
        outputs: request.outputs.clone(),
        binary_output: request.binary_output,
        binary_input: request.binary_input,
        layout: request.layout,
    })
}

#[cfg(test)]
mod tests;
