//! The sections beside pools and models, and all of them put together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_policy::budget;

use super::{
    Review, address, check, concurrency, cors, first_place, groups, keys, model, pool, process,
    repetition, share, span_of, tcp, tls,
};
use crate::code::Code;
use crate::config::{
    Admin, Config, DRAIN, EmbeddedPool, Limits, Listen, Log, LogFormat, LogLevel, Node, Pool,
    Records, default_state_dir, default_workers,
};
use crate::raw::{
    Opt, RawAdmin, RawConfig, RawEmbeddedPool, RawFormat, RawLevel, RawLimits, RawListen, RawLog,
    RawNode, RawRecords, RawReload, RawRetry,
};
use crate::source::Span;
use crate::spanned::Spanned;

/// Records of a kind that are kept at most; each takes some hundred bytes.
const MAX_RECORDS: u32 = 1 << 20;

/// Reviews everything.
pub(super) fn config(
    review: &mut Review,
    raw: &Spanned<RawConfig>,
    (version, files): (String, Vec<PathBuf>),
) -> Config {
    let pools = pool::pools(review, raw);
    let retry = retry(review, &raw.retry);
    let drain = raw.drain.as_ref().map_or(DRAIN, |drain| drain.value.0);
    let listeners = tcp::listeners(review, raw, &pools, drain);
    let models = model::models(review, raw, (&pools, &listeners));
    let config = Config {
        keys: keys::keys(review, &raw.keys, &models),
        node: node(review, &raw.node),
        listen: listen(review, &raw.listen),
        workers: review.count(&raw.workers, 256, default_workers()),
        limits: limits(review, &raw.limits),
        drain,
        state_dir: raw.state_dir.as_ref().map_or_else(default_state_dir, |dir| review.path(dir)),
        watch: reload(&raw.reload),
        files,
        strict_start: raw.strict_start.as_ref().is_some_and(|strict| strict.value),
        admin: admin(review, &raw.admin),
        log: log(&raw.log),
        records: records(review, &raw.records),
        amplification: repetition::amplification(review, &raw.amplification, (&raw.retry, &retry)),
        retry,
        embedded: embedded(review, &raw.embedded),
        dependencies: check::dependencies(review, &raw.dependencies),
        supervision: process::supervision(review, &raw.supervision),
        models,
        tcp: listeners,
        pools: pools.built,
        version,
        warnings: Vec::new(),
    };
    listeners_apart(review, raw, &config);
    tcp::apart(review, raw, &config);
    socket_fits(review, raw, &config);
    config
}

/// Where there are processes there is a guardian, whose socket is in the state directory.
fn socket_fits(review: &mut Review, raw: &Spanned<RawConfig>, config: &Config) {
    let supervised = |pool: &Pool| {
        pool.process.is_some() || pool.endpoints.iter().any(|endpoint| endpoint.process.is_some())
    };
    if config.pools.iter().any(supervised) {
        let place = first_place(&[span_of(&raw.state_dir)], Span::default());
        process::socket_fits(review, &config.state_dir, place);
    }
}

fn node(review: &mut Review, raw: &Opt<RawNode>) -> Node {
    let name = match raw.as_ref().and_then(|node| node.name.as_ref()) {
        Some(name) if super::is_name(name) => Arc::from(name.as_str()),
        Some(name) => {
            let help = "use letters, digits and . _ - only";
            review.fault(Code::BadValue, name.span, "this name cannot be shown safely", help);
            Arc::from("mainstay")
        }
        None => host_name(),
    };
    let site = raw.as_ref().map(|node| groups::site(review, &node.region, &node.zone));
    Node { name, site: site.unwrap_or_default() }
}

/// The host's name, as far as it is a name.
fn host_name() -> Arc<str> {
    let from_env = std::env::var("HOSTNAME").ok();
    let from_file = || std::fs::read_to_string("/etc/hostname").ok();
    let name = from_env.or_else(from_file).map(|name| name.trim().to_owned());
    name.filter(|name| super::is_name(name)).map_or_else(|| "mainstay".into(), Into::into)
}

fn listen(review: &mut Review, raw: &Opt<RawListen>) -> Listen {
    let http = raw.as_ref().and_then(|listen| listen.http.clone());
    let http = address_or(review, &http, Listen::default().http);
    let grpc = raw.as_ref().and_then(|listen| listen.grpc.clone());
    let grpc = grpc.map(|grpc| address_or(review, &Some(grpc), http));
    let tls = raw.as_ref().and_then(|listen| tls::listener(review, &listen.tls));
    let cors = raw.as_ref().and_then(|listen| cors::cors(review, &listen.cors));
    Listen { http, grpc, tls, cors, priorities: concurrency::priorities(review, raw) }
}

fn address_or(review: &mut Review, text: &Opt<String>, default: SocketAddr) -> SocketAddr {
    let Some(text) = text else { return default };
    address::listening(text).unwrap_or_else(|refusal| {
        review.refuse(text.span, refusal);
        default
    })
}

fn admin(review: &mut Review, raw: &Opt<RawAdmin>) -> Admin {
    let default = Admin::default();
    let Some(raw) = raw else { return default };
    let address = address_or(review, &raw.address, default.address);
    exposed(review, raw, address);
    Admin {
        address,
        viewer_token_file: raw.viewer_token_file.as_ref().map(|file| review.path(file)),
        token_file: raw.token_file.as_ref().map(|file| review.path(file)),
        names: raw.names.as_ref().map_or_else(Vec::new, |names| {
            names.value.iter().map(|name| name.value.clone()).collect()
        }),
        tls: tls::listener(review, &raw.tls),
    }
}

