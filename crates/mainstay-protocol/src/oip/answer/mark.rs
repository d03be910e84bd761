//! Saying in the answer itself that it is degraded.
//!
//! The answer of a lesser server is still its own: only the top-level `parameters` are touched,
//! as text, and every other byte stays where it was. Reading and writing the whole answer again
//! would change its numbers' spelling and drop what we do not know.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::json::put;
use super::super::{Encoded, object, split};
use crate::Error;

/// What a degraded answer says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// Who answered, for example `fraud-v1/10.0.0.1:8000` or `embedded:fraud-lite`.
    pub served_by: &'a str,
    /// Why nobody better did.
    pub reason: &'a str,
}

impl Mark<'_> {
    /// Puts the mark among the parameters of an answer of our own.
    pub fn write_to(&self, parameters: &mut Map<String, Value>) {
        parameters.extend(self.values().map(|(name, value)| (name.to_owned(), value)));
    }

    fn values(&self) -> [(&'static str, Value); 3] {
        [
            ("degraded", Value::Bool(true)),
            ("served_by", self.served_by.into()),
            ("reason", self.reason.into()),
        ]
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
    let Members(mut members) = serde_json::from_str(old)?;
    members.retain(|(name, _)| mark.values().iter().all(|(ours, _)| ours != name));
    let mut text = Vec::with_capacity(old.len() + 128);
    write_members(&mut text, &members, mark);
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

fn write_members(text: &mut Vec<u8>, members: &[(Cow<'_, str>, &RawValue)], mark: &Mark<'_>) {
    text.push(b'{');
    for (name, value) in members {
        put(text, name);
        text.push(b':');
        text.extend_from_slice(value.get().as_bytes());
        text.push(b',');
    }
    for (index, (name, value)) in mark.values().iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        put(text, name);
        text.push(b':');
        put(text, value);
    }
    text.push(b'}');
}

/// The members of an object in their order, values as text; `null` has none.
#[derive(Default)]
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of parameters")
    }

    fn visit_unit<E>(self) -> Result<Members<'de>, E> {
        Ok(Members::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
