//! What is known of a request to a language model beside the model: boxed, so that no other
//! request carries it.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use mainstay_policy::Class;
use mainstay_policy::balance::Key;
use mainstay_protocol::openai::error;
use mainstay_protocol::openai::head::{Head, rename};
use mainstay_protocol::openai::path::{self, Form};
use mainstay_protocol::openai::usage;

use super::ask::Ask;
use super::attempt::Answer;
use super::fault::Fault;
use super::hold::Held;
use crate::flight::Flight;
use crate::snapshot::{PoolSource, Upstream};

/// A request to a language model.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) form: Form,
    pub(crate) head: Head,
}

impl Talk {
    /// What the path and the top level of the body say.
    pub(super) fn read(uri: &Uri, body: &[u8]) -> Result<Box<Self>, Fault> {
        let Some(form) = path::recognise(uri.path()) else {
            return Err(Fault::no_such_path(uri.path()));
        };
        let head = Head::read(body).map_err(|error| Fault::broken(&error))?;
        Ok(Box::new(Self { form, head }))
    }

    /// How long an attempt may take: a stream to its first content.
    pub(super) fn limit(&self, pool: &PoolSource, limit: Duration) -> Duration {
        let first = pool.streams.first_token.filter(|_| self.head.stream);
        first.map_or(limit, |first| first.min(limit))
    }

    /// What requests that begin alike are kept together by.
    pub(super) fn prefix_key(&self, body: &[u8], most: usize) -> Key {
        Key::of(self.head.prompt_prefix(body, most))
    }
}

/// The body for a server that knows the model by another name than the client; `None` where the
/// client's own will do.
pub(super) fn renamed(ask: &Ask, pool: &PoolSource, upstream: &Upstream) -> Option<Bytes> {
    let talk = ask.talk.as_ref()?;
    let provider = upstream.provider.as_ref().and_then(|provider| provider.model.as_deref());
    let name = provider.or(pool.model.as_deref())?;
    (name != &*talk.head.model)
        .then(|| rename(ask.body().map_or(&[][..], |it| it), &talk.head, name))
}

/// Names under which clients send credentials and whatever belongs to their own account.
const ACCOUNT: [&str; 6] =
    ["authorization", "api-key", "x-api-key", "openai-organization", "openai-project", "cookie"];

/// The headers for an endpoint that is sent its own; `None` where the client's will do.
pub(super) fn headers(ask: &Ask, upstream: &Upstream) -> Option<Box<HeaderMap>> {
    let provider = upstream.provider.as_ref()?;
    let mut headers = Box::new(ask.headers.clone());
    if provider.has_key {
        ACCOUNT.iter().for_each(|name| drop(headers.remove(*name)));
    }
    for name in provider.headers.keys() {
        headers.remove(name);
    }
    for (name, value) in &provider.headers {
        headers.append(name.clone(), value.clone());
    }
    Some(headers)
}

/// The class of an answer, whose status said `class` already: an error may stand inside, and a
/// server that refuses credentials refuses the client's where the gateway has none of its own.
pub(super) fn weighed(
    class: Option<Class>,
    (status, body): (u16, &[u8]),
    upstream: &Upstream,
) -> Option<Class> {
    let inside = || error::inside(body).map(|said| error::class_inside(&said));
    let class = class.or_else(|| inside().filter(|_| (200..300).contains(&status)))?;
    let own = upstream.provider.as_ref().is_some_and(|provider| provider.has_key);
    Some(if class == Class::Credentials && !own { Class::ClientFault } else { class })
}

/// Counts the tokens of an answer that is whole; those of an open one are counted at its end.
pub(super) fn count(flight: &Flight, answer: &Answer) {
    let Held::Whole(body) = &answer.held else { return };
    let tokens = match &answer.following {
        Some(following) => Some(following.tokens()),
        None => usage::of(body).map(|it| [it.prompt_tokens, it.completion_tokens]),
    };
    if let Some(tokens) = tokens {
        flight.worker.telemetry.tokens(flight.record.model, tokens);
    }
}

/// The name of the model that a body names, and what else it says where that matters.
pub(super) fn named(talk: Option<&Talk>, other: Option<Cow<'_, str>>) -> Result<String, Fault> {
    match (talk, other) {
        (Some(talk), _) => Ok(talk.head.model.to_string()),
        (None, Some(name)) => Ok(name.into_owned()),
        (None, None) => Err(Fault::broken(&"the body does not say which model is asked")),
    }
}
