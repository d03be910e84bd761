//! `Imputer`: puts a value in the place of missing ones, for each column or one for all.
//!
//! What counts as missing is one value, usually NaN for floats. Floats and integers each have
//! their attributes.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{bail, ensure};
use tract_onnx::tract_hir::prelude::tract_ndarray::ArrayD;
use tract_onnx::tract_hir::prelude::{Datum, DatumType, TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, columns, operator};

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let floats = node.get_attr_opt_vec::<f32>("imputed_value_floats")?.unwrap_or_default();
    let integers = node.get_attr_opt_vec::<i64>("imputed_value_int64s")?.unwrap_or_default();
    ensure!(floats.is_empty() != integers.is_empty(), "expects one list of imputed values");
    operator(
        node,
        Imputer {
            floats,
            missing_float: node.get_attr_opt("replaced_value_float")?.unwrap_or(0.0),
            integers,
            missing_integer: node.get_attr_opt("replaced_value_int64")?.unwrap_or(0),
        },
    )
}

#[derive(Debug)]
struct Imputer {
    /// The values to put in; one of the two lists is empty.
    floats: Vec<f32>,
    missing_float: f32,
    integers: Vec<i64>,
    missing_integer: i64,
}

impl Kernel for Imputer {
    const NAME: &'static str = "Imputer";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let expected = if self.integers.is_empty() { f32::datum_type() } else { i64::datum_type() };
        ensure!(inputs[0].datum == expected, "imputes {expected:?}, got {:?}", inputs[0].datum);
        Ok(tvec!(Form { datum: expected, shape: inputs[0].shape.clone() }))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let input: &Tensor = &inputs[0];
        let output = match input.datum_type() {
            #[expect(clippy::float_cmp, reason = "missing is one exact value")]
            DatumType::F32 => impute(input, &self.floats, |x: &f32| {
                *x == self.missing_float || (self.missing_float.is_nan() && x.is_nan())
            }),
            DatumType::I64 => impute(input, &self.integers, |x| *x == self.missing_integer),
            other => bail!("cannot impute {other:?}"),
        }?;
        Ok(tvec!(output))
    }
}

fn impute<T: Datum + Copy>(
    input: &Tensor,
    values: &[T],
    missing: impl Fn(&T) -> bool,
) -> TractResult<Tensor> {
    let columns = columns(input);
    ensure!([1, columns].contains(&values.len()), "{} values for {columns} columns", values.len());
    let given = input.try_as_plain_ram()?.as_slice::<T>()?;
    let filled = given
        .iter()
        .zip(values.iter().cycle())
        .map(|(x, value)| if missing(x) { *value } else { *x })
        .collect();
    Ok(ArrayD::from_shape_vec(input.shape(), filled)?.into())
}
