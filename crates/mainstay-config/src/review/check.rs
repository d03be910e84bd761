//! Probes, dependencies and the secrets that they send.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mainstay_policy::health;
use mainstay_protocol::Protocol;

use super::{Refusal, Review, address, first_place, golden, is_name, share, span_of};
use crate::code::Code;
use crate::config::{Check, Dependency, EndpointUrl, HttpCheck, Login, Probe};
use crate::raw::{
    Opt, RawCheck, RawCommand, RawDependency, RawGrpc, RawHeader, RawHttp, RawProbe, RawTcp,
    RawUrlCheck,
};
use crate::reader::shorten;
use crate::secret::Secret;
use crate::source::{Span, is_secret_key};
use crate::spanned::{Entries, Spanned};
use crate::value::{Length, Short, Statuses};

/// The statuses that pass where none are given.
const PASSING: RangeInclusive<u16> = 200..=299;

/// What is asked where nothing is said: what the protocol has for it.
const fn usual(protocol: Protocol) -> Check {
    match protocol {
        Protocol::V1 => Check::V1Ready,
        Protocol::TorchServe => Check::Ping,
        Protocol::Http => Check::Tcp { port: None },
        _ => Check::OipReady,
    }
}

/// The probe of a pool of a protocol; `place` is the pool's.
pub(super) fn probe(
    review: &mut Review,
    raw: &Opt<RawProbe>,
    (protocol, place): (Protocol, Span),
) -> Probe {
    let default = health::Settings::default();
    let Some(written) = raw else {
        return Probe { check: usual(protocol), health: default, golden: None };
    };
    let raw = &written.value;
    let interval = review.time(&raw.interval, default.interval);
    let timeout = review.time(&raw.timeout, default.timeout);
    let health = health::Settings {
        interval,
        fast: review.time(&raw.fast_interval, fitted(default.fast, timeout, interval)),
        down: review.time(&raw.down_interval, fitted(default.down, timeout, interval)),
        timeout,
        rise: review.number(&raw.rise, 1..=100, default.rise),
        fall: review.number(&raw.fall, 1..=100, default.fall),
        jitter: share(&raw.jitter, default.jitter),
    };
    let intervals = [
        ("interval", &raw.interval, health.interval),
        ("fast-interval", &raw.fast_interval, health.fast),
        ("down-interval", &raw.down_interval, health.down),
    ];
    timeout_fits(review, &raw.timeout, health.timeout, &intervals, place);
    let golden = golden::probe(review, &raw.golden, place);
    if let (Some(golden), Protocol::V1 | Protocol::TorchServe | Protocol::Http) =
        (&raw.golden, protocol)
    {
        let message = format!("golden requests are asked in oip, and the pool speaks {protocol}");
        let help = "take `golden` out; `check: {http: ...}` can ask a request of your own";
        review.fault(Code::Unsupported, golden.span, message, help);
    }
    Probe { check: probe_check(review, &raw.check, protocol), health, golden }
}

/// An interval that is not written, fitted between the times that are: a quarter above the
/// timeout, and never longer than the ordinary interval.
pub(super) fn fitted(default: Duration, timeout: Duration, interval: Duration) -> Duration {
    default.max(timeout.saturating_mul(5) / 4).min(interval)
}

/// A check that outlasts its interval would meet the next one: refused once, with the first
/// interval that is too short.
pub(super) fn timeout_fits(
    review: &mut Review,
    written: &Opt<Length>,
    timeout: Duration,
    intervals: &[(&str, &Opt<Length>, Duration)],
    otherwise: Span,
) {
    let Some((name, interval_written, interval)) =
        intervals.iter().find(|(_, _, interval)| timeout >= *interval)
    else {
        return;
    };
    let place = first_place(&[span_of(written), span_of(interval_written)], otherwise);
    let message = format!(
        "the check's timeout ({timeout:?}) is not below its {name} ({interval:?}), so checks \
         would overlap"
    );
    let help = format!("lower timeout or raise {name}; a timeout of a fifth of it is usual");
    review.fault(Code::Times, place, message, help);
}

