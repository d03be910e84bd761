//! TCP listeners and the pools behind them: what belongs to layer 4 and what does not.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay_control::group::Active;
use mainstay_control::writer::Rule;
use mainstay_policy::{balance, limit, outlier};

use super::pool::Pools;
use super::{Review, address, check, may_be_lost, networks, span_of};
use crate::code::Code;
use crate::config::{
    CONNECT_BUDGET, Check, Config, Key, MAX_CONNECTIONS, OnFailover, Pool, Sentinel, TCP_ATTEMPTS,
    TCP_IDLE_TIMEOUT, TcpListener, TcpRules,
};
use crate::raw::{
    Opt, RawCheck, RawConfig, RawOnFailover, RawPool, RawProtocol, RawRole, RawSend, RawTcpListener,
};
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::Spanned;

/// Between two questions for a role.
const ROLES_ASKED: Duration = Duration::from_millis(500);

/// The most endpoints that one connection tries.
const MOST_ATTEMPTS: u8 = 6;

/// Whether the servers of a pool are of layer 4.
pub(super) fn is_tcp(raw: &RawPool) -> bool {
    raw.protocol.as_ref().is_some_and(|protocol| matches!(protocol.value, RawProtocol::Tcp))
}

/// What holds for a pool of layer 4, with the defaults that are others there.
pub(super) fn rules(review: &mut Review, raw: &Spanned<RawPool>, pool: &mut Pool) {
    if !is_tcp(raw) {
        of_tcp_alone(review, raw);
        key_of_requests(review, raw, pool);
        return;
    }
    of_models_alone(review, raw);
    if raw.probe.as_ref().is_none_or(|probe| probe.check.is_none()) {
        pool.probe.check = Check::Tcp { port: None };
    }
    balanced(review, raw, pool);
    if raw.concurrency.is_none() {
        pool.concurrency = limit::Settings::off();
    }
    // Of a connection nothing is known but how long it took to be accepted: too little to compare.
    pool.outliers = outlier::Settings::off();
    asked_often(raw, pool);
    pool.tcp = Some(TcpRules {
        repeatable: raw.repeatable.as_ref().is_some_and(|given| given.value),
        writer: writer(review, raw, pool),
        replicas: raw.role.as_ref().is_some_and(|role| matches!(role.value, RawRole::Replica)),
        sentinel: sentinel(review, raw, pool),
    });
}

/// The Sentinels that name the writer. They name servers by their addresses.
fn sentinel(review: &mut Review, raw: &RawPool, pool: &Pool) -> Option<Sentinel> {
    let written = raw.sentinel.as_ref()?;
    if !raw.role.as_ref().is_some_and(|role| matches!(role.value, RawRole::Primary)) {
        let message = "Sentinels name a primary, and this pool does not ask for one";
        review.fault(Code::OneWriter, written.span, message, "add `role: primary`");
    }
    let named = |host: &str| host.parse::<std::net::IpAddr>().is_err();
    if let Some(endpoint) = pool.endpoints.iter().find(|endpoint| named(&endpoint.url.host)) {
        let host = &endpoint.url.host;
        let message = format!("Sentinels name servers by their IP addresses, and {host} is none");
        review.fault(Code::OneWriter, written.span, message, "write the endpoints' IP addresses");
    }
    let list = written.addresses.as_ref().map_or(&[][..], |list| list.value.as_slice());
    let mut addresses = Vec::with_capacity(list.len());
    for text in list {
        match address::host_and_port(text) {
            Ok(address) => addresses.push(address),
            Err(refusal) => review.refuse(text.span, refusal),
        }
    }
    let login = check::login(review, &written.user, &written.password);
    let Some(master) = written.master.as_ref().filter(|_| !list.is_empty()) else {
        if !written.damaged {
            let help = "write {addresses: [10.0.0.1:26379], master: NAME}";
            review.fault(
                Code::Missing,
                written.span,
                "addresses and the set's name are needed",
                help,
            );
        }
        return None;
    };
    Some(Sentinel { addresses, master: master.value.clone(), login })
}

