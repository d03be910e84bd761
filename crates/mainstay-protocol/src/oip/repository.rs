//! Triton's model repository extension: which models a server has, and why one is missing.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Whether a model can answer, in Triton's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Loaded and ready.
    Ready,
    /// Not loaded; the reason tells why.
    Unavailable,
    /// Being loaded.
    Loading,
    /// Being unloaded.
    Unloading,
}

impl State {
    /// In Triton's words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Unavailable => "UNAVAILABLE",
            Self::Loading => "LOADING",
            Self::Unloading => "UNLOADING",
        }
    }
}

/// One model in the index of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The model's name.
    pub name: String,
    /// Its version; empty when none is loaded.
    #[serde(default)]
    pub version: String,
    /// Whether it can answer; servers leave it out for models that were never loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Why it is not ready; empty when it is.
    #[serde(default)]
    pub reason: String,
}

/// Writes an index: the answer to `POST /v2/repository/index`.
#[must_use]
pub fn render(entries: &[Entry]) -> Bytes {
    let mut text = Vec::new();
    super::json::put(&mut text, entries);
    text.into()
}

/// Reads an index.
///
/// # Errors
/// It is not the protocol's.
pub fn parse(body: &[u8]) -> Result<Vec<Entry>, Error> {
    Ok(serde_json::from_slice(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_back() {
        let entries = [
            Entry {
                name: "a".into(),
                version: "1".into(),
                state: Some(State::Ready),
                reason: String::new(),
            },
            Entry {
                name: "b".into(),
                version: String::new(),
                state: Some(State::Unavailable),
                reason: "no operator Foo".into(),
            },
        ];
        assert_eq!(parse(&render(&entries)), Ok(entries.to_vec()));
        assert!(render(&entries).starts_with(br#"[{"name":"a","version":"1","state":"READY","#));
    }
}
