//! The data of a tensor as JSON: flat, or nested as its shape.
//!
//! Reading goes over the raw text, straight into a vector of the right type: a `Value` for each
//! number would cost an allocation tree and would lose what `f64` cannot hold. The text is a
//! `RawValue`, so serde_json has already found it to be JSON; this walk looks at structure and
//! values only, without recursion, so that depth costs no stack.
//!
//! Numbers are rounded once, by the standard library, to the type they are for. An integer
//! type takes `3.0` (some clients have only floating-point numbers) and refuses `3.5`. NaN and the
//! infinities are no JSON: reading and writing refuse them. A server that answers `null` for
//! them (as serde_json and Python's pandas would write) breaks the type, and is refused too.

use std::borrow::Cow;

use crate::error::cut;
use crate::{Data, Datatype, Error, Tensor};

/// Integers above this are not exact as `f64`, so `1e17` is no integer to us.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The elements of `tensor` from the JSON `text`; `len` is the product of `shape`.
pub(super) fn read(
    tensor: &str,
    datatype: Datatype,
    shape: &[usize],
    len: usize,
    text: &str,
) -> Result<Data, Error> {
    let walk = Walk { tensor, datatype, shape, len, text };
    Ok(match datatype {
        Datatype::Bool => Data::Bool(walk.collect(boolean)?),
        Datatype::Uint8 => Data::Uint8(walk.collect(integer)?),
        Datatype::Uint16 => Data::Uint16(walk.collect(integer)?),
        Datatype::Uint32 => Data::Uint32(walk.collect(integer)?),
        Datatype::Uint64 => Data::Uint64(walk.collect(integer)?),
        Datatype::Int8 => Data::Int8(walk.collect(integer)?),
        Datatype::Int16 => Data::Int16(walk.collect(integer)?),
        Datatype::Int32 => Data::Int32(walk.collect(integer)?),
        Datatype::Int64 => Data::Int64(walk.collect(integer)?),
        Datatype::Fp32 => Data::Fp32(walk.collect(|t| number(t, f32::is_finite))?),
        Datatype::Fp64 => Data::Fp64(walk.collect(|t| number(t, f64::is_finite))?),
        Datatype::Bytes => Data::Bytes(walk.collect(string)?),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Error::BinaryOnly { tensor: tensor.to_owned(), datatype });
        }
    })
}

/// `true`, `false`, or a number for one of them.
pub(crate) fn boolean(token: &str) -> Option<bool> {
    match token {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number, also one that is written with a fraction of 0.
pub(crate) fn integer<T: std::str::FromStr + TryFrom<i64>>(token: &str) -> Option<T> {
    token.parse().ok().or_else(|| {
        let value = number(token, f64::is_finite)?;
        let whole = value.fract() == 0.0 && value.abs() <= EXACT;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        whole.then(|| T::try_from(value as i64).ok()).flatten()
    })
}

/// A number that is `finite` as its type.
pub(crate) fn number<T: std::str::FromStr + Copy>(token: &str, finite: fn(T) -> bool) -> Option<T> {
    let written = matches!(token.as_bytes().first(), Some(b'-' | b'0'..=b'9'));
    token.parse().ok().filter(|&value| written && finite(value))
}

fn string(token: &str) -> Option<Vec<u8>> {
    if token.contains('\\') {
        serde_json::from_str::<String>(token).ok().map(String::into_bytes)
    } else {
        Some(token.strip_prefix('"')?.strip_suffix('"')?.as_bytes().to_vec())
    }
}

/// A walk over the text of one tensor's data.
struct Walk<'a> {
    tensor: &'a str,
    datatype: Datatype,
    shape: &'a [usize],
    len: usize,
    text: &'a str,
}

impl<'a> Walk<'a> {
    /// Reads every element. The vector grows with the text, never by the claimed shape alone:
    /// an element takes at least two characters with its separator.
    fn collect<T>(&self, read: impl Fn(&'a str) -> Option<T>) -> Result<Vec<T>, Error> {
        let mut values = Vec::with_capacity(self.len.min(self.text.len() / 2 + 1));
        let mut levels = Levels::new(self);
        let mut rest = self.text;
        while let Some((token, after)) = next_token(rest) {
            rest = after;
            match token {
                "[" => levels.open()?,
                "]" => levels.close()?,
                _ => {
                    levels.element()?;
                    values.push(read(token).ok_or_else(|| self.bad_value(values.len(), token))?);
                    if values.len() > self.len {
                        return Err(self.bad_length(values.len()));
                    }
                }
            }
        }
        if values.len() == self.len { Ok(values) } else { Err(self.bad_length(values.len())) }
    }

    fn bad_value(&self, index: usize, token: &str) -> Error {
        let (tensor, value) = (self.tensor.to_owned(), cut(token));
        Error::Value { tensor, index, value, datatype: self.datatype }
    }

    fn bad_length(&self, found: usize) -> Error {
        Error::Length { tensor: self.tensor.to_owned(), expected: self.len, found }
    }
}

/// Holds nested data to the shape: each array at depth d has as many members as dimension d.
struct Levels<'a> {
    walk: &'a Walk<'a>,
    /// Members seen so far in each open array, the outermost first.
    counts: Vec<usize>,
    /// The depth at which elements stand: 1 when flat, else the number of dimensions.
    leaf: usize,
}

impl<'a> Levels<'a> {
    fn new(walk: &'a Walk<'a>) -> Self {
        let inner = walk.text.trim_start().strip_prefix('[').map(str::trim_start);
        let nested = inner.is_some_and(|inner| inner.starts_with('['));
        Self { walk, counts: Vec::new(), leaf: if nested { walk.shape.len() } else { 1 } }
    }

    fn open(&mut self) -> Result<(), Error> {
        if self.counts.len() >= self.leaf {
            return self.refuse();
        }
        self.counts.push(0);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let depth = self.counts.len();
        let count = self.counts.pop();
        if self.leaf > 1 && count != self.walk.shape.get(depth.wrapping_sub(1)).copied() {
            return self.refuse();
        }
        self.count();
        Ok(())
    }

    fn element(&mut self) -> Result<(), Error> {
        if self.counts.len() != self.leaf {
            return self.refuse();
        }
        self.count();
        Ok(())
    }

    fn count(&mut self) {
        if let Some(count) = self.counts.last_mut() {
            *count += 1;
        }
    }

    fn refuse(&self) -> Result<(), Error> {
        Err(Error::Nesting { tensor: self.walk.tensor.to_owned() })
    }
}

/// The first element of data, as it is written; `None` if there is none.
pub(super) fn first(mut text: &str) -> Option<&str> {
    loop {
        match next_token(text)? {
            ("[", rest) => text = rest,
            ("]", _) => return None,
            (token, _) => return Some(token),
        }
    }
}

/// The next bracket, string or scalar, and what follows it; commas and white space are skipped.
///
/// It goes over bytes, which for numbers is twice as fast as over characters.
fn next_token(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|&byte| !is_gap(byte))?;
    let len = match bytes[start] {
        b'[' | b']' => 1,
        b'"' => end_of_string(&bytes[start..]),
        _ => end_of_scalar(&bytes[start..]),
    };
    let (token, rest) = text[start..].split_at(len);
    Some((token, rest))
}

