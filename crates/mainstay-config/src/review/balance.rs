//! Balancing: who is picked, how near, and what is kept together.

use std::sync::Arc;

use http::HeaderName;
use mainstay_policy::balance::{LoadFactor, Rule, locality};
use mainstay_policy::sequence;

use super::breaker::only_off;
use super::{Review, span_of};
use crate::code::Code;
use crate::config::{Key, Model, Pool, Sequence, SequenceBy, Source};
use crate::raw::{
    Opt, RawBalance, RawKey, RawLocality, RawModel, RawOnLoss, RawSequence, RawSequenceBy,
};
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::{Entries, Spanned};
use crate::value::Short;

/// The longest prefix that requests are kept together by.
const MAX_PREFIX: usize = 1024 * 1024;

/// How a server of a pool is picked, and by what key if by one.
pub(super) fn balance(review: &mut Review, raw: &Opt<Short<RawBalance>>) -> (Rule, Option<Key>) {
    let Some(written) = raw else { return (Rule::PeakEwma, None) };
    let raw = match &written.value {
        Short::Text(text) => return (by_name(review, text, written.span), None),
        Short::Full(raw) => raw,
    };
    let factor = match &raw.load_factor {
        Some(factor) if !(1.01..=100.0).contains(&factor.value) => {
            let message = format!("expected a factor from 1.01 to 100, found {}", factor.value);
            let help = "1.25 lets a server have a quarter more than its part";
            review.fault(Code::BadValue, factor.span, message, help);
            LoadFactor::default()
        }
        Some(factor) => LoadFactor::new(factor.value),
        None => LoadFactor::default(),
    };
    let Some(key) = &raw.ring_hash else {
        if !written.damaged {
            let help = "write for example {ring-hash: {header: x-user}}";
            review.fault(Code::Missing, written.span, "it is not said what to hash", help);
        }
        return (Rule::PeakEwma, None);
    };
    match self::key(review, key) {
        Some(key) => (Rule::RingHash(factor), Some(key)),
        None => (Rule::PeakEwma, None),
    }
}

fn by_name(review: &mut Review, text: &str, place: Span) -> Rule {
    match text {
        "peak-ewma" => Rule::PeakEwma,
        "least-request" => Rule::LeastRequest,
        "round-robin" => Rule::RoundRobin,
        "tokens" => Rule::Tokens,
        _ => {
            let message = format!("{:?} is no rule of balancing", shorten(text));
            let help = "write peak-ewma, least-request, round-robin, tokens or {ring-hash: {header: \
                 x-user}}";
            review.fault(Code::BadValue, place, message, help);
            Rule::PeakEwma
        }
    }
}

fn key(review: &mut Review, raw: &Spanned<RawKey>) -> Option<Key> {
    if let Some(client) = &raw.client {
        if raw.header.is_some() || raw.input.is_some() || raw.prompt_prefix.is_some() {
            let message = "a key is a header, an input, a prefix or the client, not several";
            review.fault(Code::Contradiction, client.span, message, "leave one of them out");
        }
        return Some(Key::Client);
    }
    if let (Some(prefix), None, None) = (&raw.prompt_prefix, &raw.header, &raw.input) {
        if (1..=MAX_PREFIX).contains(&prefix.value.0) {
            return Some(Key::PromptPrefix(prefix.value.0));
        }
        let message = "a prefix has from 1 byte to 1 MiB";
        review.fault(Code::BadValue, prefix.span, message, "write for example 1KiB");
        return None;
    }
    if let Some(prefix) = &raw.prompt_prefix {
        let message = "a key is a header, an input or a prefix, and only one of them";
        review.fault(Code::Contradiction, prefix.span, message, "leave the others out");
        return None;
    }
    match (&raw.header, &raw.input) {
        (Some(name), None) => header(review, name).map(Key::Header),
        (None, Some(name)) => Some(Key::Input(Arc::from(name.as_str()))),
        (None, None) => {
            if !raw.damaged {
                let help = "write {header: x-user} or {input: user_id}";
                review.fault(Code::Missing, raw.span, "it is not said what to hash", help);
            }
            None
        }
        (Some(_), Some(input)) => {
            let message = "a key is a header or an input, not both";
            review.fault(Code::Contradiction, input.span, message, "leave one of them out");
            None
        }
    }
}