/// Refuses a listener for operators that others reach and can listen to, or read.
fn exposed(review: &mut Review, raw: &Spanned<RawAdmin>, address: SocketAddr) {
    let sealed = raw.tls.is_some() && raw.viewer_token_file.is_some();
    if address.ip().is_loopback() || sealed || raw.damaged {
        return;
    }
    let place = span_of(&raw.address).unwrap_or(raw.span);
    let message = format!("the listener for operators would be reached by others at {address}");
    let help = "keep it on loopback, or add `tls` and `viewer-token-file`; see docs/security.md";
    review.fault(Code::Exposed, place, message, help);
}

fn listeners_apart(review: &mut Review, raw: &RawConfig, config: &Config) {
    if let Some(grpc) = config.listen.grpc {
        let others = [config.listen.http, config.admin.address];
        if others.into_iter().any(|other| address::collide(grpc, other)) {
            let place = raw.listen.as_ref().and_then(|listen| span_of(&listen.grpc));
            let message = format!("listen.grpc ({grpc}) is the address of another listener");
            let help = "give it a port of its own, or leave it out: listen.http takes gRPC too";
            review.fault(
                Code::Contradiction,
                first_place(&[place], Span::default()),
                message,
                help,
            );
        }
    }
    if !address::collide(config.listen.http, config.admin.address) {
        return;
    }
    let admin = raw.admin.as_ref().and_then(|admin| span_of(&admin.address));
    let http = raw.listen.as_ref().and_then(|listen| span_of(&listen.http));
    let message = format!(
        "clients ({}) and operators ({}) cannot share an address",
        config.listen.http, config.admin.address
    );
    let help = "give admin.address a port of its own, on loopback or a management network";
    review.fault(Code::Contradiction, first_place(&[admin, http], Span::default()), message, help);
}

fn limits(review: &mut Review, raw: &Opt<RawLimits>) -> Limits {
    let default = Limits::default();
    let Some(raw) = raw else { return default };
    let limits = Limits {
        header: review.size(&raw.header, default.header),
        body: review.size(&raw.body, default.body),
        replay: raw.replay.as_ref().map_or(default.replay, |size| size.value.0),
        replay_memory: raw.replay_memory.as_ref().map_or(default.replay_memory, |s| s.value.0),
        idempotency_memory: review.size(&raw.idempotency_memory, default.idempotency_memory),
        last_good_memory: review.size(&raw.last_good_memory, default.last_good_memory),
        last_good_disk: raw.last_good_disk.as_ref().map_or(default.last_good_disk, |it| it.value.0),
        shadow_memory: review.size(&raw.shadow_memory, default.shadow_memory),
        connections: review.count(&raw.connections, 10_000_000, default.connections),
        header_timeout: review.time(&raw.header_timeout, default.header_timeout),
        idle_timeout: review.time(&raw.idle_timeout, default.idle_timeout),
        hold: raw.hold.as_ref().map_or(default.hold, |size| size.value.0),
    };
    if limits.replay > limits.replay_memory {
        let place = first_place(&[span_of(&raw.replay), span_of(&raw.replay_memory)], raw.span);
        let message = "replay is larger than replay-memory, so the largest body could not be kept";
        review.fault(Code::Contradiction, place, message, "raise replay-memory or lower replay");
    }
    limits
}

fn log(raw: &Opt<RawLog>) -> Log {
    let Some(raw) = raw else { return Log::default() };
    Log {
        level: raw.level.as_ref().map(|level| log_level(level.value)).unwrap_or_default(),
        format: raw.format.as_ref().map(|format| log_format(format.value)).unwrap_or_default(),
    }
}

const fn log_level(level: RawLevel) -> LogLevel {
    match level {
        RawLevel::Error => LogLevel::Error,
        RawLevel::Warn => LogLevel::Warn,
        RawLevel::Info => LogLevel::Info,
        RawLevel::Debug => LogLevel::Debug,
        RawLevel::Trace => LogLevel::Trace,
    }
}

const fn log_format(format: RawFormat) -> LogFormat {
    match format {
        RawFormat::Auto => LogFormat::Auto,
        RawFormat::Pretty => LogFormat::Pretty,
        RawFormat::Json => LogFormat::Json,
    }
}

fn reload(raw: &Opt<RawReload>) -> bool {
    raw.as_ref().and_then(|raw| raw.watch.as_ref()).is_some_and(|watch| watch.value)
}

fn records(review: &mut Review, raw: &Opt<RawRecords>) -> Records {
    let default = Records::default();
    let Some(raw) = raw else { return default };
    Records {
        recent: review.count(&raw.recent, MAX_RECORDS, default.recent),
        kept: review.count(&raw.kept, MAX_RECORDS, default.kept),
    }
}

fn retry(review: &mut Review, raw: &Opt<RawRetry>) -> budget::RetrySettings {
    let default = budget::RetrySettings::default();
    let Some(raw) = raw else { return default };
    budget::RetrySettings {
        ratio: share(&raw.ratio, default.ratio),
        per_second: raw.per_second.as_ref().map_or(default.per_second, |number| number.value),
        window: review.time(&raw.window, default.window),
    }
}

fn embedded(review: &mut Review, raw: &Opt<RawEmbeddedPool>) -> EmbeddedPool {
    let default = EmbeddedPool::default();
    let Some(raw) = raw else { return default };
    EmbeddedPool {
        threads: review.count(&raw.threads, 256, default.threads),
        queue: review.count(&raw.queue, 1_000_000, default.queue),
        library: raw.library.as_ref().map(|file| review.path(file)),
    }
}