/// Where roles matter, they are asked for more often: a move that nobody has seen yet is time
/// without a writer.
fn asked_often(raw: &RawPool, pool: &mut Pool) {
    let probe = raw.probe.as_ref();
    let health = &mut pool.probe.health;
    if raw.role.is_some() && probe.is_none_or(|probe| probe.interval.is_none()) {
        health.interval = ROLES_ASKED.max(health.fast);
        if probe.is_none_or(|probe| probe.down_interval.is_none()) {
            health.down = health.down.min(health.interval);
        }
    }
}

/// Who is the pool's only writer.
fn writer(review: &mut Review, raw: &RawPool, pool: &Pool) -> Option<Rule> {
    let single = raw.single_writer.as_ref().filter(|single| single.value);
    if let Some(role) = &raw.role
        && !matches!(pool.probe.check, Check::Redis { .. })
    {
        let message = "nobody is asked for a role: the pool's probe does not tell one";
        let help = "add `probe: {check: redis}`, or take `role` out";
        review.fault(Code::OneWriter, role.span, message, help);
    }
    match (&raw.role, single) {
        (Some(_), Some(single)) => {
            let message = "the writer is found by roles or by a post, not by both";
            review.fault(
                Code::OneWriter,
                single.span,
                message,
                "take out `role` or `single-writer`",
            );
            None
        }
        (Some(role), None) => matches!(role.value, RawRole::Primary).then_some(Rule::Primary),
        (None, Some(single)) => {
            if !matches!(&pool.group.active, Active::Between(range) if range.max == 1) {
                let message = "a single writer holds the only post, and this pool has several";
                review.fault(Code::OneWriter, single.span, message, "add `active: 1`");
            }
            Some(Rule::Post)
        }
        (None, None) => None,
    }
}

/// Connections are shared out by their number, in turns, or by where they come from.
fn balanced(review: &mut Review, raw: &RawPool, pool: &mut Pool) {
    let Some(written) = &raw.balance else {
        pool.balance = balance::Rule::LeastRequest;
        return;
    };
    let by_latency = pool.balance == balance::Rule::PeakEwma && !written.damaged;
    if by_latency || matches!(pool.key, Some(Key::Header(_) | Key::Input(_))) {
        let message = "connections have neither a latency nor parts to go by";
        let help = "write least-request, round-robin or {ring-hash: {client: address}}";
        review.fault(Code::OtherProtocol, written.span, message, help);
    }
}

/// Keys that mean something to TCP alone.
fn of_tcp_alone(review: &mut Review, raw: &RawPool) {
    let single = raw.single_writer.as_ref().filter(|given| given.value);
    let keys = [
        ("role", span_of(&raw.role)),
        ("single-writer", single.map(|it| it.span)),
        ("sentinel", span_of(&raw.sentinel)),
    ];
    for (key, place) in keys {
        if let Some(place) = place {
            let message = format!("`{key}` is about TCP connections");
            let help = "take it out, or add `protocol: tcp` if the servers speak no HTTP";
            review.fault(Code::OtherProtocol, place, message, help);
        }
    }
    let repeatable = raw.repeatable.as_ref().filter(|given| given.value);
    if let Some(place) = repeatable.map(|given| given.span) {
        let message = "`repeatable` of a pool is about TCP connections";
        let help = "say it of the model, or add `protocol: tcp` if its servers speak no HTTP";
        review.fault(Code::OtherProtocol, place, message, help);
    }
}

fn key_of_requests(review: &mut Review, raw: &RawPool, pool: &Pool) {
    if let (Some(Key::Client), Some(place)) = (&pool.key, span_of(&raw.balance)) {
        let message = "requests are kept together by a header or an input";
        let help =
            "write {ring-hash: {header: x-user}}; `client` is for pools with `protocol: tcp`";
        review.fault(Code::OtherProtocol, place, message, help);
    }
}

