//! Last good answers and rehearsals: only where they can do what they are for.

use std::time::Duration;

use mainstay_policy::rehearsal;
use mainstay_protocol::oip::agreement::Tolerance;

use super::breaker::above_zero;
use super::{Review, span_of};
use crate::code::Code;
use crate::config::{LAST_GOOD_AGE, LastGood, Rehearsal};
use crate::raw::{Opt, RawAgreement, RawCallers, RawLastGood, RawModel, RawRehearsal, RawStep};
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::Spanned;
use crate::value::{Share, Short, parse_length, parse_share};

/// The rule of a step that remembers good answers.
pub(super) fn last_good(review: &mut Review, written: &Spanned<Short<RawLastGood>>) -> LastGood {
    match &written.value {
        Short::Text(text) => {
            let max_age = parse_length(text).filter(|age| !age.is_zero());
            if max_age.is_none() {
                let message = format!("{:?} is no age of an answer", shorten(text));
                let help = "write a time with its unit, such as 10m";
                review.fault(Code::BadValue, written.span, message, help);
            }
            LastGood { max_age: max_age.unwrap_or(LAST_GOOD_AGE), shared: false }
        }
        Short::Full(raw) => LastGood {
            max_age: review.time(&raw.max_age, LAST_GOOD_AGE),
            shared: matches!(&raw.callers, Some(it) if matches!(it.value, RawCallers::Shared)),
        },
    }
}

/// A good answer is one of servers, so a pool must stand before; and once is enough.
pub(super) fn last_good_fits(review: &mut Review, steps: &[Spanned<RawStep>]) {
    let mut seen: Option<Span> = None;
    for (at, step) in steps.iter().enumerate() {
        let Some(written) = &step.last_good else { continue };
        if !steps[..at].iter().any(|step| step.pool.is_some() || step.damaged) {
            let message = "no server answers before this step, so there are no good answers";
            let help = "put it behind a pool";
            review.fault(Code::Unreachable, written.span, message, help);
        }
        if let Some(first) = seen.replace(written.span) {
            let line = review.line(first);
            let message = format!("this step adds nothing: line {line} has looked there already");
            review.fault(Code::Unreachable, written.span, message, "take it out");
        }
    }
}

/// The rehearsals of a model; `None` where they are off.
pub(super) fn rehearsal(review: &mut Review, raw: &Spanned<RawModel>) -> Option<Rehearsal> {
    let written = raw.rehearsal.as_ref()?;
    let found = match &written.value {
        Short::Text(text) if text == "off" => return None,
        Short::Text(text) => by_share(review, text, written.span),
        Short::Full(full) => full_form(review, full),
    };
    if raw.repeatable.as_ref().is_some_and(|repeatable| !repeatable.value) {
        let message = "the model has `repeatable: false`, so nothing of it is rehearsed: a \
                       rehearsal is a request that is sent again";
        let place = span_of(&raw.repeatable).unwrap_or(written.span);
        review.warn(Code::Contradiction, place, message, "write `rehearsal: off`");
        return None;
    }
    Some(found)
}

fn by_share(review: &mut Review, text: &str, span: Span) -> Rehearsal {
    let mut found = Rehearsal::default();
    match parse_share(text).filter(|share| share.get() > 0.0) {
        Some(share) => found.settings.share = share,
        None => {
            let message = format!("{:?} is no share of the requests", shorten(text));
            review.fault(Code::BadValue, span, message, "write for example 1%, or `off`");
        }
    }
    found
}

fn full_form(review: &mut Review, raw: &RawRehearsal) -> Rehearsal {
    let default = rehearsal::Settings::default();
    let (agreement, tolerance) = agreement(review, &raw.agreement);
    let settings = rehearsal::Settings {
        share: above_zero(review, &raw.share, default.share),
        concurrent: review.number(&raw.concurrent, 1..=256, default.concurrent),
        fall: review.number(&raw.fall, 1..=100, default.fall),
        stale_after: review.time(&raw.stale_after, default.stale_after),
        agreement,
    };
    let least = Duration::from_secs(1);
    if settings.stale_after < least {
        let place = span_of(&raw.stale_after).unwrap_or_default();
        let message = "a proof cannot be stale before rehearsals can renew it";
        review.fault(Code::Times, place, message, "write 1s or more; minutes are usual");
    }
    Rehearsal { settings, tolerance }
}

fn agreement(
    review: &mut Review,
    raw: &Opt<RawAgreement>,
) -> (Option<mainstay_policy::Ratio>, Tolerance) {
    let default = Tolerance::default();
    let Some(raw) = raw else { return (None, default) };
    let at_least = raw.at_least.as_ref().map(|share| {
        let Share(share) = share.value;
        share
    });
    let most = f64::MAX;
    let tolerance = Tolerance {
        absolute: review.number(&raw.absolute, 0.0..=most, default.absolute),
        relative: review.number(&raw.relative, 0.0..=most, default.relative),
    };
    (at_least, tolerance)
}
