//! Guards: whether an answer keeps to what its model declares.
//!
//! A server that is ready and fast may still answer nonsense: NaN after a bad weight load, a
//! probability of 7, another model's shape, one and the same score for everyone. An answer that
//! breaks a guard is no answer. Where the model declares a batch, values are judged row by row,
//! so that one bad row does not cost the others.
//!
//! | guard | looks at | breaks |
//! |---|---|---|
//! | present, datatype, shape | each declared output | the whole answer |
//! | finite, range, allowed | each value | the row that it stands in |
//! | constant | one answer after the other ([`constant`]) | the whole answer |

use std::fmt;

use mainstay_policy::Guard;

use super::answer::Response;
use super::infer::RequestedOutput;
use super::numbers;
use crate::{Data, Datatype, Tensor, TensorSpec};

pub mod constant;

/// Room for rounding at the ends of a range, in units of the last place: a softmax in FP32 sums
/// up to 1.0000002 where its model is in perfect health.
const ROUNDING: f64 = 8.0;

/// What answers of a model must keep to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guards {
    /// Whether NaN and the infinities are refused.
    pub finite: bool,
    /// Whether datatype and shape must be as declared.
    pub shape: bool,
    /// What is said of single outputs.
    pub outputs: Vec<OutputGuard>,
}

/// What the values of one output must keep to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputGuard {
    /// The output's name.
    pub output: String,
    /// The least and the largest value, both allowed.
    pub range: Option<(f64, f64)>,
    /// The values that are allowed.
    pub allowed: Option<Allowed>,
}

/// The values that an output may have.
#[derive(Clone, Debug, PartialEq)]
pub enum Allowed {
    /// Of `BYTES`.
    Texts(Vec<Vec<u8>>),
    /// Of numbers; booleans are 0 and 1.
    Numbers(Vec<f64>),
}

/// What an answer is held against.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The outputs that the model declares.
    pub specs: &'a [TensorSpec],
    /// The rows that were asked for, where the first dimension is a batch.
    pub rows: Option<usize>,
    /// The outputs that the client asked for; none means all of them.
    pub wanted: &'a [RequestedOutput],
}

/// What was found of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// It keeps to every guard.
    Sound,
    /// These rows do not, in ascending order; the others may be used.
    Rows {
        /// The broken rows.
        rows: Vec<usize>,
        /// What was found first.
        first: Broken,
    },
    /// Nothing of it may be used.
    Whole(Broken),
}

/// A broken guard, with what was found instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which guard.
    pub guard: Guard,
    /// What was found, in one line.
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Broken {
    fn new(guard: Guard, detail: String) -> Self {
        Self { guard, detail }
    }
}

impl Guards {
    /// Whether nothing is looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.finite && !self.shape && self.outputs.is_empty()
    }

    /// Holds an answer against the guards.
    #[must_use]
    pub fn check(&self, response: &Response, asked: Asked<'_>) -> Finding {
        let declared = self.declared(response, asked);
        if let Err(broken) = declared.and_then(|()| self.present(response, asked)) {
            return Finding::Whole(broken);
        }
        let mut rows = Rows { all: asked.rows, broken: Vec::new(), first: None };
        for tensor in response.outputs.iter().filter(|tensor| asked.as_is(&tensor.name)) {
            if let Err(broken) = self.values(tensor, &mut rows) {
                return Finding::Whole(broken);
            }
        }
        rows.finding()
    }

    /// Presence, datatype and shape of what is declared.
    fn declared(&self, response: &Response, asked: Asked<'_>) -> Result<(), Broken> {
        if !self.shape {
            return Ok(());
        }
        for spec in asked.specs.iter().filter(|spec| asked.as_is(&spec.name)) {
            fits(find(response, &spec.name)?, spec, asked.rows)?;
        }
        Ok(())
    }

    /// An output that a guard speaks of must be there to be looked at.
    fn present(&self, response: &Response, asked: Asked<'_>) -> Result<(), Broken> {
        let mut spoken_of = self.outputs.iter().filter(|guard| asked.as_is(&guard.output));
        spoken_of.try_for_each(|guard| find(response, &guard.output).map(drop))
    }

    fn values(&self, tensor: &Tensor, rows: &mut Rows) -> Result<(), Broken> {
        let Some(width) = rows.width(tensor) else {
            let (name, shape) = (&tensor.name, &tensor.shape);
            let detail = format!("output `{name}` has shape {shape:?}, which has no such rows");
            return Err(Broken::new(Guard::Shape, detail));
        };
        let guard = self.outputs.iter().find(|guard| guard.output == tensor.name);
        let (range, allowed) =
            guard.map_or((None, None), |guard| (guard.range, guard.allowed.as_ref()));
        if self.finite {
            let finite = |value: f64| value.is_finite();
            each_float(tensor, |index, value| {
                rows.note(finite(value), index / width, || not_finite(tensor, index, value));
            });
        }
        if let Some(range) = range {
            in_range(tensor, range, width, rows)?;
        }
        allowed.map_or(Ok(()), |allowed| is_allowed(tensor, allowed, width, rows))
    }
}

