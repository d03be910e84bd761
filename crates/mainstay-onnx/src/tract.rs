//! The default engine: tract, with the operators of `ops`.
//!
//! Dimensions of any size become symbols, so one plan serves every batch size. A plan is shared
//! by all threads; what a call needs of its own it makes and drops.

mod convert;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use mainstay_protocol::tensor::{Tensor, TensorSpec};
use tract_onnx::Onnx;
use tract_onnx::prelude::{
    InferenceModel, InferenceModelExt, IntoRunnable, SymbolScope, TDim, TVec, ToDim, TractResult,
    TypedModel, TypedSimplePlan,
};
use tract_onnx::tract_hir::infer::{Factoid as _, InferenceFact};
use tract_onnx::tract_hir::internal::{DimLike as _, ensure};

use crate::error::Cause;
use crate::graph::{Graph, Input};
use crate::{Error, executor, ops};

/// A model prepared by tract.
#[derive(Debug)]
pub(crate) struct Tract {
    plan: Arc<TypedSimplePlan>,
}

impl Tract {
    /// Prepares the graph; also says what the outputs are.
    pub(crate) fn load(path: &Path, graph: &Graph) -> Result<(Self, Vec<TensorSpec>), Error> {
        let framework = ops::framework();
        let missing =
            graph.missing_operators(|operator| framework.op_register.0.contains_key(operator));
        if !missing.is_empty() {
            return Err(Error::MissingOperators { path: path.to_owned(), operators: missing });
        }
        let refused = |cause: Cause| Error::Load { path: path.to_owned(), source: cause };
        // tract indexes into graphs that it takes to be well formed; a file may hold anything.
        let typed = catch_unwind(AssertUnwindSafe(|| typed(&framework, path, graph)))
            .map_err(|panic| refused(executor::message(&*panic).into()))?
            .map_err(|cause| refused(cause.into()))?;
        let outputs = outputs(&typed, graph).map_err(|(tensor, problem)| Error::Unsupported {
            path: path.to_owned(),
            tensor,
            problem,
        })?;
        let plan = typed.into_runnable().map_err(|cause| refused(cause.into()))?;
        Ok((Self { plan }, outputs))
    }

    /// Runs the model on tensors that fit it.
    pub(crate) fn run(
        &self,
        inputs: &[Cow<'_, Tensor>],
        outputs: &[TensorSpec],
    ) -> Result<Vec<Tensor>, Error> {
        self.try_run(inputs, outputs).map_err(|cause| Error::Run(cause.into()))
    }

    fn try_run(
        &self,
        inputs: &[Cow<'_, Tensor>],
        outputs: &[TensorSpec],
    ) -> TractResult<Vec<Tensor>> {
        let inputs =
            inputs.iter().map(|tensor| convert::to_tract(tensor)).collect::<TractResult<_>>()?;
        let answers = self.plan.run(inputs)?;
        outputs
            .iter()
            .zip(answers)
            .map(|(spec, answer)| convert::from_tract(&spec.name, &answer))
            .collect()
    }
}

fn typed(framework: &Onnx, path: &Path, graph: &Graph) -> TractResult<TypedModel> {
    let directory = path.parent().and_then(Path::to_str);
    let parsed = framework.parse(&graph.proto, directory)?;
    ensure!(parsed.unresolved_inputs.is_empty(), "no node makes {:?}", parsed.unresolved_inputs);
    optimise(parsed.model, &graph.inputs)
}

fn optimise(mut model: InferenceModel, inputs: &[Input]) -> TractResult<TypedModel> {
    for (index, input) in inputs.iter().enumerate() {
        let fact = model.input_fact(index)?.clone();
        let shape = symbolic_shape(&model.symbols, input, &fact);
        model.set_input_fact(index, fact.with_shape(shape))?;
    }
    // Some graphs that run well trip over a rewriting of tract's: those run as they are.
    model.clone().into_optimized().or_else(|_| model.into_typed())
}

/// The input's shape with a symbol for every dimension of any size.
fn symbolic_shape(symbols: &SymbolScope, input: &Input, fact: &InferenceFact) -> TVec<TDim> {
    let known = |axis| fact.shape.dim(axis).and_then(|dim| dim.concretize());
    input
        .spec
        .shape
        .iter()
        .zip(&input.labels)
        .enumerate()
        .map(|(axis, (size, label))| match size {
            Some(size) => size.to_dim(),
            None => known(axis).unwrap_or_else(|| symbol(symbols, label)),
        })
        .collect()
}

fn symbol(symbols: &SymbolScope, label: &str) -> TDim {
    let symbol = if label.is_empty() { symbols.new_with_prefix("d") } else { symbols.sym(label) };
    symbol.into()
}

fn outputs(model: &TypedModel, graph: &Graph) -> Result<Vec<TensorSpec>, (String, String)> {
    graph
        .output_names()
        .enumerate()
        .map(|(index, name)| {
            let fact =
                model.output_fact(index).map_err(|cause| (name.to_owned(), cause.to_string()))?;
            let datatype = convert::datatype(fact.datum_type).ok_or_else(|| {
                let problem = format!("{:?} has no name in the protocol", fact.datum_type);
                (name.to_owned(), problem)
            })?;
            let shape = fact.shape.iter().map(|size| size.to_usize().ok()).collect();
            Ok(TensorSpec { name: name.to_owned(), datatype, shape })
        })
        .collect()
}
