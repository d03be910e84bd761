//! Pools: names, endpoints, limits.

use std::collections::HashMap;
use std::sync::Arc;

use mainstay_protocol::Protocol;
use mainstay_protocol::classify::Flavour;

use super::{
    Review, address, balance, breaker, check, concurrency, discover, groups, is_name, language,
    may_be_lost, outliers, process, repetition, signals, tcp, tls,
};
use crate::code::Code;
use crate::config::{
    CONNECT_TIMEOUT, Check, Endpoint, FIRST_BYTE_TIMEOUT, IDLE_TIMEOUT, KEEP_ALIVE,
    MAX_IDLE_CONNECTIONS, Pool,
};
use crate::raw::{Opt, RawConfig, RawEndpoint, RawFlavour, RawPool, RawProtocol, RawStandby};
use crate::source::Span;
use crate::spanned::Spanned;
use crate::value::Short;

/// Endpoints that one pool can number.
pub(super) const MAX_ENDPOINTS: usize = 1024;

/// The pools of a configuration and what the models need to know of them.
pub(super) struct Pools {
    /// In the order of the file, faulty ones with defaults in place of their faults.
    pub(super) built: Vec<Pool>,
    /// The place of each name.
    pub(super) places: Vec<Span>,
    /// Where each connect timeout is written.
    pub(super) connect_places: Vec<Option<Span>>,
    /// Where each one's golden files are written.
    pub(super) golden_places: Vec<Option<Span>>,
    /// Whether the names of all pools are known; if not, an unknown one may be among the lost.
    pub(super) complete: bool,
}

/// Reviews all pools.
pub(super) fn pools(review: &mut Review, raw: &Spanned<RawConfig>) -> Pools {
    defaults_without_endpoints(review, raw);
    let section = raw.pools.as_ref();
    let entries = section.map_or(&[][..], |section| &section.value.0);
    if entries.is_empty() && !review.partial && !may_be_lost(raw, &raw.pools) {
        let help = "add `pools:` with at least one pool and its endpoints";
        let place = section.map_or_else(Span::default, |section| section.span);
        review.fault(Code::Missing, place, "there are no pools", help);
    }
    Pools {
        built: entries.iter().map(|(name, raw)| pool(review, name, raw)).collect(),
        places: entries.iter().map(|(name, _)| name.span).collect(),
        connect_places: entries
            .iter()
            .map(|(_, raw)| super::span_of(&raw.connect_timeout))
            .collect(),
        golden_places: entries
            .iter()
            .map(|(_, raw)| raw.probe.as_ref().and_then(|probe| super::span_of(&probe.golden)))
            .collect(),
        complete: !review.partial && (section.is_some() || !raw.damaged),
    }
}

fn defaults_without_endpoints(review: &mut Review, raw: &Spanned<RawConfig>) {
    let pool = raw.defaults.as_ref().and_then(|defaults| defaults.pool.as_ref());
    if let Some(endpoints) = pool.and_then(|pool| pool.endpoints.as_ref()) {
        let help = "move them to a pool of their own";
        let message = "endpoints belong to one pool and cannot be a default";
        review.fault(Code::Contradiction, endpoints.span, message, help);
    }
}

fn pool(review: &mut Review, name: &Spanned<String>, raw: &Spanned<RawPool>) -> Pool {
    check_name(review, name, "a pool");
    let protocol = raw.protocol.as_ref().map_or(Protocol::Oip, |it| protocol(it.value));
    let flavour = raw.flavour.as_ref().map(|it| dialect(it.value));
    let flavour = flavour.unwrap_or_else(|| usual_flavour(protocol));
    language::pool_fits(review, raw, protocol);
    let slow_start = breaker::slow_start(review, &raw.slow_start);
    let (rule, key) = balance::balance(review, &raw.balance);
    let tls = tls::servers(review, &raw.tls);
    let mut endpoints = endpoints(review, name, raw);
    secured(review, raw, &mut endpoints, tls.as_ref());
    let (process, replicas) = process::replicas(review, raw);
    let mut probe = check::probe(review, &raw.probe, (protocol, name.span));
    if protocol == Protocol::OpenAi && matches!(probe.check, Check::OipReady) {
        probe.check = language::usual_check(flavour == Flavour::Vllm);
    }
    if protocol == Protocol::OipGrpc && matches!(probe.check, Check::OipReady) {
        probe.check = Check::OipGrpcReady;
    }
    let mut pool = Pool {
        name: Arc::from(name.as_str()),
        protocol,
        flavour,
        replicas,
        process,
        group: groups::rule(review, raw, &endpoints),
        warm: groups::warm(review, &raw.warm),
        endpoints,
        discover: discover::discover(review, &raw.discover),
        balance: rule,
        key,
        locality: balance::locality(review, &raw.locality),
        tls,
        connect_timeout: review.time(&raw.connect_timeout, CONNECT_TIMEOUT),
        first_byte_timeout: review.time(&raw.first_byte_timeout, FIRST_BYTE_TIMEOUT),
        idle_timeout: review.time(&raw.idle_timeout, IDLE_TIMEOUT),
        total_timeout: raw
            .total_timeout
            .is_some()
            .then(|| review.time(&raw.total_timeout, FIRST_BYTE_TIMEOUT)),
        streams: language::streams(review, &raw.streams),
        max_idle_connections: raw
            .max_idle_connections
            .as_ref()
            .map_or(MAX_IDLE_CONNECTIONS, |number| number.value.into()),
        keep_alive: raw.keep_alive.as_ref().map_or(KEEP_ALIVE, |length| length.value.0),
        probe,
        breaker: breaker::breaker(review, &raw.breaker),
        outliers: outliers::outliers(review, &raw.outliers),
        failback: outliers::failback(review, &raw.failback, slow_start.minimum),
        slow_start,
        backoff: breaker::backoff(review, &raw.backoff),
        concurrency: concurrency::target(review, &raw.concurrency),
        progress: signals::progress(review, &raw.progress),
        heartbeat: signals::heartbeat(review, &raw.heartbeat),
        counters: signals::counters(review, &raw.counters, flavour),
        hedge: repetition::hedge(review, &raw.hedge),
        tcp: None,
    };
    tcp::rules(review, raw, &mut pool);
    pool
}

