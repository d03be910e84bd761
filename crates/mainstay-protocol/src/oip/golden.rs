//! Golden requests: an input whose right answer is known, sent as a probe.
//!
//! A server can be ready and fast and serve the wrong model under the right name. Only asking
//! it something whose answer is known finds that out. The question and its answer stand in a
//! JSON file, which `mainstay golden` records from a server that is known to be good:
//!
//! ```json
//! {
//!   "model": "fraud",
//!   "request": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1]}]},
//!   "expect": {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.13]}]},
//!   "tolerance": {"y": {"absolute": 1e-4, "relative": 1e-4}, "*": {"nan-equal": true}}
//! }
//! ```
//!
//! Without a tolerance values must be equal. With one, a value may lie `absolute + relative ×
//! |expected|` away, as `numpy.allclose` has it. NaN equals nothing, not even NaN, unless
//! `nan-equal` says so; `"NaN"`, `"Infinity"` and `"-Infinity"` can be expected as texts. Outputs
//! that the file does not name are not looked at.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer::Response;
use super::infer;
use super::numbers::is_float;
use crate::{Error, TensorSpec};

mod expected;

use expected::Expected;

/// The name under `tolerance` that stands for every output without an entry of its own.
const ANY: &str = "*";

/// A question with its right answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// The model's name upstream; `None` fits any.
    pub model: Option<String>,
    /// The request's body: JSON, as it stands in the file.
    pub request: Bytes,
    expected: Vec<Expected>,
}

/// How far a value may lie from the expected one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Tolerance {
    /// In the unit of the output. Default 0.
    pub absolute: f64,
    /// As a part of the expected value. Default 0.
    pub relative: f64,
    /// Whether NaN is right where NaN is expected. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nan_equal: bool,
}

/// What was wrong with an answer, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    request: &'a RawValue,
    expect: Expectation,
    #[serde(default)]
    tolerance: BTreeMap<String, Tolerance>,
}

/// The expected answer: what the server said when it was right, as far as it matters.
#[derive(Deserialize)]
struct Expectation {
    outputs: Vec<expected::Written>,
}

/// Reads a golden file.
///
/// # Errors
/// No JSON of this form, a request that is none, or an expectation that no answer can meet.
pub fn parse(text: &[u8]) -> Result<Golden, Error> {
    let file: File<'_> = super::object(text)?;
    let request = Bytes::copy_from_slice(file.request.get().as_bytes());
    infer::parse(&request, None).map_err(|error| refused(format!("its request: {error}")))?;
    if file.expect.outputs.is_empty() {
        return Err(refused("it expects no outputs".to_owned()));
    }
    let expected: Vec<Expected> = file
        .expect
        .outputs
        .into_iter()
        .map(|written| {
            let tolerance = file.tolerance.get(&written.name).or_else(|| file.tolerance.get(ANY));
            written.read(tolerance.copied().unwrap_or_default())
        })
        .collect::<Result<_, _>>()?;
    for (name, tolerance) in &file.tolerance {
        if name != ANY && !expected.iter().any(|expected| expected.tensor.name == *name) {
            return Err(refused(format!(
                "it has a tolerance for {name:?}, which it does not expect"
            )));
        }
        if !tolerance.is_sensible() {
            return Err(refused(format!("the tolerance of {name:?} must be 0 or above")));
        }
    }
    Ok(Golden { model: file.model.map(Cow::into_owned), request, expected })
}

fn refused(reason: String) -> Error {
    Error::Golden(reason)
}

impl Tolerance {
    fn is_sensible(self) -> bool {
        let bounds = 0.0..f64::INFINITY;
        bounds.contains(&self.absolute) && bounds.contains(&self.relative)
    }

    /// How far a value may lie from `expected`.
    fn of(self, expected: f64) -> f64 {
        self.absolute + self.relative * expected.abs()
    }

    fn accepts(self, expected: f64, found: f64) -> bool {
        if expected.is_nan() {
            return self.nan_equal && found.is_nan();
        }
        // Infinities are equal to themselves, and their difference is NaN.
        expected == found || (expected - found).abs() <= self.of(expected)
    }
}

impl Golden {
    /// The names of the outputs that are expected.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.expected.iter().map(|expected| expected.tensor.name.as_str())
    }

    /// Whether an answer is the right one.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn compare(&self, response: &Response) -> Result<(), Mismatch> {
        self.expected.iter().try_for_each(|expected| expected.compare(response))
    }

    /// Whether a model with these outputs could give the expected answer.
    ///
    /// # Errors
    /// The first output that it could not give.
    pub fn fits(&self, specs: &[TensorSpec]) -> Result<(), Mismatch> {
        self.expected.iter().try_for_each(|expected| {
            match specs.iter().find(|spec| spec.name == expected.tensor.name) {
                Some(spec) => expected.fits(spec),
                None => {
                    let name = &expected.tensor.name;
                    Err(Mismatch(format!("it expects output `{name}`, which is not declared")))
                }
            }
        })
    }
}

/// Writes a golden file from a request and the answer that a good server gave to it. Every
/// output of floating-point numbers gets `tolerance`; all others must be equal.
///
/// # Errors
/// The request is none, or the answer has values that JSON cannot hold.
pub fn render(
    model: &str,
    request: &[u8],
    response: &Response,
    tolerance: Tolerance,
) -> Result<String, Error> {
    infer::parse(request, None)?;
    let request: &RawValue = serde_json::from_slice(request)?;
    let outputs = response.outputs.iter().map(expected::write).collect::<Result<Vec<_>, _>>()?;
    let floats = response.outputs.iter().filter(|tensor| is_float(tensor.datatype()));
    let tolerances: BTreeMap<&str, Tolerance> =
        floats.map(|tensor| (tensor.name.as_str(), tolerance)).collect();
    let outputs: Vec<String> = outputs.iter().map(|output| format!("    {output}")).collect();
    Ok(format!(
        "{{\n  \"model\": {},\n  \"request\": {},\n  \"expect\": {{\"outputs\": [\n{}\n  ]}},\n  \
         \"tolerance\": {}\n}}\n",
        serde_json::to_string(model)?,
        request.get().trim(),
        outputs.join(",\n"),
        serde_json::to_string(&tolerances)?,
    ))
}

#[cfg(test)]
mod tests;
