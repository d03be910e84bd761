//! How a model is: the answers to `GET /v1/models/{model}`.
//!
//! `TensorFlow` Serving lists versions with a state each, KServe says `ready`. What is written
//! here says both, so that the clients of either find what they look for.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

/// The body that answers for a model; one that names no version is its first.
#[must_use]
pub fn render(model: &str, version: Option<&str>, ready: bool) -> Bytes {
    let (state, code, message) = match ready {
        true => ("AVAILABLE", "OK", ""),
        false => ("UNKNOWN", "UNAVAILABLE", "no step of its chain can answer"),
    };
    let version = json!({
        "version": version.unwrap_or("1"),
        "state": state,
        "status": { "error_code": code, "error_message": message },
    });
    json!({ "name": model, "ready": ready, "model_version_status": [version] }).to_string().into()
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    model_version_status: Option<Vec<Version>>,
    #[serde(default)]
    ready: Option<Value>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    state: String,
}

/// Whether a server says that the model can be asked: some version is AVAILABLE, or KServe's
/// `ready` is true, which older servers write as a text. `None` where it says neither.
#[must_use]
pub fn is_ready(body: &[u8]) -> Option<bool> {
    let said: Said = serde_json::from_slice(body).ok()?;
    if let Some(versions) = said.model_version_status {
        return Some(versions.iter().any(|version| version.state == "AVAILABLE"));
    }
    match said.ready? {
        Value::Bool(ready) => Some(ready),
        Value::String(text) => Some(text.eq_ignore_ascii_case("true")),
        _ => None,
    }
}

/// The body that lists models, as KServe has it.
#[must_use]
pub fn list<'a>(names: impl Iterator<Item = &'a str>) -> Bytes {
    json!({ "models": names.collect::<Vec<_>>() }).to_string().into()
}

/// The models that a server lists.
#[must_use]
pub fn read_list(body: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct List {
        models: Vec<String>,
    }
    serde_json::from_slice::<List>(body).ok().map(|list| list.models)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_servers_are_understood() {
        let table = [
            (r#"{"model_version_status":[{"version":"1","state":"AVAILABLE"}]}"#, Some(true)),
            (r#"{"model_version_status":[{"version":"1","state":"LOADING"}]}"#, Some(false)),
            (r#"{"model_version_status":[{"state":"END"},{"state":"AVAILABLE"}]}"#, Some(true)),
            (r#"{"name":"m","ready":true}"#, Some(true)),
            (r#"{"name":"m","ready":"False"}"#, Some(false)),
            (r#"{"name":"m"}"#, None),
            ("<html>", None),
        ];
        for (body, expected) in table {
            assert_eq!(is_ready(body.as_bytes()), expected, "{body}");
        }
        for ready in [true, false] {
            assert_eq!(is_ready(&render("m", None, ready)), Some(ready));
        }
        assert_eq!(read_list(&list(["a", "b"].into_iter())).unwrap(), ["a", "b"]);
    }
}
