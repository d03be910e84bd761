//! A recognised request: what is asked of which model, ready to be sent as often as needed.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Method, Uri};
use mainstay_policy::Moment;
use mainstay_policy::chain::Plan;
use mainstay_policy::limit::Priority;
use mainstay_protocol::form::{self, Context};
use mainstay_protocol::{Called, Protocol};

use super::talk::Talk;
use crate::callers::Pass;
use crate::memory::Reservation;
use crate::snapshot::RouteView;
use crate::upstream::{Messages, OutBody};

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A prediction.
    Infer,
    /// What the model takes and gives.
    Metadata,
    /// Anything else that its servers may know: passed through, answered by servers alone.
    Other,
}

/// The paths of what may be asked twice beyond the protocol's own predictions: Triton's generate
/// extension, over gRPC its streams and what it says of a model, and the other verbs of the V1
/// protocol.
const PREDICTIONS: [&str; 8] = [
    "/generate",
    "/generate_stream",
    "/ModelStreamInfer",
    "/ModelConfig",
    "/ModelStatistics",
    ":classify",
    ":explain",
    ":regress",
];

/// A request to a model.
#[derive(Debug)]
pub(crate) struct Ask {
    /// What the client speaks.
    pub(crate) protocol: Protocol,
    /// What a request to a language model says at its top level.
    pub(crate) talk: Option<Box<Talk>>,
    /// The model's name, where the path does not say it.
    pub(crate) named: Option<Box<str>>,
    pub(crate) method: Method,
    /// Path and query, as the client sent them.
    pub(crate) uri: Uri,
    /// What of the client's headers may go on.
    pub(crate) headers: HeaderMap,
    pub(crate) kind: Kind,
    pub(crate) route: RouteView,
    /// Whether answers of lesser quality are refused.
    pub(crate) strict: bool,
    /// Whether the answer is to be kept whole, to be given again.
    pub(crate) once: bool,
    /// Whether it may be executed once only, whatever the model says.
    pub(crate) single: bool,
    /// Whether another region sent it here, for want of room or servers of its own.
    pub(crate) spilled: bool,
    /// The length of the JSON part, where binary tensors follow it.
    pub(crate) json_len: Option<usize>,
    pub(crate) payload: Payload,
    pub(crate) deadline: Moment,
    /// How much it matters when not all can be served.
    pub(crate) priority: Priority,
    /// The memory that the payload takes, until the request is over.
    pub(crate) reservation: Option<Reservation>,
    /// Its place among the requests of its caller, until its flight takes it.
    pub(crate) pass: Option<Pass>,
}

impl Ask {
    /// The chain that may be climbed.
    pub(crate) fn plan(&self) -> &Plan {
        if self.strict { &self.route.strict } else { &self.route.plan }
    }

    /// Whether servers that speak `server` can be asked: only predictions are translated.
    pub(crate) fn reaches(&self, server: Protocol) -> bool {
        self.protocol == server
            || (self.kind == Kind::Infer
                && self.body().is_some()
                && self.protocol.reaches(server)
                && !self.headers.contains_key(CONTENT_ENCODING))
    }

    /// The model and the version that the client names.
    pub(crate) fn called(&self) -> Called<'_> {
        let body = self.body().map(|bytes| &bytes[..]).unwrap_or_default();
        if let Some(called) = form::called_in_body(self.protocol, body) {
            return called;
        }
        form::called(self.protocol, self.uri.path()).unwrap_or_else(|| {
            let model = Cow::Borrowed(self.named.as_deref().unwrap_or(&self.route.name));
            Called { model, ..Called::default() }
        })
    }

    /// What its messages do not say of the model by themselves.
    pub(crate) fn context(&self) -> Context<'_> {
        self.route.context()
    }

    /// What is left of the deadline for a server to be told, in milliseconds, rounded up.
    pub(crate) fn left(&self, now: Moment) -> u64 {
        self.deadline.remaining(now).as_micros().div_ceil(1000).try_into().unwrap_or(u64::MAX)
    }

    /// Whether it may be executed twice: a prediction may, if the model does not say otherwise,
    /// and whatever its method promises it for (RFC 9110, section 9.2.2).
    pub(crate) fn is_repeatable(&self) -> bool {
        let predicts = || PREDICTIONS.iter().any(|tail| self.uri.path().ends_with(tail));
        let idempotent = self.method.is_idempotent();
        let allowed = self.route.repeatable || (self.protocol == Protocol::Http && idempotent);
        allowed && !self.single && (self.kind != Kind::Other || idempotent || predicts())
    }

    /// What a prediction depends on, where the body was kept.
    pub(crate) fn question(&self) -> Option<Question<'_>> {
        let body = self.body().filter(|_| self.kind == Kind::Infer)?;
        let (uri, headers, json_len) = (&self.uri, &self.headers, self.json_len);
        let (protocol, model) = (self.protocol, &*self.route.name);
        Some(Question { protocol, model, uri, headers, body, json_len })
    }

    /// The bytes of the body, where they were kept.
    pub(crate) fn body(&self) -> Option<&Bytes> {
        match &self.payload {
            Payload::Kept(bytes) => Some(bytes),
            Payload::Once(_) | Payload::Stream(_) => None,
        }
    }

    /// The stream that the client sends, where it is one.
    pub(crate) fn messages(&self) -> Option<Rc<Messages>> {
        match &self.payload {
            Payload::Stream(stream) => Some(Rc::clone(&stream.messages)),
            Payload::Kept(_) | Payload::Once(_) => None,
        }
    }
}

/// What a prediction depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) model: &'a str,
    /// Path and query.
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
    /// The length of the JSON part, where binary tensors follow it.
    pub(crate) json_len: Option<usize>,
}

/// The body of a request.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Kept whole: can be sent again, to anyone.
    Kept(Bytes),
    /// Too large to keep: can be sent to one endpoint, once.
    Once(RefCell<Option<OutBody>>),
    /// The messages of a stream: can be sent again while they are kept.
    Stream(Stream),
}

/// The messages of a client's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    messages: Rc<Messages>,
    taken: Cell<bool>,
}

impl Stream {
    pub(crate) const fn new(messages: Rc<Messages>) -> Self {
        Self { messages, taken: Cell::new(false) }
    }

    /// Its messages from the first one on; `None` where they were sent and are not kept.
    pub(crate) fn take(&self) -> Option<Rc<Messages>> {
        let fresh = !self.taken.replace(true) || self.messages.is_kept();
        fresh.then(|| Rc::clone(&self.messages))
    }
}

impl Payload {
    /// The body to send; `None` where it was sent before and cannot be again.
    pub(crate) fn body(&self) -> Option<OutBody> {
        match self {
            Self::Kept(bytes) => Some(OutBody::whole(bytes.clone())),
            Self::Once(body) => body.borrow_mut().take(),
            // Only servers of its own protocol take a stream.
            Self::Stream(_) => None,
        }
    }

    /// Whether the body could be sent once, and has been.
    pub(crate) fn is_spent(&self) -> bool {
        match self {
            Self::Kept(_) => false,
            Self::Once(body) => body.borrow().is_none(),
            Self::Stream(stream) => stream.taken.get() && !stream.messages.is_kept(),
        }
    }

    /// Puts back a body that did not leave us after all.
    pub(crate) fn put_back(&self, unsent: OutBody) {
        if let Self::Once(body) = self {
            *body.borrow_mut() = Some(unsent);
        }
    }

    /// Whether the body can be sent again.
    pub(crate) const fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}
