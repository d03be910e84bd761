//! Calls about servers and models, each as the body of a question or of an answer.

use bytes::Bytes;
use prost::Message;

use super::frame::{frame, open};
use super::proto::inference as proto;
use crate::oip::{metadata, repository};
use crate::{Error, TensorSpec};

fn framed(message: &impl Message) -> Bytes {
    frame(&message.encode_to_vec())
}

/// Whether the server runs.
#[must_use]
pub fn server_live(live: bool) -> Bytes {
    framed(&proto::ServerLiveResponse { live })
}

/// Whether it takes requests.
#[must_use]
pub fn server_ready(ready: bool) -> Bytes {
    framed(&proto::ServerReadyResponse { ready })
}

/// Whether a model does.
#[must_use]
pub fn model_ready(ready: bool) -> Bytes {
    framed(&proto::ModelReadyResponse { ready })
}

/// What the server is.
#[must_use]
pub fn server_metadata(server: &metadata::Server) -> Bytes {
    let metadata::Server { name, version, extensions } = server.clone();
    framed(&proto::ServerMetadataResponse { name, version, extensions })
}

/// What a model takes and gives.
#[must_use]
pub fn model_metadata(model: &metadata::Model) -> Bytes {
    let metadata::Model { name, versions, platform, inputs, outputs } = model;
    framed(&proto::ModelMetadataResponse {
        name: name.clone(),
        versions: versions.clone(),
        platform: platform.clone(),
        inputs: inputs.iter().map(spec).collect(),
        outputs: outputs.iter().map(spec).collect(),
    })
}

fn spec(spec: &TensorSpec) -> proto::model_metadata_response::TensorMetadata {
    let size = |size: &Option<usize>| size.and_then(|size| size.try_into().ok()).unwrap_or(-1);
    proto::model_metadata_response::TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.datatype.as_str().to_owned(),
        shape: spec.shape.iter().map(size).collect(),
    }
}

/// The models that there are.
#[must_use]
pub fn index(entries: &[repository::Entry]) -> Bytes {
    let one = |entry: &repository::Entry| proto::repository_index_response::ModelIndex {
        name: entry.name.clone(),
        version: entry.version.clone(),
        state: entry.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
        reason: entry.reason.clone(),
    };
    framed(&proto::RepositoryIndexResponse { models: entries.iter().map(one).collect() })
}

/// A question about a model, of whatever kind.
#[must_use]
pub fn about_model(name: &str, version: &str) -> Bytes {
    let (name, version) = (name.to_owned(), version.to_owned());
    framed(&proto::ModelReadyRequest { name, version })
}

/// Whether the body of an answer says that a server or a model is ready.
///
/// # Errors
/// It is no answer.
pub fn is_ready(body: &[u8]) -> Result<bool, Error> {
    let said = proto::ModelReadyResponse::decode(&*open(body)?);
    said.map(|said| said.ready).map_err(|error| Error::Message(error.to_string()))
}

/// Whether the body of a question for the index asks for models that are ready alone.
///
/// # Errors
/// It is no question.
pub fn wants_ready(body: &[u8]) -> Result<bool, Error> {
    let asked = proto::RepositoryIndexRequest::decode(&*open(body)?);
    asked.map(|asked| asked.ready).map_err(|error| Error::Message(error.to_string()))
}

/// The message of a stream that holds an answer, from the body of one.
///
/// # Errors
/// There is none.
pub fn stream_answer(body: &[u8]) -> Result<Bytes, Error> {
    let message = open(body)?;
    let mut answer = Vec::with_capacity(message.len() + 8);
    // Field 2, which has a length, as it stands.
    prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, &mut answer);
    prost::encoding::encode_varint(message.len() as u64, &mut answer);
    answer.extend_from_slice(&message);
    Ok(frame(&answer))
}

/// The message of a stream that says what went wrong with one request.
#[must_use]
pub fn stream_error(text: &str) -> Bytes {
    let error_message = text.to_owned();
    framed(&proto::ModelStreamInferResponse { error_message, infer_response: None })
}
