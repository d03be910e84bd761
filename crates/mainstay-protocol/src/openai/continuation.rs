//! Going on with an answer that was cut, at another server.
//!
//! The other server gets the same request with what was already said as the beginning of its own
//! answer: for chat a last message of the assistant with vLLM's `continue_final_message`, for
//! completions the prompt with the text behind it. What it then says goes on where the client
//! stopped reading: its events carry the identity of the first stream, and its first chunk, which
//! only names the role, is left out. Whether the two halves fit is the model's affair, so nothing
//! is continued unless a model declares it.
//! Source: vLLM's `entrypoints/openai/protocol.py` (`continue_final_message`,
//! `add_generation_prompt`).

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::head::{Head, splice};
use super::members::{Members, string};
use super::path::Form;

/// The longest text that is remembered of an answer; a longer one is not continued.
pub const MAX_SAID: usize = 256 * 1024;

/// What a stream has said, as far as another server needs to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The text of the only choice.
    pub text: String,
    /// The identity of the stream, as JSON.
    id: Option<Box<str>>,
    /// Something came that is no plain text, or more than [`MAX_SAID`]; or it is finished.
    lost: bool,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(default)]
    finish_reason: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(default)]
    tool_calls: Option<Value>,
    #[serde(default)]
    function_call: Option<Value>,
    #[serde(default)]
    refusal: Option<Value>,
    #[serde(default)]
    reasoning_content: Option<Value>,
    #[serde(default)]
    reasoning: Option<Value>,
}

impl Told {
    /// Listens to the events that a client gets.
    pub fn hear(&mut self, events: &[u8]) {
        for data in data_lines(events) {
            self.hear_data(data);
        }
    }

    fn hear_data(&mut self, data: &[u8]) {
        if self.lost || data.is_empty() {
            return;
        }
        if data == b"[DONE]" {
            self.lost = true;
            return;
        }
        if self.id.is_none() {
            let id = Members::of(data).map_while(Result::ok).find(|member| member.name == "id");
            let id = id.and_then(|id| std::str::from_utf8(data.get(id.value)?).ok());
            self.id = id.map(Into::into);
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else {
            self.lost = true;
            return;
        };
        for choice in chunk.choices {
            let delta = choice.delta.unwrap_or_default();
            let more = [delta.tool_calls, delta.function_call, delta.refusal];
            let thought = [delta.reasoning_content, delta.reasoning];
            let plain = more.iter().chain(&thought).flatten().all(is_empty);
            self.lost |= choice.index != 0 || !plain || choice.finish_reason.is_some();
            for text in [delta.content, choice.text].into_iter().flatten() {
                self.text.push_str(&text);
            }
        }
        self.lost |= self.text.len() > MAX_SAID;
    }

    /// Whether another server can go on from here.
    #[must_use]
    pub const fn can_go_on(&self) -> bool {
        !self.lost && !self.text.is_empty()
    }

    /// The request with which another server goes on; `None` where there is none in this form.
    /// `tokens` were said already.
    #[must_use]
    pub fn request(&self, form: Form, body: &[u8], head: &Head, tokens: u64) -> Option<Bytes> {
        if !self.can_go_on() || !head.continuable {
            return None;
        }
        let text = Value::from(self.text.as_str()).to_string();
        let prompt = body.get(head.prompt_at.clone())?;
        let mut edits = Vec::with_capacity(2);
        match form {
            Form::Chat => {
                let open = prompt.strip_suffix(b"]")?;
                let first = open.trim_ascii() == b"[";
                let comma = if first { "" } else { "," };
                let at = head.prompt_at.end - 1..head.prompt_at.end;
                let message = format!(
                    "{comma}{{\"role\":\"assistant\",\"content\":{text}}}],\
                     \"continue_final_message\":true,\"add_generation_prompt\":false"
                );
                edits.push((at, message));
            }
            Form::Completions => {
                let whole = format!("{}{}", string(prompt)?, self.text);
                edits.push((head.prompt_at.clone(), Value::from(whole).to_string()));
            }
            Form::Embeddings | Form::Responses => return None,
        }
        if let Some((most, at)) = head.max_tokens.zip(head.max_tokens_at.clone()) {
            edits.push((at, most.saturating_sub(tokens).max(1).to_string()));
        }
        edits.sort_by_key(|(at, _)| at.start);
        let edits: Vec<_> = edits.iter().map(|(at, text)| (at.clone(), text.as_str())).collect();
        Some(splice(body, &edits))
    }

    /// The events of the server that goes on, as the client gets them: under the first stream's
    /// identity, and without a chunk that only names the role.
    #[must_use]
    pub fn adopt(&self, events: &Bytes) -> Bytes {
        let mut adopted = Vec::with_capacity(events.len());
        for line in events.split_inclusive(|byte| *byte == b'\n') {
            let Some(data) = line.strip_prefix(b"data:") else {
                adopted.extend_from_slice(line);
                continue;
            };
            match self.adopted(data.trim_ascii()) {
                Some(data) => {
                    adopted.extend_from_slice(b"data: ");
                    adopted.extend_from_slice(&data);
                    adopted.push(b'\n');
                }
                // An empty line without data is no event.
                None => adopted.extend_from_slice(b": begun\n"),
            }
        }
        adopted.into()
    }

    fn adopted<'a>(&self, data: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let mut id_at = None;
        for member in Members::of(data).map_while(Result::ok) {
            match &*member.name {
                "id" => id_at = Some(member.value),
                "choices" if begins(&data[member.value.clone()]) => return None,
                _ => {}
            }
        }
        let spliced = id_at.zip(self.id.as_deref()).map(|(at, id)| splice(data, &[(at, id)]));
        Some(spliced.map_or(Cow::Borrowed(data), |spliced| Cow::Owned(spliced.to_vec())))
    }
}

