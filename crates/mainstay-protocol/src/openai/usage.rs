//! The tokens that an answer says it took.

use serde::Deserialize;

use super::members::Members;

/// What a server counted; 0 where it said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Of the prompt.
    #[serde(alias = "input_tokens", deserialize_with = "or_none")]
    pub prompt_tokens: u64,
    /// Of the answer.
    #[serde(alias = "output_tokens", deserialize_with = "or_none")]
    pub completion_tokens: u64,
}

fn or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Option::<u64>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What a whole answer says of itself.
#[must_use]
pub fn of(body: &[u8]) -> Option<Usage> {
    let usage = Members::of(body).map_while(Result::ok).find(|member| member.name == "usage")?;
    serde_json::from_slice(&body[usage.value]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_in_both_forms() {
        let chat = br#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"x":null}}"#;
        assert_eq!(of(chat), Some(Usage { prompt_tokens: 7, completion_tokens: 3 }));
        let responses = br#"{"usage":{"input_tokens":7,"output_tokens":null}}"#;
        assert_eq!(of(responses), Some(Usage { prompt_tokens: 7, completion_tokens: 0 }));
        assert_eq!(of(b"{}"), None);
    }
}
