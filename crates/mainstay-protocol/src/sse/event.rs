//! What one event means to a gate that waits for content.

use serde_json::Value;

/// What an event means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A comment, a keep-alive, a role without words.
    Nothing,
    /// Something for the client.
    Content,
    /// An error, with its data.
    Error(String),
}

/// An event as its lines come in.
#[derive(Debug, Default)]
pub(super) struct Event {
    is_error: bool,
    data: Vec<u8>,
    has_data: bool,
}

impl Event {
    /// Takes one line that is not empty.
    pub(super) fn line(&mut self, line: &[u8]) {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field) {
            b"event" => self.is_error = value == b"error",
            b"data" => self.add_data(value),
            _ => {}
        }
    }

    fn add_data(&mut self, value: &[u8]) {
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
    }

    /// What the event means, now that its empty line has come.
    pub(super) fn meaning(self) -> Meaning {
        let text = || String::from_utf8_lossy(&self.data).into_owned();
        if self.is_error {
            return Meaning::Error(text());
        }
        if self.data.is_empty() {
            return Meaning::Nothing;
        }
        match serde_json::from_slice::<Value>(&self.data) {
            Ok(value) if value.get("error").is_some_and(|error| !error.is_null()) => {
                Meaning::Error(text())
            }
            Ok(value) if names_only_a_role(&value) => Meaning::Nothing,
            _ => Meaning::Content,
        }
    }
}

/// Whether this is a chat chunk of which every choice brings nothing but a role: no words, no
/// tool call, no reason to finish.
fn names_only_a_role(chunk: &Value) -> bool {
    let Some(choices) = chunk.get("choices").and_then(Value::as_array) else {
        return false;
    };
    !choices.is_empty()
        && choices.iter().all(|choice| {
            let delta = choice.get("delta").and_then(Value::as_object);
            let goes_on = choice.get("finish_reason").is_none_or(Value::is_null);
            goes_on
                && delta.is_some_and(|delta| delta.iter().all(|(key, value)| is_idle(key, value)))
        })
}

fn is_idle(key: &str, value: &Value) -> bool {
    key == "role" || value.is_null() || value.as_str() == Some("")
}
