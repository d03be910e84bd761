//! How many rows a request has, without reading its data.
//!
//! The walk stops as soon as the first input's shape is known: serde has no way to stop early
//! but an error, so the answer is kept aside and the error is thrown away.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::super::{split, wire};
use crate::Error;

/// The rows of a request: the first dimension of its first input (1 without dimensions).
///
/// Only the text up to that shape is read. No more rows are believed than the body has bytes.
///
/// # Errors
/// No JSON of the protocol up to there, or a shape that no data can have.
pub fn rows_of(body: &[u8], json_len: Option<usize>) -> Result<usize, Error> {
    let (head, _) = split(body, json_len)?;
    let mut shape = None;
    let mut text = serde_json::Deserializer::from_slice(head);
    let walked = Request(&mut shape).deserialize(&mut text);
    let shape = match (shape, walked) {
        (Some(shape), _) => wire::checked_shape("", &shape)?,
        (None, Err(error)) => return Err(error.into()),
        (None, Ok(())) => return Err(Error::NoInputs),
    };
    let rows = shape.first().copied().unwrap_or(1);
    if rows > body.len() {
        return Err(Error::Rows { tensor: String::new(), expected: body.len(), found: rows });
    }
    Ok(rows)
}

type Found<'a> = &'a mut Option<Vec<i64>>;

/// Stops the walk once the shape is there.
fn go_on<E: serde::de::Error>(found: &Option<Vec<i64>>) -> Result<(), E> {
    if found.is_some() { Err(E::custom("found")) } else { Ok(()) }
}

/// The whole request; looks into `inputs`.
struct Request<'a>(Found<'a>);
/// The list of inputs; looks into the first.
struct Inputs<'a>(Found<'a>);
/// One input; takes its `shape`.
struct Input<'a>(Found<'a>);

impl<'de> DeserializeSeed<'de> for Request<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an inference request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == "inputs" {
                map.next_value_seed(Inputs(self.0))?;
                go_on(self.0)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Inputs<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Inputs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tensors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Input(self.0))?.is_some() {
            go_on(self.0)?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Input<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Input<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == "shape" {
                *self.0 = Some(map.next_value()?);
                go_on(self.0)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Err(A::Error::missing_field("shape"))
    }
}
