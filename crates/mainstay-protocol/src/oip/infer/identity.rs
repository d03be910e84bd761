//! What of a request its answer depends on: all of it but the client's own name for it.

use crate::Error;
use crate::oip::members::Members;
use crate::oip::{object, split};

/// The member that only names the request.
const ID: &str = "id";

/// Hands every part of a request that its answer depends on to `feed`, each with its length, in
/// an order that does not depend on how the client orders its members: inputs, outputs asked for,
/// parameters and whatever else stands there, and the binary data behind them. The `id` is left
/// out.
///
/// The texts themselves are taken as they stand: `1` and `1.0`, or JSON and binary data, are
/// different requests, though a model would answer both alike. Software writes the same request
/// in the same way.
///
/// # Errors
/// The head is no JSON object.
pub fn identity(
    body: &[u8],
    json_len: Option<usize>,
    mut feed: impl FnMut(&[u8]),
) -> Result<(), Error> {
    let (head, tail) = split(body, json_len)?;
    let Members(mut members) = object(head)?;
    members.retain(|(name, _)| name != ID);
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut part = |part: &[u8]| {
        feed(&(part.len() as u64).to_le_bytes());
        feed(part);
    };
    for (name, value) in &members {
        part(name.as_bytes());
        part(value.get().as_bytes());
    }
    part(tail);
    Ok(())
}

/// The client's own name for a request, as the JSON text that it stands in.
///
/// # Errors
/// The head is no JSON object.
pub fn id(body: &[u8], json_len: Option<usize>) -> Result<Option<&str>, Error> {
    let (head, _) = split(body, json_len)?;
    let members: Members<'_> = object(head)?;
    Ok(members.get(ID).map(serde_json::value::RawValue::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(body: &str, json_len: Option<usize>) -> Vec<u8> {
        let mut all = Vec::new();
        identity(body.as_bytes(), json_len, |part| all.extend_from_slice(part)).unwrap();
        all
    }

    #[test]
    fn the_id_and_the_order_of_members_make_no_difference() {
        let one = fed(r#"{"id":"1","inputs":[{"data":[1]}],"parameters":{"k":1}}"#, None);
        let other = fed(r#"{ "parameters":{"k":1}, "inputs":[{"data":[1]}], "id":"2" }"#, None);
        assert_eq!(one, other);
        assert_eq!(one, fed(r#"{"parameters":{"k":1},"inputs":[{"data":[1]}]}"#, None));
    }

    #[test]
    fn whatever_the_answer_depends_on_does() {
        let bodies = [
            (r#"{"inputs":[{"data":[1]}]}"#, None),
            (r#"{"inputs":[{"data":[2]}]}"#, None),
            (r#"{"inputs":[{"data":[1]}],"outputs":[{"name":"y"}]}"#, None),
            (r#"{"inputs":[{"data":[1]}],"parameters":{"k":1}}"#, None),
            (r#"{"inputs":[{"data":[1]}]}abcd"#, Some(25)),
            (r#"{"inputs":[{"data":[1]}]}abce"#, Some(25)),
        ];
        let all: Vec<_> = bodies.iter().map(|(body, json_len)| fed(body, *json_len)).collect();
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "{:?}", bodies[at]);
        }
    }

    #[test]
    fn an_id_is_given_as_it_is_written() {
        assert_eq!(id(br#"{"inputs":[],"id":"a\"b"}"#, None).unwrap(), Some(r#""a\"b""#));
        assert_eq!(id(br#"{"inputs":[]}"#, None).unwrap(), None);
        assert!(id(b"[]", None).is_err());
    }
}
