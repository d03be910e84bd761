//! Whether two answers to one request say the same, row by row.
//!
//! A lesser model that is meant to answer in another's place is never equal to it in every digit;
//! what counts is whether its callers would have done the same. So labels (integers, booleans,
//! texts) must be equal, and where there are any they alone decide: the scores beside them belong
//! to the model that gave them. Where an answer is numbers only, each may lie a tolerance away.

use super::answer::Response;
use super::numbers::{self, is_float};
use super::rows;
use crate::{Data, Tensor};

/// How far numbers may lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// In the unit of the output. Default 0.01.
    pub absolute: f64,
    /// As a part of the value of the first answer. Default 0.05.
    pub relative: f64,
}

/// How many rows of two answers say the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Rows that could be compared.
    pub rows: u32,
    /// Those of them that say the same.
    pub agreed: u32,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { absolute: 0.01, relative: 0.05 }
    }
}

impl Tolerance {
    fn accepts(self, one: f64, other: f64) -> bool {
        // Equal infinities have no difference, and two that are no numbers say the same.
        one.total_cmp(&other).is_eq()
            || (one - other).abs() <= self.absolute + self.relative * one.abs()
    }
}

/// Compares two answers. `batch` says whether the first dimension counts rows; without it an
/// answer is one row. Outputs that only one of them has say nothing; `None` where no output is
/// left to be compared.
#[must_use]
pub fn compare(
    one: &Response,
    other: &Response,
    batch: bool,
    tolerance: Tolerance,
) -> Option<Agreement> {
    let common: Vec<(&Tensor, &Tensor)> = one
        .outputs
        .iter()
        .filter_map(|tensor| Some((tensor, other.output(&tensor.name).ok()?)))
        .collect();
    let is_label = |(tensor, _): &(&Tensor, &Tensor)| !is_float(tensor.datatype());
    let labels: Vec<_> = common.iter().copied().filter(is_label).collect();
    let compared = if labels.is_empty() { common } else { labels };
    let rows = compared.first().map(|(tensor, _)| if batch { tensor.rows() } else { 1 })?;
    let same = |row: usize| compared.iter().all(|pair| row_agrees(*pair, (row, rows), tolerance));
    let agreed = (0..rows).filter(|row| same(*row)).count();
    let count = |rows: usize| u32::try_from(rows).unwrap_or(u32::MAX);
    Some(Agreement { rows: count(rows), agreed: count(agreed) })
}

/// Whether one row of two outputs says the same.
fn row_agrees(
    (one, other): (&Tensor, &Tensor),
    (row, rows): (usize, usize),
    tolerance: Tolerance,
) -> bool {
    let whole = rows == 1;
    let width = if whole { Some(one.data.len()) } else { rows::width(one) };
    let Some(width) = width.filter(|_| one.data.len() == other.data.len()) else { return false };
    (row * width..(row + 1) * width).all(|index| same(one, other, index, tolerance))
}

fn same(one: &Tensor, other: &Tensor, index: usize, tolerance: Tolerance) -> bool {
    match (&one.data, &other.data) {
        (Data::Bytes(one), Data::Bytes(other)) => one.get(index) == other.get(index),
        (Data::Bool(one), Data::Bool(other)) => one.get(index) == other.get(index),
        _ => {
            let pair = (numbers::at(one, index), numbers::at(other, index));
            let (Ok(one_at), Ok(other_at)) = pair else { return false };
            if is_float(one.datatype()) {
                tolerance.accepts(one_at, other_at)
            } else {
                one_at.total_cmp(&other_at).is_eq()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(labels: &[i64], scores: &[f32]) -> Response {
        let label = Tensor {
            name: "label".into(),
            shape: vec![labels.len()],
            data: Data::Int64(labels.to_vec()),
        };
        let score = Tensor {
            name: "score".into(),
            shape: vec![scores.len(), 1],
            data: Data::Fp32(scores.to_vec()),
        };
        let outputs = [label, score].into_iter().filter(|tensor| !tensor.data.is_empty());
        Response { outputs: outputs.collect(), ..Response::default() }
    }

    fn compared(one: &Response, other: &Response, batch: bool) -> Option<(u32, u32)> {
        let found = compare(one, other, batch, Tolerance::default());
        found.map(|found| (found.agreed, found.rows))
    }

    #[test]
    fn labels_decide_where_there_are_any() {
        let (one, other) = (answer(&[1, 2, 3], &[0.9; 3]), answer(&[1, 0, 3], &[0.1; 3]));
        assert_eq!(compared(&one, &other, true), Some((2, 3)));
        assert_eq!(compared(&one, &other, false), Some((0, 1)), "one row in all");
        assert_eq!(compared(&one, &one, false), Some((1, 1)));
    }

    #[test]
    fn numbers_may_lie_a_little_apart() {
        let (one, other) = (answer(&[], &[1.0, 100.0, 0.0]), answer(&[], &[1.05, 106.0, 0.01]));
        assert_eq!(compared(&one, &other, true), Some((2, 3)));
        let (nan, infinite) = (answer(&[], &[f32::NAN]), answer(&[], &[f32::INFINITY]));
        assert_eq!(compared(&nan, &nan, true), Some((1, 1)));
        assert_eq!(compared(&infinite, &infinite, true), Some((1, 1)));
        assert_eq!(compared(&nan, &infinite, true), Some((0, 1)));
    }

    #[test]
    fn answers_of_another_shape_do_not_agree_and_of_other_outputs_say_nothing() {
        assert_eq!(compared(&answer(&[1, 2], &[]), &answer(&[1], &[]), true), Some((0, 2)));
        assert_eq!(compared(&answer(&[1], &[]), &answer(&[], &[1.0]), true), None);
        assert_eq!(compared(&Response::default(), &answer(&[1], &[]), true), None);
    }
}
