//! `SVMRegressor`: a weighted sum of kernels with the support vectors, or one inner product.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::ensure;
use tract_onnx::tract_hir::prelude::{TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, columns, floats, operator, rows_and_columns};
use super::svm::{Machine, features};

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let count: usize = node.get_attr_opt("n_supports")?.unwrap_or(0);
    let coefficients: Vec<f32> = node.get_attr_vec("coefficients")?;
    let rho = node.get_attr_opt_vec::<f32>("rho")?.unwrap_or_default();
    let (vectors, coefficients, machine) = if count > 0 {
        (node.get_attr_vec("support_vectors")?, coefficients, Machine::parse(node)?)
    } else {
        (coefficients, vec![1.0], Machine::LINEAR)
    };
    ensure!(coefficients.len() >= count, "{} coefficients", coefficients.len());
    operator(
        node,
        SvmRegressor {
            features: features(&vectors, count.max(1))?,
            vectors,
            coefficients,
            machine,
            rho: rho.first().copied().unwrap_or(0.0),
            one_class: node.get_attr_opt::<i64>("one_class")?.unwrap_or(0) != 0,
        },
    )
}

#[derive(Debug)]
struct SvmRegressor {
    vectors: Vec<f32>,
    features: usize,
    /// One for each vector.
    coefficients: Vec<f32>,
    machine: Machine,
    rho: f32,
    /// Answer on which side a row lies, 1 or -1, not how far.
    one_class: bool,
}

impl Kernel for SvmRegressor {
    const NAME: &'static str = "SVMRegressor";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let (rows, _) = rows_and_columns(&inputs[0].shape)?;
        Ok(tvec!(Form::new::<f32>([rows, 1.into()])))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let input = inputs[0].cast_to::<f32>()?;
        let columns = columns(&input);
        ensure!(columns == self.features, "{columns} columns for {} features", self.features);
        let output = build(&[input.len() / columns, 1], |output| {
            for (row, y) in floats(&input)?.chunks(columns).zip(output) {
                *y = self.value(row);
            }
            Ok(())
        })?;
        Ok(tvec!(output))
    }
}

impl SvmRegressor {
    fn value(&self, row: &[f32]) -> f32 {
        let vectors = self.vectors.chunks(self.features);
        let sum: f32 = vectors
            .zip(&self.coefficients)
            .map(|(vector, coefficient)| coefficient * self.machine.apply(row, vector))
            .sum();
        match sum + self.rho {
            value if !self.one_class => value,
            value if value > 0.0 => 1.0,
            _ => -1.0,
        }
    }
}
