//! Supervised processes: commands, users, limits, ports.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_control::process::{Restart, replicas};

use super::{Review, check, share};
use crate::code::Code;
use crate::config::{
    EndpointUrl, PORT, Process, ProcessLimits, ProcessLog, ProcessStop, Replicas, Supervision,
};
use crate::raw::{
    Opt, RawHeader, RawPool, RawProcess, RawProcessLimits, RawProcessLog, RawReplicas, RawRestart,
    RawStop, RawSupervision,
};
use crate::reader::shorten;
use crate::secret::Secret;
use crate::source::{Span, is_secret_key};
use crate::spanned::{Entries, Spanned};
use crate::value::{Length, Short};

/// Below this hardly any program starts.
const LEAST_MEMORY: usize = 16 * 1024 * 1024;
/// Where programs are looked for that are named without a path.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Names and numbers of users (passwd(5)).
const USERS: &str = "/etc/passwd";
/// The longest path of a Unix socket on Linux (unix(7)), without its end.
const SOCKET_PATH: usize = 107;
/// Signals that ask a program to end, by name.
const SIGNALS: [(&str, i32); 6] =
    [("HUP", 1), ("INT", 2), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("TERM", 15)];

/// The process of an endpoint.
pub(super) fn process(
    review: &mut Review,
    raw: &Opt<RawProcess>,
    url: &EndpointUrl,
) -> Option<Process> {
    let written = raw.as_ref()?;
    local(review, url, written.span);
    once(review, url, written.span);
    let process = template(review, raw)?;
    if process.command.iter().any(|part| part.contains(PORT)) {
        let message = "{port} means something only in the process of a pool with replicas";
        let help = "write the port of the endpoint's url instead";
        review.fault(Code::Contradiction, written.span, message, help);
    }
    Some(process)
}

/// The process of a pool's replicas, or of an endpoint.
fn template(review: &mut Review, raw: &Opt<RawProcess>) -> Option<Process> {
    let written = raw.as_ref()?;
    let command = command(review, written)?;
    Some(Process {
        command,
        env: environment(review, &written.env),
        user: user(review, &written.user),
        dir: written.dir.as_ref().map(|dir| review.path(dir)),
        limits: limits(review, &written.limits),
        stop: stop(review, &written.stop),
        restart: restart(review, &written.restart, &written.start_timeout),
        log: log(review, &written.log),
    })
}

/// The replicas of a pool, with their process.
pub(super) fn replicas(review: &mut Review, raw: &RawPool) -> (Option<Process>, Option<Replicas>) {
    let process = template(review, &raw.process);
    let replicas = raw.replicas.as_ref().map(|written| scale(review, written));
    if let (Some(written), None) = (&raw.process, &raw.replicas) {
        let message = "a process below a pool is that of its replicas, and there are none";
        let help = "add `replicas: {min: 1, max: 4}`, or move the process below its endpoint";
        review.fault(Code::Contradiction, written.span, message, help);
    }
    if let (Some(written), None, false) = (&raw.replicas, &raw.process, raw.process.is_some()) {
        let help = "add `process:` with a command in which {port} stands for the port";
        review.fault(Code::Missing, written.span, "the replicas have no process", help);
    }
    if let Some(process) = &process {
        ports_differ(review, raw, process);
    }
    (process, replicas)
}

/// Without {port} all replicas would want the same one.
fn ports_differ(review: &mut Review, raw: &RawPool, process: &Process) {
    let named = process.command.iter().any(|part| part.contains(PORT))
        || process.env.iter().any(|(_, value)| value.expose().contains(PORT));
    if let Some(written) = raw.process.as_ref().filter(|_| !named) {
        let message = "the process of the replicas does not say where {port} goes";
        let help = "write {port} in the command or the environment, for example --port {port}";
        review.fault(Code::Missing, written.span, message, help);
    }
}

fn scale(review: &mut Review, written: &Spanned<Short<RawReplicas>>) -> Replicas {
    let plain = RawReplicas::default();
    let default = replicas::Settings::default();
    let raw = match &written.value {
        Short::Full(raw) => raw,
        Short::Text(_) => &plain,
    };
    let fixed = match &written.value {
        Short::Text(text) => fixed(review, text, written.span),
        Short::Full(_) => None,
    };
    let min = fixed.unwrap_or_else(|| review.number(&raw.min, 0..=1024, default.min));
    let max = fixed.unwrap_or_else(|| review.number(&raw.max, 1..=1024, min.max(1)));
    if min > max {
        let message = format!("min ({min}) is above max ({max})");
        review.fault(Code::Contradiction, written.span, message, "lower min or raise max");
    }
    Replicas {
        settings: replicas::Settings {
            min,
            max: max.max(min),
            target: per_server(review, &raw.in_flight, default.target),
            up_after: review.time(&raw.up_after, default.up_after),
            down_after: review.time(&raw.down_after, default.down_after),
        },
        drain: review.time(&raw.drain, Duration::from_secs(30)),
    }
}

