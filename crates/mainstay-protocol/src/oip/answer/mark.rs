//! Saying in the answer itself that it is degraded.
//!
//! The answer of a lesser server is still its own: only the top-level `parameters` are touched,
//! as text, and every other byte stays where it was. Reading and writing the whole answer again
//! would change its numbers' spelling and drop what we do not know.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::json::put;
use super::super::members::Members;
use super::super::{Encoded, object, split};
use crate::Error;

/// What a degraded answer says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// Who answered, for example `fraud-v1/10.0.0.1:8000` or `embedded:fraud-lite`.
    pub served_by: &'a str,
    /// Why nobody better did.
    pub reason: &'a str,
    /// How long ago the answer was given first, in seconds, where it is given again.
    pub age: Option<u64>,
}

impl Mark<'_> {
    /// Puts the mark among the parameters of an answer of our own.
    pub fn write_to(&self, parameters: &mut Map<String, Value>) {
        parameters.extend(self.values().map(|(name, value)| (name.to_owned(), value)));
    }

    fn values(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let always = [
            ("degraded", Value::Bool(true)),
            ("served_by", self.served_by.into()),
            ("reason", self.reason.into()),
        ];
        always.into_iter().chain(self.age.map(|age| ("age", age.into())))
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    parameters: Option<&'a RawValue>,
}

/// `Some` also for `null`, whose text must be replaced.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(from).map(Some)
}

/// Adds the mark to the top-level `parameters` of an answer's JSON head; members of these names
/// are replaced, all others keep their text, and so does everything outside.
///
/// # Errors
/// The head is no JSON object, or its `parameters` are none.
pub fn mark_degraded(
    body: &Bytes,
    json_len: Option<usize>,
    mark: &Mark<'_>,
) -> Result<Encoded, Error> {
    let (head, tail) = split(body, json_len)?;
    let found: Head<'_> = object(head)?;
    let (before, text, after) = match found.parameters {
        Some(raw) => replaced(head, raw.get(), mark)?,
        None => inserted(head, mark)?,
    };
    let json_len = json_len.map(|_| before.len() + text.len() + after.len());
    Ok(Encoded { body: [before, &text, after, tail].concat().into(), json_len })
}

/// What stands before the mark, the mark, and what stands after it.
type Spliced<'a> = (&'a [u8], Vec<u8>, &'a [u8]);

/// A head whose parameters (`old`, a slice of it) are replaced by themselves with the mark.
fn replaced<'a>(head: &'a [u8], old: &str, mark: &Mark<'_>) -> Result<Spliced<'a>, Error> {
    let lost = || Error::Malformed("parameters stand outside the head".to_owned());
    let start = (old.as_ptr() as usize).checked_sub(head.as_ptr() as usize).ok_or_else(lost)?;
    let before = head.get(..start).ok_or_else(lost)?;
    let after = head.get(start + old.len()..).ok_or_else(lost)?;
    let mut text = Vec::with_capacity(old.len() + 128);
    write_parameters(&mut text, old, mark)?;
    Ok((before, text, after))
}

/// A head without parameters gets them as its first member.
fn inserted<'a>(head: &'a [u8], mark: &Mark<'_>) -> Result<Spliced<'a>, Error> {
    let inner = head.trim_ascii_start().strip_prefix(b"{");
    let after = inner.ok_or_else(|| Error::Malformed("an answer is an object".to_owned()))?;
    let mut text = b"\"parameters\":".to_vec();
    write_members(&mut text, &[], mark);
    if !after.trim_ascii_start().starts_with(b"}") {
        text.push(b',');
    }
    Ok((&head[..head.len() - after.len()], text, after))
}

/// The parameters `old` with the mark, in the place of what stands there of its names.
fn write_parameters(text: &mut Vec<u8>, old: &str, mark: &Mark<'_>) -> Result<(), Error> {
    let Members(mut members) = serde_json::from_str(old)?;
    members.retain(|(name, _)| mark.values().all(|(ours, _)| ours != name));
    write_members(text, &members, mark);
    Ok(())
}

fn write_members(text: &mut Vec<u8>, members: &[(Cow<'_, str>, &RawValue)], mark: &Mark<'_>) {
    text.push(b'{');
    for (name, value) in members {
        put(text, name);
        text.push(b':');
        text.extend_from_slice(value.get().as_bytes());
        text.push(b',');
    }
    for (index, (name, value)) in mark.values().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        put(text, name);
        text.push(b':');
        put(text, &value);
    }
    text.push(b'}');
}

/// An answer as it was given to one request, as the answer to another of the same content: under
/// that one's `id` (a JSON text; `None` for a request without), and with the mark. The other
/// members keep their text, and so does the binary data.
///
/// # Errors
/// The head is no JSON object, or its `parameters` are none.
pub fn give_again(
    body: &[u8],
    json_len: Option<usize>,
    id: Option<&str>,
    mark: &Mark<'_>,
) -> Result<Encoded, Error> {
    let (head, tail) = split(body, json_len)?;
    let members: Members<'_> = object(head)?;
    let mut text = Vec::with_capacity(body.len() + 192);
    text.push(b'{');
    if let Some(id) = id {
        text.extend_from_slice(b"\"id\":");
        text.extend_from_slice(id.as_bytes());
        text.push(b',');
    }
    text.extend_from_slice(b"\"parameters\":");
    let old = members.get("parameters").map_or("null", RawValue::get);
    write_parameters(&mut text, old, mark)?;
    for (name, value) in &members.0 {
        if name != "id" && name != "parameters" {
            text.push(b',');
            put(&mut text, name);
            text.push(b':');
            text.extend_from_slice(value.get().as_bytes());
        }
    }
    text.push(b'}');
    let json_len = json_len.map(|_| text.len());
    text.extend_from_slice(tail);
    Ok(Encoded { body: text.into(), json_len })
}
