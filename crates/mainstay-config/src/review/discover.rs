//! Sources of endpoints, and lists of endpoints that are read while the gateway runs.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::discovery::{LeaseSettings, Settings};
use mainstay_protocol::dns::Name;

use super::{Review, groups, pool, span_of};
use crate::code::Code;
use crate::config::{Discover, DnsName, Endpoint, Family, Network, Origin, Register};
use crate::fault::Errors;
use crate::load;
use crate::raw::{Opt, RawDiscover, RawFamily, RawRegister};
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::Spanned;
use crate::value::{Length, Several, Short};

/// Sources that one pool can have: each is looked at by itself.
const MAX_SOURCES: usize = 16;
/// The shortest time between two lookups: below it, a resolver is a victim.
const SHORTEST: Duration = Duration::from_millis(100);
/// Endpoints that can be registered in one pool.
const MOST_REGISTERED: u32 = 1024;
/// Where DNS servers listen.
const DNS_PORT: u16 = 53;

/// The sources of a pool.
pub(super) fn discover(review: &mut Review, raw: &Opt<Several<RawDiscover>>) -> Vec<Discover> {
    let Some(written) = raw else { return Vec::new() };
    let mut found: Vec<Discover> = Vec::new();
    for one in &written.value.0 {
        // One that stands alone has no place of its own.
        let alone = one.span == Span::default();
        let place = if alone { written.span } else { one.span };
        let damaged = one.damaged || (alone && written.damaged);
        let Some(source) = source(review, one, (place, damaged)) else { continue };
        let twice = found.iter().any(|other| other.to_string() == source.to_string());
        if twice {
            let message = format!("{source} is a source of this pool twice");
            review.fault(Code::SetTwice, place, message, "keep one of the two");
        } else if found.len() == MAX_SOURCES {
            let message = format!("a pool has at most {MAX_SOURCES} sources");
            review.fault(Code::BadValue, place, message, "join some of them, or split the pool");
        } else {
            found.push(source);
        }
    }
    found
}

fn source(
    review: &mut Review,
    raw: &RawDiscover,
    (place, damaged): (Span, bool),
) -> Option<Discover> {
    let kinds = [
        ("dns", span_of(&raw.dns)),
        ("srv", span_of(&raw.srv)),
        ("file", span_of(&raw.file)),
        ("register", span_of(&raw.register)),
    ];
    let written: Vec<_> = kinds.iter().filter_map(|(key, span)| Some((*key, (*span)?))).collect();
    let kind = match written.as_slice() {
        [(kind, _)] => *kind,
        [] if damaged => return None,
        [] => {
            let help = "write one of dns, srv, file and register";
            review.fault(Code::Missing, place, "the source says not who is asked", help);
            return None;
        }
        [(first, _), (second, span), ..] => {
            let message = format!("a source is either {first} or {second}");
            review.fault(Code::Contradiction, *span, message, "write a list with one of each");
            return None;
        }
    };
    misplaced(review, raw, kind);
    let settings = settings(review, raw);
    let origin = match kind {
        "file" => Origin::File(review.path(raw.file.as_ref()?)),
        "register" => Origin::Register(register(review, raw.register.as_ref()?, &settings)?),
        kind => Origin::Dns(dns(review, raw, kind, place)?),
    };
    Some(Discover {
        origin,
        settings,
        weight: pool::weight(review, &raw.weight),
        site: groups::site(review, &raw.region, &raw.zone),
    })
}

/// Refuses keys that mean nothing beside a kind of source.
fn misplaced(review: &mut Review, raw: &RawDiscover, kind: &str) {
    let dns: &[&str] = &["dns", "srv"];
    let keys = [
        ("port", span_of(&raw.port), &["dns"][..]),
        ("path", span_of(&raw.path), dns),
        ("family", span_of(&raw.family), dns),
        ("resolver", span_of(&raw.resolver), dns),
        ("min-refresh", span_of(&raw.min_refresh), dns),
        ("max-refresh", span_of(&raw.max_refresh), dns),
        ("weight", span_of(&raw.weight), dns),
    ];
    for (key, span, goes_with) in keys {
        let Some(span) = span.filter(|_| !goes_with.contains(&kind)) else { continue };
        let message = format!("`{key}` means nothing beside `{kind}`");
        let help = format!("it goes with {}; take it out here", goes_with.join(" and "));
        review.fault(Code::Contradiction, span, message, help);
    }
}

fn settings(review: &mut Review, raw: &RawDiscover) -> Settings {
    let default = Settings::default();
    let min_refresh = refresh(review, &raw.min_refresh, default.min_refresh);
    let usual = default.max_refresh.max(min_refresh);
    let max_refresh = refresh(review, &raw.max_refresh, usual);
    if max_refresh < min_refresh {
        let place = span_of(&raw.max_refresh).unwrap_or_default();
        let message = "max-refresh is shorter than min-refresh";
        review.fault(Code::Times, place, message, "raise max-refresh or lower min-refresh");
    }
    let linger = raw.linger.as_ref().map_or(default.linger, |length| length.value.0);
    Settings { min_refresh, max_refresh, linger, ..default }
}

