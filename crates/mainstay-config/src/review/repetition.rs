//! Hedges, poison and the cap on amplification: shares that can be used, and not exceeded.

use mainstay_policy::{budget, poison};

use super::breaker::{above_zero, only_off};
use super::{Review, first_place, span_of};
use crate::code::Code;
use crate::raw::{Opt, RawAmplification, RawHedge, RawPoison, RawRetry};
use crate::reader::shorten;
use crate::source::Span;
use crate::value::{Short, parse_length};

/// The hedges of a pool; `None` when they are off.
pub(super) fn hedge(
    review: &mut Review,
    raw: &Opt<Short<RawHedge>>,
) -> Option<budget::HedgeSettings> {
    let default = budget::HedgeSettings::default();
    let Some(written) = raw else { return Some(default) };
    let raw = match &written.value {
        Short::Text(text) => {
            return only_off(review, text, written.span, "a rule for hedges").then_some(default);
        }
        Short::Full(raw) => raw,
    };
    Some(budget::HedgeSettings {
        share: above_zero(review, &raw.share, default.share),
        after: after(review, &raw.after),
    })
}

fn after(review: &mut Review, raw: &Opt<String>) -> budget::HedgeAfter {
    let Some(text) = raw else { return budget::HedgeAfter::default() };
    if text.value == "p95" {
        return budget::HedgeAfter::P95;
    }
    match parse_length(&text.value).filter(|after| !after.is_zero()) {
        Some(after) => budget::HedgeAfter::Fixed(after),
        None => {
            let message = format!("{:?} is no time after which to hedge", shorten(&text.value));
            let help = "write p95 for the server's own 95th percentile, or a time such as 20ms";
            review.fault(Code::BadValue, text.span, message, help);
            budget::HedgeAfter::default()
        }
    }
}

/// When a request is taken to be poison; `None` when it never is.
pub(super) fn poison(review: &mut Review, raw: &Opt<Short<RawPoison>>) -> Option<poison::Settings> {
    let default = poison::Settings::default();
    let Some(written) = raw else { return Some(default) };
    let raw = match &written.value {
        Short::Text(text) => {
            return only_off(review, text, written.span, "a rule for poison").then_some(default);
        }
        Short::Full(raw) => raw,
    };
    let most = poison::MOST_ENDPOINTS;
    Some(poison::Settings {
        endpoints: review.number(&raw.endpoints, 2..=most, default.endpoints),
        remember: review.time(&raw.remember, default.remember),
    })
}

/// The cap on amplification. It must leave room for the retries that are allowed.
pub(super) fn amplification(
    review: &mut Review,
    raw: &Opt<RawAmplification>,
    (raw_retry, retry): (&Opt<RawRetry>, &budget::RetrySettings),
) -> budget::AmplificationSettings {
    let default = budget::AmplificationSettings::default();
    let cap = raw
        .as_ref()
        .map_or(default.cap, |raw| review.number(&raw.value.cap, 1.0..=10.0, default.cap));
    let per_second = raw
        .as_ref()
        .and_then(|raw| raw.value.per_second.as_ref())
        .map_or(default.per_second, |number| number.value);
    let ratio = f64::from(retry.ratio.get());
    if ratio > cap - 1.0 + 1e-6 {
        let written = [
            raw_retry.as_ref().and_then(|raw| span_of(&raw.value.ratio)),
            raw.as_ref().and_then(|raw| span_of(&raw.value.cap)),
        ];
        let message = format!(
            "a retry ratio of {} cannot be used: amplification is capped at {cap}",
            retry.ratio
        );
        let help = format!("lower retry: ratio, or set amplification: cap to {:.2}", 1.0 + ratio);
        review.fault(Code::Contradiction, first_place(&written, Span::default()), message, help);
    }
    budget::AmplificationSettings { cap, per_second }
}
