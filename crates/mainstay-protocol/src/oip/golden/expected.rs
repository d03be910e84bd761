//! One expected output: read from its file, written into one, compared with an answer.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Mismatch, Tolerance, refused};
use crate::error::cut;
use crate::oip::answer::{self, Response};
use crate::oip::numbers;
use crate::{Data, Datatype, Error, Tensor, TensorSpec};

/// What JSON has no number for, as the file writes it.
const SPECIAL: [(&str, f64); 3] =
    [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// An output as it stands in the file.
#[derive(Deserialize)]
pub(super) struct Written {
    pub(super) name: String,
    datatype: String,
    shape: Vec<i64>,
    /// Kept as text: every digit of it counts.
    data: Box<RawValue>,
}

/// An output as it must be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expected {
    /// FP16 and BF16 are held as FP64: JSON knows their values only as numbers.
    pub(super) tensor: Tensor,
    datatype: Datatype,
    tolerance: Tolerance,
}

impl Written {
    /// The output, by the same reader as every answer's.
    pub(super) fn read(self, tolerance: Tolerance) -> Result<Expected, Error> {
        let Self { name, datatype, shape, data } = self;
        let declared: Datatype = datatype
            .parse()
            .map_err(|_| Error::Datatype { tensor: name.clone(), datatype: datatype.clone() })?;
        let mut text = Cow::Borrowed(data.get());
        let special = if super::is_float(declared) { take_special(&mut text)? } else { vec![] };
        let read_as = if is_half(declared) { Datatype::Fp64 } else { declared };
        let message = format!(
            "{{\"outputs\": [{{\"name\": {}, \"datatype\": \"{read_as}\", \"shape\": {shape:?}, \
             \"data\": {text}}}]}}",
            serde_json::to_string(&name)?,
        );
        let parsed = answer::parse(message.as_bytes(), None)?;
        let tensor = parsed.outputs.into_iter().next();
        let mut tensor = tensor.ok_or_else(|| refused("it expects no outputs".to_owned()))?;
        special.into_iter().for_each(|(index, value)| put(&mut tensor.data, index, value));
        Ok(Expected { tensor, datatype: declared, tolerance })
    }
}

fn flatten(value: Value, into: &mut Vec<Value>) {
    match value {
        Value::Array(values) => values.into_iter().for_each(|value| flatten(value, into)),
        value => into.push(value),
    }
}

/// Replaces what is no JSON number by 0 and says what stood where.
fn take_special(text: &mut Cow<'_, str>) -> Result<Vec<(usize, f64)>, Error> {
    if !text.contains('"') {
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    flatten(serde_json::from_str(text)?, &mut values);
    let special = |value: &Value| SPECIAL.iter().find(|(name, _)| value.as_str() == Some(name));
    let found = values.iter().enumerate();
    let found = found.filter_map(|(index, value)| Some((index, special(value)?.1))).collect();
    for (name, _) in SPECIAL {
        *text = Cow::Owned(text.replace(&format!("\"{name}\""), "0"));
    }
    Ok(found)
}

#[expect(clippy::cast_possible_truncation, reason = "NaN and infinities stay what they are")]
fn put(data: &mut Data, index: usize, value: f64) {
    match data {
        Data::Fp32(values) => values[index] = value as f32,
        Data::Fp64(values) => values[index] = value,
        _ => {}
    }
}

const fn is_half(datatype: Datatype) -> bool {
    matches!(datatype, Datatype::Fp16 | Datatype::Bf16)
}

/// An output of an answer as a file expects it.
pub(super) fn write(tensor: &Tensor) -> Result<Value, Error> {
    let data =
        match &tensor.data {
            Data::Bytes(values) => Value::from_iter(texts(tensor, values)?),
            Data::Bool(values) => Value::from_iter(values.iter().copied()),
            Data::Uint64(values) => Value::from_iter(values.iter().copied()),
            Data::Int64(values) => Value::from_iter(values.iter().copied()),
            // By its shortest text, so that the file shows 0.1 where the server said 0.1.
            Data::Fp32(values) => Value::from_iter(values.iter().map(|value| {
                number(value.to_string().parse().unwrap_or_else(|_| f64::from(*value)))
            })),
            _ => Value::from_iter(
                (0..tensor.data.len())
                    .map(|index| numbers::at(tensor, index).map(|value| whole(tensor, value)))
                    .collect::<Result<Vec<_>, _>>()?,
            ),
        };
    let (name, datatype) = (&tensor.name, tensor.datatype().as_str());
    Ok(json!({"name": name, "datatype": datatype, "shape": tensor.shape, "data": data}))
}

fn texts<'t>(tensor: &Tensor, values: &'t [Vec<u8>]) -> Result<Vec<&'t str>, Error> {
    let read = |(index, value): (usize, &'t Vec<u8>)| {
        let tensor = tensor.name.clone();
        str::from_utf8(value).map_err(|_| Error::NotJson { tensor, index })
    };
    values.iter().enumerate().map(read).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "integers of 32 bits and less")]
