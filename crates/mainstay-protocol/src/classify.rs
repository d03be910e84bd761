//! What a status and an error body mean: the class of a failure, by server flavour.
//!
//! The same status means different things from different servers: Triton answers 400 for a
//! model that is not ready and for its error UNKNOWN, `TorchServe` 503 for a full queue and 507
//! for a worker without memory, a proxy in front of a dead server 503 as well. So the knowledge
//! is a table (`classify/table.rs`), read from the top; the first rule that fits decides, and
//! every rule that is not obvious gives its reason beside it.
//!
//! A client must not be able to blame a server. Where a status is otherwise the client's fault,
//! texts are looked for only in the server's own words: what stands between quotes or in a
//! request id is what the client sent, echoed.

use std::borrow::Cow;

use mainstay_policy::Class;

use crate::grpc::Code;
use crate::oip::error;
use crate::openai;

mod connecting;
mod table;

pub use connecting::Connecting;

/// The kind of server behind an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Flavour {
    /// Not declared: what is known of all of them, where it cannot be mistaken.
    #[default]
    Auto,
    /// NVIDIA Triton Inference Server.
    Triton,
    /// Seldon MLServer.
    MlServer,
    /// `TorchServe`.
    TorchServe,
    /// TensorFlow Serving.
    TfServing,
    /// OpenAI, and providers that speak as it does.
    OpenAi,
    /// vLLM, and servers that speak as it does.
    Vllm,
}

impl Flavour {
    /// Every flavour with its name in a configuration.
    pub const NAMES: [(Self, &'static str); 7] = [
        (Self::Auto, "auto"),
        (Self::Triton, "triton"),
        (Self::MlServer, "mlserver"),
        (Self::TorchServe, "torchserve"),
        (Self::TfServing, "tensorflow-serving"),
        (Self::OpenAi, "openai"),
        (Self::Vllm, "vllm"),
    ];

    /// Whether it is of the OpenAI API, whose errors have kinds and codes.
    #[must_use]
    pub const fn has_codes(self) -> bool {
        matches!(self, Self::OpenAi | Self::Vllm)
    }

    /// The name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(flavour, _)| *flavour == self).map_or("", |(_, name)| name)
    }
}

/// The most of an error body that is looked at; what went wrong stands at its beginning.
const LOOKED_AT: usize = 8 * 1024;

/// Whether [`response`] needs the body of an answer with this status to decide.
#[must_use]
pub fn needs_body(flavour: Flavour, status: u16) -> bool {
    (flavour.has_codes() && status >= 400)
        || table::RULES.iter().any(|rule| rule.concerns(flavour, status) && !rule.says.is_empty())
}

/// Whether an answer is usable, or the class of its failure.
///
/// `has_retry_after` tells whether the answer has a `Retry-After` header. The body may be left
/// empty where [`needs_body`] is false, and may be only the beginning of a long one.
///
/// # Errors
/// The class of the failure.
pub fn response(
    flavour: Flavour,
    status: u16,
    has_retry_after: bool,
    body: &[u8],
) -> Result<(), Class> {
    if matches!(status, 200..=299 | 304) {
        return Ok(());
    }
    if flavour.has_codes() {
        let said = openai::error::Said::read(body).unwrap_or_default();
        let words = own_words(&said.message).to_ascii_lowercase();
        if let Some(class) = openai::error::class(status, &said, &words) {
            return Err(class);
        }
    }
    let said = if needs_body(flavour, status) { words(status, body) } else { String::new() };
    let fits = |rule: &&table::Rule| {
        rule.concerns(flavour, status)
            && rule.retry_after.is_none_or(|wanted| wanted == has_retry_after)
            && rule.is_said(&said)
    };
    Err(table::RULES.iter().find(fits).map_or(Class::ServerFault, |rule| rule.class))
}

/// Whether an answer of gRPC is usable, or the class of its failure, by its status and what that
/// says: the table of HTTP for the statuses that stand for its codes, and before it what gRPC alone
/// has.
///
/// # Errors
/// The class of the failure.
pub fn grpc(flavour: Flavour, code: Code, message: &str) -> Result<(), Class> {
    let said = message.to_ascii_lowercase();
    match code {
        Code::Ok => Ok(()),
        // The limit of a message is the same on every server; it is said as if something ran out.
        Code::ResourceExhausted if said.contains("message larger than max") => {
            Err(Class::ClientFault)
        }
        // Not by us: a server that calls off what it was asked is on its way down.
        Code::Cancelled => Err(Class::ServerFault),
        // Of a queue that is too long, in Triton's words.
        Code::DeadlineExceeded if said.contains("request timeout expired") => Err(Class::Capacity),
        // A server that has not loaded all of its services yet, or one of another kind in its
        // place, does not know the method; its replicas may.
        Code::Unimplemented if said.contains("unknown service") => Err(Class::NotReady),
        // grpcio's words for an exception that the model's code let through.
        Code::Unknown if said.starts_with("unexpected <class") => {
            response(flavour, Code::Internal.http(), false, message.as_bytes())
        }
        _ => response(flavour, code.http(), false, message.as_bytes()),
    }
}

/// The words in which to look for what a server says, in lower case.
fn words(status: u16, body: &[u8]) -> String {
    let message = error::message(body).unwrap_or_else(|| {
        let start = body.get(..LOOKED_AT).unwrap_or(body);
        String::from_utf8_lossy(start).into_owned()
    });
    let words = if status < 500 { own_words(&message) } else { Cow::Borrowed(&*message) };
    words.to_ascii_lowercase()
}

/// The message without what the client may have put there: everything from the first quote to
/// the last, and a leading `[request id: …]`.
fn own_words(message: &str) -> Cow<'_, str> {
    let message = match message.rsplit_once(']') {
        Some((head, rest)) if head.starts_with("[request id:") => rest,
        _ => message,
    };
    let quote = |c: char| matches!(c, '\'' | '"' | '`');
    match (message.find(quote), message.rfind(quote)) {
        (Some(first), Some(last)) if first < last => {
            Cow::Owned(format!("{} {}", &message[..first], &message[last + 1..]))
        }
        _ => Cow::Borrowed(message),
    }
}

#[cfg(test)]
mod tests;
