//! Limits that fit into each other, queues whose waits can end well, and priorities that not
//! everybody may claim.

use std::time::Duration;

use http::HeaderName;
use mainstay_policy::limit::{self, Priority};

use super::{Review, first_place, span_of};
use crate::code::Code;
use crate::config::{Concurrency, Network, Priorities};
use crate::raw::{
    Opt, RawConcurrency, RawListen, RawPriority, RawPriorityHeader, RawTargetConcurrency,
};
use crate::reader::shorten;
use crate::spanned::Spanned;
use crate::value::Short;

/// The most requests that a limit or a bulkhead counts.
const MOST: u32 = 1_000_000;

/// The most that may wait for one model: they are looked through under a lock.
const LONGEST_QUEUE: u32 = 100_000;

/// The header in which priorities are named, where no other is.
const HEADER: &str = "x-priority";

/// The limit of each target of a pool.
pub(super) fn target(
    review: &mut Review,
    raw: &Opt<Short<RawTargetConcurrency>>,
) -> limit::Settings {
    let default = limit::Settings::default();
    let Some(written) = raw else { return default };
    let raw = match &written.value {
        Short::Text(text) if text == "off" => return limit::Settings::off(),
        Short::Text(text) => {
            let message = format!("expected a limit or `off`, found {:?}", shorten(text));
            review.fault(
                Code::BadValue,
                written.span,
                message,
                "write its keys below it, or `off`",
            );
            return default;
        }
        Short::Full(raw) => raw,
    };
    if raw.adaptive.as_ref().is_some_and(|adaptive| !adaptive.value) {
        return fixed(review, written, raw);
    }
    let most = review.number(&raw.max, 1..=MOST, default.max);
    // What is not written gives way to what is.
    let least = review.number(&raw.min, 1..=MOST, default.min.min(most));
    let initial =
        review.number(&raw.initial, 1..=MOST, default.initial.clamp(least.min(most), most));
    if least > most || !(least..=most).contains(&initial) {
        let written_ones = [span_of(&raw.initial), span_of(&raw.min), span_of(&raw.max)];
        let place = first_place(&written_ones, written.span);
        let message = format!(
            "the limit cannot begin with {initial} and stay between {least} (min) and {most} (max)"
        );
        review.fault(Code::Contradiction, place, message, "write min <= initial <= max");
        return default;
    }
    limit::Settings { adaptive: true, min: least, initial, max: most }
}

/// A limit that does not follow anything.
fn fixed(
    review: &mut Review,
    written: &Spanned<Short<RawTargetConcurrency>>,
    raw: &RawTargetConcurrency,
) -> limit::Settings {
    let default = limit::Settings::default();
    if raw.max.is_none() && !written.damaged {
        let help = "add for example `max: 32`, or write `concurrency: off` for no limit";
        review.fault(Code::Missing, written.span, "a limit that is not adaptive needs a max", help);
    }
    if let Some(place) = first_written(&[span_of(&raw.min), span_of(&raw.initial)]) {
        let message =
            "min and initial are for limits that follow the server, and this one is fixed";
        review.fault(Code::Contradiction, place, message, "take them out, or `adaptive: false`");
    }
    limit::Settings {
        adaptive: false,
        max: review.number(&raw.max, 1..=MOST, default.max),
        ..default
    }
}

fn first_written(places: &[Option<crate::source::Span>]) -> Option<crate::source::Span> {
    places.iter().flatten().next().copied()
}

/// How many requests of a model are served at once, and how many wait.
pub(super) fn model(
    review: &mut Review,
    raw: &Opt<RawConcurrency>,
    deadline: Duration,
) -> Concurrency {
    let default = Concurrency::default();
    let Some(raw) = raw else { return default };
    let queue = raw.queue.as_ref().map_or(default.queue, |_| {
        let queue = review.number(&raw.queue, 0..=LONGEST_QUEUE, 0u32);
        usize::try_from(queue).unwrap_or(usize::MAX)
    });
    let wait = raw.wait.as_ref().map_or(default.wait, |wait| wait.value.0);
    if let Some(written) = &raw.wait
        && wait >= deadline
    {
        let message = format!(
            "a request could wait {wait:?} and its deadline is {deadline:?}, so that nothing \
             would be left for its answer"
        );
        review.fault(Code::Times, written.span, message, "wait for a part of the deadline only");
    }
    if let Some(written) = &raw.queue
        && queue == 0
        && raw.wait.is_some()
    {
        let message = "without a queue nobody waits";
        let help = "take `wait` out, or give the queue some places";
        review.fault(Code::Contradiction, written.span, message, help);
    }
    let max = raw.max.is_some().then(|| review.number(&raw.max, 1..=MOST, 1u32));
    Concurrency { max, queue, wait }
}

/// The priority that is written.
pub(super) fn priority(raw: &Opt<RawPriority>) -> Option<Priority> {
    raw.as_ref().map(|priority| match priority.value {
        RawPriority::Critical => Priority::Critical,
        RawPriority::High => Priority::High,
        RawPriority::Normal => Priority::Normal,
        RawPriority::Low => Priority::Low,
    })
}

/// The priorities of what comes through the listener.
pub(super) fn priorities(review: &mut Review, raw: &Opt<RawListen>) -> Priorities {
    let Some(raw) = raw else { return Priorities::default() };
    let usual = priority(&raw.priority).unwrap_or_default();
    let Some(header) = &raw.priority_header else {
        return Priorities { usual, ..Priorities::default() };
    };
    let trusted = trusted(review, header);
    Priorities { usual, header: name(review, header), trusted }
}

fn name(review: &mut Review, raw: &Spanned<RawPriorityHeader>) -> Option<HeaderName> {
    let Some(written) = &raw.name else { return Some(HeaderName::from_static(HEADER)) };
    let name = HeaderName::try_from(written.value.as_str()).ok();
    let usable = name.filter(|name| !is_taken(name));
    if usable.is_none() {
        let message = format!("{:?} cannot carry a priority", shorten(written));
        let help = "write a name that HTTP and the gateway have no use for, such as x-priority";
        review.fault(Code::BadValue, written.span, message, help);
    }
    usable
}

/// Whether the header has a meaning of its own.
fn is_taken(name: &HeaderName) -> bool {
    use http::header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    };
    [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST]
        .iter()
        .chain(&[TE, TRAILER, TRANSFER_ENCODING, UPGRADE])
        .any(|taken| taken == name)
        || name.as_str().starts_with("x-mainstay-")
}

fn trusted(review: &mut Review, raw: &Spanned<RawPriorityHeader>) -> Vec<Network> {
    let list = raw.trusted.as_ref().map_or(&[][..], |list| list.value.as_slice());
    if list.is_empty() && !raw.damaged {
        let place = span_of(&raw.trusted).unwrap_or(raw.span);
        let help = "add `trusted:` with addresses or networks of clients, such as [10.0.0.0/8]";
        review.fault(Code::Missing, place, "nobody is trusted to name a priority", help);
    }
    let mut networks = Vec::with_capacity(list.len());
    for written in list {
        let Some(network) = Network::parse(written) else {
            let message = format!("{:?} is no address or network", shorten(written));
            let help = "write for example 10.0.0.7, 10.0.0.0/8 or fd00::/8";
            review.fault(Code::BadValue, written.span, message, help);
            continue;
        };
        if network.bits == 0 {
            let message = "every client is trusted to call its own requests critical";
            let help = "name the networks of those who may, or leave the header out";
            review.fault(Code::Contradiction, written.span, message, help);
        }
        networks.push(network);
    }
    networks
}