fn fixed(review: &mut Review, text: &str, place: Span) -> Option<u32> {
    let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
    if number.is_none() {
        let message = format!("{:?} is no number of servers", shorten(text));
        let help = "write a number from 1 to 1024, or {min: 1, max: 4}";
        review.fault(Code::BadValue, place, message, help);
    }
    number
}

fn per_server(review: &mut Review, raw: &Opt<f64>, default: f64) -> f64 {
    match raw {
        Some(number) if number.value > 0.0 && number.value <= 100_000.0 => number.value,
        Some(number) => {
            let message = format!("expected a number above 0, found {}", number.value);
            review.fault(Code::BadValue, number.span, message, "8 is the default");
            default
        }
        None => default,
    }
}

/// What all processes have in common; `None` of it is looked at where there are none.
pub(super) fn supervision(review: &mut Review, raw: &Opt<RawSupervision>) -> Supervision {
    let default = Supervision::default();
    let Some(raw) = raw else { return default };
    let ports = raw.ports.as_ref().map(|text| ports(text).ok_or(text));
    let ports = match ports {
        Some(Ok(ports)) => ports,
        Some(Err(text)) => {
            let message = format!("{:?} is no range of ports", shorten(text));
            review.fault(Code::BadValue, text.span, message, "write for example 20000-20999");
            default.ports
        }
        None => default.ports,
    };
    Supervision { linger: review.time(&raw.linger, default.linger), ports }
}

fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (0 < first && first <= last).then_some(first..=last)
}

/// The guardian's socket has to fit where the kernel takes its path.
pub(super) fn socket_fits(review: &mut Review, state_dir: &Path, place: Span) {
    let path = state_dir.join("guardian.sock");
    if path.as_os_str().len() > SOCKET_PATH {
        let message = format!("{} is too long for a Unix socket", path.display());
        let help = "write a shorter `state-dir`: the guardian's socket is in it";
        review.fault(Code::BadValue, place, message, help);
    }
}

/// A process is started on this machine; somebody else's address is a mistake.
fn local(review: &mut Review, url: &EndpointUrl, place: Span) {
    let here = match url.host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Err(_) => *url.host == *"localhost",
    };
    if !here {
        let message = format!("the process is started here, and its url names {}", url.host);
        let help = "right if that is an address of this machine; otherwise write 127.0.0.1";
        review.warn(Code::Unused, place, message, help);
    }
}

/// Two processes cannot listen on one port.
fn once(review: &mut Review, url: &EndpointUrl, place: Span) {
    let here = (url.host.to_string(), url.port);
    if let Some(first) = review.processes.insert(here, place) {
        let line = review.line(first);
        let message =
            format!("two processes are to listen on port {}, the first on line {line}", url.port);
        review.fault(Code::Contradiction, place, message, "give each endpoint a port of its own");
    }
}

fn command(review: &mut Review, raw: &Spanned<RawProcess>) -> Option<Vec<String>> {
    let parts = [&raw.command, &raw.args];
    let parts = parts.into_iter().flatten().flat_map(|list| list.value.iter());
    let command: Vec<String> = parts.map(|part| part.value.clone()).collect();
    let written =
        raw.command.as_ref().filter(|list| list.value.first().is_some_and(|p| !p.is_empty()));
    let Some(written) = written else {
        if !raw.damaged {
            let help =
                "write a list, for example [/usr/bin/server, --port, \"8000\"]; no shell is used";
            review.fault(Code::Missing, raw.span, "the process has no command", help);
        }
        return None;
    };
    if let Some(why) = missing(&command[0], raw.dir.as_ref().map(|dir| review.path(dir))) {
        let help = "right if it is there when the gateway runs; otherwise write its whole path";
        review.warn(Code::Unreadable, written.span, why, help);
    }
    Some(command)
}

/// Why a program cannot be started as things are now.
fn missing(program: &str, dir: Option<PathBuf>) -> Option<String> {
    let exists = if program.contains('/') {
        dir.unwrap_or_else(|| "/".into()).join(program).is_file()
    } else {
        SEARCH_PATH.split(':').any(|folder| Path::new(folder).join(program).is_file())
    };
    (!exists).then(|| format!("there is no program {:?} now", shorten(program)))
}