fn whole(tensor: &Tensor, value: f64) -> Value {
    if super::is_float(tensor.datatype()) { number(value) } else { json!(value as i64) }
}

fn number(value: f64) -> Value {
    let special = SPECIAL.iter().find(|(_, special)| special.to_bits() == value.to_bits());
    match special {
        Some((name, _)) => json!(name),
        None if value.is_nan() => json!("NaN"),
        None => json!(value),
    }
}

impl Expected {
    /// Whether an answer has this output as it must be.
    pub(super) fn compare(&self, response: &Response) -> Result<(), Mismatch> {
        let name = &self.tensor.name;
        let Ok(found) = response.output(name) else {
            return Err(Mismatch(format!("output `{name}` is missing")));
        };
        if found.datatype() != self.datatype {
            let (found, expected) = (found.datatype(), self.datatype);
            return Err(Mismatch(format!("output `{name}` is {found}, expected {expected}")));
        }
        if found.shape != self.tensor.shape {
            let (found, expected) = (&found.shape, &self.tensor.shape);
            let said = format!("output `{name}` has shape {found:?}, expected {expected:?}");
            return Err(Mismatch(said));
        }
        match (0..self.tensor.data.len()).find(|index| !self.accepts(found, *index)) {
            None => Ok(()),
            Some(index) => Err(self.mismatch(found, index)),
        }
    }

    fn accepts(&self, found: &Tensor, index: usize) -> bool {
        match (&self.tensor.data, &found.data) {
            (Data::Bytes(expected), Data::Bytes(found)) => expected.get(index) == found.get(index),
            (Data::Bool(expected), Data::Bool(found)) => expected.get(index) == found.get(index),
            // Beyond 2^53 these are not exact as floating-point numbers.
            (Data::Uint64(expected), Data::Uint64(found)) if self.is_exact() => {
                expected.get(index) == found.get(index)
            }
            (Data::Int64(expected), Data::Int64(found)) if self.is_exact() => {
                expected.get(index) == found.get(index)
            }
            _ => self.tolerance.accepts(at(&self.tensor, index), at(found, index)),
        }
    }

    fn is_exact(&self) -> bool {
        self.tolerance.absolute == 0.0 && self.tolerance.relative == 0.0
    }

    fn mismatch(&self, found: &Tensor, index: usize) -> Mismatch {
        let (name, expected) = (&self.tensor.name, shown(&self.tensor, index));
        let found = shown(found, index);
        let room = self.tolerance.of(at(&self.tensor, index));
        let room = if room > 0.0 { format!(" ± {room}") } else { String::new() };
        Mismatch(format!("output `{name}`[{index}] is {found}, expected {expected}{room}"))
    }

    /// Whether a model that declares this output could give it.
    pub(super) fn fits(&self, spec: &TensorSpec) -> Result<(), Mismatch> {
        let (name, shape) = (&self.tensor.name, &self.tensor.shape);
        if spec.datatype != self.datatype {
            let (declared, expected) = (spec.datatype, self.datatype);
            let said = format!("it expects `{name}` as {expected}, declared is {declared}");
            return Err(Mismatch(said));
        }
        let mut sizes = shape.iter().zip(&spec.shape);
        let fits = shape.len() == spec.shape.len()
            && sizes.all(|(size, declared)| declared.is_none_or(|declared| declared == *size));
        if fits {
            return Ok(());
        }
        Err(Mismatch(format!("it expects `{name}` of shape {shape:?}, which is not as declared")))
    }
}

/// An element as a number; NaN where it is none.
fn at(tensor: &Tensor, index: usize) -> f64 {
    numbers::at(tensor, index).unwrap_or(f64::NAN)
}

/// An element as people read it.
fn shown(tensor: &Tensor, index: usize) -> String {
    match &tensor.data {
        Data::Bytes(values) => {
            let text = values.get(index).map(|value| String::from_utf8_lossy(value));
            format!("{:?}", cut(&text.unwrap_or_default()))
        }
        Data::Bool(values) => values.get(index).map(bool::to_string).unwrap_or_default(),
        Data::Fp32(values) => values.get(index).map(f32::to_string).unwrap_or_default(),
        Data::Uint64(values) => values.get(index).map(u64::to_string).unwrap_or_default(),
        Data::Int64(values) => values.get(index).map(i64::to_string).unwrap_or_default(),
        _ => at(tensor, index).to_string(),
    }
}
