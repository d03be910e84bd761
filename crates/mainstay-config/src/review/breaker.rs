//! Breakers and the way back: rates, windows and waits that fit together.

use std::time::Duration;

use mainstay_policy::{Ratio, balance, breaker, budget};

use super::{Review, first_place, share, span_of};
use crate::code::Code;
use crate::raw::{Opt, RawBackoff, RawBreaker, RawCallWindow, RawSlowCalls, RawSlowStart};
use crate::reader::shorten;
use crate::source::Span;
use crate::value::{Length, Share, Short, parse_length};

/// The most calls that one machine word can tell apart.
const MAX_CALLS: u8 = 64;

/// The breaker of a pool; `None` when it is off.
pub(super) fn breaker(
    review: &mut Review,
    raw: &Opt<Short<RawBreaker>>,
) -> Option<breaker::Settings> {
    let default = breaker::Settings::default();
    let Some(written) = raw else { return Some(default) };
    let raw = match &written.value {
        Short::Text(text) => {
            return only_off(review, text, written.span, "a breaker").then_some(default);
        }
        Short::Full(raw) => raw,
    };
    let settings = breaker::Settings {
        failure_rate: above_zero(review, &raw.failure_rate, default.failure_rate),
        minimum_calls: review.number(&raw.minimum_calls, 1..=1_000_000, default.minimum_calls),
        window: window(review, &raw.window, default.window),
        consecutive: raw.consecutive.as_ref().map_or(default.consecutive, |n| n.value),
        slow: slow(review, &raw.slow),
        open: review.time(&raw.open, default.open),
        open_max: review.time(&raw.open_max, default.open_max),
        jitter: share(&raw.jitter, default.jitter),
        permits: review.number(&raw.permits, 1..=breaker::MAX_PERMITS, default.permits),
    };
    open_fits(review, raw, &settings, written.span);
    Some(minimum_fits(review, raw, settings))
}

/// Whether the text is not `off` (and then says so): the caller goes on with the default.
pub(super) fn only_off(review: &mut Review, text: &str, span: Span, what: &str) -> bool {
    if text == "off" {
        return false;
    }
    let message = format!("expected {what} or `off`, found {:?}", shorten(text));
    review.fault(Code::BadValue, span, message, "write its keys below it, or `off`");
    true
}

pub(super) fn above_zero(review: &mut Review, written: &Opt<Share>, default: Ratio) -> Ratio {
    match written {
        Some(share) if share.value.0 == Ratio::ZERO => {
            let help = "a share of 0% is always reached; write a larger one";
            review.fault(Code::BadValue, share.span, "this share must be above zero", help);
            default
        }
        other => share(other, default),
    }
}

fn window(
    review: &mut Review,
    raw: &Opt<Short<RawCallWindow>>,
    default: breaker::WindowKind,
) -> breaker::WindowKind {
    let Some(written) = raw else { return default };
    match &written.value {
        Short::Text(text) => match parse_length(text).filter(|length| !length.is_zero()) {
            Some(length) => breaker::WindowKind::Time(length),
            None => {
                let message = format!("{:?} is no window", shorten(text));
                let help = "write a duration such as 10s, or {calls: 50} for the last 50 calls";
                review.fault(Code::BadValue, written.span, message, help);
                default
            }
        },
        Short::Full(window) if window.calls.is_none() && !written.damaged => {
            let help = "write {calls: 50}, or a duration such as 10s";
            review.fault(Code::Missing, written.span, "the window has no size", help);
            default
        }
        Short::Full(window) => {
            breaker::WindowKind::Calls(review.number(&window.calls, 1..=MAX_CALLS, MAX_CALLS))
        }
    }
}

fn slow(review: &mut Review, raw: &Opt<Short<RawSlowCalls>>) -> Option<breaker::SlowCalls> {
    let default = breaker::SlowCalls::default();
    let Some(written) = raw else { return Some(default) };
    let raw = match &written.value {
        Short::Text(text) => {
            return only_off(review, text, written.span, "a rule for slow calls")
                .then_some(default);
        }
        Short::Full(raw) => raw,
    };
    Some(breaker::SlowCalls {
        rate: above_zero(review, &raw.rate, default.rate),
        factor: review.number(&raw.factor, 0.0..=1000.0, default.factor),
        floor: raw.floor.as_ref().map_or(default.floor, |floor| floor.value.0),
    })
}

fn open_fits(review: &mut Review, raw: &RawBreaker, settings: &breaker::Settings, span: Span) {
    if settings.open > settings.open_max {
        let place = first_place(&[span_of(&raw.open), span_of(&raw.open_max)], span);
        let message = format!(
            "the breaker's first wait ({:?}) is longer than its longest (open-max, {:?})",
            settings.open, settings.open_max
        );
        review.fault(Code::Contradiction, place, message, "lower open or raise open-max");
    }
}

/// A window of calls must be able to hold the calls that a rate needs.
fn minimum_fits(
    review: &mut Review,
    raw: &RawBreaker,
    mut settings: breaker::Settings,
) -> breaker::Settings {
    let breaker::WindowKind::Calls(calls) = settings.window else { return settings };
    if settings.minimum_calls <= u32::from(calls) {
        return settings;
    }
    if let Some(minimum) = &raw.minimum_calls {
        let message = format!(
            "minimum-calls ({}) is more than the window of {calls} calls ever holds, so the \
             failure rate would never be judged",
            minimum.value
        );
        let help = "lower minimum-calls, or enlarge the window (at most 64 calls, or a time)";
        review.fault(Code::Contradiction, minimum.span, message, help);
    }
    settings.minimum_calls = calls.into();
    settings
}

/// How traffic returns to a recovered target.
pub(super) fn slow_start(review: &mut Review, raw: &Opt<RawSlowStart>) -> balance::SlowStart {
    let default = balance::SlowStart::default();
    let Some(raw) = raw else { return default };
    balance::SlowStart {
        window: raw.window.as_ref().map_or(default.window, |window| window.value.0),
        minimum: above_zero(review, &raw.minimum, default.minimum),
    }
}

/// The wait before the same server is tried again.
pub(super) fn backoff(review: &mut Review, raw: &Opt<RawBackoff>) -> budget::Backoff {
    let default = budget::Backoff::default();
    let Some(written) = raw else { return default };
    let length = |written: &Opt<Length>, default: Duration| {
        written.as_ref().map_or(default, |length| length.value.0)
    };
    let backoff = budget::Backoff {
        base: length(&written.base, default.base),
        max: length(&written.max, default.max),
    };
    if backoff.base > backoff.max {
        let place = first_place(&[span_of(&written.base), span_of(&written.max)], written.span);
        let message = format!("base ({:?}) is above max ({:?})", backoff.base, backoff.max);
        review.fault(Code::Contradiction, place, message, "lower base or raise max");
    }
    backoff
}
