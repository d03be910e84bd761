//! `FeatureVectorizer`: several inputs side by side as one row of floats.
//!
//! Each input gets the width that the model declares for it: a narrower one is filled up with
//! zeros, a wider one is cut.

use std::borrow::Cow;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::ensure;
use tract_onnx::tract_hir::prelude::{TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, columns, floats, operator, rows_and_columns};

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let widths: Vec<usize> = node.get_attr_vec("inputdimensions")?;
    ensure!(widths.len() == node.input.len(), "expects one of inputdimensions for each input");
    operator(node, FeatureVectorizer { widths })
}

#[derive(Debug)]
struct FeatureVectorizer {
    widths: Vec<usize>,
}

impl Kernel for FeatureVectorizer {
    const NAME: &'static str = "FeatureVectorizer";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let (rows, _) = rows_and_columns(&inputs[0].shape)?;
        Ok(tvec!(Form::new::<f32>([rows, self.widths.iter().sum::<usize>().into()])))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let inputs: Vec<Cow<'_, Tensor>> =
            inputs.iter().map(|input| input.cast_to::<f32>()).collect::<TractResult<_>>()?;
        let rows = inputs[0].len() / columns(&inputs[0]).max(1);
        let total = self.widths.iter().sum();
        let output = build(&[rows, total], |output| {
            let mut offset = 0;
            for (input, width) in inputs.iter().zip(&self.widths) {
                copy_beside(input, &mut output[..], total, offset..offset + width)?;
                offset += width;
            }
            Ok(())
        })?;
        Ok(tvec!(output))
    }
}

/// Copies the rows of `input` into the columns `range` of rows of width `total`.
fn copy_beside(
    input: &Tensor,
    output: &mut [f32],
    total: usize,
    range: std::ops::Range<usize>,
) -> TractResult<()> {
    let columns = columns(input);
    let shared = columns.min(range.len());
    for (from, to) in floats(input)?.chunks(columns).zip(output.chunks_mut(total)) {
        to[range.start..range.start + shared].copy_from_slice(&from[..shared]);
    }
    Ok(())
}
