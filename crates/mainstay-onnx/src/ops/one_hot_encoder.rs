//! `OneHotEncoder`: a category becomes a row with a one in its place.
//!
//! The output has one dimension more than the input. A category that the model does not know is
//! a row of zeros, or an error with `zeros` at 0.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{bail, ensure};
use tract_onnx::tract_hir::prelude::{Datum, TDim, TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, operator};

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let integers = node.get_attr_opt_vec::<i64>("cats_int64s")?.unwrap_or_default();
    let strings = node.get_attr_opt_vec::<String>("cats_strings")?.unwrap_or_default();
    ensure!(integers.is_empty() != strings.is_empty(), "expects one list of categories");
    let count = integers.len() + strings.len();
    let unknown_is_zeros = node.get_attr_opt::<i64>("zeros")?.unwrap_or(1) != 0;
    let integers = integers.into_iter().zip(0..).collect();
    let strings = strings.into_iter().zip(0..).collect();
    operator(node, OneHotEncoder { integers, strings, count, unknown_is_zeros })
}

#[derive(Debug)]
struct OneHotEncoder {
    /// The place of each category; one of the two is empty.
    integers: HashMap<i64, usize>,
    strings: HashMap<String, usize>,
    count: usize,
    unknown_is_zeros: bool,
}

impl Kernel for OneHotEncoder {
    const NAME: &'static str = "OneHotEncoder";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let is_text = inputs[0].datum == String::datum_type();
        ensure!(is_text == self.integers.is_empty(), "cannot encode {:?}", inputs[0].datum);
        let places = std::iter::once(TDim::from(self.count));
        Ok(tvec!(Form::new::<f32>(inputs[0].shape.iter().cloned().chain(places))))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let places = self.places(&inputs[0])?;
        let shape: Vec<usize> = inputs[0].shape().iter().copied().chain([self.count]).collect();
        let output = build(&shape, |output| {
            for (place, row) in places.iter().zip(output.chunks_mut(self.count)) {
                match place {
                    Some(place) => row[*place] = 1.0,
                    None if self.unknown_is_zeros => {}
                    None => bail!("a category that the model does not know"),
                }
            }
            Ok(())
        })?;
        Ok(tvec!(output))
    }
}

impl OneHotEncoder {
    fn places(&self, input: &Tensor) -> TractResult<Vec<Option<usize>>> {
        if self.integers.is_empty() {
            let texts = input.try_as_plain_ram()?.as_slice::<String>()?;
            return Ok(texts.iter().map(|text| self.strings.get(text).copied()).collect());
        }
        let input = input.cast_to::<i64>()?;
        let numbers = input.try_as_plain_ram()?.as_slice::<i64>()?;
        Ok(numbers.iter().map(|number| self.integers.get(number).copied()).collect())
    }
}
