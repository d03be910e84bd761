//! Error bodies: `{"error":"message"}`.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// The body of an error answer.
#[must_use]
pub fn body(message: &str) -> Bytes {
    serde_json::json!({ "error": message }).to_string().into()
}

#[derive(Deserialize)]
struct Said {
    #[serde(alias = "message", alias = "detail")]
    error: Value,
}

/// What an error body says: `error` of the protocol and of TensorFlow Serving, `message` of
/// `TorchServe`, `detail` of FastAPI; `None` for anything else.
#[must_use]
pub fn message(body: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Said>(body).ok()?.error {
        Value::String(message) => Some(message),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_back() {
        let said = "tensor \"x\": \u{1f980}\n";
        assert_eq!(message(&body(said)).as_deref(), Some(said));
    }

    #[test]
    fn other_servers_words_are_read() {
        let torch = br#"{"code":507,"type":"OutOfMemoryException","message":"full"}"#;
        assert_eq!(message(torch).as_deref(), Some("full"));
        assert_eq!(
            message(br#"{"detail":[{"msg":"bad"}]}"#).as_deref(),
            Some(r#"[{"msg":"bad"}]"#)
        );
        assert_eq!(message(b"<html>502</html>"), None);
    }
}
