//! Tensors as nested lists, whose datatypes and names the model's declaration gives.
//!
//! The nesting is the shape: it must be regular, and fit the declared one. Bytes are a string of
//! UTF-8, or `{"b64": "…"}` where they are none or where the tensor's name ends in `_bytes`.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::{self, Cursor};
use crate::error::cut;
use crate::oip::json::{boolean, integer, number, put};
use crate::{Data, Datatype, Error, Protocol, Tensor, TensorSpec};

/// The most dimensions that are written.
const MOST_DIMENSIONS: usize = 32;
/// Outputs with such names are bytes, as `TensorFlow` Serving has it.
const BYTES_SUFFIX: &str = "_bytes";
/// The only member of an object that stands for bytes.
const B64: &str = "b64";

/// Where the values of one tensor stand: in one text, or row by row.
pub(super) enum Texts<'t, 'a> {
    One(&'a str),
    Rows(&'t [&'a str]),
}

/// The tensor that `spec` declares, of these texts.
pub(super) fn read(spec: &TensorSpec, texts: &Texts<'_, '_>) -> Result<Tensor, Error> {
    let walk = Walk { spec };
    let (shape, data) = match spec.datatype {
        Datatype::Bool => walk.collect(texts, boolean, Data::Bool),
        Datatype::Uint8 => walk.collect(texts, integer, Data::Uint8),
        Datatype::Uint16 => walk.collect(texts, integer, Data::Uint16),
        Datatype::Uint32 => walk.collect(texts, integer, Data::Uint32),
        Datatype::Uint64 => walk.collect(texts, integer, Data::Uint64),
        Datatype::Int8 => walk.collect(texts, integer, Data::Int8),
        Datatype::Int16 => walk.collect(texts, integer, Data::Int16),
        Datatype::Int32 => walk.collect(texts, integer, Data::Int32),
        Datatype::Int64 => walk.collect(texts, integer, Data::Int64),
        Datatype::Fp32 => walk.collect(texts, single, Data::Fp32),
        Datatype::Fp64 => walk.collect(texts, double, Data::Fp64),
        Datatype::Bytes => walk.collect(texts, bytes, Data::Bytes),
        Datatype::Fp16 | Datatype::Bf16 => {
            Err(no_words(format!("tensor {:?} of {}", spec.name, spec.datatype)))
        }
    }?;
    Ok(Tensor { name: spec.name.clone(), shape, data })
}

const fn no_words(what: String) -> Error {
    Error::NoWords { protocol: Protocol::V1, what }
}

#[expect(clippy::cast_possible_truncation, reason = "only NaN and the infinities")]
fn single(token: &str) -> Option<f32> {
    json::not_finite(token).map(|value| value as f32).or_else(|| number(token, f32::is_finite))
}

fn double(token: &str) -> Option<f64> {
    json::not_finite(token).or_else(|| number(token, f64::is_finite))
}

fn bytes(token: &str) -> Option<Vec<u8>> {
    if token.starts_with('"') {
        return json::string(token).ok().map(|text| text.into_owned().into_bytes());
    }
    STANDARD.decode(b64(token)?.as_bytes()).ok()
}

/// The text of an object that stands for bytes; `None` for everything else.
pub(super) fn b64(text: &str) -> Option<String> {
    if !text.starts_with('{') {
        return None;
    }
    match json::members(text).ok()?.as_slice() {
        [(name, value)] if name == B64 && value.starts_with('"') => {
            json::string(value).ok().map(std::borrow::Cow::into_owned)
        }
        _ => None,
    }
}

/// Reads values of one tensor.
struct Walk<'s> {
    spec: &'s TensorSpec,
}