fn probe_check(review: &mut Review, raw: &Opt<RawCheck>, protocol: Protocol) -> Check {
    let Some(written) = raw else { return usual(protocol) };
    match &written.value {
        RawCheck::OipReady => {
            if !matches!(protocol, Protocol::Oip | Protocol::OipGrpc | Protocol::Tcp) {
                let message = format!("`oip-ready` asks in oip, and the pool speaks {protocol}");
                let help = "take the check out: each protocol has its own default";
                review.warn(Code::Contradiction, written.span, message, help);
            }
            Check::OipReady
        }
        RawCheck::V1Ready => Check::V1Ready,
        RawCheck::Ping => Check::Ping,
        RawCheck::Off => Check::Off,
        RawCheck::Http(raw) => Check::Http(http_check(review, raw)),
        RawCheck::Tcp(RawTcp { port }) => Check::Tcp { port: own_port(review, port) },
        RawCheck::Grpc(RawGrpc { service, port }) => Check::Grpc {
            service: service.as_ref().map(|service| service.value.clone()),
            port: own_port(review, port),
        },
        RawCheck::Command(argv) => command(review, argv, written.span),
        RawCheck::Redis(raw) => {
            let login = login(review, &raw.user, &raw.password);
            Check::Redis { login, port: own_port(review, &raw.port) }
        }
    }
}

pub(super) fn login(
    review: &mut Review,
    user: &Opt<String>,
    password: &Opt<RawHeader>,
) -> Option<Login> {
    let Some(password) = password else {
        if let Some(user) = user {
            let help = "add `password: {file: PATH}`, or take the user out";
            review.fault(Code::Missing, user.span, "a user without a password", help);
        }
        return None;
    };
    match secret(review, password) {
        Ok(password) => {
            Some(Login { user: user.as_ref().map(|user| user.value.clone()), password })
        }
        Err(refusal) => {
            review.refuse(password.span, refusal);
            None
        }
    }
}

fn own_port(review: &mut Review, raw: &Opt<u16>) -> Option<u16> {
    raw.as_ref().map(|_| review.number(raw, 1..=u16::MAX, 1))
}

fn command(review: &mut Review, argv: &RawCommand, place: Span) -> Check {
    if argv.first().is_none_or(|program| program.is_empty()) {
        let help = "write a list, for example [/usr/local/bin/check, --quick]; no shell is used";
        review.fault(Code::Missing, place, "the command has no program", help);
    }
    Check::Command { argv: argv.iter().map(|argument| argument.value.clone()).collect() }
}

fn http_check(review: &mut Review, raw: &RawHttp) -> HttpCheck {
    HttpCheck {
        method: method(review, &raw.method),
        path: path(review, &raw.path),
        headers: headers(review, &raw.headers),
        body: raw.body.as_ref().map(|body| body.value.clone()),
        status: statuses(raw.status.as_deref()),
        contains: raw.contains.as_ref().map(|text| text.value.clone()),
        port: own_port(review, &raw.port),
    }
}

fn statuses(raw: Option<&[Statuses]>) -> Vec<RangeInclusive<u16>> {
    match raw {
        None | Some([]) => vec![PASSING],
        Some(list) => list.iter().map(|range| range.0.clone()).collect(),
    }
}

fn method(review: &mut Review, raw: &Opt<String>) -> Method {
    let Some(text) = raw else { return Method::GET };
    match text.parse::<Method>() {
        Ok(method) if text.chars().all(|c| c.is_ascii_uppercase()) => method,
        _ => {
            let message = format!("{:?} is no HTTP method", shorten(text));
            review.fault(Code::BadValue, text.span, message, "write for example GET or POST");
            Method::GET
        }
    }
}

