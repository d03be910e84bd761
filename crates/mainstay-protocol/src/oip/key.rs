//! The first value of an input: what requests can be kept together by.
//!
//! The whole head is read, since the input may stand anywhere in it, but of its data only the one
//! value. The same value gives the same bytes whether it came as JSON or as binary data.

use serde::Deserialize;

use super::wire::RawTensor;
use super::{object, split};

#[derive(Deserialize)]
struct Inputs<'a> {
    #[serde(borrow)]
    inputs: Vec<RawTensor<'a>>,
}

/// The first value of the input of this name, as binary data would have it. `None` where there is
/// no such input, it is empty, or the request cannot be read: then there is nothing to keep
/// together, and whoever answers says what is wrong.
#[must_use]
pub fn first_value(body: &[u8], json_len: Option<usize>, input: &str) -> Option<Vec<u8>> {
    let (head, mut tail) = split(body, json_len).ok()?;
    let Inputs { inputs } = object(head).ok()?;
    for mut tensor in inputs {
        let size = tensor.take_binary_size().ok()?;
        if tensor.is(input) {
            return tensor.first(size, tail);
        }
        tail = tail.get(size.unwrap_or_default()..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(input: &str) -> Option<Vec<u8>> {
        let body = format!(
            r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1],"data":[0.5]}},{input}]}}"#
        );
        first_value(body.as_bytes(), None, "user")
    }

    #[test]
    fn json_and_binary_data_give_the_same_bytes() {
        let id = |data| {
            json(&format!(r#"{{"name":"user","datatype":"INT64","shape":[2,1],"data":{data}}}"#))
        };
        assert_eq!(id("[7,8]"), Some(7i64.to_le_bytes().to_vec()));
        assert_eq!(id("[[7],[8]]"), id("[7.0,8]"));
        let head = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}},{"name":"user","datatype":"INT64","shape":[2,1],"parameters":{"binary_data_size":16}}]}"#;
        let tail = [&0.5f32.to_le_bytes()[..], &7i64.to_le_bytes(), &8i64.to_le_bytes()].concat();
        let body = [head.as_bytes(), &tail].concat();
        assert_eq!(first_value(&body, Some(head.len()), "user"), id("[7,8]"));
    }

    #[test]
    fn texts_are_keys_too() {
        let name = |data| {
            json(&format!(r#"{{"name":"user","datatype":"BYTES","shape":[1],"data":{data}}}"#))
        };
        assert_eq!(name(r#"["a\u0062"]"#), name(r#"["ab"]"#));
        let head = r#"{"inputs":[{"name":"user","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}"#;
        let body = [head.as_bytes(), &2u32.to_le_bytes(), b"ab"].concat();
        assert_eq!(first_value(&body, Some(head.len()), "user"), name(r#"["ab"]"#));
    }

    #[test]
    fn without_a_first_value_there_is_no_key() {
        assert_eq!(json(r#"{"name":"other","datatype":"INT64","shape":[1],"data":[1]}"#), None);
        assert_eq!(json(r#"{"name":"user","datatype":"INT64","shape":[0],"data":[]}"#), None);
        assert_eq!(json(r#"{"name":"user","datatype":"INT64","shape":[1],"data":["x"]}"#), None);
        assert_eq!(first_value(b"{", None, "user"), None);
        let head = r#"{"inputs":[{"name":"user","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}"#;
        let cut = [head.as_bytes(), &99u32.to_le_bytes(), b"ab"].concat();
        assert_eq!(first_value(&cut, Some(head.len()), "user"), None);
    }
}
