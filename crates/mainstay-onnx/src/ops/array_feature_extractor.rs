//! `ArrayFeatureExtractor`: chosen columns, in the order given.
//!
//! tract's own keeps the dimensions of the list of columns; onnxruntime, and so every exporter,
//! takes the list as flat and a vector as one row.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{TractErrorContext as _, bail, ensure};
use tract_onnx::tract_hir::prelude::tract_ndarray::ArrayD;
use tract_onnx::tract_hir::prelude::{
    Datum, DatumType, TDim, TValue, TVec, Tensor, TractResult, tvec,
};

use super::kernel::{Form, Kernel, Parsed, columns, operator};

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    ensure!(node.input.len() == 2, "expects rows and a list of columns");
    operator(node, ArrayFeatureExtractor)
}

#[derive(Debug)]
struct ArrayFeatureExtractor;

impl Kernel for ArrayFeatureExtractor {
    const NAME: &'static str = "ArrayFeatureExtractor";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let count: TDim = inputs[1].shape.iter().product();
        let mut shape = inputs[0].shape.clone();
        if shape.pop().is_none() {
            bail!("expects at least one dimension");
        }
        if shape.is_empty() {
            shape.push(1.into());
        }
        shape.push(count);
        Ok(tvec!(Form { datum: inputs[0].datum, shape }))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let picked = inputs[1].try_as_plain_ram()?;
        let picked = picked.as_slice::<i64>()?;
        let rows: &Tensor = &inputs[0];
        let output = match rows.datum_type() {
            DatumType::F32 => pick::<f32>(rows, picked),
            DatumType::F64 => pick::<f64>(rows, picked),
            DatumType::I32 => pick::<i32>(rows, picked),
            DatumType::I64 => pick::<i64>(rows, picked),
            DatumType::String => pick::<String>(rows, picked),
            other => bail!("cannot pick columns of {other:?}"),
        }?;
        Ok(tvec!(output))
    }
}

fn pick<T: Datum + Clone>(rows: &Tensor, picked: &[i64]) -> TractResult<Tensor> {
    let columns = columns(rows);
    let mut values = Vec::with_capacity(rows.len() / columns.max(1) * picked.len());
    for row in rows.try_as_plain_ram()?.as_slice::<T>()?.chunks(columns) {
        for column in picked {
            let value = usize::try_from(*column).ok().and_then(|column| row.get(column));
            values.push(value.with_context(|| format!("no column {column}"))?.clone());
        }
    }
    let mut shape = rows.shape()[..rows.rank() - 1].to_vec();
    if shape.is_empty() {
        shape.push(1);
    }
    shape.push(picked.len());
    Ok(ArrayD::from_shape_vec(shape, values)?.into())
}