fn environment(review: &mut Review, raw: &Opt<Entries<Short<RawHeader>>>) -> Vec<(String, Secret)> {
    let entries = raw.as_ref().map_or(&[][..], |raw| &raw.value.0);
    let mut found = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("{:?} cannot be the name of a variable", shorten(name));
            review.fault(Code::BadValue, name.span, message, "use letters, digits and _ only");
            continue;
        }
        let value = match &value.value {
            Short::Text(_) if is_secret_key(name) => Err(check::literal_secret(name)),
            Short::Text(text) => Ok(Secret::literal(text)),
            Short::Full(_) if value.damaged => continue,
            Short::Full(source) => check::secret(review, source),
        };
        match value {
            Ok(value) => found.push((name.value.clone(), value)),
            Err(refusal) => review.refuse(name.span, refusal),
        }
    }
    found
}

fn user(review: &mut Review, raw: &Opt<String>) -> Option<(u32, u32)> {
    let text = raw.as_ref()?;
    let found = numbers(text).or_else(|| listed(&std::fs::read_to_string(USERS).ok()?, text));
    if found.is_none() {
        let message = format!("there is no user {:?} on this machine", shorten(text));
        let help = "write a name of /etc/passwd, or user and group id as 1000:1000";
        review.fault(Code::UnknownName, text.span, message, help);
    }
    found
}

fn numbers(text: &str) -> Option<(u32, u32)> {
    let (user, group) = text.split_once(':')?;
    Some((user.parse().ok()?, group.parse().ok()?))
}

/// `name:password:uid:gid:…`
fn listed(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

fn limits(review: &mut Review, raw: &Opt<RawProcessLimits>) -> ProcessLimits {
    let Some(raw) = raw else { return ProcessLimits::default() };
    let memory = raw.memory.as_ref().map(|size| {
        if size.value.0 < LEAST_MEMORY {
            let help = "16 MiB are the least with which programs start at all";
            review.fault(Code::BadValue, size.span, "this is too little memory", help);
        }
        size.value.0 as u64
    });
    let files =
        raw.files.as_ref().map(|_| review.number(&raw.files, 16..=1_048_576, 1024u32).into());
    let cpu = raw.cpu.as_ref().filter(|cpu| {
        let fits = cpu.value > 0.0 && cpu.value <= 4096.0;
        if !fits {
            let message = format!("expected a number of processors, found {}", cpu.value);
            review.fault(Code::BadValue, cpu.span, message, "write for example 1.5");
        }
        fits
    });
    ProcessLimits { memory, files, cpu: cpu.map(|cpu| cpu.value) }
}

fn stop(review: &mut Review, raw: &Opt<RawStop>) -> ProcessStop {
    let default = ProcessStop::default();
    let Some(raw) = raw else { return default };
    let signal = raw.signal.as_ref().map_or(Some(default.signal), |name| {
        let plain = name.trim_start_matches("SIG");
        SIGNALS.iter().find(|(known, _)| *known == plain).map(|(_, number)| *number)
    });
    if let (None, Some(name)) = (signal, &raw.signal) {
        let known = SIGNALS.map(|(known, _)| known).join(", ");
        let message = format!("{:?} is no signal that asks a program to end", shorten(name));
        review.fault(Code::BadValue, name.span, message, format!("write one of {known}"));
    }
    ProcessStop {
        signal: signal.unwrap_or(default.signal),
        grace: raw.grace.as_ref().map_or(default.grace, |grace| grace.value.0),
    }
}

fn restart(
    review: &mut Review,
    raw: &Opt<Short<RawRestart>>,
    start_timeout: &Opt<Length>,
) -> Restart {
    let default = Restart::default();
    let default =
        Restart { start_timeout: review.time(start_timeout, default.start_timeout), ..default };
    let Some(written) = raw else { return default };
    let raw = match &written.value {
        Short::Text(text) if text == "off" => return Restart { enabled: false, ..default },
        Short::Text(text) => {
            let message = format!("{:?} is no rule for restarts", shorten(text));
            review.fault(Code::BadValue, written.span, message, "write its keys, or `off`");
            return default;
        }
        Short::Full(raw) => raw,
    };
    let base = review.time(&raw.base, default.base);
    let max = review.time(&raw.max, default.max.max(base));
    if base > max {
        let message = format!("the first pause ({base:?}) is longer than the longest ({max:?})");
        review.fault(Code::Times, written.span, message, "lower base or raise max");
    }
    Restart {
        base,
        max,
        jitter: share(&raw.jitter, default.jitter),
        exits: review.number(&raw.exits, 1..=1000, default.exits),
        window: review.time(&raw.window, default.window),
        retry: review.time(&raw.retry, default.retry),
        ..default
    }
}

fn log(review: &mut Review, raw: &Opt<RawProcessLog>) -> ProcessLog {
    let default = ProcessLog::default();
    let Some(raw) = raw else { return default };
    let size = review.size(&raw.size, usize::try_from(default.size).unwrap_or(usize::MAX));
    ProcessLog {
        file: raw.file.as_ref().map(|file| review.path(file)),
        size: (size as u64).max(4096),
        files: review.number(&raw.files, 0..=100, default.files),
    }
}
