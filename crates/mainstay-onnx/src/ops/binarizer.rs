//! `Binarizer`: one above the threshold, zero up to it.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::ensure;
use tract_onnx::tract_hir::prelude::{Datum, TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, floats, operator};

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    operator(node, Binarizer { threshold: node.get_attr_opt("threshold")?.unwrap_or(0.0) })
}

#[derive(Debug)]
struct Binarizer {
    threshold: f32,
}

impl Kernel for Binarizer {
    const NAME: &'static str = "Binarizer";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        ensure!(inputs[0].datum == f32::datum_type(), "cannot binarise {:?}", inputs[0].datum);
        Ok(tvec!(Form::new::<f32>(inputs[0].shape.iter().cloned())))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let output = build(inputs[0].shape(), |output| {
            for (x, y) in floats(&inputs[0])?.iter().zip(output) {
                *y = f32::from(u8::from(*x > self.threshold));
            }
            Ok(())
        })?;
        Ok(tvec!(output))
    }
}
