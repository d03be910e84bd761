//! One adapter from an operator's mathematics to tract's traits.
//!
//! tract asks for two forms of an operator: one while it infers types and shapes, one to run.
//! Both follow from what a [`Kernel`] says, so an operator is its attributes and two functions.
//! Constants are not folded through these operators but evaluated like anything else.

use std::fmt::Debug;
use std::sync::Arc;

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core;
use tract_onnx::tract_core::ops::{EvalOp, Op};
use tract_onnx::tract_hir::infer::{
    InferenceOp, InferenceResult, Solver, TensorProxy, check_input_arity, check_output_arity,
};
use tract_onnx::tract_hir::internal::{
    DatumTypeExt as _, EvalContext, Expansion, OutletId, SpecialOps as _, StaticName, TValue,
    TypedFact, TypedModel, TypedOp, bail, expand,
};
use tract_onnx::tract_hir::prelude::{Datum, DatumType, TDim, TVec, Tensor, TractResult};

/// What a parser of a node returns to tract: the operator, and the outer values it closes over.
pub(super) type Parsed = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// The element type and shape of an input or output; sizes may be symbolic.
pub(super) struct Form {
    pub(super) datum: DatumType,
    pub(super) shape: TVec<TDim>,
}

impl Form {
    pub(super) fn new<T: Datum>(shape: impl IntoIterator<Item = TDim>) -> Self {
        Self { datum: T::datum_type(), shape: shape.into_iter().collect() }
    }
}

/// An operator without state.
pub(super) trait Kernel: Debug + Send + Sync + 'static {
    /// The operator's name in ONNX.
    const NAME: &'static str;
    /// How many outputs it has.
    const OUTPUTS: usize = 1;

    /// The outputs' forms for inputs of these forms; an error if they cannot be.
    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>>;

    /// Computes the outputs.
    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>>;
}

/// Wraps a kernel for tract; `node` tells how many inputs there are.
pub(super) fn operator<K: Kernel>(node: &NodeProto, kernel: K) -> Parsed {
    let inputs = node.input.len();
    Ok((expand(Operator { kernel: Arc::new(kernel), inputs }), vec![]))
}

/// The rows and columns of an input: a vector is one row, as in onnxruntime.
pub(super) fn rows_and_columns(shape: &[TDim]) -> TractResult<(TDim, TDim)> {
    match shape {
        [columns] => Ok((1.into(), columns.clone())),
        [rows, columns] => Ok((rows.clone(), columns.clone())),
        _ => bail!("expects one or two dimensions, got {}", shape.len()),
    }
}

/// The number of columns of an evaluated input.
pub(super) fn columns(input: &Tensor) -> usize {
    input.shape().last().copied().unwrap_or(1)
}

/// The elements of a tensor of floats.
pub(super) fn floats(input: &Tensor) -> TractResult<&[f32]> {
    input.try_as_plain_ram()?.as_slice::<f32>()
}

/// tract keeps integers that may become sizes as expressions; to an operator they are integers.
fn plain(datum: DatumType) -> DatumType {
    if datum == DatumType::TDim { i64::datum_type() } else { datum }
}

fn plain_value(value: TValue) -> TractResult<TValue> {
    if value.datum_type() == DatumType::TDim {
        return Ok(value.cast_to::<i64>()?.into_owned().into());
    }
    Ok(value)
}

/// A tensor of floats, filled by `fill` from zeros.
pub(super) fn build(
    shape: &[usize],
    fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
) -> TractResult<Tensor> {
    let mut tensor = Tensor::zero::<f32>(shape)?;
    fill(tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?)?;
    Ok(tensor)
}

/// A kernel in both of tract's roles. Two are equal if they are the same kernel.
#[derive(Debug)]
struct Operator<K> {
    kernel: Arc<K>,
    inputs: usize,
}

impl<K> Clone for Operator<K> {
    fn clone(&self) -> Self {
        Self { kernel: Arc::clone(&self.kernel), inputs: self.inputs }
    }
}

impl<K> PartialEq for Operator<K> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel)
    }
}

impl<K> Eq for Operator<K> {}

impl<K: Kernel> Expansion for Operator<K> {
    fn name(&self) -> StaticName {
        K::NAME.into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(K::OUTPUTS)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.inputs)?;
        check_output_arity(outputs, K::OUTPUTS)?;
        solver.given_all(inputs.iter().map(|input| &input.datum_type), move |solver, datums| {
            solver.given_all(inputs.iter().map(|input| &input.shape), move |solver, shapes| {
                let forms: Vec<_> = datums
                    .iter()
                    .zip(shapes)
                    .map(|(datum, shape)| Form { datum: plain(*datum), shape })
                    .collect();
                for (output, form) in outputs.iter().zip(self.kernel.forms(&forms)?) {
                    solver.equals(&output.datum_type, form.datum)?;
                    solver.equals(&output.shape, form.shape)?;
                }
                Ok(())
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl<K: Kernel> Op for Operator<K> {
    fn name(&self) -> StaticName {
        K::NAME.into()
    }

    tract_core::op_as_typed_op!();
}

impl<K: Kernel> EvalOp for Operator<K> {
    tract_core::op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let inputs: TVec<TValue> =
            inputs.into_iter().map(plain_value).collect::<TractResult<_>>()?;
        Ok(self.kernel.eval(&inputs)?.into_iter().map(TValue::from).collect())
    }
}

impl<K: Kernel> TypedOp for Operator<K> {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let forms: Vec<_> = inputs
            .iter()
            .map(|fact| Form {
                datum: plain(fact.datum_type),
                shape: fact.shape.iter().cloned().collect(),
            })
            .collect();
        let outputs = self.kernel.forms(&forms)?;
        Ok(outputs.iter().map(|form| form.datum.fact(form.shape.as_slice())).collect())
    }

    tract_core::as_op!();
}
