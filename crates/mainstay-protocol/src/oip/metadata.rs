//! What servers and models say of themselves, and the bodies of health answers.
//!
//! The specification gives health answers a body; Triton and MLServer leave it empty. So ours
//! have one and nobody else's is read: the status decides.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::cut;
use crate::{Error, TensorSpec};

/// A server's metadata: the answer to `GET /v2`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The server's name, for example `triton`.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The extensions that it speaks, for example `binary_tensor_data`.
    #[serde(default)]
    pub extensions: Vec<String>,
}

/// A model's metadata: the answer to `GET /v2/models/{model}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// The model's name.
    pub name: String,
    /// Its versions, if it has any.
    pub versions: Vec<String>,
    /// What runs it, for example `onnx_tract`.
    pub platform: String,
    /// What it takes.
    pub inputs: Vec<TensorSpec>,
    /// What it gives.
    pub outputs: Vec<TensorSpec>,
}

#[derive(Serialize, Deserialize)]
struct RawModel {
    name: String,
    #[serde(default)]
    versions: Option<Vec<String>>,
    #[serde(default)]
    platform: Option<String>,
    #[serde(default)]
    inputs: Option<Vec<RawSpec>>,
    #[serde(default)]
    outputs: Option<Vec<RawSpec>>,
}

#[derive(Serialize, Deserialize)]
struct RawSpec {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

/// Writes a server's metadata.
#[must_use]
pub fn render_server(server: &Server) -> Bytes {
    json(server)
}

/// Reads a server's metadata.
///
/// # Errors
/// It is not the protocol's.
pub fn parse_server(body: &[u8]) -> Result<Server, Error> {
    Ok(serde_json::from_slice(body)?)
}

/// Writes a model's metadata.
#[must_use]
pub fn render_model(model: &Model) -> Bytes {
    json(&RawModel {
        name: model.name.clone(),
        versions: Some(model.versions.clone()),
        platform: Some(model.platform.clone()),
        inputs: Some(model.inputs.iter().map(RawSpec::from).collect()),
        outputs: Some(model.outputs.iter().map(RawSpec::from).collect()),
    })
}

/// Reads a model's metadata; what the server leaves out is empty.
///
/// # Errors
/// It is not the protocol's, or has a datatype or shape that the protocol does not know.
pub fn parse_model(body: &[u8]) -> Result<Model, Error> {
    let raw: RawModel = serde_json::from_slice(body)?;
    Ok(Model {
        name: raw.name,
        versions: raw.versions.unwrap_or_default(),
        platform: raw.platform.unwrap_or_default(),
        inputs: specs(raw.inputs)?,
        outputs: specs(raw.outputs)?,
    })
}

fn specs(raw: Option<Vec<RawSpec>>) -> Result<Vec<TensorSpec>, Error> {
    raw.unwrap_or_default().into_iter().map(RawSpec::read).collect()
}

impl RawSpec {
    fn read(self) -> Result<TensorSpec, Error> {
        let datatype = self.datatype.parse().map_err(|_| Error::Datatype {
            tensor: self.name.clone(),
            datatype: cut(&self.datatype),
        })?;
        let shape = self.shape.iter().map(|&size| usize::try_from(size).ok()).collect();
        Ok(TensorSpec { name: self.name, datatype, shape })
    }
}

impl From<&TensorSpec> for RawSpec {
    fn from(spec: &TensorSpec) -> Self {
        let size = |size: &Option<usize>| size.and_then(|size| size.try_into().ok()).unwrap_or(-1);
        Self {
            name: spec.name.clone(),
            datatype: spec.datatype.as_str().to_owned(),
            shape: spec.shape.iter().map(size).collect(),
        }
    }
}

/// The body that answers `GET /v2/health/live`.
#[must_use]
pub fn live(live: bool) -> Bytes {
    serde_json::json!({ "live": live }).to_string().into()
}

/// The body that answers `GET /v2/health/ready`.
#[must_use]
pub fn ready(ready: bool) -> Bytes {
    serde_json::json!({ "ready": ready }).to_string().into()
}

/// The body that answers `GET /v2/models/{model}/ready`.
#[must_use]
pub fn model_ready(model: &str, ready: bool) -> Bytes {
    serde_json::json!({ "name": model, "ready": ready }).to_string().into()
}

fn json<T: Serialize>(value: &T) -> Bytes {
    let mut text = Vec::new();
    super::json::put(&mut text, value);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Datatype;

    fn model() -> Model {
        let spec = |name: &str, datatype, shape| TensorSpec { name: name.into(), datatype, shape };
        Model {
            name: "fraud".into(),
            versions: vec!["1".into()],
            platform: "onnx_tract".into(),
            inputs: vec![spec("x", Datatype::Fp32, vec![None, Some(4)])],
            outputs: vec![spec("label", Datatype::Bytes, vec![None])],
        }
    }

    #[test]
    fn metadata_is_written_in_the_protocols_words() {
        let text = r#"{"name":"fraud","versions":["1"],"platform":"onnx_tract","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"outputs":[{"name":"label","datatype":"BYTES","shape":[-1]}]}"#;
        assert_eq!(render_model(&model()), text);
        assert_eq!(parse_model(text.as_bytes()), Ok(model()));
    }

    #[test]
    fn mlservers_sparse_metadata_is_enough() {
        let text = br#"{"name":"iris","versions":[],"platform":"","inputs":null,"parameters":{}}"#;
        let found = parse_model(text).unwrap();
        assert_eq!((found.name.as_str(), found.inputs.len()), ("iris", 0));
    }

    #[test]
    fn an_unknown_datatype_is_named() {
        let text = br#"{"name":"m","inputs":[{"name":"x","datatype":"FP128","shape":[1]}]}"#;
        let error = parse_model(text).unwrap_err().to_string();
        assert_eq!(error, r#"tensor "x": unknown datatype "FP128""#);
    }

    #[test]
    fn a_servers_metadata_comes_back() {
        let server = Server {
            name: "mainstay".into(),
            version: "1".into(),
            extensions: vec!["binary_tensor_data".into()],
        };
        assert_eq!(parse_server(&render_server(&server)), Ok(server));
    }
}
