//! What the gateway answers for itself, each as the body of an answer.

use bytes::Bytes;
use prost::Message;

use super::frame::frame;
use super::proto::inference as proto;
use crate::TensorSpec;
use crate::oip::{metadata, repository};

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
