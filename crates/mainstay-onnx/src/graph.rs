//! Reading an ONNX file, before any engine sees it.
//!
//! Both engines get the same graph and the same view of its inputs, so that they answer alike:
//! - **ZipMap is dropped.** scikit-learn's exporters end classifiers with a ZipMap that turns the
//!   probabilities into a list of dictionaries, which no tensor protocol can carry. It becomes an
//!   Identity, and the output is the plain matrix under the same name.
//! - **Dimensions of any size get a label.** Dimensions of one label have one size: the first
//!   dimension of every input is the batch unless the model names it otherwise.
//!
//! A file is read whole and decoded once; larger than [`crate::model::FILE_LIMIT`]
//! it is refused before reading, so that a wrong path cannot fill the memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use mainstay_protocol::tensor::{Datatype, TensorSpec};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
use tract_onnx::pb::{self, GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto};
use tract_onnx::prelude::Framework;

use crate::Error;
use crate::model::FILE_LIMIT;

/// The label of a first dimension that the model does not name.
const BATCH: &str = "batch";
/// The operator set that brings Identity, for a model that imports none.
const BASE_OPSET: i64 = 13;

/// A decoded model.
pub(crate) struct Graph {
    /// The model, rewritten.
    pub(crate) proto: ModelProto,
    /// Whether `proto` says something else than the file.
    #[cfg_attr(not(feature = "onnxruntime"), expect(dead_code, reason = "for the second engine"))]
    pub(crate) rewritten: bool,
    /// What the model takes, in its order.
    pub(crate) inputs: Vec<Input>,
}

/// An input as the model declares it.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) spec: TensorSpec,
    /// For each dimension of any size the label of its size; empty for one on its own.
    pub(crate) labels: Vec<String>,
}

impl Graph {
    /// Reads and rewrites the model in `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = read_limited(path)?;
        let not_onnx = |source| Error::NotOnnx { path: path.to_owned(), source };
        let mut proto = tract_onnx::onnx()
            .proto_model_for_read(&mut bytes.as_slice())
            .map_err(|cause| not_onnx(cause.into()))?;
        let graph = proto.graph.as_mut().ok_or_else(|| not_onnx("it holds no graph".into()))?;
        let rewritten = drop_zip_maps(graph);
        let inputs = inputs(graph).map_err(|(tensor, problem)| Error::Unsupported {
            path: path.to_owned(),
            tensor,
            problem,
        })?;
        if rewritten {
            import_base_opset(&mut proto);
        }
        Ok(Self { proto, rewritten, inputs })
    }

    /// The graph itself.
    #[expect(clippy::expect_used, reason = "read() refuses a model without a graph")]
    fn graph(&self) -> &GraphProto {
        self.proto.graph.as_ref().expect("a graph")
    }

    /// The names of the outputs, in the model's order.
    pub(crate) fn output_names(&self) -> impl Iterator<Item = &str> {
        self.graph().output.iter().map(|output| output.name.as_str())
    }

    /// The operators for which `known` says no, in bodies of loops and branches too.
    pub(crate) fn missing_operators(&self, known: impl Fn(&str) -> bool) -> Vec<String> {
        let mut missing = BTreeSet::new();
        let mut graphs = vec![self.graph()];
        while let Some(graph) = graphs.pop() {
            for node in graph.node.iter() {
                if !known(&node.op_type) {
                    missing.insert(node.op_type.clone());
                }
                graphs.extend(node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()));
            }
        }
        missing.into_iter().collect()
    }
}

fn read_limited(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > FILE_LIMIT {
        return Err(Error::TooLarge { path: path.to_owned(), size, limit: FILE_LIMIT });
    }
    let mut bytes = Vec::new();
    // A file that still grows is cut and then refused by the decoder.
    file.take(FILE_LIMIT).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Puts Identity in the place of every ZipMap; says whether there was one.
fn drop_zip_maps(graph: &mut GraphProto) -> bool {
    let mut dropped = false;
    for node in graph.node.iter_mut().filter(|node| node.op_type == "ZipMap") {
        *node = NodeProto {
            op_type: "Identity".to_owned(),
            domain: String::new(),
            attribute: vec![],
            ..node.clone()
        };
        for output in graph.output.iter_mut().filter(|output| node.output.contains(&output.name)) {
            output.r#type = Some(matrix_of_floats());
        }
        dropped = true;
    }
    dropped
}

fn matrix_of_floats() -> TypeProto {
    let tensor = pb::type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
    TypeProto { denotation: String::new(), value: Some(pb::type_proto::Value::TensorType(tensor)) }
}

fn import_base_opset(proto: &mut ModelProto) {
    if !proto.opset_import.iter().any(|opset| opset.domain.is_empty()) {
        let opset = pb::OperatorSetIdProto { domain: String::new(), version: BASE_OPSET };
        proto.opset_import.push(opset);
    }
}

/// The inputs that a caller must give: initialised ones are constants.
fn inputs(graph: &GraphProto) -> Result<Vec<Input>, (String, String)> {
    let constants: BTreeSet<&str> =
        graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    graph
        .input
        .iter()
        .filter(|info| !constants.contains(info.name.as_str()))
        .map(|info| input(info).map_err(|problem| (info.name.clone(), problem)))
        .collect()
}

fn input(info: &ValueInfoProto) -> Result<Input, String> {
    let Some(pb::type_proto::Value::TensorType(tensor)) =
        info.r#type.as_ref().and_then(|declared| declared.value.as_ref())
    else {
        return Err("it is not a tensor".to_owned());
    };
    let datatype = datatype(tensor.elem_type)?;
    let dimensions = tensor.shape.as_ref().ok_or("it has no declared shape")?.dim.as_slice();
    let (shape, labels) = dimensions
        .iter()
        .enumerate()
        .map(|(axis, dimension)| size_and_label(axis, dimension.value.as_ref()))
        .unzip();
    Ok(Input { spec: TensorSpec { name: info.name.clone(), datatype, shape }, labels })
}

fn size_and_label(axis: usize, dimension: Option<&Dimension>) -> (Option<usize>, String) {
    match dimension {
        Some(Dimension::DimValue(size)) if *size > 0 => {
            (usize::try_from(*size).ok(), String::new())
        }
        Some(Dimension::DimParam(label)) if !label.is_empty() && label != "?" => {
            (None, label.clone())
        }
        _ if axis == 0 => (None, BATCH.to_owned()),
        _ => (None, String::new()),
    }
}

fn datatype(element: i32) -> Result<Datatype, String> {
    Ok(match DataType::try_from(element) {
        Ok(DataType::Bool) => Datatype::Bool,
        Ok(DataType::Uint8) => Datatype::Uint8,
        Ok(DataType::Uint16) => Datatype::Uint16,
        Ok(DataType::Uint32) => Datatype::Uint32,
        Ok(DataType::Uint64) => Datatype::Uint64,
        Ok(DataType::Int8) => Datatype::Int8,
        Ok(DataType::Int16) => Datatype::Int16,
        Ok(DataType::Int32) => Datatype::Int32,
        Ok(DataType::Int64) => Datatype::Int64,
        Ok(DataType::Float16) => Datatype::Fp16,
        Ok(DataType::Float) => Datatype::Fp32,
        Ok(DataType::Double) => Datatype::Fp64,
        Ok(DataType::String) => Datatype::Bytes,
        _ => return Err(format!("element type {element} has no name in the protocol")),
    })
}