/// Whether choices bring nothing but a role.
fn begins(choices: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Bare {
        #[serde(default)]
        delta: serde_json::Map<String, Value>,
        #[serde(default)]
        finish_reason: Option<Value>,
    }
    let Ok(choices) = serde_json::from_slice::<Vec<Bare>>(choices) else { return false };
    !choices.is_empty()
        && choices.iter().all(|choice| {
            let idle = |(name, value): (&String, &Value)| name == "role" || is_empty(value);
            choice.finish_reason.is_none()
                && choice.delta.contains_key("role")
                && choice.delta.iter().all(idle)
        })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn data_lines(events: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = events.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.filter_map(|line| line.strip_prefix(b"data:")).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &[&str]) -> Told {
        let mut told = Told::default();
        for word in words {
            let chunk = format!(
                "data: {{\"id\":\"first\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{}}}}}]}}\n\n",
                Value::from(*word)
            );
            told.hear(chunk.as_bytes());
        }
        told
    }

    #[test]
    fn a_chat_goes_on_from_what_was_said() {
        let body =
            br#"{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"q"}],"n":1}"#;
        let head = Head::read(body).unwrap();
        let asked = told(&["a \"", "b"]).request(Form::Chat, body, &head, 4).unwrap();
        let asked: Value = serde_json::from_slice(&asked).unwrap();
        assert_eq!(asked["messages"][1]["content"], "a \"b");
        assert_eq!(asked["messages"][1]["role"], "assistant");
        assert_eq!(asked["continue_final_message"], true);
        assert_eq!(asked["add_generation_prompt"], false);
        assert_eq!(asked["max_tokens"], 6);
    }

    #[test]
    fn a_completion_goes_on_behind_its_prompt() {
        let body = br#"{"prompt":"once\n","model":"m"}"#;
        let head = Head::read(body).unwrap();
        let asked = told(&["upon"]).request(Form::Completions, body, &head, 1).unwrap();
        assert_eq!(&asked[..], br#"{"prompt":"once\nupon","model":"m"}"#);
        let many = br#"{"prompt":["a","b"],"model":"m"}"#;
        let head = Head::read(many).unwrap();
        assert_eq!(told(&["x"]).request(Form::Completions, many, &head, 1), None);
    }

    #[test]
    fn what_is_not_plain_text_is_not_continued() {
        assert!(!Told::default().can_go_on());
        for delta in [
            r#""delta":{"content":"a","tool_calls":[{}]}"#,
            r#""index":1,"delta":{"content":"a"}"#,
            r#""delta":{"reasoning_content":"a"}"#,
            r#""delta":{},"finish_reason":"stop""#,
        ] {
            let mut told = told(&["a"]);
            told.hear(format!("data: {{\"choices\":[{{{delta}}}]}}\n\n").as_bytes());
            assert!(!told.can_go_on(), "{delta}");
        }
    }

    #[test]
    fn the_second_half_speaks_as_the_first() {
        let events = Bytes::from_static(
            b"data: {\"id\":\"other\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
              data: {\"id\":\"other\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n",
        );
        let adopted = told(&["a"]).adopt(&events);
        let text = std::str::from_utf8(&adopted).unwrap();
        assert!(!text.contains("other") && !text.contains("role"), "{text}");
        assert!(text.contains(r#"data: {"id":"first","choices""#), "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
}