fn header(review: &mut Review, name: &Spanned<String>) -> Option<HeaderName> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(header) if !header.as_str().starts_with("x-mainstay-") => Some(header),
        Ok(_) => {
            let message = "headers of this name are taken from clients' requests";
            let help = "choose a name that does not begin with x-mainstay-";
            review.fault(Code::BadValue, name.span, message, help);
            None
        }
        Err(_) => {
            let message = format!("{:?} cannot be the name of a header", shorten(name));
            review.fault(Code::BadValue, name.span, message, "write for example x-user");
            None
        }
    }
}

/// How requests are kept near; `None` where all servers are alike.
pub(super) fn locality(
    review: &mut Review,
    raw: &Opt<Short<RawLocality>>,
) -> Option<locality::Settings> {
    let default = locality::Settings::default();
    let Some(written) = raw else { return Some(default) };
    let raw = match &written.value {
        Short::Text(text) => {
            return only_off(review, text, written.span, "a rule for near and far")
                .then_some(default);
        }
        Short::Full(raw) => raw,
    };
    Some(locality::Settings {
        overprovisioning: review.number(
            &raw.overprovisioning,
            1.0..=100.0,
            default.overprovisioning,
        ),
        hold: raw.hold.as_ref().map_or(default.hold, |hold| hold.value.0),
        back: review.time(&raw.back, default.back),
    })
}

/// The sequences of a model; `None` where each request stands alone.
pub(super) fn sequence(review: &mut Review, raw: &Opt<RawSequence>) -> Option<Sequence> {
    let written = raw.as_ref()?;
    let default = sequence::Settings::default();
    let on_loss = written.on_loss.as_ref().map_or(default.on_loss, |rule| match rule.value {
        RawOnLoss::Fail => sequence::OnLoss::Fail,
        RawOnLoss::Restart => sequence::OnLoss::Restart,
    });
    let settings = sequence::Settings {
        on_loss,
        idle: review.time(&written.idle, default.idle),
        most: review.count(&written.most, 1 << 24, default.most),
    };
    Some(Sequence { by: by(review, &written.by), settings })
}

fn by(review: &mut Review, raw: &Opt<Short<RawSequenceBy>>) -> SequenceBy {
    let Some(written) = raw else { return SequenceBy::SequenceId };
    let name = match &written.value {
        Short::Text(text) if text == "sequence-id" => return SequenceBy::SequenceId,
        Short::Full(RawSequenceBy { header: Some(name) }) => header(review, name),
        Short::Text(_) | Short::Full(_) => {
            if !written.damaged {
                let help = "write sequence-id or {header: x-session}";
                let message = "it is not said how a sequence is known";
                review.fault(Code::BadValue, written.span, message, help);
            }
            None
        }
    };
    name.map_or(SequenceBy::SequenceId, SequenceBy::Header)
}

/// The pools of one chain must hash by the same key: a request has one home.
pub(super) fn one_key(
    review: &mut Review,
    models: &[Model],
    pools: &[Pool],
    raw: Option<&Spanned<Entries<RawModel>>>,
) {
    for (at, model) in models.iter().enumerate() {
        let mut keys = model.chain.iter().filter_map(|step| match step.source {
            Source::Pool { pool, .. } => pools.get(pool)?.key.as_ref(),
            Source::Embedded { .. }
            | Source::LastGood(_)
            | Source::Default { .. }
            | Source::Fixed(_) => None,
        });
        let first = keys.next();
        if keys.any(|key| Some(key) != first) {
            let written = raw.and_then(|models| models.value.0.get(at));
            let place = written.and_then(|(_, model)| span_of(&model.chain)).unwrap_or_default();
            let message = format!("the pools of model {:?} hash by different keys", model.name);
            let help = "let `balance: {ring-hash: ...}` name the same key in all of them";
            review.fault(Code::Contradiction, place, message, help);
        }
    }
}
