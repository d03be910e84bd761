//! `TreeEnsembleRegressor`: the leaves' weights summed, averaged, or their least or greatest.
//!
//! With one target only PROBIT is applied to the result, as in onnxruntime; exporters leave
//! `post_transform` at NONE for regressors.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{bail, ensure};
use tract_onnx::tract_hir::prelude::{TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, columns, floats, operator, rows_and_columns};
use super::post_transform::PostTransform;
use super::trees::Trees;

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let targets: usize = node.get_attr("n_targets")?;
    ensure!(targets > 0, "n_targets must be positive");
    let aggregate = match node.get_attr_opt::<&str>("aggregate_function")? {
        None | Some("SUM") => Aggregate::Sum,
        Some("AVERAGE") => Aggregate::Average,
        Some("MIN") => Aggregate::Least,
        Some("MAX") => Aggregate::Greatest,
        Some(other) => bail!("unknown aggregate_function {other}"),
    };
    let base = node.get_attr_opt_vec::<f32>("base_values")?.unwrap_or_default();
    ensure!(base.is_empty() || base.len() == targets, "{} base_values", base.len());
    let trees = Trees::parse(node, "target", targets)?;
    let post_transform = PostTransform::parse(node)?;
    operator(node, TreeRegressor { trees, targets, aggregate, base, post_transform })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Average,
    Least,
    Greatest,
}

#[derive(Debug)]
struct TreeRegressor {
    trees: Trees,
    targets: usize,
    aggregate: Aggregate,
    /// One for each target, or none.
    base: Vec<f32>,
    post_transform: PostTransform,
}

impl Kernel for TreeRegressor {
    const NAME: &'static str = "TreeEnsembleRegressor";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let (rows, _) = rows_and_columns(&inputs[0].shape)?;
        Ok(tvec!(Form::new::<f32>([rows, self.targets.into()])))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let input = inputs[0].cast_to::<f32>()?;
        let columns = columns(&input);
        let rows = input.len() / columns.max(1);
        let output = build(&[rows, self.targets], |scores| {
            self.aggregate(floats(&input)?, columns, scores)?;
            scores.chunks_mut(self.targets).for_each(|row| self.finish(row));
            Ok(())
        })?;
        Ok(tvec!(output))
    }
}

impl TreeRegressor {
    fn aggregate(&self, rows: &[f32], columns: usize, scores: &mut [f32]) -> TractResult<()> {
        match self.aggregate {
            Aggregate::Sum | Aggregate::Average => {
                self.trees.visit(rows, columns, |row, contributions| {
                    for (target, weight) in contributions {
                        scores[row * self.targets + *target as usize] += weight;
                    }
                })
            }
            Aggregate::Least => self.extreme(rows, columns, scores, f32::min),
            Aggregate::Greatest => self.extreme(rows, columns, scores, f32::max),
        }
    }

    /// The least or greatest weight for each target; zero where no leaf speaks of it.
    fn extreme(
        &self,
        rows: &[f32],
        columns: usize,
        scores: &mut [f32],
        choose: impl Fn(f32, f32) -> f32,
    ) -> TractResult<()> {
        scores.fill(f32::NAN);
        self.trees.visit(rows, columns, |row, contributions| {
            for (target, weight) in contributions {
                let score = &mut scores[row * self.targets + *target as usize];
                *score = if score.is_nan() { *weight } else { choose(*score, *weight) };
            }
        })?;
        scores.iter_mut().filter(|score| score.is_nan()).for_each(|score| *score = 0.0);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a few thousand trees at most")]
    fn finish(&self, scores: &mut [f32]) {
        if self.aggregate == Aggregate::Average {
            let trees = self.trees.len() as f32;
            scores.iter_mut().for_each(|score| *score /= trees);
        }
        scores.iter_mut().zip(&self.base).for_each(|(score, base)| *score += base);
        if self.targets > 1 || self.post_transform == PostTransform::Probit {
            self.post_transform.apply(scores);
        }
    }
}
