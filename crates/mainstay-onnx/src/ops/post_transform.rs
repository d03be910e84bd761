//! What classifiers and regressors do to their scores at the end.
//!
//! The formulas are those of the specification of `ai.onnx.ml`; PROBIT uses the same
//! approximation of the inverse error function as onnxruntime (Winitzki 2008), which is good to
//! three digits, so that both engines answer alike.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::prelude::TractResult;

/// The attribute `post_transform`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PostTransform {
    /// The scores as they are.
    None,
    /// `1 / (1 + e^-x)`, each by itself.
    Logistic,
    /// Exponentials that sum to one.
    Softmax,
    /// As Softmax, but scores of zero stay zero.
    SoftmaxZero,
    /// The quantile of the normal distribution.
    Probit,
}

/// Scores nearer to zero than this count as zero for SOFTMAX_ZERO.
const ZERO: f32 = 1e-7;
/// The constant of Winitzki's approximation.
const WINITZKI: f32 = 0.147;

impl PostTransform {
    /// From the node's attribute; NONE without one.
    pub(super) fn parse(node: &NodeProto) -> TractResult<Self> {
        Ok(match node.get_attr_opt::<&str>("post_transform")? {
            None | Some("NONE") => Self::None,
            Some("LOGISTIC") => Self::Logistic,
            Some("SOFTMAX") => Self::Softmax,
            Some("SOFTMAX_ZERO") => Self::SoftmaxZero,
            Some("PROBIT") => Self::Probit,
            Some(other) => bail!("unknown post_transform {other}"),
        })
    }

    /// Transforms the scores of one row.
    pub(super) fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::Softmax => softmax(scores, |_| true),
            Self::SoftmaxZero => softmax(scores, |score| score.abs() > ZERO),
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
        }
    }
}

/// `1 / (1 + e^-x)` without overflow.
pub(super) fn logistic(score: f32) -> f32 {
    let positive = 1.0 / (1.0 + (-score.abs()).exp());
    if score < 0.0 { 1.0 - positive } else { positive }
}

/// The quantile of the normal distribution.
pub(super) fn probit(score: f32) -> f32 {
    std::f32::consts::SQRT_2 * inverse_error(2.0 * score - 1.0)
}

fn inverse_error(x: f32) -> f32 {
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (std::f32::consts::PI * WINITZKI) + 0.5 * log;
    let root = (-half + (half * half - log / WINITZKI).sqrt()).sqrt();
    if x < 0.0 { -root } else { root }
}

/// Softmax over the scores for which `counts` holds; the others are left out and get about zero.
fn softmax(scores: &mut [f32], counts: impl Fn(f32) -> bool) {
    let highest = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if counts(*score) {
            *score = (*score - highest).exp();
            sum += *score;
        } else {
            *score *= (-highest).exp();
        }
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(transform: PostTransform, scores: &[f32]) -> Vec<f32> {
        let mut scores = scores.to_vec();
        transform.apply(&mut scores);
        scores
    }

    #[test]
    fn softmax_sums_to_one_even_for_large_scores() {
        let shares = applied(PostTransform::Softmax, &[1000.0, 1001.0]);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(shares[1] > shares[0]);
    }

    #[test]
    fn softmax_zero_leaves_zeros_out() {
        let shares = applied(PostTransform::SoftmaxZero, &[0.0, 1.0, 1.0]);
        assert_eq!(shares, [0.0, 0.5, 0.5]);
    }

    #[test]
    fn logistic_and_probit_are_odd_about_the_middle() {
        assert_eq!(logistic(0.0), 0.5);
        assert!((logistic(3.0) + logistic(-3.0) - 1.0).abs() < 1e-6);
        assert!((probit(0.9) + probit(0.1)).abs() < 1e-5);
        assert!((probit(0.975) - 1.96).abs() < 0.01);
    }
}
