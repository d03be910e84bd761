//! JSON as `TensorFlow` Serving reads and writes it: with NaN and the infinities as bare words.
//!
//! serde_json takes none of these, so messages are divided here: into members, elements and
//! tokens, each a slice of the text that it stands in. Nothing recurses, so depth costs no stack.
//!
//! Source: TensorFlow Serving's `util/json_tensor.cc`, which has RapidJSON read and write with
//! `kParseNanAndInfFlag` and `kWriteNanAndInfFlag`.

use std::borrow::Cow;

use crate::Error;
use crate::error::cut;

/// Lists and objects within each other, at most: more than any tensor has dimensions.
const DEEPEST: usize = 64;

/// A text that is read from its beginning.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

/// The members of the object that `text` is, each with the text of its value.
pub(super) fn members(text: &str) -> Result<Vec<(Cow<'_, str>, &str)>, Error> {
    let mut cursor = Cursor { rest: text };
    let mut members = Vec::new();
    cursor.expect('{')?;
    if !cursor.takes('}') {
        loop {
            let name = cursor.key()?;
            members.push((name, cursor.value()?));
            if !cursor.takes(',') {
                cursor.expect('}')?;
                break;
            }
        }
    }
    cursor.end()?;
    Ok(members)
}

/// The text of each element of the list that `text` is.
pub(super) fn elements(text: &str) -> Result<Vec<&str>, Error> {
    let mut cursor = Cursor { rest: text };
    let mut elements = Vec::new();
    cursor.expect('[')?;
    if !cursor.takes(']') {
        loop {
            elements.push(cursor.value()?);
            if !cursor.takes(',') {
                cursor.expect(']')?;
                break;
            }
        }
    }
    cursor.end()?;
    Ok(elements)
}

/// A string as it is meant.
pub(super) fn string(token: &str) -> Result<Cow<'_, str>, Error> {
    let plain = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match plain {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        _ => Ok(Cow::Owned(serde_json::from_str(token)?)),
    }
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn skip_gap(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Takes this character, if it is the next.
    fn takes(&mut self, wanted: char) -> bool {
        self.skip_gap();
        let after = self.rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), Error> {
        if self.takes(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn end(&mut self) -> Result<(), Error> {
        self.skip_gap();
        if self.rest.is_empty() { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Error {
        match self.rest {
            "" => Error::Malformed("the text ends too early".to_owned()),
            rest => Error::Malformed(format!("unexpected {:?}", cut(rest))),
        }
    }

    fn key(&mut self) -> Result<Cow<'a, str>, Error> {
        self.skip_gap();
        if !self.rest.starts_with('"') {
            return Err(self.unexpected());
        }
        let name = string(self.scalar()?)?;
        self.expect(':')?;
        Ok(name)
    }

    /// The next value as it stands, whatever it is.
    fn value(&mut self) -> Result<&'a str, Error> {
        self.skip_gap();
        let start = self.rest;
        let mut open: Vec<char> = Vec::new();
        loop {
            let opened = if self.takes('[') {
                Some(']')
            } else if self.takes('{') {
                Some('}')
            } else {
                self.scalar()?;
                None
            };
            if let Some(closing) = opened {
                if open.len() >= DEEPEST {
                    return Err(Error::Malformed("too deep".to_owned()));
                }
                if !self.takes(closing) {
                    open.push(closing);
                    self.key_in(closing)?;
                    continue;
                }
            }
            if !self.goes_on(&mut open)? {
                return Ok(&start[..start.len() - self.rest.len()]);
            }
        }
    }

    /// The name of the next member, where members are what is read.
    fn key_in(&mut self, closing: char) -> Result<(), Error> {
        if closing == '}' { self.key().map(|_| ()) } else { Ok(()) }
    }

    /// Behind a value: whether another one follows in what is open.
    fn goes_on(&mut self, open: &mut Vec<char>) -> Result<bool, Error> {
        while let Some(closing) = open.last().copied() {
            if self.takes(',') {
                self.key_in(closing)?;
                return Ok(true);
            }
            self.expect(closing)?;
            open.pop();
        }
        Ok(false)
    }

    /// A string with its quotes, a number or a word.
    fn scalar(&mut self) -> Result<&'a str, Error> {
        let bytes = self.rest.as_bytes();
        let len = match bytes.first() {
            Some(b'"') => end_of_string(bytes).ok_or_else(|| self.unexpected())?,
            _ => bytes.iter().position(|byte| ends_scalar(*byte)).unwrap_or(bytes.len()),
        };
        let (token, rest) = self.rest.split_at(len);
        if !token.starts_with('"') && !is_scalar(token) {
            return Err(self.unexpected());
        }
        self.rest = rest;
        Ok(token)
    }

    /// The next bracket, scalar or whole object of a value that was found to be one; commas are
    /// passed over.
    pub(super) fn token(&mut self) -> Result<Option<&'a str>, Error> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', ',']);
        match self.rest.as_bytes().first() {
            None => Ok(None),
            Some(b'[' | b']') => {
                let (token, rest) = self.rest.split_at(1);
                self.rest = rest;
                Ok(Some(token))
            }
            Some(_) => self.value().map(Some),
        }
    }
}

const fn ends_scalar(byte: u8) -> bool {
    matches!(byte, b',' | b':' | b'[' | b']' | b'{' | b'}' | b'"' | b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether it is one of the words, or begins as a number does and reads as one.
fn is_scalar(token: &str) -> bool {
    matches!(token, "true" | "false" | "null")
        || not_finite(token).is_some()
        || (token.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            && token.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
            && token.parse::<f64>().is_ok())
}

/// What a bare word stands for that JSON has none for.
pub(super) fn not_finite(token: &str) -> Option<f64> {
    match token {
        "NaN" | "-NaN" => Some(f64::NAN),
        "Infinity" | "Inf" => Some(f64::INFINITY),
        "-Infinity" | "-Inf" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The length of the string at the start of `bytes`, quotes included.
fn end_of_string(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let closing = bytes.iter().skip(1).position(|&byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    closing.map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_divided_into_slices_of_itself() {
        let text = r#" {"a" : [1, NaN ,{"x":"]"}], "b\n":-Infinity,"c":{}, "d":[]} "#;
        let found = members(text).unwrap();
        let seen: Vec<(&str, &str)> =
            found.iter().map(|(name, value)| (&**name, value.trim_end())).collect();
        let expected =
            [("a", r#"[1, NaN ,{"x":"]"}]"#), ("b\n", "-Infinity"), ("c", "{}"), ("d", "[]")];
        assert_eq!(seen, expected);
        assert_eq!(elements(found[0].1).unwrap().len(), 3);
        assert!(elements("[]").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = "[".repeat(1000);
        for text in [
            "",
            "{",
            "[",
            "{}x",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            r#"{"a":[1 2]}"#,
            r#"{"a":nan}"#,
            r#"{"a":inf}"#,
            r#"{"a":-inf}"#,
            r#"{"a":"x}"#,
            r#"{"a":[1}}"#,
            r#"{1:2}"#,
            "[1]",
            r#"{"a":1e}"#,
            r#"{"a":[,]}"#,
            r#"{"a":--1}"#,
        ] {
            assert!(members(text).is_err(), "{text}");
        }
        assert!(members(&format!("{{\"a\":{deep}")).is_err());
    }
}