/// Keys that mean nothing where no request is seen.
fn of_models_alone(review: &mut Review, raw: &RawPool) {
    let probe = raw.probe.as_ref();
    let check = probe.and_then(|probe| probe.check.as_ref());
    let oip = check.filter(|check| matches!(check.value, RawCheck::OipReady));
    let adaptive = raw.concurrency.as_ref().filter(|written| match &written.value {
        crate::value::Short::Full(limit) => limit.adaptive.as_ref().is_none_or(|it| it.value),
        crate::value::Short::Text(_) => false,
    });
    let keys = [
        ("probe.check: oip-ready", oip.map(|check| check.span)),
        ("probe.golden", probe.and_then(|probe| span_of(&probe.golden))),
        ("hedge", span_of(&raw.hedge)),
        ("counters", span_of(&raw.counters)),
        ("warm", span_of(&raw.warm)),
        ("an adaptive concurrency", adaptive.map(|it| it.span)),
    ];
    for (key, place) in keys {
        if let Some(place) = place {
            let message = format!("{key} means nothing to TCP connections");
            review.fault(Code::OtherProtocol, place, message, "take it out of this pool");
        }
    }
}

/// Reviews all TCP listeners; `drain` is the gateway's own.
pub(super) fn listeners(
    review: &mut Review,
    raw: &Spanned<RawConfig>,
    pools: &Pools,
    drain: Duration,
) -> Vec<TcpListener> {
    let entries = raw.tcp.as_ref().map_or(&[][..], |section| &section.value.0);
    let each = entries.iter().map(|(name, raw)| listener(review, (name, raw), pools, drain));
    each.collect()
}

fn listener(
    review: &mut Review,
    (name, raw): (&Spanned<String>, &Spanned<RawTcpListener>),
    pools: &Pools,
    drain: Duration,
) -> TcpListener {
    // Names are handed to the next process in a list that colons divide.
    if !super::is_name(name) || name.contains([':', '[', ']']) {
        let message = format!("{:?} cannot be the name of a TCP listener", shorten(name));
        let help = "use letters, digits and . _ - only, at most 128 of them";
        review.fault(Code::BadValue, name.span, message, help);
    }
    let proxy = raw.proxy_protocol.as_ref().map(|proxy| &proxy.value);
    let sends = proxy.and_then(|proxy| proxy.send.as_ref());
    TcpListener {
        name: Arc::from(name.as_str()),
        address: listening(review, (name, raw)),
        pools: behind(review, (name, raw), pools),
        connect_budget: review.time(&raw.connect_budget, CONNECT_BUDGET),
        attempts: review.number(&raw.attempts, 1..=MOST_ATTEMPTS, TCP_ATTEMPTS),
        idle_timeout: review.time(&raw.idle_timeout, TCP_IDLE_TIMEOUT),
        max_connections: review.number(&raw.max_connections, 1..=10_000_000, MAX_CONNECTIONS),
        drain: raw.drain.as_ref().map_or(drain, |drain| drain.value.0),
        on_failover: match raw.on_failover.as_ref().map(|rule| rule.value) {
            None | Some(RawOnFailover::Close) => OnFailover::Close,
            Some(RawOnFailover::Keep) => OnFailover::Keep,
        },
        trusted: proxy
            .and_then(|proxy| proxy.accept.as_ref())
            .map(|list| networks(review, list, "nobody would be believed"))
            .unwrap_or_default(),
        sends_proxy: sends.is_some_and(|send| matches!(send.value, RawSend::V2)),
    }
}

fn listening(
    review: &mut Review,
    (name, raw): (&Spanned<String>, &Spanned<RawTcpListener>),
) -> SocketAddr {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let Some(text) = &raw.listen else {
        if !may_be_lost(raw, &raw.listen) {
            let message = format!("the TCP listener {:?} has no address", name.value);
            let help = "add for example `listen: 127.0.0.1:6379`";
            review.fault(Code::Missing, name.span, message, help);
        }
        return nowhere;
    };
    address::listening(text).unwrap_or_else(|refusal| {
        review.refuse(text.span, refusal);
        nowhere
    })
}

