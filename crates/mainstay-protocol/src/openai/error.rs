//! Errors: `{"error": {"message", "type", "param", "code"}}`.
//!
//! The status alone says little: 400 is a prompt that is too long as well as a broken request,
//! 429 a quota that is spent for good as well as a moment's rate limit. `code` and `type` say
//! more, and where a server has none of its own (vLLM, proxies), the words of its message do.

use bytes::Bytes;
use mainstay_policy::Class;
use serde_json::{Value, json};

use super::members::Members;

/// The error of the gateway's own with this code, in the API's form.
#[must_use]
pub fn body(code: &str, message: &str) -> Bytes {
    let (kind, code) = names(code);
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    json!({ "error": error }).to_string().into()
}

/// `type` and `code` of a code of ours, in the words that clients of the API know.
fn names(code: &str) -> (&'static str, &str) {
    match code {
        "MS0202" => ("invalid_request_error", "model_not_found"),
        "MS0201" | "MS0203" | "MS0204" | "MS0205" | "MS0206" | "MS0210" => {
            ("invalid_request_error", code)
        }
        _ => ("server_error", code),
    }
}

/// What a server says of its failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// In words.
    pub message: String,
    /// The kind of error.
    pub kind: String,
    /// A word, or a status in digits.
    pub code: String,
}

impl Said {
    /// Reads the body of an error, or the data of an event that is one; `None` for anything else.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let whole = value.as_object()?;
        // `response.failed` wraps the response that failed.
        let inner = whole.get("response").and_then(|response| response.get("error"));
        match whole.get("error").or(inner).filter(|error| !error.is_null()) {
            Some(Value::String(message)) => {
                Some(Self { message: message.clone(), ..Self::of(&value) })
            }
            Some(error) => Some(Self::of(error)),
            // vLLM before 0.9: the error itself, `{"object": "error", ...}`; an `error` event of
            // the responses API, `{"type": "error", "message", "code"}`; FastAPI's `detail`.
            None => ["message", "detail"]
                .iter()
                .any(|key| whole.contains_key(*key))
                .then(|| Self::of(&value)),
        }
    }

    fn of(error: &Value) -> Self {
        let text = |key: &str| match error.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let message = if error.get("message").is_some() { text("message") } else { text("detail") };
        Self { message, kind: text("type"), code: text("code") }
    }

    /// The status that the code is, where it is one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.code.parse().ok().filter(|status| (400..600).contains(status))
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.code == *word || self.kind == *word)
    }
}

/// What providers say where the credentials are not good, or have no money left.
const CREDENTIALS: &[&str] = &[
    "invalid_api_key",
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    "access_terminated",
    "authentication_error",
    "permission_error",
    "invalid_authentication",
];
const CONTEXT: &[&str] = &["context_length_exceeded", "context_window_exceeded"];
/// As vLLM, SGLang, TGI, Anthropic's and Google's compatible endpoints word it.
const CONTEXT_WORDS: &[&str] = &[
    "maximum context length",
    "maximum model length",
    "max model len",
    "context length",
    "context window",
    "prompt is too long",
    "input is too long",
    "input token count",
    "tokens must be <=",
    "exceeds the available context size",
    "exceed_context_size",
];
const POLICY: &[&str] = &[
    "content_filter",
    "content_policy_violation",
    "content_policy",
    "responsibleaipolicyviolation",
    "ResponsibleAIPolicyViolation",
    "moderation_blocked",
    "cyber_policy_violation",
];
const POLICY_WORDS: &[&str] =
    &["content management policy", "content policy", "usage policies", "safety system"];
const RATE: &[&str] = &[
    "rate_limit_exceeded",
    "rate_limit_error",
    "tokens",
    "requests",
    "slow_down",
    "overloaded_error",
    "engine_overloaded",
    "server_overloaded",
];
/// vLLM's engine is gone and every later request will fail: only a restart helps.
const ENGINE_DEAD: &[&str] = &[
    "enginedeaderror",
    "enginecore encountered",
    "background loop has errored",
    "background loop is stopped",
    "engine process failed",
];

/// The class of a failure of a server of this API, where its status and words say more than the
/// table of all servers does. `words` is its message without what a client may have put there,
/// in lower case.
#[must_use]
pub fn class(status: u16, said: &Said, words: &str) -> Option<Class> {
    let says = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    match status {
        401..=403 if said.is_any(POLICY) => Some(Class::ContentPolicy),
        401..=403 => Some(Class::Credentials),
        429 if said.is_any(CREDENTIALS) => Some(Class::Credentials),
        413 if said.is_any(RATE) => Some(Class::Capacity),
        400 | 413 | 422 if said.is_any(CONTEXT) || says(CONTEXT_WORDS) => {
            Some(Class::ContextLength)
        }
        400 | 422 | 451 if said.is_any(POLICY) || says(POLICY_WORDS) => Some(Class::ContentPolicy),
        500..=599 if says(ENGINE_DEAD) => Some(Class::FatalAccelerator),
        _ => None,
    }
}

