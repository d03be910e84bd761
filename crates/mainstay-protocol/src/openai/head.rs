//! What a request says at its top level: the model, and what decides how it may be answered.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::members::{Member, Members, NoObject, string};
use super::path::Form;

/// Why a request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a JSON object.
    #[error(transparent)]
    NoObject(#[from] NoObject),
    /// No `model`, or one that is no text.
    #[error("the body does not say which model is asked: \"model\" must be a text")]
    NoModel,
    /// Two members say which model: this gateway and the server behind it could read different
    /// ones.
    #[error("the body names the model twice")]
    TwoModels,
}

/// What a request says, without its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The model's name, decoded.
    pub model: Box<str>,
    /// Where that stands, with its quotes.
    pub model_at: Range<usize>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The most tokens that the answer may have, if that is said.
    pub max_tokens: Option<u64>,
    /// Where that is said.
    pub max_tokens_at: Option<Range<usize>>,
    /// How many choices are asked for; `None` for one.
    choices: Option<u64>,
    /// Where the messages, the prompt or the input stand.
    pub prompt_at: Range<usize>,
    /// Whether a part of the answer can be given to another server to go on with: one choice,
    /// of plain text.
    pub continuable: bool,
}

impl Head {
    /// Reads the top level of a body.
    ///
    /// # Errors
    /// It is no object, or does not name one model.
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        let mut head = Self { continuable: true, ..Self::default() };
        let mut named = false;
        for member in Members::of(body) {
            let Member { name, value } = member?;
            // Servers written in Go take any case.
            if name.eq_ignore_ascii_case("model") {
                if std::mem::replace(&mut named, true) {
                    return Err(Error::TwoModels);
                }
                if name == "model" {
                    head.model = string(&body[value.clone()]).ok_or(Error::NoModel)?.into();
                    head.model_at = value;
                }
                continue;
            }
            head.take(&name, &body[value.clone()], value);
        }
        if head.model_at.is_empty() { Err(Error::NoModel) } else { Ok(head) }
    }

    fn take(&mut self, name: &str, text: &[u8], at: Range<usize>) {
        match name {
            "stream" => self.stream = text == b"true",
            "messages" | "prompt" | "input" => {
                // Two of them: which one a server reads is not known.
                self.continuable &= self.prompt_at.is_empty();
                self.prompt_at = at;
            }
            "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
                self.continuable &= self.max_tokens_at.is_none();
                self.max_tokens = number(text);
                self.max_tokens_at = self.max_tokens.is_some().then_some(at);
            }
            "n" => {
                self.choices = number(text);
                self.continuable &= matches!(text, b"1" | b"null");
            }
            "best_of" => self.continuable &= matches!(text, b"1" | b"null"),
            "tools" | "functions" => self.continuable &= matches!(text, b"[]" | b"null"),
            "response_format" => {
                let plain = serde_json::from_slice::<serde_json::Value>(text).is_ok_and(|format| {
                    format.is_null() || format.get("type").is_some_and(|kind| kind == "text")
                });
                self.continuable &= plain;
            }
            "modalities" | "audio" | "suffix" => self.continuable &= text == b"null",
            "echo" | "logprobs" => self.continuable &= matches!(text, b"false" | b"null"),
            // Ours would stand beside them.
            "continue_final_message" | "add_generation_prompt" => self.continuable = false,
            name if name.starts_with("guided_") => self.continuable &= text == b"null",
            _ => {}
        }
    }

    /// How many choices the answer has; `None` where that cannot be known beforehand: completions
    /// of several prompts, which look like the tokens of one.
    #[must_use]
    pub fn expected(&self, form: Form, body: &[u8]) -> Option<u32> {
        let several = form == Form::Completions && body.get(self.prompt_at.start) == Some(&b'[');
        let choices = u32::try_from(self.choices.unwrap_or(1).max(1)).ok();
        choices.filter(|choices| !several && *choices <= 64)
    }

    /// A guess at the tokens that the request will cost: those of its prompt, four bytes each,
    /// and those that it allows the answer. 256 where it does not say how many: a usual answer.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let prompt = self.prompt_at.len() as u64 / 4;
        prompt.saturating_add(self.max_tokens.unwrap_or(256).min(1 << 20)).max(1)
    }

    /// The first `most` bytes of the messages or the prompt, which servers with a cache of
    /// prefixes share between requests.
    #[must_use]
    pub fn prompt_prefix<'a>(&self, body: &'a [u8], most: usize) -> &'a [u8] {
        let prompt = body.get(self.prompt_at.clone()).unwrap_or_default();
        &prompt[..prompt.len().min(most)]
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The same body with other text in these places, which must be in order and not overlap.
#[must_use]
pub fn splice(body: &[u8], edits: &[(Range<usize>, &str)]) -> Bytes {
    let more: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut spliced = BytesMut::with_capacity(body.len() + more);
    let mut from = 0;
    for (at, text) in edits {
        spliced.extend_from_slice(body.get(from..at.start).unwrap_or_default());
        spliced.extend_from_slice(text.as_bytes());
        from = at.end;
    }
    spliced.extend_from_slice(body.get(from..).unwrap_or_default());
    spliced.freeze()
}