impl Walk<'_> {
    fn collect<T>(
        &self,
        texts: &Texts<'_, '_>,
        read: fn(&str) -> Option<T>,
        data: fn(Vec<T>) -> Data,
    ) -> Result<(Vec<usize>, Data), Error> {
        let mut values = Vec::new();
        let shape = match texts {
            Texts::One(text) => self.nested(text, &mut values, read)?,
            Texts::Rows(rows) => {
                let mut shape = None;
                for row in *rows {
                    let found = self.nested(row, &mut values, read)?;
                    if shape.get_or_insert_with(|| found.clone()) != &found {
                        return Err(self.ragged());
                    }
                }
                [&[rows.len()], shape.unwrap_or_default().as_slice()].concat()
            }
        };
        self.fit(shape).map(|shape| (shape, data(values)))
    }

    /// Adds the elements of a text to `values`; its shape.
    fn nested<T>(
        &self,
        text: &str,
        values: &mut Vec<T>,
        read: fn(&str) -> Option<T>,
    ) -> Result<Vec<usize>, Error> {
        let mut levels = Levels::default();
        let mut cursor = Cursor::new(text);
        while let Some(token) = cursor.token()? {
            let regular = match token {
                "[" => levels.open(),
                "]" => levels.close(),
                _ => {
                    let value = read(token.trim_end());
                    values.push(value.ok_or_else(|| self.bad_value(values.len(), token))?);
                    levels.element()
                }
            };
            regular.ok_or_else(|| self.ragged())?;
        }
        Ok(levels.shape)
    }

    /// The shape, if it is one of the declared. Where there are no elements, dimensions that no
    /// nesting can show are as declared.
    fn fit(&self, mut shape: Vec<usize>) -> Result<Vec<usize>, Error> {
        let declared = &self.spec.shape;
        if shape.contains(&0) && shape.len() < declared.len() {
            shape.extend(declared[shape.len()..].iter().map(|size| size.unwrap_or(0)));
        }
        let fits = |(declared, found): (&Option<usize>, &usize)| {
            declared.is_none_or(|declared| declared == *found)
        };
        if shape.len() == declared.len() && declared.iter().zip(&shape).all(fits) {
            return Ok(shape);
        }
        let shown = cut(&format!("{:?}", shape.get(..16).unwrap_or(&shape)));
        let tensor = self.spec.name.clone();
        Err(Error::Shape { tensor, shape: shown, reason: "not as the model declares it" })
    }

    fn ragged(&self) -> Error {
        Error::Nesting { tensor: self.spec.name.clone() }
    }

    fn bad_value(&self, index: usize, token: &str) -> Error {
        let (tensor, value) = (self.spec.name.clone(), cut(token));
        Error::Value { tensor, index, value, datatype: self.spec.datatype }
    }
}

/// The shape that a nesting shows, as far as it has been seen. `None` says that it is not regular.
#[derive(Default)]
struct Levels {
    /// Members seen so far in each open list, the outermost first.
    open: Vec<usize>,
    /// The size of each dimension that was seen to its end once.
    shape: Vec<usize>,
    /// The depth at which elements stand.
    leaf: Option<usize>,
}

impl Levels {
    fn open(&mut self) -> Option<()> {
        if self.leaf.is_some_and(|leaf| self.open.len() >= leaf) {
            return None;
        }
        self.open.push(0);
        if self.shape.len() < self.open.len() {
            self.shape.push(UNKNOWN);
        }
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let count = self.open.pop()?;
        let size = self.shape.get_mut(self.open.len())?;
        if *size == UNKNOWN {
            *size = count;
        }
        let regular = *size == count;
        self.count();
        regular.then_some(())
    }

    fn element(&mut self) -> Option<()> {
        let depth = self.open.len();
        let leaf = *self.leaf.get_or_insert(depth);
        self.count();
        (leaf == depth && self.shape.len() <= depth).then_some(())
    }

    fn count(&mut self) {
        if let Some(count) = self.open.last_mut() {
            *count += 1;
        }
    }
}

/// A dimension that was not seen to its end.
const UNKNOWN: usize = usize::MAX;