/// The class of an error inside an answer whose status was 200, or in an event of a stream.
#[must_use]
pub fn class_inside(said: &Said) -> Class {
    let words = said.message.to_ascii_lowercase();
    let as_status = said.status();
    if said.is_any(CREDENTIALS) {
        return Class::Credentials;
    }
    let client = as_status.unwrap_or(400);
    if let Some(class) = class(client, said, &words) {
        return class;
    }
    match as_status {
        Some(404) => Class::NotReady,
        Some(408 | 429 | 529) => Class::Capacity,
        Some(504) => Class::Timeout,
        Some(400..=499) => Class::ClientFault,
        Some(_) => Class::ServerFault,
        None if said.is_any(RATE) => Class::Capacity,
        None if said.kind == "invalid_request_error" || said.code == "invalid_prompt" => {
            Class::ClientFault
        }
        None => Class::ServerFault,
    }
}

/// The error inside an answer that pretends to be one; `None` where there is none. Looks no
/// further than the top level, and no further than the first member that only answers have.
#[must_use]
pub fn inside(body: &[u8]) -> Option<Said> {
    for member in Members::of(body) {
        let member = member.ok()?;
        match &*member.name {
            "choices" | "data" | "output" => return None,
            "error" if &body[member.value.clone()] != b"null" => return Said::read(body),
            "object" if &body[member.value.clone()] == b"\"error\"" => return Said::read(body),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> Said {
        Said::read(body.as_bytes()).unwrap()
    }

    fn class_of(status: u16, body: &str) -> Option<Class> {
        let said = said(body);
        class(status, &said, &said.message.to_ascii_lowercase())
    }

    #[test]
    fn errors_of_ours_are_in_the_form_of_the_api() {
        let body = body("MS0202", "unknown model");
        assert_eq!(
            said(std::str::from_utf8(&body).unwrap()),
            Said {
                message: "unknown model".into(),
                kind: "invalid_request_error".into(),
                code: "model_not_found".into(),
            }
        );
    }

    #[test]
    fn what_servers_say_is_told_apart() {
        let openai = r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
        let vllm = r#"{"object":"error","message":"This model's maximum context length is 2048 tokens. However, you requested 9000","type":"BadRequestError","param":null,"code":400}"#;
        assert_eq!(class_of(400, openai), Some(Class::ContextLength));
        assert_eq!(class_of(400, vllm), Some(Class::ContextLength));
        let filter = r#"{"error":{"code":"content_filter","message":"filtered"}}"#;
        assert_eq!(class_of(400, filter), Some(Class::ContentPolicy));
        let quota = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        assert_eq!(class_of(429, quota), Some(Class::Credentials));
        let rate =
            r#"{"error":{"message":"Rate limit","type":"tokens","code":"rate_limit_exceeded"}}"#;
        assert_eq!(class_of(429, rate), None);
        assert_eq!(class_of(413, rate), Some(Class::Capacity));
        assert_eq!(
            class_of(401, r#"{"error":{"code":"invalid_api_key"}}"#),
            Some(Class::Credentials)
        );
        assert_eq!(class_of(400, r#"{"error":{"message":"bad temperature"}}"#), None);
        let dead = r#"{"error":{"message":"EngineCore encountered an issue."}}"#;
        assert_eq!(class_of(500, dead), Some(Class::FatalAccelerator));
    }

    #[test]
    fn an_error_inside_an_answer_is_found() {
        let found =
            inside(br#"{"error":{"message":"overloaded","code":529},"user_id":"u"}"#).unwrap();
        assert_eq!(class_inside(&found), Class::Capacity);
        let kind = |text: &str| class_inside(&said(text));
        assert_eq!(kind(r#"{"error":{"type":"server_error","message":"x"}}"#), Class::ServerFault);
        assert_eq!(kind(r#"{"error":{"type":"invalid_request_error"}}"#), Class::ClientFault);
        assert_eq!(kind(r#"{"error":"boom"}"#), Class::ServerFault);
        assert_eq!(
            kind(r#"{"response":{"error":{"code":"insufficient_quota"}}}"#),
            Class::Credentials
        );
        assert!(inside(br#"{"id":"r","error":null,"output":[]}"#).is_none());
        assert!(inside(br#"{"choices":[],"error":{"x":1}}"#).is_none());
    }
}