/// The same body for a server that knows the model by another name.
#[must_use]
pub fn rename(body: &[u8], head: &Head, model: &str) -> Bytes {
    let quoted = serde_json::Value::from(model).to_string();
    splice(body, &[(head.model_at.clone(), &quoted)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_read() {
        let body = br#"{"messages":[{"role":"user","content":"{\"model\":\"x\"}"}],
            "model":"gpt","stream":true,"max_tokens":17,"temperature":0.5}"#;
        let head = Head::read(body).unwrap();
        assert_eq!((&*head.model, head.stream, head.max_tokens), ("gpt", true, Some(17)));
        assert!(head.continuable && head.tokens() > 17);
        assert_eq!(head.expected(Form::Chat, body), Some(1));
        let two = br#"{"model":"m","prompt":["a","b"],"n":2}"#;
        let head_of_two = Head::read(two).unwrap();
        assert_eq!(head_of_two.expected(Form::Completions, two), None);
        assert_eq!(head_of_two.expected(Form::Chat, two), Some(2));
        assert!(head.prompt_prefix(body, 12).starts_with(b"[{\"role\":"));
    }

    #[test]
    fn a_renamed_body_is_the_same_but_for_the_name() {
        let body = br#"{"model": "a", "x": [1, "model"], "stream":false }"#;
        let head = Head::read(body).unwrap();
        let renamed = rename(body, &head, "org/b \"2\"");
        assert_eq!(
            &renamed[..],
            br#"{"model": "org/b \"2\"", "x": [1, "model"], "stream":false }"#
        );
        assert_eq!(&*Head::read(&renamed).unwrap().model, "org/b \"2\"");
    }

    #[test]
    fn one_model_is_named_once() {
        assert_eq!(Head::read(br#"{"messages":[]}"#), Err(Error::NoModel));
        assert_eq!(Head::read(br#"{"model":7}"#), Err(Error::NoModel));
        assert_eq!(Head::read(br#"{"MODEL":"a"}"#), Err(Error::NoModel));
        assert_eq!(Head::read(br#"{"model":"a","mod\u0065l":"b"}"#), Err(Error::TwoModels));
        assert_eq!(Head::read(br#"{"model":"a","Model":"b"}"#), Err(Error::TwoModels));
        assert_eq!(Head::read(b"[1]"), Err(Error::NoObject(NoObject)));
    }

    #[test]
    fn only_plain_text_can_be_continued() {
        let continuable = |more: &str| {
            let body = format!(r#"{{"model":"m","messages":[],{more}}}"#);
            Head::read(body.as_bytes()).unwrap().continuable
        };
        assert!(continuable(r#""n":1,"tools":[],"response_format":{"type":"text"}"#));
        for refused in [
            r#""n":2"#,
            r#""tools":[{"type":"function"}]"#,
            r#""response_format":{"type":"json_object"}"#,
            r#""guided_json":{}"#,
            r#""logprobs":true"#,
            r#""continue_final_message":false"#,
            r#""add_generation_prompt":true"#,
            r#""input":[]"#,
            r#""max_tokens":1,"max_completion_tokens":2"#,
        ] {
            assert!(!continuable(refused), "{refused}");
        }
    }
}
