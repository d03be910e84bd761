//! What is said of language models: streams, provider keys, causes, and what does not fit them.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use mainstay_policy::chain::{Cause, Causes};
use mainstay_protocol::Protocol;

use super::pool::Pools;
use super::{Review, check, span_of};
use crate::code::Code;
use crate::config::{Check, HttpCheck, Model, Prove, Provider, Source, Streams};
use crate::raw::{
    Opt, RawCause, RawContinuation, RawEndpoint, RawHeader, RawKeySource, RawModel, RawPool,
    RawStep, RawStreams,
};
use crate::spanned::Spanned;
use crate::value::Short;

/// The most events that a proof of throughput may ask for.
const MAX_EVENTS: u32 = 64;

/// The limits of a pool's streams.
pub(super) fn streams(review: &mut Review, raw: &Opt<RawStreams>) -> Streams {
    let default = Prove::default();
    let Some(raw) = raw else { return Streams::default() };
    let time =
        |review: &mut Review, raw: &Opt<_>| raw.is_some().then(|| review.time(raw, default.within));
    Streams {
        first_token: time(review, &raw.first_token),
        inter_token: time(review, &raw.inter_token),
        prove: raw.prove.as_ref().map(|prove| Prove {
            events: review.number(&prove.events, 1..=MAX_EVENTS, default.events),
            within: review.time(&prove.within, default.within),
        }),
    }
}

/// What is sent to an endpoint in the place of what the client sent; `None` where nothing is.
pub(super) fn provider(review: &mut Review, raw: &RawEndpoint) -> Option<Provider> {
    let key = raw.api_key.as_ref().and_then(|key| api_key(review, key));
    let mut headers = check::headers(review, &raw.headers);
    let has_key = key.is_some();
    if let Some(key) = key {
        if headers.contains_key(AUTHORIZATION) {
            let place = span_of(&raw.headers).unwrap_or_default();
            let message = "the endpoint has an api-key and an Authorization header";
            review.fault(Code::Contradiction, place, message, "leave one of them out");
        }
        headers.insert(AUTHORIZATION, key);
    }
    let has_key = has_key || brings_key(&headers);
    let model = raw.model.as_ref().map(|model| Arc::from(model.as_str()));
    let provider = Provider { headers, has_key, model };
    (!provider.headers.is_empty() || provider.model.is_some()).then_some(provider)
}

/// Whether headers hold credentials: under one of the names that providers use, or whatever is
/// secret.
fn brings_key(headers: &HeaderMap) -> bool {
    headers.values().any(HeaderValue::is_sensitive)
        || headers.contains_key(AUTHORIZATION)
        || ["api-key", "x-api-key"].iter().any(|name| headers.contains_key(*name))
}

fn api_key(review: &mut Review, written: &Spanned<RawKeySource>) -> Option<HeaderValue> {
    let source = match &written.value {
        Short::Text(_) => {
            review.refuse(written.span, check::literal_secret("api-key"));
            return None;
        }
        Short::Full(_) if written.damaged => return None,
        Short::Full(raw) => RawHeader { file: raw.file.clone(), env: raw.env.clone() },
    };
    let secret = match check::secret(review, &source) {
        Ok(secret) => secret,
        Err(refusal) => {
            review.refuse(written.span, refusal);
            return None;
        }
    };
    let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", secret.expose())) else {
        let message = "the key cannot be sent";
        let help = "headers hold visible characters and spaces only";
        review.fault(Code::BadValue, written.span, message, help);
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}

/// The check of servers of which none is written: vLLM has a path for it, and providers are known
/// by their answers.
pub(super) fn usual_check(is_vllm: bool) -> Check {
    if !is_vllm {
        return Check::Off;
    }
    Check::Http(HttpCheck {
        method: http::Method::GET,
        path: "/health".to_owned(),
        headers: HeaderMap::new(),
        body: None,
        status: vec![200..=299],
        contains: None,
        port: None,
    })
}

/// The causes that a step is for.
pub(super) fn causes(review: &mut Review, raw: &RawStep) -> Causes {
    let Some(written) = &raw.on else { return Causes::default() };
    if written.value.is_empty() && !written.damaged {
        let message = "this step is for no cause and would never be asked";
        let help = "name at least one, or take `on` out";
        review.fault(Code::Unreachable, written.span, message, help);
    }
    written.value.iter().fold(Causes::none(), |causes, cause| causes.and(of(cause.value)))
}

const fn of(cause: RawCause) -> Cause {
    match cause {
        RawCause::ContextLength => Cause::ContextLength,
        RawCause::ContentPolicy => Cause::ContentPolicy,
        RawCause::RateLimit => Cause::RateLimit,
        RawCause::ServerError => Cause::ServerError,
        RawCause::Timeout => Cause::Timeout,
    }
}

/// The first step is asked whatever happened: nothing did.
pub(super) fn first_has_no_cause(review: &mut Review, steps: &[Spanned<RawStep>]) {
    if let Some(on) = steps.first().and_then(|step| step.on.as_ref()) {
        let message = "the first step of a chain is asked first, for no cause";
        review.fault(Code::Contradiction, on.span, message, "take `on` out of it");
    }
}

/// Whether streams that were cut go on elsewhere.
pub(super) fn continues(raw: &Opt<RawContinuation>) -> bool {
    raw.as_ref().is_some_and(|it| matches!(it.value, RawContinuation::Prefix))
}

/// What is said of tensors means nothing to a model of this API, and only it has streams to
/// continue. What its chain may hold is reviewed with all others.
pub(super) fn fits(review: &mut Review, raw: &Spanned<RawModel>, model: &Model, pools: &Pools) {
    let speaks = model.chain.iter().any(|step| match step.source {
        Source::Pool { pool, .. } => {
            pools.built.get(pool).is_some_and(|pool| pool.protocol == Protocol::OpenAi)
        }
        _ => false,
    });
    if !speaks {
        if model.continues
            && let Some(place) = span_of(&raw.continuation)
        {
            let message = "only streams of pools with `protocol: openai` can be continued";
            review.fault(Code::Contradiction, place, message, "take `continuation` out");
        }
        return;
    }
    let of_tensors = [
        ("inputs", span_of(&raw.inputs)),
        ("outputs", span_of(&raw.outputs)),
        ("batch", span_of(&raw.batch)),
        ("sequence", span_of(&raw.sequence)),
    ];
    for (key, place) in of_tensors.into_iter().filter_map(|(key, it)| it.map(|it| (key, it))) {
        let message = format!("`{key}` means nothing to a model of the OpenAI API");
        review.fault(Code::Contradiction, place, message, "take it out");
    }
}

/// What belongs to language models alone stands at pools of them.
pub(super) fn pool_fits(review: &mut Review, raw: &Spanned<RawPool>, protocol: Protocol) {
    if protocol == Protocol::OpenAi {
        return;
    }
    if let Some(place) = span_of(&raw.streams) {
        let message = "limits of tokens are for pools with `protocol: openai`";
        let help = "use first-byte-timeout and idle-timeout, or say protocol: openai";
        review.fault(Code::Contradiction, place, message, help);
    }
}