/// Endpoints with TLS speak it as their pool says.
fn secured(
    review: &mut Review,
    raw: &Spanned<RawPool>,
    endpoints: &mut [Endpoint],
    tls: Option<&Arc<mainstay_tls::Settings>>,
) {
    for endpoint in endpoints.iter().filter(|it| tls.is_some() && it.url.tls.is_none()) {
        let place = super::span_of(&raw.endpoints).unwrap_or_default();
        let message = format!("{} is spoken to in clear text, beside others by TLS", endpoint.url);
        review.warn(Code::Unused, place, message, "write its URL with https://");
    }
    let mut secure = endpoints.iter_mut().filter_map(|it| it.url.tls.as_mut()).peekable();
    match (tls, super::span_of(&raw.tls)) {
        (Some(tls), Some(place)) => {
            let needless = secure.peek().is_none() && raw.discover.is_none();
            secure.for_each(|known| *known = Arc::clone(tls));
            if needless && !may_be_lost(raw, &raw.endpoints) {
                let message = "no endpoint of this pool is spoken to by TLS";
                review.warn(Code::Unused, place, message, "write their URLs with https://");
            }
        }
        _ => {
            let place = super::span_of(&raw.endpoints).unwrap_or_default();
            if let Some(settings) = secure.next() {
                tls::usable(review, settings, place);
            }
        }
    }
}

const fn protocol(protocol: RawProtocol) -> Protocol {
    match protocol {
        RawProtocol::Http => Protocol::Http,
        RawProtocol::Oip => Protocol::Oip,
        RawProtocol::OpenAi => Protocol::OpenAi,
        RawProtocol::Tcp => Protocol::Tcp,
        RawProtocol::OipGrpc => Protocol::OipGrpc,
        RawProtocol::TorchServe => Protocol::TorchServe,
        RawProtocol::V1 => Protocol::V1,
    }
}

/// The dialect of servers of which only the protocol is said.
const fn usual_flavour(protocol: Protocol) -> Flavour {
    match protocol {
        Protocol::OpenAi => Flavour::OpenAi,
        Protocol::TorchServe => Flavour::TorchServe,
        _ => Flavour::Auto,
    }
}

const fn dialect(flavour: RawFlavour) -> Flavour {
    match flavour {
        RawFlavour::Auto => Flavour::Auto,
        RawFlavour::Triton => Flavour::Triton,
        RawFlavour::MlServer => Flavour::MlServer,
        RawFlavour::TorchServe => Flavour::TorchServe,
        RawFlavour::TfServing => Flavour::TfServing,
        RawFlavour::OpenAi => Flavour::OpenAi,
        RawFlavour::Vllm => Flavour::Vllm,
    }
}

/// Refuses names that cannot stand in trails, headers and metrics.
fn check_name(review: &mut Review, name: &Spanned<String>, of: &str) {
    if !is_name(name) {
        let message = format!("{:?} cannot be the name of {of}", crate::reader::shorten(name));
        let help = "use letters, digits and . _ - : [ ] only, at most 128 of them";
        review.fault(Code::BadValue, name.span, message, help);
    }
}

fn endpoints(review: &mut Review, pool: &Spanned<String>, raw: &Spanned<RawPool>) -> Vec<Endpoint> {
    let written = raw.endpoints.as_ref();
    let list = written.map_or(&[][..], |list| list.value.as_slice());
    let elsewhere = raw.discover.is_some() || raw.replicas.is_some();
    if list.is_empty() && !elsewhere && !may_be_lost(raw, &raw.endpoints) {
        let place = written.map_or(pool.span, |list| list.span);
        let message = format!("pool {:?} has no endpoints", pool.value);
        let help = "add `endpoints:` with at least one URL, for example http://10.0.0.1:8000";
        review.fault(Code::Missing, place, message, help);
    }
    named(review, list, tcp::is_tcp(raw))
}

