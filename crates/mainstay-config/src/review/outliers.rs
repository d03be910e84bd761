//! Outliers, the way back, and what happens when nobody is left.

use mainstay_policy::chain::LastResort;
use mainstay_policy::{failback, outlier};

use super::breaker::{above_zero, only_off};
use super::{Review, first_place, share, span_of};
use crate::code::Code;
use crate::config::LAST_RESORT_QUEUE;
use crate::raw::{Opt, RawFailback, RawLastResort, RawOutlierLatency, RawOutliers, RawSuccessRate};
use crate::reader::shorten;
use crate::value::Short;

/// The rules for outliers of a pool.
pub(super) fn outliers(review: &mut Review, raw: &Opt<Short<RawOutliers>>) -> outlier::Settings {
    let default = outlier::Settings::default();
    let Some(written) = raw else { return default };
    let raw = match &written.value {
        Short::Text(text) => {
            let faulty = only_off(review, text, written.span, "rules for outliers");
            return if faulty { default } else { outlier::Settings::off() };
        }
        Short::Full(raw) => raw,
    };
    outlier::Settings {
        consecutive: match &raw.consecutive {
            Some(number) => (number.value > 0).then_some(number.value),
            None => default.consecutive,
        },
        success_rate: success_rate(review, &raw.success_rate),
        latency: latency(review, &raw.latency),
        max_ejected: above_zero(review, &raw.max_ejected, default.max_ejected),
    }
}

fn success_rate(
    review: &mut Review,
    raw: &Opt<Short<RawSuccessRate>>,
) -> Option<outlier::SuccessRate> {
    let default = outlier::SuccessRate::default();
    let Some(written) = raw else { return Some(default) };
    let raw = match &written.value {
        Short::Text(text) => {
            return only_off(review, text, written.span, "a rule for success rates")
                .then_some(default);
        }
        Short::Full(raw) => raw,
    };
    Some(outlier::SuccessRate {
        deviations: review.number(&raw.deviations, 0.5..=100.0, default.deviations),
        margin: share(&raw.margin, default.margin),
        minimum_hosts: review.number(&raw.minimum_hosts, 2..=1024, default.minimum_hosts),
        minimum_requests: review.number(
            &raw.minimum_requests,
            1..=1_000_000,
            default.minimum_requests,
        ),
    })
}

fn latency(review: &mut Review, raw: &Opt<Short<RawOutlierLatency>>) -> Option<outlier::Latency> {
    let default = outlier::Latency::default();
    let Some(written) = raw else { return Some(default) };
    let raw = match &written.value {
        Short::Text(text) => {
            return only_off(review, text, written.span, "a rule for latencies").then_some(default);
        }
        Short::Full(raw) => raw,
    };
    Some(outlier::Latency {
        factor: review.number(&raw.factor, 1.5..=1000.0, default.factor),
        floor: raw.floor.as_ref().map_or(default.floor, |floor| floor.value.0),
        minimum_requests: review.number(
            &raw.minimum_requests,
            3..=1_000_000,
            default.minimum_requests,
        ),
    })
}

/// How outliers come back; the ramp begins where a slow start does.
pub(super) fn failback(
    review: &mut Review,
    raw: &Opt<RawFailback>,
    foot: mainstay_policy::Ratio,
) -> failback::Settings {
    let default = failback::Settings { foot, ..failback::Settings::default() };
    let Some(written) = raw else { return default };
    let settings = failback::Settings {
        successes: review.number(&written.successes, 1..=100, default.successes),
        ramp: written.ramp.as_ref().map_or(default.ramp, |ramp| ramp.value.0),
        foot,
        hold: review.time(&written.hold, default.hold),
        hold_max: review.time(&written.hold_max, default.hold_max),
    };
    if settings.hold > settings.hold_max {
        let place =
            first_place(&[span_of(&written.hold), span_of(&written.hold_max)], written.span);
        let message = format!(
            "the first hold ({:?}) is longer than the longest (hold-max, {:?})",
            settings.hold, settings.hold_max
        );
        review.fault(Code::Contradiction, place, message, "lower hold or raise hold-max");
    }
    settings
}

/// What a model does when nobody is left in a pool, and how many requests may wait.
pub(super) fn last_resort(
    review: &mut Review,
    raw: &Opt<Short<RawLastResort>>,
) -> (LastResort, usize) {
    let Some(written) = raw else { return (LastResort::default(), LAST_RESORT_QUEUE) };
    let rule = match &written.value {
        Short::Text(text) => match text.as_str() {
            "next-step" => LastResort::NextStep,
            "fail-fast" => LastResort::FailFast,
            "panic" => LastResort::Panic,
            _ => {
                let message = format!("{:?} is no last resort", shorten(text));
                let help = "write next-step, fail-fast, panic or {wait: 500ms}";
                review.fault(Code::BadValue, written.span, message, help);
                LastResort::default()
            }
        },
        Short::Full(raw) if raw.wait.is_none() => {
            if !written.damaged {
                let help = "write for example {wait: 500ms}";
                review.fault(Code::Missing, written.span, "it is not said how long to wait", help);
            }
            LastResort::default()
        }
        Short::Full(raw) => {
            let queue = review.count(&raw.queue, 1_000_000, LAST_RESORT_QUEUE);
            let wait = review.time(&raw.wait, std::time::Duration::from_millis(500));
            return (LastResort::Wait(wait), queue);
        }
    };
    (rule, LAST_RESORT_QUEUE)
}
