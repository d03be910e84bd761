//! Errors of the gateway's own, as a client gets them: with blame, and whether to try again.
//!
//! A server's own error is passed back as it came; these are for what no server said.

use http::StatusCode;
use mainstay_policy::limit::{Priority, Refusal};
use mainstay_protocol::{Protocol, form};

use crate::callers::Denied;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The request.
    Client,
    /// What stands behind the gateway.
    Upstream,
    /// Nobody: there is more to do than can be done.
    Load,
}

/// Whether the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It will fail again.
    Never,
    /// It may have been executed: only where that is harmless.
    Idempotent,
    /// It was not executed: always, after the time that the answer names.
    Always,
}

impl Retry {
    /// As the header says it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Idempotent => "idempotent",
            Self::Always => "always",
        }
    }
}

/// An error of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Stable; its page is `docs/errors/CODE.md`.
    pub(crate) code: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) blame: Blame,
    pub(crate) retry: Retry,
    /// Seconds after which the same request may find an answer; `None` for those that never do.
    pub(crate) retry_after: Option<u32>,
    /// For the client; names nothing that it may not know.
    pub(crate) message: String,
}

impl Fault {
    const fn client(code: &'static str, status: StatusCode, message: String) -> Self {
        Self { code, status, blame: Blame::Client, retry: Retry::Never, retry_after: None, message }
    }

    const fn upstream(code: &'static str, status: StatusCode, message: String) -> Self {
        let retry = Retry::Idempotent;
        Self { code, status, blame: Blame::Upstream, retry, retry_after: Some(1), message }
    }

    /// The request's caller is not known, or may not do what it asks.
    pub(crate) fn denied(denied: Denied) -> Self {
        let unauthorized = StatusCode::UNAUTHORIZED;
        match denied {
            Denied::Nameless => {
                let message = "a key is needed: Authorization: Bearer KEY, or x-api-key: KEY";
                Self::client("MS0250", unauthorized, message.to_owned())
            }
            Denied::Unknown => {
                let message = "nobody known here has shown this key or certificate";
                Self::client("MS0255", unauthorized, message.to_owned())
            }
            Denied::Token(why) => {
                let message = format!("the token is refused: {why}");
                Self::client("MS0255", unauthorized, message)
            }
            Denied::Model => {
                let message = "this caller may not ask this model";
                Self::client("MS0252", StatusCode::FORBIDDEN, message.to_owned())
            }
            Denied::Rate(wait) => {
                let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
                Self::over("MS0253", "this caller asks too often", seconds.max(1))
            }
            Denied::AtOnce => {
                Self::over("MS0254", "this caller has too many requests under way", 1)
            }
        }
    }

    /// Not executed, for what the caller does beside it.
    fn over(code: &'static str, message: &str, retry_after: u32) -> Self {
        let (status, message) = (StatusCode::TOO_MANY_REQUESTS, message.to_owned());
        let (blame, retry) = (Blame::Load, Retry::Always);
        Self { code, status, blame, retry, retry_after: Some(retry_after), message }
    }

    /// The path is none of the protocol's.
    pub(crate) fn no_such_path(path: &str) -> Self {
        let message = format!("no such path: {}", shortened(path));
        Self::client("MS0201", StatusCode::NOT_FOUND, message)
    }

    /// The path is no call of gRPC that is known here, or one that a gateway does not do.
    pub(crate) fn no_such_call(path: &str) -> Self {
        let message = format!("no such call: {}", shortened(path));
        Self::client("MS0201", StatusCode::NOT_IMPLEMENTED, message)
    }

    /// No service of this name, to be asked for its health.
    pub(crate) fn no_such_service(name: &str) -> Self {
        let message = format!("no such service or model: {}", shortened(name));
        Self::client("MS0202", StatusCode::NOT_FOUND, message)
    }

