//! One probability for each class from the probabilities of each pair.
//!
//! The second method of Wu, Lin and Weng (2004, algorithm 2): the shares `p` that minimise the
//! sum over all pairs of `(r[j][i] p[i] - r[i][j] p[j])²`, found by improving one share after the
//! other. Rounds and tolerance are those of libsvm.

/// The most rounds.
const ROUNDS: usize = 100;
/// The error at which to stop, times the number of classes.
const TOLERANCE: f32 = 0.005;

/// Fills `shares` from `pairwise`, a square matrix in which row `i`, column `j` holds the
/// probability of class `i` where only `i` and `j` are possible.
pub(super) fn couple(pairwise: &[f32], shares: &mut [f32]) {
    let classes = shares.len();
    let quadratic = quadratic_form(pairwise, classes);
    #[expect(clippy::cast_precision_loss, reason = "a few classes")]
    let count = classes as f32;
    shares.fill(1.0 / count);
    for _ in 0..ROUNDS {
        let mut products = multiply(&quadratic, shares);
        let mut value: f32 = shares.iter().zip(&products).map(|(share, p)| share * p).sum();
        if products.iter().all(|product| (product - value).abs() < TOLERANCE / count) {
            return;
        }
        for class in 0..classes {
            let row = &quadratic[class * classes..(class + 1) * classes];
            let step = (value - products[class]) / row[class];
            shares[class] += step;
            let scale = 1.0 + step;
            value = (value + step * (step * row[class] + 2.0 * products[class])) / scale / scale;
            products.iter_mut().zip(row).for_each(|(p, q)| *p = (*p + step * q) / scale);
            shares.iter_mut().for_each(|share| *share /= scale);
        }
    }
}

fn quadratic_form(pairwise: &[f32], classes: usize) -> Vec<f32> {
    let mut form = vec![0.0; classes * classes];
    for i in 0..classes {
        for j in (0..classes).filter(|j| *j != i) {
            let against = pairwise[j * classes + i];
            form[i * classes + i] += against * against;
            form[i * classes + j] = -against * pairwise[i * classes + j];
        }
    }
    form
}

fn multiply(matrix: &[f32], vector: &[f32]) -> Vec<f32> {
    matrix
        .chunks(vector.len())
        .map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_classes_keep_their_probabilities() {
        let mut shares = [0.0; 2];
        couple(&[0.0, 0.8, 0.2, 0.0], &mut shares);
        assert!((shares[0] - 0.8).abs() < 0.01, "{shares:?}");
    }

    #[test]
    fn shares_sum_to_one_and_keep_the_order() {
        let mut shares = [0.0; 3];
        couple(&[0.0, 0.7, 0.9, 0.3, 0.0, 0.6, 0.1, 0.4, 0.0], &mut shares);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(shares[0] > shares[1] && shares[1] > shares[2], "{shares:?}");
    }
}