fn path(review: &mut Review, raw: &Opt<String>) -> String {
    let Some(text) = raw else { return "/".to_owned() };
    if !text.starts_with('/') || !text.chars().all(|c| c.is_ascii_graphic()) {
        let message = format!("{:?} is no path", shorten(text));
        let help = "begin it with / and escape spaces, for example /v2/health/ready";
        review.fault(Code::BadValue, text.span, message, help);
    }
    text.value.clone()
}

pub(super) fn headers(review: &mut Review, raw: &Opt<Entries<Short<RawHeader>>>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let entries = raw.as_ref().map_or(&[][..], |raw| &raw.value.0);
    for (name, value) in entries {
        let Ok(header) = name.parse::<HeaderName>() else {
            let message = format!("{:?} is no header name", shorten(name));
            review.fault(Code::BadValue, name.span, message, "use letters, digits and - only");
            continue;
        };
        match header_value(review, name, value) {
            Ok(Some(value)) => drop(headers.append(header, value)),
            Ok(None) => {}
            Err(refusal) => review.refuse(name.span, refusal),
        }
    }
    headers
}

/// A literal, or a secret that is marked sensitive. Nothing here repeats a value.
fn header_value(
    review: &Review,
    name: &Spanned<String>,
    raw: &Spanned<Short<RawHeader>>,
) -> Result<Option<HeaderValue>, Refusal> {
    let unfit = || {
        let message = format!("the value of header {:?} cannot be sent", name.value);
        (Code::BadValue, message, "headers hold visible characters and spaces only".to_owned())
    };
    match &raw.value {
        Short::Text(_) if is_secret_key(name) => Err(literal_secret(name)),
        Short::Text(text) => HeaderValue::from_str(text).map(Some).map_err(|_| unfit()),
        Short::Full(_) if raw.damaged => Ok(None),
        Short::Full(source) => {
            let secret = secret(review, source)?;
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| unfit())?;
            value.set_sensitive(true);
            Ok(Some(value))
        }
    }
}

pub(super) fn literal_secret(name: &str) -> Refusal {
    let variable = name.to_ascii_uppercase().replace('-', "_");
    let message = format!("{name:?} is a secret and must not be written into the configuration");
    let help =
        format!("write `{name}: {{file: /run/secrets/{name}}}` or `{name}: {{env: {variable}}}`");
    (Code::Secret, message, help)
}

pub(super) fn secret(review: &Review, source: &RawHeader) -> Result<Secret, Refusal> {
    let (read, what) = match (&source.file, &source.env) {
        (Some(file), None) => {
            let path = review.path(file);
            (Secret::from_file(&path), format!("file {}", path.display()))
        }
        (None, Some(name)) => {
            (Secret::from_env(name), format!("environment variable {:?}", shorten(name)))
        }
        _ => {
            let message = "a secret has exactly one source".to_owned();
            return Err((Code::Secret, message, "write {file: PATH} or {env: NAME}".to_owned()));
        }
    };
    read.map_err(|error| {
        let message = format!("the secret cannot be read from {what}: {error}");
        (Code::Secret, message, "make it readable by the user that runs Mainstay".to_owned())
    })
}

/// The dependencies of an endpoint or of the gateway.
pub(super) fn dependencies(
    review: &mut Review,
    raw: &Opt<Vec<Spanned<RawDependency>>>,
) -> Vec<Dependency> {
    let list = raw.as_ref().map_or(&[][..], |list| list.value.as_slice());
    let mut names = HashSet::new();
    list.iter().filter_map(|raw| dependency(review, raw, &mut names)).collect()
}

fn dependency(
    review: &mut Review,
    raw: &Spanned<RawDependency>,
    names: &mut HashSet<String>,
) -> Option<Dependency> {
    let health = rhythm(review, raw);
    let target = target(review, raw);
    let Some(name) = &raw.name else {
        if !raw.damaged {
            let help = "add `name:`, under which status shows it";
            review.fault(Code::Missing, raw.span, "the dependency has no name", help);
        }
        return None;
    };
    if !is_name(name) {
        let help = "use letters, digits and . _ - : only";
        review.fault(Code::BadValue, name.span, "this name cannot be shown safely", help);
    } else if !names.insert(name.value.clone()) {
        let message = format!("two dependencies are named {:?}", name.value);
        review.fault(Code::SetTwice, name.span, message, "rename one, or keep one of them");
    }
    let (address, check) = target?;
    Some(Dependency { name: Arc::from(name.as_str()), address, check, health })
}

