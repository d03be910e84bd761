//! Redundancy: how many are in use, what a standby needs, the way back.

use std::sync::Arc;

use http::Method;
use mainstay_control::group::{Active, Damping, Failback, Mode, Range, Rule, Standby, Window};

use super::pool::MAX_ENDPOINTS;
use super::{Review, span_of};
use crate::code::Code;
use crate::config::{Call, Endpoint, Site, Warm};
use crate::raw::{
    Opt, RawActive, RawCall, RawDamping, RawFailback, RawMode, RawPool, RawStandby, RawWarm,
    RawWindows,
};
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::Spanned;
use crate::value::Short;

/// Where something runs.
pub(super) fn site(review: &mut Review, region: &Opt<String>, zone: &Opt<String>) -> Site {
    let mut name = |written: &Opt<String>, what: &str| {
        let name = written.as_ref()?;
        if super::is_name(name) {
            return Some(Arc::from(name.as_str()));
        }
        let message = format!("{:?} cannot be the name of {what}", shorten(name));
        let help = "use letters, digits and . _ - : [ ] only, at most 128 of them";
        review.fault(Code::BadValue, name.span, message, help);
        None
    };
    Site { region: name(region, "a region"), zone: name(zone, "a zone") }
}

pub(super) const fn standby(raw: RawStandby) -> Standby {
    match raw {
        RawStandby::Hot => Standby::Hot,
        RawStandby::Warm => Standby::Warm,
        RawStandby::Cold => Standby::Cold,
    }
}

/// The redundancy rule of a pool with these endpoints.
pub(super) fn rule(review: &mut Review, raw: &RawPool, endpoints: &[Endpoint]) -> Rule {
    if let Some(exclusive) = raw.exclusive.as_ref().filter(|exclusive| exclusive.value) {
        let help = "leave it out, and keep other gateways from using the pool";
        let message = "an exclusive pool needs coordination between gateways: without it two of \
                       them could each use another endpoint at the same time";
        review.fault(Code::Unsupported, exclusive.span, message, help);
    }
    let mode = raw.mode.as_ref().map_or(Mode::Automatic, |mode| self::mode(mode.value));
    // Sources may bring as many as a pool holds.
    let most = if raw.discover.is_some() { MAX_ENDPOINTS } else { endpoints.len() };
    let active = active(review, &raw.active, most);
    let marked = endpoints.iter().filter(|endpoint| endpoint.standby.is_some()).count();
    let all_marked = marked > 0 && marked == endpoints.len() && raw.discover.is_none();
    if active == Active::All && all_marked {
        let place = raw.endpoints.as_ref().map_or_else(Span::default, |list| list.span);
        let help = "say how many with `active: 1`, or leave `standby` out of one";
        review.fault(Code::Contradiction, place, "all endpoints are standbys", help);
    }
    Rule { active, mode, failback: failback(review, &raw.failback, mode) }
}

const fn mode(raw: RawMode) -> Mode {
    match raw {
        RawMode::Automatic => Mode::Automatic,
        RawMode::Manual => Mode::Manual,
    }
}

fn active(review: &mut Review, raw: &Opt<Short<RawActive>>, endpoints: usize) -> Active {
    let Some(written) = raw else { return Active::All };
    let most = u16::try_from(endpoints).unwrap_or(u16::MAX).max(1);
    let active = match &written.value {
        Short::Text(text) if text == "all" => return Active::All,
        Short::Text(text) => match text.parse() {
            Ok(number) if number > 0 => Range::always(number),
            _ => {
                let message = format!("{:?} is no number of endpoints", shorten(text));
                let help = "write all, a number from 1, or {min: 1, max: 3}";
                review.fault(Code::BadValue, written.span, message, help);
                return Active::All;
            }
        },
        Short::Full(raw) => between(review, raw, written.span, most),
    };
    if active.min > active.max || active.max > most {
        let message =
            format!("from {} to {} of {most} endpoints cannot be in use", active.min, active.max);
        let help = "let min be at most max, and max at most the number of endpoints";
        review.fault(Code::Contradiction, written.span, message, help);
    }
    Active::Between(active)
}

