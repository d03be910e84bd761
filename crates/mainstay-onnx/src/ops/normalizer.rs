//! `Normalizer`: each row divided by its greatest value, its sum or its length.
//!
//! tract has one too, but divides by the greatest absolute value and adds a small number to the
//! divisor. A row whose divisor is zero stays as it is.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::prelude::{TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, columns, floats, operator};

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let norm = match node.get_attr_opt::<&str>("norm")? {
        None | Some("MAX") => Norm::Greatest,
        Some("L1") => Norm::Sum,
        Some("L2") => Norm::Length,
        Some(other) => bail!("unknown norm {other}"),
    };
    operator(node, Normalizer { norm })
}

#[derive(Clone, Copy, Debug)]
enum Norm {
    Greatest,
    Sum,
    Length,
}

#[derive(Debug)]
struct Normalizer {
    norm: Norm,
}

impl Kernel for Normalizer {
    const NAME: &'static str = "Normalizer";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        Ok(tvec!(Form::new::<f32>(inputs[0].shape.iter().cloned())))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let input = inputs[0].cast_to::<f32>()?;
        let columns = columns(&input);
        let output = build(input.shape(), |output| {
            for (from, to) in floats(&input)?.chunks(columns).zip(output.chunks_mut(columns)) {
                let divisor = self.norm.of(from);
                let divisor = if divisor == 0.0 { 1.0 } else { divisor };
                to.iter_mut().zip(from).for_each(|(y, x)| *y = x / divisor);
            }
            Ok(())
        })?;
        Ok(tvec!(output))
    }
}

impl Norm {
    fn of(self, row: &[f32]) -> f32 {
        match self {
            Self::Greatest => row.iter().copied().fold(f32::MIN, f32::max),
            Self::Sum => row.iter().map(|x| x.abs()).sum(),
            Self::Length => row.iter().map(|x| x * x).sum::<f32>().sqrt(),
        }
    }
}