impl Asked<'_> {
    /// Whether the client takes this output as the model gives it: it asked for it, and not for
    /// something else to be made of it (as Triton's `classification` does).
    fn as_is(self, output: &str) -> bool {
        self.wanted.is_empty()
            || self
                .wanted
                .iter()
                .any(|wanted| wanted.name == output && wanted.parameters.is_empty())
    }
}

/// The broken rows so far.
struct Rows {
    all: Option<usize>,
    broken: Vec<usize>,
    first: Option<Broken>,
}

impl Rows {
    /// Elements in a row of the tensor; `None` where it does not have these rows.
    fn width(&self, tensor: &Tensor) -> Option<usize> {
        let len = tensor.data.len();
        match self.all {
            None => Some(len.max(1)),
            Some(0) => (len == 0).then_some(1),
            Some(rows) if tensor.rows() == rows && len.is_multiple_of(rows) => {
                Some((len / rows).max(1))
            }
            Some(_) => None,
        }
    }

    fn note(&mut self, sound: bool, row: usize, broken: impl FnOnce() -> Broken) {
        if sound {
            return;
        }
        if self.broken.last() != Some(&row) {
            self.broken.push(row);
        }
        self.first.get_or_insert_with(broken);
    }

    fn finding(mut self) -> Finding {
        let Some(first) = self.first else { return Finding::Sound };
        if self.all.is_none() {
            return Finding::Whole(first);
        }
        self.broken.sort_unstable();
        self.broken.dedup();
        Finding::Rows { rows: self.broken, first }
    }
}

fn find<'r>(response: &'r Response, output: &str) -> Result<&'r Tensor, Broken> {
    response.output(output).map_err(|_| {
        Broken::new(Guard::Present, format!("output `{output}` is missing from the answer"))
    })
}

fn fits(tensor: &Tensor, spec: &TensorSpec, rows: Option<usize>) -> Result<(), Broken> {
    let (name, found) = (&tensor.name, tensor.datatype());
    if found != spec.datatype {
        let detail = format!("output `{name}` is {found}, declared is {}", spec.datatype);
        return Err(Broken::new(Guard::Datatype, detail));
    }
    let sizes = tensor.shape.iter().zip(&spec.shape);
    let fits = tensor.shape.len() == spec.shape.len()
        && sizes.clone().all(|(size, declared)| declared.is_none_or(|declared| declared == *size));
    if !fits {
        let declared = Declared(&spec.shape);
        let detail =
            format!("output `{name}` has shape {:?}, declared is {declared}", tensor.shape);
        return Err(Broken::new(Guard::Shape, detail));
    }
    match rows {
        Some(rows) if tensor.rows() != rows => {
            let found = tensor.rows();
            let detail = format!("output `{name}` has {found} rows, {rows} were asked for");
            Err(Broken::new(Guard::Shape, detail))
        }
        _ => Ok(()),
    }
}

/// A shape as metadata writes it, with -1 for a dimension of any size.
struct Declared<'a>(&'a [Option<usize>]);