fn between(review: &mut Review, raw: &RawActive, place: Span, most: u16) -> Range {
    let min = review.number(&raw.min, 1..=1024, 1u16);
    let max = review.number(&raw.max, 1..=1024, most.max(min));
    let default = Range::between(min, max);
    let range = Range {
        above: raw.above.as_ref().map_or(default.above, |above| above.value.0.get()),
        below: raw.below.as_ref().map_or(default.below, |below| below.value.0.get()),
        rise: review.time(&raw.rise, default.rise),
        calm: review.time(&raw.calm, default.calm),
        ..default
    };
    if range.below >= range.above {
        let place = span_of(&raw.below).or_else(|| span_of(&raw.above)).unwrap_or(place);
        let help = "let below be well under above, for example 50% and 80%";
        review.fault(Code::Contradiction, place, "whoever is called would be let go", help);
    }
    range
}

fn failback(review: &mut Review, raw: &Opt<RawFailback>, pool: Mode) -> Failback {
    let default = Failback { mode: pool, ..Failback::default() };
    let Some(written) = raw else { return default };
    Failback {
        mode: written.mode.as_ref().map_or(pool, |mode| self::mode(mode.value)),
        stable_for: written.stable_for.as_ref().map_or(default.stable_for, |time| time.value.0),
        ramp: written.ramp.as_ref().map_or(default.ramp, |ramp| ramp.value.0),
        windows: windows(review, &written.windows),
        damping: damping(review, &written.damping),
    }
}

fn windows(review: &mut Review, raw: &Opt<RawWindows>) -> Vec<Window> {
    let written = raw.as_ref().map_or(&[][..], |windows| windows.value.as_slice());
    let mut windows = Vec::with_capacity(written.len());
    for text in written {
        match text.value.parse() {
            Ok(window) => windows.push(window),
            Err(_) => {
                let message = format!("{:?} is no window of the week", shorten(text));
                let help = "write for example \"Mon-Fri 08:00-18:00\" or \"02:00-04:00\", in UTC";
                review.fault(Code::BadValue, text.span, message, help);
            }
        }
    }
    windows
}

fn damping(review: &mut Review, raw: &Opt<RawDamping>) -> Damping {
    let default = Damping::default();
    let Some(written) = raw else { return default };
    let damping = Damping {
        half_life: review.time(&written.half_life, default.half_life),
        suppress: review.number(&written.suppress, 0.1..=100.0, default.suppress),
        reuse: review.number(&written.reuse, 0.05..=100.0, default.reuse),
        max: review.time(&written.max, default.max),
    };
    if damping.reuse >= damping.suppress {
        let help = "let reuse be under suppress, for example 0.75 and 1.5";
        let message = "an endpoint would be suppressed and reusable at once";
        review.fault(Code::Contradiction, written.span, message, help);
    }
    damping
}

/// How warm standbys are made ready.
pub(super) fn warm(review: &mut Review, raw: &Opt<RawWarm>) -> Warm {
    let default = Warm::default();
    let Some(written) = raw else { return default };
    Warm {
        load: call(review, &written.load, "load").unwrap_or(default.load),
        unload: match &written.unload {
            Some(unload) if is_off(unload) => None,
            unload => call(review, unload, "unload").or(default.unload),
        },
        timeout: review.time(&written.timeout, default.timeout),
    }
}

fn is_off(call: &Spanned<Short<RawCall>>) -> bool {
    matches!(&call.value, Short::Text(text) if text == "off")
}

/// A call as it is written; `None` leaves the default.
fn call(review: &mut Review, raw: &Opt<Short<RawCall>>, verb: &str) -> Option<Call> {
    let written = raw.as_ref()?;
    let raw = match &written.value {
        Short::Text(text) if text == "repository" => return Some(Call::repository(verb)),
        Short::Text(text) => {
            let message = format!("{:?} is no way to {verb} a model", shorten(text));
            let help = "write repository, or a request such as {path: \"/models/{model}/load\"}";
            review.fault(Code::BadValue, written.span, message, help);
            return None;
        }
        Short::Full(raw) => raw,
    };
    let Some(path) = &raw.path else {
        let help = "add for example path: \"/models/{model}/load\"";
        review.fault(Code::Missing, written.span, "the request has no path", help);
        return None;
    };
    if !path.starts_with('/') || path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        let help = "begin it with / and write no spaces";
        review.fault(Code::BadValue, path.span, "this is no path", help);
    }
    let method = raw.method.as_ref().map_or(Ok(Method::POST), |method| method.value.parse());
    let Ok(method) = method else {
        review.fault(Code::BadValue, written.span, "the method cannot be", "write POST or PUT");
        return None;
    };
    let body = raw.body.as_ref().map_or_else(|| "{}".to_owned(), |body| body.value.clone());
    Some(Call { method, path: path.value.clone(), body })
}
