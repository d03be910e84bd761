//! What a model takes and gives, as `TensorFlow` Serving's `GET /v1/models/{model}/metadata` says
//! it: one signature, whose tensors are of TensorFlow's datatypes.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::oip::metadata::Model;
use crate::{Datatype, TensorSpec};

/// Datatypes of both worlds.
const NAMES: [(Datatype, &str); 14] = [
    (Datatype::Bool, "DT_BOOL"),
    (Datatype::Uint8, "DT_UINT8"),
    (Datatype::Uint16, "DT_UINT16"),
    (Datatype::Uint32, "DT_UINT32"),
    (Datatype::Uint64, "DT_UINT64"),
    (Datatype::Int8, "DT_INT8"),
    (Datatype::Int16, "DT_INT16"),
    (Datatype::Int32, "DT_INT32"),
    (Datatype::Int64, "DT_INT64"),
    (Datatype::Fp16, "DT_HALF"),
    (Datatype::Fp32, "DT_FLOAT"),
    (Datatype::Fp64, "DT_DOUBLE"),
    (Datatype::Bytes, "DT_STRING"),
    (Datatype::Bf16, "DT_BFLOAT16"),
];

/// Writes a model's metadata.
#[must_use]
pub fn render(model: &Model) -> Bytes {
    let signature = json!({
        "inputs": tensors(&model.inputs),
        "outputs": tensors(&model.outputs),
        "method_name": "tensorflow/serving/predict",
    });
    let version = model.versions.first().map_or("1", String::as_str);
    json!({
        "model_spec": { "name": model.name, "signature_name": "", "version": version },
        "metadata": { "signature_def": { "signature_def": { "serving_default": signature } } },
    })
    .to_string()
    .into()
}

fn tensors(specs: &[TensorSpec]) -> Map<String, Value> {
    specs.iter().map(|spec| (spec.name.clone(), tensor(spec))).collect()
}

fn tensor(spec: &TensorSpec) -> Value {
    let dtype = NAMES.iter().find(|(datatype, _)| *datatype == spec.datatype);
    let dim = |size: &Option<usize>| {
        let size = size.map_or_else(|| "-1".to_owned(), |size| size.to_string());
        json!({ "size": size, "name": "" })
    };
    json!({
        "dtype": dtype.map_or("DT_INVALID", |(_, name)| name),
        "tensor_shape": {
            "dim": spec.shape.iter().map(dim).collect::<Vec<_>>(),
            "unknown_rank": false,
        },
        "name": format!("{}:0", spec.name),
    })
}

/// Reads the usual signature of a model; `None` where the answer has none that can be declared.
#[must_use]
pub fn parse(body: &[u8]) -> Option<Model> {
    let said: Value = serde_json::from_slice(body).ok()?;
    let signature = &said["metadata"]["signature_def"]["signature_def"]["serving_default"];
    Some(Model {
        name: said["model_spec"]["name"].as_str().unwrap_or_default().to_owned(),
        versions: said["model_spec"]["version"].as_str().map(str::to_owned).into_iter().collect(),
        platform: "tensorflow-serving".to_owned(),
        inputs: specs(&signature["inputs"])?,
        outputs: specs(&signature["outputs"])?,
    })
}

fn specs(tensors: &Value) -> Option<Vec<TensorSpec>> {
    tensors.as_object()?.iter().map(|(name, tensor)| spec(name, tensor)).collect()
}

fn spec(name: &str, tensor: &Value) -> Option<TensorSpec> {
    let dtype = tensor["dtype"].as_str()?;
    let (datatype, _) = NAMES.iter().find(|(_, name)| *name == dtype)?;
    let dims = tensor["tensor_shape"]["dim"].as_array();
    let size = |dim: &Value| dim["size"].as_str().and_then(|size| size.parse().ok());
    let shape = dims.map(|dims| dims.iter().map(size).collect()).unwrap_or_default();
    Some(TensorSpec { name: name.to_owned(), datatype: *datatype, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_back() {
        let spec = |name: &str, datatype, shape| TensorSpec { name: name.into(), datatype, shape };
        let model = Model {
            name: "m".into(),
            versions: vec!["3".into()],
            platform: "tensorflow-serving".into(),
            inputs: vec![spec("x", Datatype::Fp32, vec![None, Some(4)])],
            outputs: vec![spec("y", Datatype::Bytes, vec![])],
        };
        assert_eq!(parse(&render(&model)), Some(model));
        assert_eq!(parse(b"{}"), None);
    }
}