/// The pools behind a listener.
fn behind(
    review: &mut Review,
    (name, raw): (&Spanned<String>, &Spanned<RawTcpListener>),
    pools: &Pools,
) -> Vec<usize> {
    let named: Vec<&Spanned<String>> = match (&raw.pool, &raw.pools) {
        (Some(_), Some(both)) => {
            let message = "a listener has one pool or several, not both";
            review.fault(Code::Contradiction, both.span, message, "leave out `pool` or `pools`");
            return Vec::new();
        }
        (Some(one), None) => vec![one],
        (None, Some(list)) if !list.is_empty() => list.iter().collect(),
        (None, _) => {
            if !raw.damaged {
                let message = format!("the TCP listener {:?} names no pool", name.value);
                let help = "add `pool: NAME`, or `pools: [NAME, NAME]`";
                review.fault(Code::Missing, name.span, message, help);
            }
            return Vec::new();
        }
    };
    let mut seen = HashMap::new();
    let mut found = Vec::with_capacity(named.len());
    for written in named {
        let Some(at) = super::chain::find_pool(review, written, pools) else { continue };
        if pools.built[at].tcp.is_none() {
            let message = format!("pool {:?} is not of TCP connections", written.value);
            let help = "add `protocol: tcp` to it, or name another pool";
            review.fault(Code::OtherProtocol, written.span, message, help);
        } else if let Some(first) = seen.insert(at, written.span) {
            let message = format!(
                "pool {:?} is named twice, first on line {}",
                written.value,
                review.line(first)
            );
            review.fault(Code::SetTwice, written.span, message, "take one out");
        } else {
            found.push(at);
        }
    }
    alone(review, &found, name, pools);
    found
}

/// A pool with one writer has no other beside it: connections that went there would be written to
/// as well.
fn alone(review: &mut Review, found: &[usize], name: &Spanned<String>, pools: &Pools) {
    let has_writer =
        |at: &&usize| pools.built[**at].tcp.as_ref().is_some_and(|rules| rules.writer.is_some());
    if let Some(at) = found.iter().find(has_writer).filter(|_| found.len() > 1) {
        let (listener, pool) = (&name.value, &pools.built[*at].name);
        let message =
            format!("pool {pool:?} has one writer, and {listener:?} has other pools beside it");
        let help = "give it a listener of its own";
        review.fault(Code::OneWriter, name.span, message, help);
    }
}

/// No two listeners share an address.
pub(super) fn apart(review: &mut Review, raw: &RawConfig, config: &Config) {
    let entries = raw.tcp.as_ref().map_or(&[][..], |section| &section.value.0);
    let places: Vec<Span> =
        entries.iter().map(|(name, raw)| span_of(&raw.listen).unwrap_or(name.span)).collect();
    let mut others = vec![
        (config.listen.http, "listen.http".to_owned()),
        (config.admin.address, "admin.address".to_owned()),
    ];
    for (listener, place) in config.tcp.iter().zip(places) {
        if let Some((_, other)) =
            others.iter().find(|(address, _)| address::collide(*address, listener.address))
        {
            let message = format!(
                "{} cannot share the address {} with {other}",
                listener.name, listener.address
            );
            review.fault(Code::Contradiction, place, message, "give it a port of its own");
        }
        others.push((listener.address, format!("tcp.{}", listener.name)));
    }
}

/// A pool that a model names must not be of layer 4.
pub(super) fn serves_models(
    review: &mut Review,
    name: &Spanned<String>,
    at: usize,
    pools: &Pools,
) -> bool {
    let is_tcp = pools.built[at].tcp.is_some();
    if is_tcp {
        let message = format!("pool {:?} is of TCP connections, and answers no model", name.value);
        let help = "name it in a TCP listener (`tcp:`), and a pool of model servers here";
        review.fault(Code::OtherProtocol, name.span, message, help);
    }
    !is_tcp
}

/// Whether any TCP listener is written, so that a configuration may do without models.
pub(super) fn any_is_written(raw: &Opt<crate::spanned::Entries<RawTcpListener>>) -> bool {
    raw.as_ref().is_some_and(|section| !section.value.0.is_empty())
}
