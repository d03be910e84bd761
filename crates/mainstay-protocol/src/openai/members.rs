//! The members of a JSON object, found without looking into their values.
//!
//! A request to a language model may be megabytes of messages, of which a gateway needs the
//! model's name. So values are skipped by counting brackets and heeding strings, and nothing is
//! allocated; where each stands is known, so that one can be replaced in its place. What is
//! valid JSON is read as a full parser would; what is not may pass here, and fails at the server.

use std::borrow::Cow;
use std::ops::Range;

/// The text is no JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is no JSON object")]
pub struct NoObject;

/// One member: its name, and where its value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, decoded.
    pub name: Cow<'a, str>,
    /// The value's place in the text.
    pub value: Range<usize>,
}

/// The members in their order; ends after the first error.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: &'a [u8],
    at: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Inside,
    Over,
}

impl<'a> Members<'a> {
    /// The members of the object that `text` is.
    #[must_use]
    pub const fn of(text: &'a [u8]) -> Self {
        Self { text, at: 0, state: State::Start }
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), NoObject> {
        if self.peek() != Some(byte) {
            return Err(NoObject);
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing may follow the object.
    fn close(&mut self) -> Result<(), NoObject> {
        self.at += 1;
        self.state = State::Over;
        if self.peek().is_some() { Err(NoObject) } else { Ok(()) }
    }

    fn step(&mut self) -> Result<Option<Member<'a>>, NoObject> {
        match self.state {
            State::Over => return Ok(None),
            State::Start => {
                self.expect(b'{')?;
                self.state = State::Inside;
                if self.peek() == Some(b'}') {
                    return self.close().map(|()| None);
                }
            }
            State::Inside => match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => return self.close().map(|()| None),
                _ => return Err(NoObject),
            },
        }
        let name = self.name()?;
        self.expect(b':')?;
        self.peek();
        let start = self.at;
        self.at = skip(self.text, start).ok_or(NoObject)?;
        Ok(Some(Member { name, value: start..self.at }))
    }

    fn name(&mut self) -> Result<Cow<'a, str>, NoObject> {
        if self.peek() != Some(b'"') {
            return Err(NoObject);
        }
        let start = self.at;
        self.at = string_end(self.text, start).ok_or(NoObject)?;
        string(&self.text[start..self.at]).ok_or(NoObject)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, NoObject>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.state = State::Over;
        }
        step.transpose()
    }
}

/// The text of a JSON string with its quotes, decoded; `None` where it is none.
#[must_use]
pub fn string(quoted: &[u8]) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.iter().any(|byte| matches!(byte, b'\\' | 0..=0x1f)) {
        return serde_json::from_slice(quoted).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

/// The offset after the value that begins at `at`.
fn skip(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string_end(text, at),
        b'{' | b'[' => nested_end(text, at),
        _ => {
            let ends =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            let length = text[at..].iter().position(ends).unwrap_or(text.len() - at);
            (length > 0).then_some(at + length)
        }
    }
}

/// The offset after the string whose quote stands at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn nested_end(text: &[u8], at: usize) -> Option<usize> {
    let (mut at, mut depth) = (at, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, &str)>> {
        let members = Members::of(text.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
        let pair = |member: Member<'_>| (member.name.into_owned(), &text[member.value]);
        Some(members.into_iter().map(pair).collect())
    }

    #[test]
    fn members_are_found_around_whatever_they_hold() {
        let text = r#" { "a" : [1, {"b": "]}"}], "c\u0064":"x\"y" ,"e":-1.5e3,"f":null } "#;
        let expected = [
            ("a".to_owned(), r#"[1, {"b": "]}"}]"#),
            ("cd".to_owned(), r#""x\"y""#),
            ("e".to_owned(), "-1.5e3"),
            ("f".to_owned(), "null"),
        ];
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("{}").unwrap(), []);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in
            ["", "[]", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{} x", "{\"a\":1,}", "\"a\""]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