/// Appends a tensor as nested lists.
///
/// # Errors
/// It is of a datatype or shape that the protocol has no words for.
pub(super) fn write(tensor: &Tensor, out: &mut String) -> Result<(), Error> {
    check(tensor)?;
    nest(tensor, 0, &tensor.shape, out);
    Ok(())
}

/// Appends one row of a tensor.
///
/// # Errors
/// As for [`write()`].
pub(super) fn write_row(tensor: &Tensor, row: usize, out: &mut String) -> Result<(), Error> {
    let inner = tensor.shape.get(1..).unwrap_or_default();
    nest(tensor, row * inner.iter().product::<usize>(), inner, out);
    Ok(())
}

/// Whether every element can be written.
pub(super) fn check(tensor: &Tensor) -> Result<(), Error> {
    if matches!(tensor.datatype(), Datatype::Fp16 | Datatype::Bf16) {
        return Err(no_words(format!("tensor {:?} of {}", tensor.name, tensor.datatype())));
    }
    let empty_inside = tensor.shape.iter().skip(1).any(|size| *size == 0);
    if tensor.shape.len() > MOST_DIMENSIONS || empty_inside {
        return Err(no_words(format!("the shape of tensor {:?}", tensor.name)));
    }
    Ok(())
}

/// The dimensions are few, so this may call itself.
fn nest(tensor: &Tensor, from: usize, shape: &[usize], out: &mut String) {
    let Some((size, inner)) = shape.split_first() else { return element(tensor, from, out) };
    let stride: usize = inner.iter().product();
    out.push('[');
    for at in 0..*size {
        if at > 0 {
            out.push(',');
        }
        nest(tensor, from + at * stride, inner, out);
    }
    out.push(']');
}

fn element(tensor: &Tensor, at: usize, out: &mut String) {
    match &tensor.data {
        Data::Bool(values) => show(values.get(at), out),
        Data::Uint8(values) => show(values.get(at), out),
        Data::Uint16(values) => show(values.get(at), out),
        Data::Uint32(values) => show(values.get(at), out),
        Data::Uint64(values) => show(values.get(at), out),
        Data::Int8(values) => show(values.get(at), out),
        Data::Int16(values) => show(values.get(at), out),
        Data::Int32(values) => show(values.get(at), out),
        Data::Int64(values) => show(values.get(at), out),
        Data::Fp32(values) => {
            float(values.get(at).is_some_and(|v| v.is_finite()), values.get(at), out);
        }
        Data::Fp64(values) => {
            float(values.get(at).is_some_and(|v| v.is_finite()), values.get(at), out);
        }
        Data::Bytes(values) => {
            let named = tensor.name.ends_with(BYTES_SUFFIX);
            blob(values.get(at).map(Vec::as_slice).unwrap_or_default(), named, out);
        }
        // Refused before.
        Data::Fp16(_) | Data::Bf16(_) => {}
    }
}

/// Writing to a string cannot fail.
fn show<T: std::fmt::Display>(value: Option<&T>, out: &mut String) {
    if let Some(value) = value {
        let _infallible = write!(out, "{value}");
    }
}

/// The shortest text that reads back as the same, with a point or an exponent; the bare words for
/// what is not finite.
fn float<T: std::fmt::Debug>(finite: bool, value: Option<&T>, out: &mut String) {
    let Some(value) = value else { return };
    let start = out.len();
    let _infallible = write!(out, "{value:?}");
    if !finite {
        let word = match &out[start..] {
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            _ => "NaN",
        };
        out.replace_range(start.., word);
    }
}

fn blob(value: &[u8], as_bytes: bool, out: &mut String) {
    match str::from_utf8(value) {
        Ok(text) if !as_bytes => out.push_str(&quoted(text)),
        _ => {
            let _infallible = write!(out, "{{\"{B64}\":\"{}\"}}", STANDARD.encode(value));
        }
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    put(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}