const fn is_gap(byte: u8) -> bool {
    matches!(byte, b',' | b' ' | b'\n' | b'\r' | b'\t')
}

/// The length of the number or word at the start of `bytes`.
fn end_of_scalar(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|&byte| is_gap(byte) || byte == b']');
    end.unwrap_or(bytes.len())
}

/// The length of the string at the start of `bytes`, quotes included.
fn end_of_string(bytes: &[u8]) -> usize {
    let mut escaped = false;
    let closing = bytes.iter().skip(1).position(|&byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    closing.map_or(bytes.len(), |at| at + 2)
}

/// Appends the elements of `tensor` to `out` as one flat array.
pub(super) fn write(tensor: &Tensor, out: &mut Vec<u8>) -> Result<(), Error> {
    check(tensor)?;
    match &tensor.data {
        Data::Bool(values) => put(out, values),
        Data::Uint8(values) => put(out, values),
        Data::Uint16(values) => put(out, values),
        Data::Uint32(values) => put(out, values),
        Data::Uint64(values) => put(out, values),
        Data::Int8(values) => put(out, values),
        Data::Int16(values) => put(out, values),
        Data::Int32(values) => put(out, values),
        Data::Int64(values) => put(out, values),
        Data::Fp32(values) => put(out, values),
        Data::Fp64(values) => put(out, values),
        Data::Bytes(values) => put(out, &strings(values)),
        Data::Fp16(_) | Data::Bf16(_) => {}
    }
    Ok(())
}

fn strings(values: &[Vec<u8>]) -> Vec<Cow<'_, str>> {
    values.iter().map(|value| String::from_utf8_lossy(value)).collect()
}

/// Whether JSON can carry the elements of `tensor` without loss.
pub(super) fn check(tensor: &Tensor) -> Result<(), Error> {
    let bad = match &tensor.data {
        Data::Fp32(values) => values.iter().position(|value| !value.is_finite()),
        Data::Fp64(values) => values.iter().position(|value| !value.is_finite()),
        Data::Bytes(values) => values.iter().position(|value| str::from_utf8(value).is_err()),
        Data::Fp16(_) | Data::Bf16(_) => {
            let (tensor, datatype) = (tensor.name.clone(), tensor.datatype());
            return Err(Error::BinaryOnly { tensor, datatype });
        }
        _ => None,
    };
    bad.map_or(Ok(()), |index| Err(Error::NotJson { tensor: tensor.name.clone(), index }))
}

/// Appends `value` as JSON.
#[expect(
    clippy::expect_used,
    reason = "a Vec takes every write, and no map here has other keys than strings"
)]
pub(crate) fn put<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("plain values are always JSON");
}
