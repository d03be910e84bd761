//! Sequences of requests, as Triton's sequence extension names them.
//!
//! `sequence_id` is a number that is not zero, or a text that is not empty; `sequence_start` and
//! `sequence_end` are flags. All three are parameters of a request.
//!
//! Source: Triton's `docs/protocol/extension_sequence.md`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Encoded, json, object, split};

/// What names a sequence.
const ID: &str = "sequence_id";
/// The flag that ends one.
const END: &str = "sequence_end";
/// The flag that begins a sequence.
pub(crate) const START: &str = "sequence_start";

/// What a request says of its sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The sequence, in words that no other one has.
    pub id: String,
    /// Whether it begins with this request.
    pub start: bool,
    /// Whether it ends with this request.
    pub end: bool,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    parameters: Option<Of>,
}

#[derive(Deserialize)]
struct Of {
    sequence_id: Option<Value>,
    #[serde(default)]
    sequence_start: Option<Value>,
    #[serde(default)]
    sequence_end: Option<Value>,
}

/// What the request says of its sequence; `None` where it belongs to none, or cannot be read.
#[must_use]
pub fn read(body: &[u8], json_len: Option<usize>) -> Option<Said> {
    let (head, _) = split(body, json_len).ok()?;
    let of = object::<Parameters>(head).ok()?.parameters?;
    let Of { mut sequence_id, mut sequence_start, mut sequence_end } = of;
    said(|name| match name {
        ID => sequence_id.take(),
        START => sequence_start.take(),
        _ => sequence_end.take(),
    })
}

/// What parameters say of a sequence; `of` gives each by its name.
pub(crate) fn said(mut of: impl FnMut(&str) -> Option<Value>) -> Option<Said> {
    let id = match of(ID)? {
        Value::Number(id) if id.as_u64() != Some(0) => id.to_string(),
        // In quotes, so that the text "7" is not the number 7.
        Value::String(id) if !id.is_empty() => Value::String(id).to_string(),
        _ => return None,
    };
    let mut flag = |name| of(name).is_some_and(|said| said.as_bool() == Some(true));
    Some(Said { id, start: flag(START), end: flag(END) })
}

/// The same request as the first of its sequence; `None` where it cannot be read.
#[must_use]
pub fn restarted(body: &[u8], json_len: Option<usize>) -> Option<Encoded> {
    let (head, tail) = split(body, json_len).ok()?;
    let Members(members) = object(head).ok()?;
    let mut parameters = Map::new();
    let mut out = vec![b'{'];
    for (name, value) in members {
        if name == "parameters" {
            parameters = serde_json::from_str::<Option<_>>(value.get()).ok()?.unwrap_or_default();
        } else {
            json::put(&mut out, &*name);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
            out.push(b',');
        }
    }
    parameters.insert(START.to_owned(), Value::Bool(true));
    out.extend_from_slice(br#""parameters":"#);
    json::put(&mut out, &parameters);
    out.push(b'}');
    let json_len = json_len.map(|_| out.len());
    out.extend_from_slice(tail);
    Some(Encoded { body: out.into(), json_len })
}

/// The members of an object as they are written, in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an inference request")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(parameters: &str) -> Option<(String, bool, bool)> {
        let body = format!(r#"{{"inputs":[],"parameters":{parameters}}}"#);
        read(body.as_bytes(), None).map(|said| (said.id, said.start, said.end))
    }

    #[test]
    fn a_sequence_is_a_number_or_a_text() {
        assert_eq!(
            said(r#"{"sequence_id":7,"sequence_start":true}"#),
            Some(("7".to_owned(), true, false))
        );
        assert_eq!(
            said(r#"{"sequence_id":18446744073709551615,"sequence_end":true}"#),
            Some((u64::MAX.to_string(), false, true))
        );
        assert_eq!(said(r#"{"sequence_id":"7"}"#), Some(("\"7\"".to_owned(), false, false)));
    }

    #[test]
    fn what_names_none_belongs_to_none() {
        for none in ["{}", "null", r#"{"sequence_id":0}"#, r#"{"sequence_id":""}"#, "[]"] {
            assert_eq!(said(none), None, "{none}");
        }
        assert_eq!(read(b"no json", None), None);
    }

    #[test]
    fn a_restarted_request_says_so_and_is_the_same_otherwise() {
        let head =
            r#"{"id":"a","parameters":{"sequence_id":7},"inputs":[{"name":"x","data":[0.10]}]}"#;
        let body = [head.as_bytes(), b"tail"].concat();
        let encoded = restarted(&body, Some(head.len())).unwrap();
        let expected = r#"{"id":"a","inputs":[{"name":"x","data":[0.10]}],"parameters":{"sequence_id":7,"sequence_start":true}}"#;
        assert_eq!(encoded.json_len, Some(expected.len()));
        assert_eq!(encoded.body, [expected.as_bytes(), b"tail"].concat());
        let plain = restarted(br#"{"inputs":[]}"#, None).unwrap();
        assert_eq!(plain.json_len, None);
        assert_eq!(plain.body, br#"{"inputs":[],"parameters":{"sequence_start":true}}"#[..]);
    }
}