fn rhythm(review: &mut Review, raw: &Spanned<RawDependency>) -> health::Settings {
    let default = health::Settings::default();
    let interval = review.time(&raw.interval, default.interval);
    let timeout = review.time(&raw.timeout, default.timeout);
    let intervals = [("interval", &raw.interval, interval)];
    timeout_fits(review, &raw.timeout, timeout, &intervals, raw.span);
    health::Settings {
        interval,
        fast: fitted(default.fast, timeout, interval),
        down: fitted(default.down, timeout, interval),
        timeout,
        rise: review.number(&raw.rise, 1..=100, default.rise),
        fall: review.number(&raw.fall, 1..=100, default.fall),
        jitter: default.jitter,
    }
}

/// Where a dependency is and how it is checked: exactly one of the four kinds.
fn target(
    review: &mut Review,
    raw: &Spanned<RawDependency>,
) -> Option<(Option<EndpointUrl>, Check)> {
    let kinds = [raw.http.is_some(), raw.tcp.is_some(), raw.grpc.is_some(), raw.command.is_some()];
    match kinds.iter().filter(|given| **given).count() {
        1 => {}
        0 if raw.damaged => return None,
        _ => {
            let help = "write exactly one of http, tcp, grpc and command";
            review.fault(
                Code::Contradiction,
                raw.span,
                "the dependency is not checked in one way",
                help,
            );
            return None;
        }
    }
    if let (Some(service), None) = (&raw.service, &raw.grpc) {
        let message = "`service` means something to grpc checks only";
        review.fault(Code::Contradiction, service.span, message, "take it out");
    }
    let at = |review: &mut Review, text: &Spanned<String>| {
        address::host_and_port(text).map_err(|refusal| review.refuse(text.span, refusal)).ok()
    };
    if let Some(text) = &raw.tcp {
        Some((Some(at(review, text)?), Check::Tcp { port: None }))
    } else if let Some(text) = &raw.grpc {
        let service = raw.service.as_ref().map(|service| service.value.clone());
        Some((Some(at(review, text)?), Check::Grpc { service, port: None }))
    } else if let Some(argv) = &raw.command {
        Some((None, command(review, argv, argv.span)))
    } else {
        let (address, check) = url_check(review, raw.http.as_ref()?)?;
        Some((Some(address), Check::Http(check)))
    }
}

fn url_check(
    review: &mut Review,
    written: &Spanned<Short<RawUrlCheck>>,
) -> Option<(EndpointUrl, HttpCheck)> {
    let plain = RawUrlCheck::default();
    let (raw, text, place) = match &written.value {
        Short::Text(text) => (&plain, text, written.span),
        Short::Full(raw) => match &raw.url {
            Some(url) => (raw, &url.value, url.span),
            None if written.damaged => return None,
            None => {
                let help = "add for example `url: http://10.0.2.1:6566/health`";
                review.fault(Code::Missing, written.span, "the check has no url", help);
                return None;
            }
        },
    };
    let check = HttpCheck {
        method: method(review, &raw.method),
        path: String::new(),
        headers: headers(review, &raw.headers),
        body: raw.body.as_ref().map(|body| body.value.clone()),
        status: statuses(raw.status.as_deref()),
        contains: raw.contains.as_ref().map(|text| text.value.clone()),
        port: None,
    };
    let url = address::url(text).map_err(|refusal| review.refuse(place, refusal)).ok()?;
    let path = if url.path.is_empty() { "/".to_owned() } else { url.path };
    Some((url.address, HttpCheck { path, ..check }))
}