impl fmt::Display for Declared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.0.iter();
        let shown = sizes.map(|size| size.map_or_else(|| "-1".to_owned(), |size| size.to_string()));
        write!(f, "[{}]", shown.collect::<Vec<_>>().join(", "))
    }
}

fn not_finite(tensor: &Tensor, index: usize, value: f64) -> Broken {
    let detail = format!("output `{}`[{index}] is {value}", tensor.name);
    Broken::new(Guard::Finite, detail)
}

/// Calls `look` with every element of a floating-point type.
fn each_float(tensor: &Tensor, mut look: impl FnMut(usize, f64)) {
    match &tensor.data {
        Data::Fp32(values) => {
            values.iter().enumerate().for_each(|(at, value)| look(at, f64::from(*value)));
        }
        Data::Fp64(values) => values.iter().enumerate().for_each(|(at, value)| look(at, *value)),
        Data::Fp16(_) | Data::Bf16(_) => {
            for index in 0..tensor.data.len() {
                look(index, numbers::at(tensor, index).unwrap_or(f64::NAN));
            }
        }
        _ => {}
    }
}

fn in_range(
    tensor: &Tensor,
    (least, most): (f64, f64),
    width: usize,
    rows: &mut Rows,
) -> Result<(), Broken> {
    let datatype = tensor.datatype();
    if !numbers::are_numbers(datatype) {
        return Err(no_numbers(tensor));
    }
    let room = least.abs().max(most.abs()) * numbers::epsilon(datatype) * ROUNDING;
    let (low, high) = (least - room, most + room);
    for index in 0..tensor.data.len() {
        let value = numbers::at(tensor, index).unwrap_or(f64::NAN);
        rows.note((low..=high).contains(&value), index / width, || {
            let name = &tensor.name;
            let detail = format!("output `{name}`[{index}] is {value}, outside {least} to {most}");
            Broken::new(Guard::Range, detail)
        });
    }
    Ok(())
}

fn no_numbers(tensor: &Tensor) -> Broken {
    let detail = format!("output `{}` is {}, which no range holds", tensor.name, tensor.datatype());
    Broken::new(Guard::Datatype, detail)
}

fn is_allowed(
    tensor: &Tensor,
    allowed: &Allowed,
    width: usize,
    rows: &mut Rows,
) -> Result<(), Broken> {
    let refuse = |index: usize, shown: String| {
        let detail = format!("output `{}`[{index}] is {shown}, which is not allowed", tensor.name);
        Broken::new(Guard::Allowed, detail)
    };
    match (&tensor.data, allowed) {
        (Data::Bytes(values), Allowed::Texts(texts)) => {
            for (index, value) in values.iter().enumerate() {
                let shown = || format!("{:?}", crate::error::cut(&String::from_utf8_lossy(value)));
                rows.note(texts.contains(value), index / width, || refuse(index, shown()));
            }
        }
        (Data::Bool(values), Allowed::Numbers(numbers)) => {
            for (index, value) in values.iter().enumerate() {
                let number = if *value { 1.0 } else { 0.0 };
                let sound = numbers.contains(&number);
                rows.note(sound, index / width, || refuse(index, value.to_string()));
            }
        }
        (data, Allowed::Numbers(allowed)) if data.datatype() != Datatype::Bytes => {
            for index in 0..data.len() {
                let value = numbers::at(tensor, index).unwrap_or(f64::NAN);
                let sound = allowed.iter().any(|allowed| same(value, *allowed, data.datatype()));
                rows.note(sound, index / width, || refuse(index, value.to_string()));
            }
        }
        _ => {
            let (name, found) = (&tensor.name, tensor.datatype());
            let detail = format!("output `{name}` is {found}, and the allowed values are not");
            return Err(Broken::new(Guard::Datatype, detail));
        }
    }
    Ok(())
}

/// Whether an element of this type is the allowed number, as far as the type can say it.
fn same(value: f64, allowed: f64, datatype: Datatype) -> bool {
    (value - allowed).abs() <= allowed.abs() * numbers::epsilon(datatype)
}

#[cfg(test)]
mod tests;
