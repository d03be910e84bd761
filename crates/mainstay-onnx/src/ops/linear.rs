//! `LinearRegressor` and `LinearClassifier`: inner products with the rows of a matrix.
//!
//! tract has both, without string labels, PROBIT and SOFTMAX_ZERO; and it chooses the class after
//! the logistic function, where two large scores are both one.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::ensure;
use tract_onnx::tract_hir::prelude::{TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, columns, floats, operator, rows_and_columns};
use super::labels::Labels;
use super::post_transform::{PostTransform, logistic, probit};

/// How many products are summed side by side, so that the compiler can use vector instructions.
const LANES: usize = 8;

/// Reads a LinearRegressor.
pub(super) fn parse_regressor(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let targets: usize = node.get_attr_opt("targets")?.unwrap_or(1);
    let matrix = Matrix::parse(node, targets)?;
    operator(node, LinearRegressor { matrix, post_transform: PostTransform::parse(node)? })
}

/// Reads a LinearClassifier.
pub(super) fn parse_classifier(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let labels = Labels::parse(node, "classlabels_ints")?;
    ensure!(labels.len() > 1, "a classifier of one class is not supported");
    let intercepts = node.get_attr_opt_vec::<f32>("intercepts")?.unwrap_or_default();
    // One function for two classes scores the second; exporters always write intercepts.
    let one_sided = labels.len() == 2 && intercepts.len() == 1;
    let matrix = Matrix::parse(node, if one_sided { 1 } else { labels.len() })?;
    operator(node, LinearClassifier { matrix, labels, post_transform: PostTransform::parse(node)? })
}

/// The inner product.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Linear functions, one in each row.
#[derive(Debug)]
struct Matrix {
    coefficients: Vec<f32>,
    columns: usize,
    /// One for each function.
    intercepts: Vec<f32>,
}

impl Matrix {
    fn parse(node: &NodeProto, functions: usize) -> TractResult<Self> {
        let coefficients: Vec<f32> = node.get_attr_vec("coefficients")?;
        let intercepts = node.get_attr_opt_vec::<f32>("intercepts")?.unwrap_or_default();
        let intercepts = if intercepts.is_empty() { vec![0.0; functions] } else { intercepts };
        ensure!(intercepts.len() == functions, "{} intercepts for {functions}", intercepts.len());
        let columns = coefficients.len() / functions.max(1);
        ensure!(
            columns > 0 && coefficients.len() == columns * functions,
            "{} coefficients for {functions} functions",
            coefficients.len()
        );
        Ok(Self { coefficients, columns, intercepts })
    }

    fn functions(&self) -> usize {
        self.intercepts.len()
    }

    fn apply(&self, row: &[f32], scores: &mut [f32]) {
        let functions = self.coefficients.chunks(self.columns).zip(&self.intercepts);
        for (score, (coefficients, intercept)) in scores.iter_mut().zip(functions) {
            *score = dot(row, coefficients) + intercept;
        }
    }

    /// The rows of an input, if it has the right number of columns.
    fn rows<'a>(&self, input: &'a Tensor) -> TractResult<std::slice::Chunks<'a, f32>> {
        let columns = columns(input);
        ensure!(columns == self.columns, "{columns} columns for {} coefficients", self.columns);
        Ok(floats(input)?.chunks(columns))
    }
}

#[derive(Debug)]
struct LinearRegressor {
    matrix: Matrix,
    post_transform: PostTransform,
}

impl Kernel for LinearRegressor {
    const NAME: &'static str = "LinearRegressor";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let (rows, _) = rows_and_columns(&inputs[0].shape)?;
        Ok(tvec!(Form::new::<f32>([rows, self.matrix.functions().into()])))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let input = inputs[0].cast_to::<f32>()?;
        let rows = self.matrix.rows(&input)?;
        let targets = self.matrix.functions();
        let output = build(&[rows.len(), targets], |output| {
            for (row, scores) in rows.zip(output.chunks_mut(targets)) {
                self.matrix.apply(row, scores);
                self.post_transform.apply(scores);
            }
            Ok(())
        })?;
        Ok(tvec!(output))
    }
}

#[derive(Debug)]
struct LinearClassifier {
    matrix: Matrix,
    labels: Labels,
    post_transform: PostTransform,
}

impl Kernel for LinearClassifier {
    const NAME: &'static str = "LinearClassifier";
    const OUTPUTS: usize = 2;

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let (rows, _) = rows_and_columns(&inputs[0].shape)?;
        let labels = Form { datum: self.labels.datum(), shape: tvec!(rows.clone()) };
        Ok(tvec!(labels, Form::new::<f32>([rows, self.labels.len().into()])))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let input = inputs[0].cast_to::<f32>()?;
        let rows = self.matrix.rows(&input)?;
        let mut chosen = Vec::with_capacity(rows.len());
        let scores = build(&[rows.len(), self.labels.len()], |scores| {
            for (row, scores) in rows.zip(scores.chunks_mut(self.labels.len())) {
                self.matrix.apply(row, scores);
                chosen.push(self.decide(scores));
            }
            Ok(())
        })?;
        Ok(tvec!(self.labels.pick(&chosen)?, scores))
    }
}

impl LinearClassifier {
    /// Transforms the scores of one row, and chooses its class.
    fn decide(&self, scores: &mut [f32]) -> usize {
        if self.matrix.functions() == 1 {
            let score = scores[0];
            scores.copy_from_slice(&self.mirror(score));
            return usize::from(score > 0.0);
        }
        let chosen = highest(scores);
        self.post_transform.apply(scores);
        chosen
    }

    /// The scores of both classes from that of the second, as onnxruntime gives them.
    fn mirror(&self, score: f32) -> [f32; 2] {
        match self.post_transform {
            PostTransform::Logistic => [logistic(-score), logistic(score)],
            PostTransform::Probit => [probit(score), 0.0],
            _ => [1.0 - score, score],
        }
    }
}

/// The place of the highest score; the first of equals.
pub(super) fn highest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (place, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = place;
        }
    }
    best
}
