//! How a process ended: causes told apart, each with what it is concluded from.
//!
//! A bare status cannot tell them apart: a process killed for its memory and one killed by an
//! operator both end by SIGKILL. [`judge`] decides by what was seen beside the status, and says
//! what that was.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// SIGABRT: what allocators that give up raise.
const ABORT: i32 = 6;
/// SIGKILL: what the kernel's OOM killer sends, and anybody else may.
const KILL: i32 = 9;
/// What programs that cannot have memory say on standard error before they end: Rust, Python,
/// C++, Go and Java, the errno that all libraries share, and GNU's programs.
const OUT_OF_MEMORY: [&str; 7] = [
    "memory allocation of",
    "MemoryError",
    "std::bad_alloc",
    "runtime: out of memory",
    "java.lang.OutOfMemoryError",
    "Cannot allocate memory",
    "memory exhausted",
];

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why.
    pub cause: Cause,
    /// What the cause is concluded from, in one line.
    pub evidence: String,
    /// How long it ran.
    pub ran: Duration,
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It ended by itself with this code.
    Exited(i32),
    /// A signal that Mainstay did not send ended it.
    Signal(i32),
    /// It wanted more memory than it may have.
    OutOfMemory,
    /// It never ran: no such program, no right to run it.
    NotStarted,
    /// Mainstay stopped it.
    Stopped,
    /// Mainstay stopped it since it was not ready within its start timeout.
    NotReady,
    /// The guardian ended, and its processes with it.
    GuardianLost,
}

/// What was seen of an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The code, where it ended by itself.
    pub code: Option<i32>,
    /// The signal, where one ended it.
    pub signal: Option<i32>,
    /// The last signal that Mainstay sent it, if any.
    pub sent: Option<i32>,
    /// OOM kills that its own cgroup counted (`memory.events`, cgroup v2).
    pub group_kills: Option<u64>,
    /// OOM kills that the whole system counted while it ran (`/proc/vmstat`).
    pub system_kills: u64,
    /// Its memory limit in bytes, where the kernel enforces one by refusing memory.
    pub memory_limit: Option<u64>,
    /// Its last lines of output.
    pub tail: Vec<String>,
    /// How long it ran.
    pub ran: Duration,
}

/// Names the cause of an end.
///
/// In this order: what Mainstay did itself; what the cgroup counted; what the process said of
/// memory that it was refused; a SIGKILL while the system's own count of OOM kills grew; the
/// status as it is. The fourth is the weakest, and says so.
#[must_use]
pub fn judge(seen: &Seen) -> Exit {
    let (cause, evidence) = memory(seen).unwrap_or_else(|| plain(seen));
    Exit { cause, evidence, ran: seen.ran }
}

fn memory(seen: &Seen) -> Option<(Cause, String)> {
    if seen.sent.is_some() {
        return None;
    }
    if let Some(kills) = seen.group_kills.filter(|kills| *kills > 0) {
        let evidence = format!("its cgroup counted {kills} OOM kill(s) in memory.events");
        return Some((Cause::OutOfMemory, evidence));
    }
    let abnormal = seen.signal.is_some_and(|signal| signal == ABORT || signal == KILL)
        || seen.code.is_some_and(|code| code != 0);
    let said =
        seen.tail.iter().rev().find(|line| OUT_OF_MEMORY.iter().any(|said| line.contains(said)));
    if let Some(line) = said.filter(|_| abnormal) {
        let limit = seen.memory_limit.map_or_else(String::new, |limit| {
            format!(", with a memory limit of {} MiB", limit >> 20)
        });
        let evidence = format!("{}{limit}; it said {:?}", ended(seen), shorten(line));
        return Some((Cause::OutOfMemory, evidence));
    }
    (seen.signal == Some(KILL) && seen.system_kills > 0).then(|| {
        let kills = seen.system_kills;
        let evidence = format!(
            "SIGKILL that Mainstay did not send, while the system counted {kills} OOM kill(s) in \
             /proc/vmstat; likely, not certain"
        );
        (Cause::OutOfMemory, evidence)
    })
}

fn plain(seen: &Seen) -> (Cause, String) {
    match (seen.sent, seen.signal, seen.code) {
        (Some(sent), _, _) => {
            let sent = signal_name(sent);
            (Cause::Stopped, format!("Mainstay sent {sent}; it ended by {}", ended(seen)))
        }
        (None, Some(signal), _) => {
            (Cause::Signal(signal), format!("{}, which Mainstay did not send", ended(seen)))
        }
        (None, None, code) => (Cause::Exited(code.unwrap_or_default()), last_words(seen)),
    }
}

fn ended(seen: &Seen) -> String {
    match (seen.signal, seen.code) {
        (Some(signal), _) => signal_name(signal),
        (None, code) => format!("exit code {}", code.unwrap_or_default()),
    }
}

/// What it said before it ended.
fn last_words(seen: &Seen) -> String {
    match seen.tail.iter().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("its last line was {:?}", shorten(line)),
        None => "it said nothing".to_owned(),
    }
}

/// The beginning of a line.
fn shorten(line: &str) -> String {
    const LONGEST: usize = 120;
    line.trim().chars().take(LONGEST).collect()
}

/// The name of a signal, as `kill -l` has it (signal(7), Linux on x86-64 and AArch64).
#[must_use]
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        ABORT => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        KILL => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "killed by {}", signal_name(*signal)),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::NotStarted => f.write_str("not started"),
            Self::Stopped => f.write_str("stopped by Mainstay"),
            Self::NotReady => f.write_str("not ready in time"),
            Self::GuardianLost => f.write_str("lost with its guardian"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(seen: &Seen) -> Cause {
        judge(seen).cause
    }

    #[test]
    fn one_signal_has_four_stories() {
        let killed = Seen { signal: Some(KILL), ..Seen::default() };
        assert_eq!(cause(&killed), Cause::Signal(KILL));
        assert_eq!(cause(&Seen { sent: Some(15), ..killed.clone() }), Cause::Stopped);
        assert_eq!(cause(&Seen { group_kills: Some(1), ..killed.clone() }), Cause::OutOfMemory);
        let system = judge(&Seen { system_kills: 1, ..killed });
        assert_eq!(system.cause, Cause::OutOfMemory);
        assert!(system.evidence.contains("likely"), "{}", system.evidence);
    }

    #[test]
    fn who_was_refused_memory_says_so() {
        let rust = Seen {
            signal: Some(ABORT),
            memory_limit: Some(64 << 20),
            tail: vec!["memory allocation of 67108864 bytes failed".to_owned()],
            ..Seen::default()
        };
        let exit = judge(&rust);
        assert_eq!(exit.cause, Cause::OutOfMemory);
        assert!(exit.evidence.contains("64 MiB"), "{}", exit.evidence);
        let python =
            Seen { code: Some(1), tail: vec!["MemoryError".to_owned()], ..Seen::default() };
        assert_eq!(cause(&python), Cause::OutOfMemory);
    }

    #[test]
    fn a_good_end_is_not_for_memory() {
        let tail = vec!["caught a MemoryError, all is well".to_owned()];
        assert_eq!(cause(&Seen { code: Some(0), tail, ..Seen::default() }), Cause::Exited(0));
        assert_eq!(cause(&Seen { code: Some(3), ..Seen::default() }), Cause::Exited(3));
    }
}
