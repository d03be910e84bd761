//! What one event of a stream means.
//!
//! Read by serde without an allocation: every choice of a chunk is folded into a few bits.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::path::Form;
use super::super::usage::Usage;

/// What an event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A comment, a keep-alive, a role without words, a response that only began.
    Nothing,
    /// Words, a tool call, a refusal, reasoning, or a reason to finish.
    Content,
    /// The mark of the end.
    End,
    /// The server says that it failed.
    Failed,
    /// No JSON.
    Malformed,
}

/// What an event brings beside its meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Brought {
    /// The choices that it is of, as bits; the first 64.
    pub(super) seen: u64,
    /// Those of them that are finished.
    pub(super) finished: u64,
    /// What the server counted.
    pub(super) usage: Option<Usage>,
}

/// The lines of an event that matter.
#[derive(Debug, Default)]
pub(super) struct Lines<'a> {
    pub(super) name: &'a [u8],
    pub(super) data: Option<Cow<'a, [u8]>>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(event: &'a [u8]) -> Self {
        let mut lines = Self::default();
        for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            if let Some(value) = field(line, b"data") {
                match &mut lines.data {
                    None => lines.data = Some(Cow::Borrowed(value)),
                    Some(data) => {
                        let data = data.to_mut();
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                }
            } else if let Some(value) = field(line, b"event") {
                lines.name = value;
            }
        }
        lines
    }
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    let value = if value.is_empty() { value } else { value.strip_prefix(b":")? };
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// What an event of a stream of this form means, and brings.
pub(super) fn read(form: Form, lines: &Lines<'_>) -> (Meaning, Brought) {
    let nothing = Brought::default();
    let data = lines.data.as_deref().unwrap_or_default();
    if lines.name == b"error" {
        return (Meaning::Failed, nothing);
    }
    if data.is_empty() {
        return (Meaning::Nothing, nothing);
    }
    if data == b"[DONE]" {
        return (Meaning::End, nothing);
    }
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else {
        // JSON in a form that is not known here is for the client to judge.
        let json = serde_json::from_slice::<IgnoredAny>(data).is_ok();
        return (if json { Meaning::Content } else { Meaning::Malformed }, nothing);
    };
    let usage = chunk.usage.or_else(|| chunk.response.as_ref().and_then(|it| it.usage));
    if chunk.error.0 {
        return (Meaning::Failed, nothing);
    }
    if form == Form::Responses {
        return (of_response(&chunk, lines.name), Brought { usage, ..nothing });
    }
    let choices = chunk.choices.unwrap_or_default();
    let meaning = if choices.content { Meaning::Content } else { Meaning::Nothing };
    (meaning, Brought { seen: choices.seen, finished: choices.finished, usage })
}

/// Events of the responses API by their names: those that only announce what is to come, those
/// that end it, and all others bring something.
fn of_response(chunk: &Chunk<'_>, name: &[u8]) -> Meaning {
    let name = chunk.kind.as_deref().map_or(name, str::as_bytes);
    match name {
        b"error" | b"response.failed" => Meaning::Failed,
        b"response.completed" | b"response.incomplete" | b"response.cancelled" => Meaning::End,
        b"response.created"
        | b"response.queued"
        | b"response.in_progress"
        | b"response.output_item.added"
        | b"response.content_part.added"
        | b"response.reasoning_summary_part.added" => Meaning::Nothing,
        name if name.ends_with(b".delta") && !chunk.delta.0 => Meaning::Nothing,
        _ => Meaning::Content,
    }
}

/// A chunk of chat or completions, or an event of responses.
#[derive(Deserialize)]
struct Chunk<'a> {
    choices: Option<Choices>,
    usage: Option<Usage>,
    #[serde(default)]
    error: Weight,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    delta: Weight,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    usage: Option<Usage>,
}

/// All choices of a chunk, folded.
#[derive(Debug, Default)]
struct Choices {
    content: bool,
    seen: u64,
    finished: u64,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    text: Weight,
    #[serde(default)]
    finish_reason: Weight,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Folding;
        impl<'de> Visitor<'de> for Folding {
            type Value = Choices;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<Choices, A::Error> {
                let mut folded = Choices::default();
                while let Some(choice) = choices.next_element::<Choice>()? {
                    let bit = 1_u64.checked_shl(choice.index).unwrap_or(1 << 63);
                    folded.seen |= bit;
                    if choice.finish_reason.0 {
                        folded.finished |= bit;
                    }
                    folded.content |= choice.finish_reason.0 || choice.delta.0 || choice.text.0;
                }
                Ok(folded)
            }
        }
        deserializer.deserialize_seq(Folding)
    }
}

/// Whether a delta brings anything but a role.
#[derive(Debug, Default)]
struct Delta(bool);

impl<'de> Deserialize<'de> for Delta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Folding;
        impl<'de> Visitor<'de> for Folding {
            type Value = Delta;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a delta")
            }

            fn visit_unit<E>(self) -> Result<Delta, E> {
                Ok(Delta(false))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Delta, A::Error> {
                let mut any = false;
                while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                    let Weight(weighs) = members.next_value()?;
                    any |= weighs && name != "role";
                }
                Ok(Delta(any))
            }
        }
        deserializer.deserialize_any(Folding)
    }
}

/// Whether a value is there: not null, not empty.
#[derive(Debug, Default)]
struct Weight(bool);

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Weighing;
        impl<'de> Visitor<'de> for Weighing {
            type Value = Weight;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Weight, E> {
                Ok(Weight(false))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Weight, E> {
                Ok(Weight(value))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Weight, E> {
                Ok(Weight(true))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Weight, E> {
                Ok(Weight(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Weight, E> {
                Ok(Weight(true))
            }

            fn visit_str<E>(self, text: &str) -> Result<Weight, E> {
                Ok(Weight(!text.is_empty()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Weight, A::Error> {
                let mut any = false;
                while items.next_element::<IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Weight(any))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Weight, A::Error> {
                let mut any = false;
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Weight(any))
            }
        }
        deserializer.deserialize_any(Weighing)
    }
}
