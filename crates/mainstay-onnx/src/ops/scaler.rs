//! `Scaler`: `(x - offset) * scale`, for each column or with one pair for all.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::ensure;
use tract_onnx::tract_hir::prelude::{TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, columns, floats, operator};

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let offset: Vec<f32> = node.get_attr_opt_vec("offset")?.unwrap_or_else(|| vec![0.0]);
    let scale: Vec<f32> = node.get_attr_opt_vec("scale")?.unwrap_or_else(|| vec![1.0]);
    operator(node, Scaler { offset, scale })
}

#[derive(Debug)]
struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

impl Kernel for Scaler {
    const NAME: &'static str = "Scaler";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        Ok(tvec!(Form::new::<f32>(inputs[0].shape.iter().cloned())))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let input = inputs[0].cast_to::<f32>()?;
        let columns = columns(&input);
        for parameters in [&self.offset, &self.scale] {
            let fits = [1, columns].contains(&parameters.len());
            ensure!(fits, "{} parameters for {columns} columns", parameters.len());
        }
        let output = build(input.shape(), |output| {
            for (from, to) in floats(&input)?.chunks(columns).zip(output.chunks_mut(columns)) {
                self.scale_row(from, to);
            }
            Ok(())
        })?;
        Ok(tvec!(output))
    }
}

impl Scaler {
    fn scale_row(&self, from: &[f32], to: &mut [f32]) {
        let parameters = self.offset.iter().cycle().zip(self.scale.iter().cycle());
        for ((x, y), (offset, scale)) in from.iter().zip(to).zip(parameters) {
            *y = (x - offset) * scale;
        }
    }
}
