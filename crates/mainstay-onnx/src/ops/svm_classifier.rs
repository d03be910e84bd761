//! `SVMClassifier`: one machine for each pair of classes, and the class that wins most pairs.
//!
//! With `prob_a` and `prob_b` the margins become probabilities: a logistic for each pair (Platt
//! 1999), coupled over the classes by the second method of Wu, Lin and Weng ("Probability
//! Estimates for Multi-class Classification by Pairwise Coupling", 2004), as in libsvm. Without
//! support vectors each class has one linear function. What the specification leaves open
//! follows onnxruntime: the label is decided by votes also where there are probabilities.

mod coupling;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::ensure;
use tract_onnx::tract_hir::prelude::{TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, build, columns, floats, operator, rows_and_columns};
use super::labels::Labels;
use super::linear::highest;
use super::post_transform::{PostTransform, logistic, probit};
use super::svm::{Machine, features};

/// Pairwise probabilities keep this far from certainty.
const MARGIN: f32 = 1e-7;

/// Reads the node.
pub(super) fn parse(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let labels = Labels::parse(node, "classlabels_ints")?;
    ensure!(labels.len() > 1, "a classifier of one class is not supported");
    let supports = node.get_attr_opt_vec::<usize>("vectors_per_class")?.unwrap_or_default();
    let coefficients: Vec<f32> = node.get_attr_vec("coefficients")?;
    let rho: Vec<f32> = node.get_attr_vec("rho")?;
    let machine = if supports.iter().sum::<usize>() > 0 {
        Decision::Pairs(Pairs::parse(node, labels.len(), supports, coefficients, rho)?)
    } else {
        let features = features(&coefficients, labels.len())?;
        ensure!(!rho.is_empty(), "no rho");
        let shares = coefficients.iter().all(|coefficient| *coefficient >= 0.0);
        Decision::Linear { coefficients, features, rho: rho[0], shares }
    };
    let post_transform = PostTransform::parse(node)?;
    operator(node, SvmClassifier { labels, decision: machine, post_transform })
}

#[derive(Debug)]
struct SvmClassifier {
    labels: Labels,
    decision: Decision,
    post_transform: PostTransform,
}

#[derive(Debug)]
enum Decision {
    /// A linear function for each class; `shares` if no coefficient is negative.
    Linear { coefficients: Vec<f32>, features: usize, rho: f32, shares: bool },
    /// A machine for each pair of classes.
    Pairs(Pairs),
}

/// Machines that share their support vectors.
#[derive(Debug)]
struct Pairs {
    classes: usize,
    machine: Machine,
    vectors: Vec<f32>,
    features: usize,
    /// The support vectors of class `i` are `starts[i]..starts[i + 1]`.
    starts: Vec<usize>,
    /// A row for each class but one, a column for each vector, as libsvm writes them.
    coefficients: Vec<f32>,
    /// One for each pair.
    rho: Vec<f32>,
    /// Platt's two parameters for each pair; empty without probabilities.
    platt: Vec<(f32, f32)>,
}

impl Kernel for SvmClassifier {
    const NAME: &'static str = "SVMClassifier";
    const OUTPUTS: usize = 2;

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let (rows, _) = rows_and_columns(&inputs[0].shape)?;
        let labels = Form { datum: self.labels.datum(), shape: tvec!(rows.clone()) };
        Ok(tvec!(labels, Form::new::<f32>([rows, self.width().into()])))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        let input = inputs[0].cast_to::<f32>()?;
        let columns = columns(&input);
        let features = self.decision.features();
        ensure!(columns == features, "{columns} columns for {features} features");
        let mut chosen = Vec::with_capacity(input.len() / columns);
        let scores = build(&[input.len() / columns, self.width()], |scores| {
            for (row, scores) in
                floats(&input)?.chunks(columns).zip(scores.chunks_mut(self.width()))
            {
                chosen.push(self.decide(row, scores));
            }
            Ok(())
        })?;
        Ok(tvec!(self.labels.pick(&chosen)?, scores))
    }
}

impl SvmClassifier {
    /// The number of scores: one for each class, or for each pair without probabilities.
    fn width(&self) -> usize {
        match &self.decision {
            Decision::Pairs(pairs) if pairs.platt.is_empty() => pairs.rho.len().max(2),
            _ => self.labels.len(),
        }
    }

    /// Scores one row and chooses its class.
    fn decide(&self, row: &[f32], scores: &mut [f32]) -> usize {
        match &self.decision {
            Decision::Linear { coefficients, features, rho, shares } => {
                for (score, of_class) in scores.iter_mut().zip(coefficients.chunks(*features)) {
                    *score = Machine::LINEAR.apply(row, of_class) + rho;
                }
                let chosen = choose_linear(scores, *shares);
                self.post_transform.apply(scores);
                chosen
            }
            Decision::Pairs(pairs) => {
                let margins = pairs.margins(row);
                self.score_pairs(pairs, &margins, scores);
                pairs.vote(&margins)
            }
        }
    }