    /// No model of this name.
    pub(crate) fn unknown_model<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known = known.collect::<Vec<_>>().join(", ");
        let name = shortened(name);
        let message = format!("unknown model {name:?}; known models: {known}");
        Self::client("MS0202", StatusCode::NOT_FOUND, message)
    }

    /// Whether it says that there is no such model.
    pub(crate) fn is_unknown_model(&self) -> bool {
        self.code == "MS0202"
    }

    /// The path takes another method.
    pub(crate) fn method(allowed: &'static str) -> Self {
        let message = format!("this path takes {allowed}");
        Self::client("MS0203", StatusCode::METHOD_NOT_ALLOWED, message)
    }

    /// The body is beyond the limit.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than {limit} bytes");
        Self::client("MS0204", StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// The body cannot be read as the protocol's.
    pub(crate) fn broken(what: &dyn std::fmt::Display) -> Self {
        Self::client("MS0205", StatusCode::BAD_REQUEST, format!("broken request: {what}"))
    }

    /// The body did not come, or not to its end.
    pub(crate) fn body_stalled() -> Self {
        let message = "the request body did not come in time".to_owned();
        Self::client("MS0206", StatusCode::REQUEST_TIMEOUT, message)
    }

    /// A server that speaks another protocol says that the request is at fault.
    pub(crate) fn said_by_server(protocol: Protocol, status: StatusCode, body: &[u8]) -> Self {
        let said = form::error_message(protocol, body)
            .unwrap_or_else(|| "the server gave no reason".to_owned());
        Self::client("MS0210", status, format!("the server refused the request: {said}"))
    }

    /// Nobody in the chain speaks what the client speaks, nor anything it can be translated into.
    pub(crate) fn not_spoken(model: &str, protocol: Protocol) -> Self {
        let message = format!("model {model:?} cannot be asked this in the protocol {protocol}");
        Self::client("MS0211", StatusCode::BAD_REQUEST, message)
    }

    /// The servers speak another protocol, which has no words for the request.
    pub(crate) fn not_translated(error: &mainstay_protocol::Error) -> Self {
        let message = format!("the request cannot be translated for the servers: {error}");
        Self::client("MS0211", StatusCode::BAD_REQUEST, message)
    }

    /// No source of the chain could answer.
    pub(crate) fn no_source(model: &str, why: &str) -> Self {
        let message = format!("no source could answer for model {model:?}: {why}");
        Self::upstream("MS0207", StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The deadline passed before a source answered.
    pub(crate) fn out_of_time(model: &str) -> Self {
        let message = format!("no source answered in time for model {model:?}");
        Self::upstream("MS0208", StatusCode::GATEWAY_TIMEOUT, message)
    }

    /// Answers came, and none was good enough.
    pub(crate) fn not_confident(model: &str) -> Self {
        let message = format!("no answer for model {model:?} was confident enough");
        Self::upstream("MS0209", StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The key came before, with another request.
    pub(crate) fn key_reused() -> Self {
        let message = "this Idempotency-Key was used for another request".to_owned();
        Self::client("MS0220", StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// The request was executed, and its answer is gone.
    pub(crate) fn answer_lost() -> Self {
        let message = "this request was executed, and its answer could not be kept".to_owned();
        Self::client("MS0222", StatusCode::CONFLICT, message)
    }

    /// The body is too large to be kept, so that the request cannot be known again.
    pub(crate) fn not_kept(limit: usize) -> Self {
        let message = format!("a request with an Idempotency-Key may have {limit} bytes at most");
        Self::client("MS0204", StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// The request fails on one server after the other, while others do not.
    pub(crate) fn poison(model: &str, left: std::time::Duration) -> Self {
        let message = format!(
            "this request failed on several servers of model {model:?} that answer others; \
             the same request is refused for {} s",
            left.as_secs().max(1)
        );
        Self::client("MS0221", StatusCode::UNPROCESSABLE_ENTITY, message)
    }
}

impl Fault {
    /// The request is a later one of a sequence whose state is gone.
    pub(crate) fn sequence_lost(model: &str, why: &str) -> Self {
        let message = format!(
            "the sequence of this request at model {model:?} is lost: {why}; begin it anew"
        );
        let (blame, retry) = (Blame::Upstream, Retry::Never);
        let status = StatusCode::GONE;
        Self { code: "MS0241", status, blame, retry, retry_after: None, message }
    }

    /// No server has room for the request in time, and it may not wait, or not any longer.
    pub(crate) fn shed(
        model: &str,
        priority: Priority,
        refusal: Refusal,
        retry_after: u32,
    ) -> Self {
        let priority = priority.as_str();
        let (code, status, message) = match refusal {
            Refusal::OverShare => (
                "MS0231",
                StatusCode::TOO_MANY_REQUESTS,
                format!("too many requests of priority {priority} for model {model:?}"),
            ),
            Refusal::Full => (
                "MS0232",
                StatusCode::SERVICE_UNAVAILABLE,
                format!("every server of model {model:?} is full, and so is its queue"),
            ),
            Refusal::TooLate => (
                "MS0233",
                StatusCode::SERVICE_UNAVAILABLE,
                format!("model {model:?} has too much to do to answer within the deadline"),
            ),
        };
        let (blame, retry) = (Blame::Load, Retry::Always);
        Self { code, status, blame, retry, retry_after: Some(retry_after), message }
    }
}

/// What a client sent, short enough to be said back to it.
fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MOST).collect();
    short.push('…');
    short
}
