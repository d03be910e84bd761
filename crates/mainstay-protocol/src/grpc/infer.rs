//! Requests and answers of predictions: decoded where tensors are wanted, and written.
//!
//! Tensors come in one of two ways: each with contents of its type, or all of them as raw bytes
//! beside their heads, which are the bytes of the binary extension over HTTP. Who sent raw bytes
//! gets raw bytes; FP16 and BF16 have no other way.

use bytes::Bytes;
use prost::Message;

use super::frame::{frame, open};
use super::message::{contents, tensors};
use super::parameters;
use super::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::proto::inference::model_infer_response::InferOutputTensor;
use super::proto::inference::{ModelInferRequest, ModelInferResponse};
use super::walk;
use crate::oip::answer::Response;
use crate::oip::infer::{Request, RequestedOutput, TensorParameters};
use crate::oip::{Encoded, raw};
use crate::{Data, Error, Tensor};

/// Reads a whole request from the body that holds it.
///
/// # Errors
/// It is not the protocol's, or compressed in a way that is not known.
pub fn read_request(body: &[u8]) -> Result<Request, Error> {
    let sent: ModelInferRequest = decode(body)?;
    if sent.inputs.is_empty() {
        return Err(Error::NoInputs);
    }
    let is_raw = !sent.raw_input_contents.is_empty();
    let heads = sent.inputs.iter().map(|input| super::message::Head {
        name: &input.name,
        datatype: &input.datatype,
        shape: &input.shape,
        contents: input.contents.as_ref(),
        parameters: &input.parameters,
    });
    let (inputs, tensor_parameters) = tensors(heads, &sent.raw_input_contents)?;
    let outputs = sent.outputs.iter().map(|output| {
        let parameters = parameters::read(&output.parameters)?;
        Ok(RequestedOutput { name: output.name.clone(), binary: is_raw, parameters })
    });
    Ok(Request {
        id: Some(sent.id).filter(|id| !id.is_empty()),
        parameters: parameters::read(&sent.parameters)?,
        inputs,
        tensor_parameters,
        outputs: outputs.collect::<Result<_, Error>>()?,
        binary_output: is_raw,
        // Servers of HTTP that read binary data are not known by this.
        binary_input: false,
        ..Request::default()
    })
}

/// Writes a request for the model of this name, tensors as raw bytes.
///
/// # Errors
/// A parameter that the protocol has no kind for.
pub fn write_request(request: &Request, model: &str) -> Result<Encoded, Error> {
    let inputs = request.inputs.iter().map(|tensor| {
        Ok(InferInputTensor {
            name: tensor.name.clone(),
            datatype: tensor.datatype().as_str().to_owned(),
            shape: shape(tensor),
            parameters: parameters_of(&request.tensor_parameters, tensor)?,
            contents: None,
        })
    });
    let outputs = request.outputs.iter().map(|output| {
        let parameters = parameters::write(&output.parameters)?;
        Ok(InferRequestedOutputTensor { name: output.name.clone(), parameters })
    });
    Ok(encode(&ModelInferRequest {
        model_name: model.to_owned(),
        model_version: String::new(),
        id: request.id.clone().unwrap_or_default(),
        parameters: parameters::write(&request.parameters)?,
        inputs: inputs.collect::<Result<_, Error>>()?,
        outputs: outputs.collect::<Result<_, Error>>()?,
        raw_input_contents: request.inputs.iter().map(raw).collect(),
    }))
}

/// Reads a whole answer from the body that holds it.
///
/// # Errors
/// It is not the protocol's, or compressed in a way that is not known.
pub fn read_answer(body: &[u8]) -> Result<Response, Error> {
    response(&decode(body)?)
}

/// An answer as everything else here knows it.
fn response(sent: &ModelInferResponse) -> Result<Response, Error> {
    let heads = sent.outputs.iter().map(|output| super::message::Head {
        name: &output.name,
        datatype: &output.datatype,
        shape: &output.shape,
        contents: output.contents.as_ref(),
        parameters: &output.parameters,
    });
    let (outputs, tensor_parameters) = tensors(heads, &sent.raw_output_contents)?;
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Ok(Response {
        model_name: sent.model_name.clone(),
        model_version: text(&sent.model_version),
        id: text(&sent.id),
        parameters: parameters::read(&sent.parameters)?,
        outputs,
        tensor_parameters,
    })
}

/// Writes an answer to `request`: the outputs that it asks for, in that order, or all.
///
/// # Errors
/// An output that is not there, or a parameter that the protocol has no kind for.
pub fn write_answer(response: &Response, request: &Request) -> Result<Encoded, Error> {
    let wanted: Vec<&Tensor> = match &request.outputs[..] {
        [] => response.outputs.iter().collect(),
        asked => {
            let found = asked.iter().map(|output| response.output(&output.name));
            found.collect::<Result<_, _>>()?
        }
    };
    let half = |tensor: &&Tensor| matches!(tensor.data, Data::Fp16(_) | Data::Bf16(_));
    let is_raw = request.binary_output || wanted.iter().any(half);
    let outputs = wanted.iter().map(|tensor| {
        Ok(InferOutputTensor {
            name: tensor.name.clone(),
            datatype: tensor.datatype().as_str().to_owned(),
            shape: shape(tensor),
            parameters: parameters_of(&response.tensor_parameters, tensor)?,
            contents: (!is_raw).then(|| contents(&tensor.data)),
        })
    });
    Ok(encode(&ModelInferResponse {
        model_name: response.model_name.clone(),
        model_version: response.model_version.clone().unwrap_or_default(),
        id: response.id.clone().unwrap_or_default(),
        parameters: parameters::write(&response.parameters)?,
        outputs: outputs.collect::<Result<_, Error>>()?,
        raw_output_contents: match is_raw {
            true => wanted.iter().map(|tensor| raw(tensor)).collect(),
            false => Vec::new(),
        },
    }))
}

/// The first value of the input of this name, as raw bytes.
#[must_use]
pub fn first_value(body: &[u8], input: &str) -> Option<Vec<u8>> {
    let mut inputs = read_request(body).ok()?.inputs.into_iter();
    let tensor = inputs.find(|tensor| tensor.name == input)?;
    let bytes = raw(&tensor);
    let len = match tensor.datatype().width() {
        Some(width) => width,
        None => usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()? + 4,
    };
    bytes.get(..len).map(<[u8]>::to_vec)
}

fn shape(tensor: &Tensor) -> Vec<i64> {
    // A size beyond that has no data.
    tensor.shape.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect()
}

fn parameters_of(all: &TensorParameters, tensor: &Tensor) -> Result<parameters::Parameters, Error> {
    all.get(&tensor.name).map(parameters::write).transpose().map(Option::unwrap_or_default)
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Error> {
    let message = open(body)?;
    walk::check(&message)?;
    M::decode(Bytes::from(message.into_owned())).map_err(|error| Error::Message(error.to_string()))
}

fn encode(message: &impl Message) -> Encoded {
    Encoded { body: frame(&message.encode_to_vec()), json_len: None }
}