    fn score_pairs(&self, pairs: &Pairs, margins: &[f32], scores: &mut [f32]) {
        if !pairs.platt.is_empty() {
            coupling::couple(&pairs.probabilities(margins), scores);
            self.post_transform.apply(scores);
        } else if let [margin] = *margins {
            let pair = match self.post_transform {
                PostTransform::None => [-margin, margin],
                PostTransform::Probit => [probit(margin), 0.0],
                _ => [1.0 - margin, margin],
            };
            scores.copy_from_slice(&pair);
        } else {
            scores.copy_from_slice(margins);
            self.post_transform.apply(scores);
        }
    }
}

/// The highest score; of two classes the second also wins by passing the threshold that its
/// weights imply.
fn choose_linear(scores: &[f32], shares: bool) -> usize {
    let chosen = highest(scores);
    let score = scores[chosen];
    let passes = if shares { score >= 0.5 } else { score > 0.0 };
    if scores.len() == 2 && passes { 1 } else { chosen }
}

impl Decision {
    fn features(&self) -> usize {
        match self {
            Self::Linear { features, .. } => *features,
            Self::Pairs(pairs) => pairs.features,
        }
    }
}

impl Pairs {
    fn parse(
        node: &NodeProto,
        classes: usize,
        supports: Vec<usize>,
        coefficients: Vec<f32>,
        rho: Vec<f32>,
    ) -> TractResult<Self> {
        ensure!(supports.len() == classes, "{} vectors_per_class", supports.len());
        let mut starts = vec![0];
        for count in supports {
            starts.push(starts[starts.len() - 1] + count);
        }
        let count = starts[classes];
        let pairs = classes * (classes - 1) / 2;
        let a = node.get_attr_opt_vec::<f32>("prob_a")?.unwrap_or_default();
        let b = node.get_attr_opt_vec::<f32>("prob_b")?.unwrap_or_default();
        ensure!(a.len() == b.len() && (a.is_empty() || a.len() == pairs), "{} prob_a", a.len());
        ensure!(rho.len() == pairs, "{} rho for {pairs} pairs", rho.len());
        ensure!(coefficients.len() == (classes - 1) * count, "{} coefficients", coefficients.len());
        let vectors: Vec<f32> = node.get_attr_vec("support_vectors")?;
        Ok(Self {
            classes,
            machine: Machine::parse(node)?,
            features: features(&vectors, count)?,
            vectors,
            starts,
            coefficients,
            rho,
            platt: a.into_iter().zip(b).collect(),
        })
    }

    /// Every pair of classes, the lower first, in libsvm's order.
    fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        let classes = self.classes;
        (0..classes).flat_map(move |low| (low + 1..classes).map(move |high| (low, high)))
    }

    /// How far the row lies on the lower class's side, for each pair.
    #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
    fn margins(&self, row: &[f32]) -> Vec<f32> {
        let near: Vec<f32> = self
            .vectors
            .chunks(self.features)
            .map(|vector| self.machine.apply(row, vector))
            .collect();
        self.each()
            .zip(&self.rho)
            .map(|((low, high), rho)| {
                let sum = self.weigh(&near, high - 1, low) + self.weigh(&near, low, high);
                (sum + f64::from(*rho)) as f32
            })
            .collect()
    }

    /// The sum over the support vectors of `class`, with coefficients from one row. Large terms
    /// cancel here, so it is taken in double precision.
    fn weigh(&self, near: &[f32], row: usize, class: usize) -> f64 {
        let range = self.starts[class]..self.starts[class + 1];
        let count = near.len();
        let coefficients = &self.coefficients[row * count..(row + 1) * count];
        coefficients[range.clone()]
            .iter()
            .zip(&near[range])
            .map(|(c, near)| f64::from(*c) * f64::from(*near))
            .sum()
    }

    /// The class that wins most pairs; the first of equals.
    fn vote(&self, margins: &[f32]) -> usize {
        let mut votes = vec![0_u32; self.classes];
        for ((low, high), margin) in self.each().zip(margins) {
            votes[if *margin > 0.0 { low } else { high }] += 1;
        }
        (0..self.classes).rev().max_by_key(|class| votes[*class]).unwrap_or(0)
    }

    /// For each pair the probability of the one class against the other, as a square matrix.
    fn probabilities(&self, margins: &[f32]) -> Vec<f32> {
        let mut matrix = vec![0.0; self.classes * self.classes];
        for (((low, high), margin), (a, b)) in self.each().zip(margins).zip(&self.platt) {
            let probability = (1.0 - logistic(margin * a + b)).clamp(MARGIN, 1.0 - MARGIN);
            matrix[low * self.classes + high] = probability;
            matrix[high * self.classes + low] = 1.0 - probability;
        }
        matrix
    }
}
