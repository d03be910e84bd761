//! `TreeEnsembleClassifier`: votes of trees, and the class with most of them.
//!
//! The specification leaves two classes open, and exporters use the freedom: a booster may give
//! weights for one class only, as the margin of the second class over the first (LightGBM,
//! XGBoost, scikit-learn's gradient boosting), a forest shares of the second class. So here stands
//! what onnxruntime does, the implementation that exporters test against:
//!
//! | classes that a row's leaves speak of | label is the second class | scores |
//! |---|---|---|
//! | the first of two, no weight negative | if the score is over 0.5 | `1 - s, s`, or both logistic |
//! | the first of two, some weight negative | if the score is over 0 | `-s, s`, or both logistic |
//! | the second of two | if its score is over 0, or 0.5 | each by itself, the first 0 |
//! | both of two | if the second's score is over 0 | each by itself |
//! | more than two | the highest score, the first of equals | each by itself |
//!
//! Two base values for two classes: where leaves speak of the second class, its score is the
//! second base value and the first class's score, and the first's is the negative of that.
//! Otherwise each is its own, and the second class has 0.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::ensure;
use tract_onnx::tract_hir::prelude::{TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, columns, floats, operator, rows_and_columns};
use super::labels::Labels;
use super::post_transform::{PostTransform, logistic, probit};
use super::trees::Trees;

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let labels = Labels::parse(node, "classlabels_int64s")?;
    ensure!(labels.len() > 1, "a classifier of one class is not supported");
    let base = node.get_attr_opt_vec::<f32>("base_values")?.unwrap_or_default();
    ensure!(base.len() <= labels.len(), "{} base_values", base.len());
    let trees = Trees::parse(node, "class", labels.len())?;
    let weights = trees.weights();
    let first = weights.first().map(|(class, _)| *class);
    let one_sided = weights.iter().all(|(class, _)| Some(*class) == first);
    let shares = weights.iter().all(|(_, weight)| *weight >= 0.0);
    let post_transform = PostTransform::parse(node)?;
    operator(node, TreeClassifier { trees, labels, base, post_transform, one_sided, shares })
}

#[derive(Debug)]
struct TreeClassifier {
    trees: Trees,
    labels: Labels,
    base: Vec<f32>,
    post_transform: PostTransform,
    /// All weights are for one class.
    one_sided: bool,
    /// No weight is negative.
    shares: bool,
}

impl Kernel for TreeClassifier {
    const NAME: &'static str = "TreeEnsembleClassifier";
    const OUTPUTS: usize = 2;

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let (rows, _) = rows_and_columns(&inputs[0].shape)?;
        let labels = Form { datum: self.labels.datum(), shape: tvec!(rows.clone()) };
        Ok(tvec!(labels, Form::new::<f32>([rows, self.labels.len().into()])))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let input = inputs[0].cast_to::<f32>()?;
        let columns = columns(&input);
        let rows = input.len() / columns.max(1);
        let classes = self.labels.len();
        let mut chosen = Vec::with_capacity(rows);
        let scores = build(&[rows, classes], |scores| {
            let mut scored = vec![false; scores.len()];
            self.vote(floats(&input)?, columns, scores, &mut scored)?;
            for (scores, scored) in scores.chunks_mut(classes).zip(scored.chunks_mut(classes)) {
                chosen.push(self.decide(scores, scored));
            }
            Ok(())
        })?;
        Ok(tvec!(self.labels.pick(&chosen)?, scores))
    }
}

impl TreeClassifier {
    /// Adds up the leaves' weights; `scored` says which classes they spoke of.
    fn vote(
        &self,
        rows: &[f32],
        columns: usize,
        scores: &mut [f32],
        scored: &mut [bool],
    ) -> TractResult<()> {
        let classes = self.labels.len();
        self.trees.visit(rows, columns, |row, contributions| {
            for (class, weight) in contributions {
                let at = row * classes + *class as usize;
                scores[at] += weight;
                scored[at] = true;
            }
        })
    }

    /// Turns the votes of one row into its scores, and chooses its class.
    fn decide(&self, scores: &mut [f32], scored: &mut [bool]) -> usize {
        match scores {
            [first, second] => self.decide_of_two(first, second, [scored[0], scored[1]]),
            many => self.decide_of_many(many, scored),
        }
    }

    fn decide_of_many(&self, scores: &mut [f32], scored: &mut [bool]) -> usize {
        for ((score, scored), base) in scores.iter_mut().zip(scored.iter_mut()).zip(&self.base) {
            *score += base;
            *scored = true;
        }
        let chosen = highest(scores, scored);
        self.post_transform.apply(scores);
        chosen
    }

    fn decide_of_two(&self, first: &mut f32, second: &mut f32, scored: [bool; 2]) -> usize {
        let mut mirrored = !scored[1];
        match *self.base.as_slice() {
            [_, base] if scored[1] => {
                *second = base + *first;
                *first = -*second;
            }
            [base, _] => {
                *first += base;
                mirrored = false;
            }
            [base] => *first += base,
            _ => {}
        }
        let margin = if scored[1] { *second } else { *first };
        let threshold = if self.one_sided && self.shares { 0.5 } else { 0.0 };
        let mut pair = [if scored[0] { *first } else { 0.0 }, *second];
        if mirrored {
            pair = self.mirror(margin);
        } else {
            self.post_transform.apply(&mut pair);
        }
        [*first, *second] = pair;
        usize::from(margin > threshold)
    }

    /// Both scores from the only one.
    fn mirror(&self, score: f32) -> [f32; 2] {
        match self.post_transform {
            PostTransform::Probit => [probit(score), 0.0],
            PostTransform::Logistic => [logistic(-score), logistic(score)],
            _ if self.one_sided && self.shares => [1.0 - score, score],
            _ => [-score, score],
        }
    }
}

/// The class with the highest score among those that have one; the first of equals.
fn highest(scores: &[f32], scored: &[bool]) -> usize {
    let mut best: Option<(usize, f32)> = None;
    for (class, score) in scores.iter().enumerate().filter(|(class, _)| scored[*class]) {
        if best.is_none_or(|(_, highest)| *score > highest) {
            best = Some((class, *score));
        }
    }
    best.map_or(0, |(class, _)| class)
}
