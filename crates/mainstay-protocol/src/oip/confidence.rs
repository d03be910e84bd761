//! How sure an answer is of itself: a number for each row, read from one of its outputs.
//!
//! A row whose confidence is below the rule's `at_least` counts as unanswered. What cannot be
//! compared (no such output, strings, NaN) is no low confidence but a bad answer.

use crate::{Error, Tensor};

use super::answer::Response;
use super::{numbers, rows};

/// How the values of a row become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Reduce {
    /// The largest value: the probability of the winning class.
    #[default]
    Max,
    /// The largest value less the second largest: how clearly the winner won. A row of a single
    /// value has no runner-up, and its margin is the value.
    Margin,
}

/// A confidence rule of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The output that tells the confidence, for example `probabilities`.
    pub output: String,
    /// The least value that counts as answered; equal is enough.
    pub at_least: f64,
    /// How the values of a row become one number.
    pub reduce: Reduce,
}

impl Rule {
    /// Whether a row of this confidence counts as answered.
    #[must_use]
    pub fn accepts(&self, confidence: f64) -> bool {
        confidence >= self.at_least
    }
}

/// The confidence of each row, where the first dimension is the batch.
///
/// # Errors
/// No such output, no numbers in it, or a row without finite values.
pub fn per_row(response: &Response, rule: &Rule) -> Result<Vec<f64>, Error> {
    per_sound_row(response, rule, &[])
}

/// The same where some rows are known to be unusable: these have no confidence at all.
///
/// # Errors
/// As [`per_row`], but for the rows in `void`.
pub fn per_sound_row(response: &Response, rule: &Rule, void: &[usize]) -> Result<Vec<f64>, Error> {
    let tensor = response.output(&rule.output)?;
    let Some(width) = rows::width(tensor) else {
        let (expected, found) = (tensor.rows(), tensor.data.len());
        return Err(Error::Rows { tensor: tensor.name.clone(), expected, found });
    };
    let of_row = |row| match void.binary_search(&row) {
        Ok(_) => Ok(f64::NEG_INFINITY),
        Err(_) => reduce(tensor, rule.reduce, row, width),
    };
    (0..tensor.rows()).map(of_row).collect()
}

/// The confidence of the answer as a whole, where there is no batch.
///
/// # Errors
/// No such output, no numbers in it, or no finite values.
pub fn whole(response: &Response, rule: &Rule) -> Result<f64, Error> {
    let tensor = response.output(&rule.output)?;
    reduce(tensor, rule.reduce, 0, tensor.data.len())
}

fn reduce(tensor: &Tensor, reduce: Reduce, row: usize, width: usize) -> Result<f64, Error> {
    let not_finite = || Error::NotFinite { tensor: tensor.name.clone(), row };
    let (mut first, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for index in row * width..(row + 1) * width {
        let value = numbers::at(tensor, index)?;
        if !value.is_finite() {
            return Err(not_finite());
        }
        if value > first {
            (first, second) = (value, first);
        } else if value > second {
            second = value;
        }
    }
    match reduce {
        _ if width == 0 => Err(not_finite()),
        Reduce::Margin if width > 1 => Ok(first - second),
        Reduce::Max | Reduce::Margin => Ok(first),
    }
}

#[cfg(test)]
mod tests;