/// The endpoints of a list that may hold nothing but what a source can know of them.
pub(super) fn listed(review: &mut Review, list: &[Spanned<Short<RawEndpoint>>]) -> Vec<Endpoint> {
    for written in list {
        let Short::Full(raw) = &written.value else { continue };
        if let Some(place) = super::span_of(&raw.dependencies) {
            let help = "write the endpoint in the configuration, or drop them";
            let message = "dependencies are not read from here";
            review.fault(Code::Unsupported, place, message, help);
        }
    }
    named(review, list, false)
}

fn named(review: &mut Review, list: &[Spanned<Short<RawEndpoint>>], tcp: bool) -> Vec<Endpoint> {
    if let Some(beyond) = list.get(MAX_ENDPOINTS) {
        let message = format!("a pool holds at most {MAX_ENDPOINTS} endpoints");
        review.fault(Code::BadValue, beyond.span, message, "split the pool");
    }
    let mut seen = Seen::default();
    let each = |raw| endpoint(review, raw, tcp, &mut seen);
    let found = list.iter().take(MAX_ENDPOINTS).filter_map(each);
    found.collect()
}

/// The lines on which names and URLs of a pool first stood.
#[derive(Default)]
struct Seen {
    names: HashMap<String, Span>,
    urls: HashMap<String, Span>,
}

fn endpoint(
    review: &mut Review,
    written: &Spanned<Short<RawEndpoint>>,
    tcp: bool,
    seen: &mut Seen,
) -> Option<Endpoint> {
    let short = RawEndpoint::default();
    let (raw, text, place) = match &written.value {
        Short::Text(text) => (&short, text.as_str(), written.span),
        Short::Full(raw) => match &raw.url {
            Some(url) => (raw, url.as_str(), url.span),
            None => {
                missing_url(review, written);
                return None;
            }
        },
    };
    let weight = weight(review, &raw.weight);
    let dependencies = check::dependencies(review, &raw.dependencies);
    let read = if tcp { address::tcp_endpoint(text) } else { address::endpoint(text) };
    let url = read.map_err(|refusal| review.refuse(place, refusal)).ok()?;
    let name = raw.name.as_ref().map_or_else(|| url.authority(), |name| name.value.clone());
    let name_place = raw.name.as_ref().map_or(place, |name| name.span);
    if let Some(name) = &raw.name {
        check_name(review, name, "an endpoint");
    }
    if once(review, &mut seen.urls, url.to_string(), place) {
        once(review, &mut seen.names, name.clone(), name_place);
    }
    let process = process::process(review, &raw.process, &url);
    startable(review, raw, written);
    Some(Endpoint {
        name: name.into(),
        url,
        weight,
        dependencies,
        process,
        site: groups::site(review, &raw.region, &raw.zone),
        standby: raw.standby.as_ref().map(|standby| groups::standby(standby.value)),
        provider: language::provider(review, raw),
    })
}

/// Refuses a cold standby that nothing can start.
fn startable(review: &mut Review, raw: &RawEndpoint, written: &Spanned<Short<RawEndpoint>>) {
    let cold = raw.standby.as_ref().filter(|standby| matches!(standby.value, RawStandby::Cold));
    let Some(cold) = cold else { return };
    if raw.process.is_none() && !may_be_lost(written, &raw.process) {
        let message = "a cold standby without a process can never be started";
        let help = "add the `process` that starts it, or make it a hot or warm standby";
        review.fault(Code::Missing, cold.span, message, help);
    }
}

fn missing_url(review: &mut Review, written: &Spanned<Short<RawEndpoint>>) {
    if !written.damaged {
        let help = "add for example `url: http://10.0.0.1:8000`";
        review.fault(Code::Missing, written.span, "the endpoint has no url", help);
    }
}

pub(super) fn weight(review: &mut Review, raw: &Opt<f32>) -> f32 {
    match raw {
        Some(weight) if weight.value > 0.0 && weight.value <= 100.0 => weight.value,
        Some(weight) => {
            let message =
                format!("expected a weight above 0 and up to 100, found {}", weight.value);
            let help = "to send nothing to an endpoint, take it out of the pool";
            review.fault(Code::BadValue, weight.span, message, help);
            1.0
        }
        None => 1.0,
    }
}

/// Whether it was not there before; if it was, says where.
fn once(review: &mut Review, seen: &mut HashMap<String, Span>, what: String, place: Span) -> bool {
    let Some(first) = seen.get(&what) else {
        seen.insert(what, place);
        return true;
    };
    let line = review.line(*first);
    let message = format!("{what} is in this pool twice, first on line {line}");
    review.fault(Code::SetTwice, place, message, "keep one; use `weight` for a larger share");
    false
}