fn refresh(review: &mut Review, written: &Opt<Length>, default: Duration) -> Duration {
    match written {
        Some(length) if length.value.0 < SHORTEST => {
            let message = format!("this time ({:?}) is too short", length.value.0);
            review.fault(Code::BadValue, length.span, message, "write at least 100ms");
            default
        }
        Some(length) => length.value.0,
        None => default,
    }
}

fn dns(review: &mut Review, raw: &RawDiscover, kind: &str, place: Span) -> Option<DnsName> {
    let written = if kind == "dns" { raw.dns.as_ref()? } else { raw.srv.as_ref()? };
    let resolvers = resolvers(review, &raw.resolver);
    let prefix = prefix(review, &raw.path);
    let port = match (kind, &raw.port) {
        ("dns", None) => {
            let help = "add for example `port: 8000`, or ask for a service with `srv:`";
            review.fault(Code::Missing, place, "a DNS name says nothing of ports", help);
            None
        }
        ("dns", Some(_)) => Some(review.number(&raw.port, 1..=u16::MAX, DNS_PORT)),
        _ => None,
    };
    let Some(name) = Name::parse(written).filter(|_| written.parse::<IpAddr>().is_err()) else {
        let message = format!("{:?} is no DNS name", shorten(written));
        let help = "write for example models.internal; an address belongs under endpoints";
        review.fault(Code::BadValue, written.span, message, help);
        return None;
    };
    let family = raw.family.as_ref().map_or(Family::Both, |family| match family.value {
        RawFamily::Both => Family::Both,
        RawFamily::Ipv4 => Family::Ipv4,
        RawFamily::Ipv6 => Family::Ipv6,
    });
    Some(DnsName { name, port, prefix, family, resolvers })
}

fn prefix(review: &mut Review, written: &Opt<String>) -> Arc<str> {
    let Some(path) = written else { return "".into() };
    let sound =
        path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic() && !"?#".contains(c));
    if !sound {
        let message = format!("{:?} is no path", shorten(path));
        review.fault(Code::BadValue, path.span, message, "write for example /base");
    }
    path.trim_end_matches('/').into()
}

fn resolvers(review: &mut Review, raw: &Opt<Vec<Spanned<String>>>) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for written in raw.iter().flat_map(|list| &list.value) {
        let bare = || written.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
        match written.parse().or_else(|_| bare()) {
            Ok(address) => found.push(address),
            Err(_) => {
                let message = format!("{:?} is no address of a DNS server", shorten(written));
                let help = "write an IP address, with a port where it is not 53";
                review.fault(Code::BadValue, written.span, message, help);
            }
        }
    }
    found
}

fn register(
    review: &mut Review,
    written: &Spanned<Short<RawRegister>>,
    settings: &Settings,
) -> Option<Register> {
    let plain = RawRegister::default();
    let raw = match &written.value {
        Short::Text(text) if text == "true" => &plain,
        Short::Text(_) => {
            let help = "write true, or {from: [10.0.0.0/8]}; leave the source out for nobody";
            review.fault(Code::BadValue, written.span, "this says not who may register", help);
            return None;
        }
        Short::Full(raw) => raw,
    };
    let default = LeaseSettings::default();
    Some(Register {
        from: networks(review, &raw.from),
        settings: LeaseSettings {
            most: review.count(&raw.most, MOST_REGISTERED, default.most),
            grace: raw.grace.as_ref().map_or(default.grace, |length| length.value.0),
            linger: settings.linger,
        },
    })
}

fn networks(review: &mut Review, raw: &Opt<Vec<Spanned<String>>>) -> Vec<Network> {
    let Some(list) = raw else { return Vec::new() };
    super::networks(review, list, "nobody may register")
}

/// Reads a list of endpoints, as a pool has it; `name` is what messages call the text.
///
/// # Errors
/// Every fault that the text has.
pub(crate) fn endpoints(name: &Path, text: &str) -> Result<Vec<Endpoint>, Errors> {
    let (list, file, faults) = load::endpoints(name, text);
    let mut review = Review {
        processes: std::collections::HashMap::new(),
        files: vec![file],
        faults,
        warnings: Vec::new(),
        partial: false,
        pool_names: Vec::new(),
    };
    let found = pool::listed(&mut review, &list.unwrap_or_default());
    if found.iter().any(|endpoint| endpoint.process.is_some()) {
        // Whoever may name servers may not thereby run programs as the gateway's user.
        let message = "an endpoint of a watched file cannot have a process";
        let help = "write the endpoint with its process into the configuration itself";
        review.fault(Code::Contradiction, Span::default(), message, help);
    }
    if review.faults.is_empty() { Ok(found) } else { Err(Errors::new(review.faults)) }
}
