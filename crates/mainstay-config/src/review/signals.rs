//! Progress, heartbeats and counters: what verdicts rest on beside probes.

use std::time::Duration;

use mainstay_policy::health::counters::Kind;
use mainstay_policy::health::{fusion, heartbeat};
use mainstay_protocol::classify::Flavour;

use super::breaker::only_off;
use super::{Review, span_of};
use crate::code::Code;
use crate::config::Counters;
use crate::raw::{Opt, RawCounterKind, RawCounters, RawHeartbeat, RawProgress};
use crate::reader::shorten;
use crate::source::Span;
use crate::value::Short;

/// Default of [`Counters::interval`].
const INTERVAL: Duration = Duration::from_secs(1);
/// Shorter would load servers more than it tells.
const SHORTEST: Duration = Duration::from_millis(100);
/// Default of [`Counters::path`].
const PATH: &str = "/metrics";

/// When silence is a stall.
pub(super) fn progress(review: &mut Review, raw: &Opt<Short<RawProgress>>) -> fusion::Settings {
    let default = fusion::Settings::default();
    let Some(written) = raw else { return default };
    match &written.value {
        Short::Text(text) if only_off(review, text, written.span, "a rule for stalled servers") => {
            fusion::Settings { stall_after: Duration::MAX, ..default }
        }
        Short::Text(_) => default,
        Short::Full(raw) => fusion::Settings {
            stall_after: at_least(review, raw.stall_after.as_ref().map(|l| (l.value.0, l.span)))
                .unwrap_or(default.stall_after),
            factor: review.number(&raw.factor, 0.0..=1000.0, default.factor),
            ..default
        },
    }
}

/// The heartbeats that are expected; `None` if none are.
pub(super) fn heartbeat(
    review: &mut Review,
    raw: &Opt<Short<RawHeartbeat>>,
) -> Option<heartbeat::Settings> {
    let default = heartbeat::Settings::default();
    let written = raw.as_ref()?;
    match &written.value {
        Short::Text(text) => {
            only_off(review, text, written.span, "heartbeats");
            None
        }
        Short::Full(raw) => Some(heartbeat::Settings {
            interval: at_least(review, raw.interval.as_ref().map(|l| (l.value.0, l.span)))
                .unwrap_or(default.interval),
            misses: review.number(&raw.misses, 1..=100, default.misses),
        }),
    }
}

/// The counters that are read; `None` if none are.
pub(super) fn counters(
    review: &mut Review,
    raw: &Opt<Short<RawCounters>>,
    flavour: Flavour,
) -> Option<Counters> {
    let written = raw.as_ref()?;
    let by_flavour = RawCounters::default();
    let raw = match &written.value {
        Short::Text(text) if text == "auto" => &by_flavour,
        Short::Text(text) => {
            only_off(review, text, written.span, "counters, `auto`");
            return None;
        }
        Short::Full(raw) => raw,
    };
    let kind = match &raw.kind {
        Some(kind) => kind_of(kind.value),
        None => native(flavour).or_else(|| {
            let message = "the pool's flavour does not say whose counters these are";
            let help = "write {kind: triton} (or vllm, mlserver, torchserve), or set `flavour`";
            review.fault(Code::Missing, written.span, message, help);
            None
        })?,
    };
    let interval = raw.interval.as_ref().map(|length| (length.value.0, length.span));
    Some(Counters {
        kind,
        port: match &raw.port {
            Some(_) => Some(review.number(&raw.port, 1..=u16::MAX, 1_u16)),
            None => kind.mapping().port,
        },
        path: path(review, &raw.path),
        interval: at_least(review, interval).unwrap_or(INTERVAL),
    })
}

fn path(review: &mut Review, written: &Opt<String>) -> String {
    let Some(text) = written else { return PATH.to_owned() };
    let sound = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic());
    if sound {
        return text.value.clone();
    }
    let message = format!("{:?} is no path", shorten(text));
    let place = span_of(written).unwrap_or_default();
    review.fault(Code::BadValue, place, message, "write for example /metrics");
    PATH.to_owned()
}

const fn kind_of(raw: RawCounterKind) -> Kind {
    match raw {
        RawCounterKind::Triton => Kind::Triton,
        RawCounterKind::Vllm => Kind::Vllm,
        RawCounterKind::MlServer => Kind::MlServer,
        RawCounterKind::TorchServe => Kind::TorchServe,
    }
}

/// Whose counters the servers of a flavour have.
const fn native(flavour: Flavour) -> Option<Kind> {
    match flavour {
        Flavour::Triton => Some(Kind::Triton),
        Flavour::MlServer => Some(Kind::MlServer),
        Flavour::TorchServe => Some(Kind::TorchServe),
        Flavour::Vllm => Some(Kind::Vllm),
        _ => None,
    }
}

/// A time that is not too short to be kept.
fn at_least(review: &mut Review, written: Option<(Duration, Span)>) -> Option<Duration> {
    let (time, span) = written?;
    if time >= SHORTEST {
        return Some(time);
    }
    let message = format!("this time ({time:?}) is too short to be kept");
    review.fault(Code::BadValue, span, message, "write at least 100ms");
    None
}
