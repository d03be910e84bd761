//! Supervised processes: what they are made from and how they are kept.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_control::process::{Restart, replicas};

use crate::secret::Secret;

/// A server that Mainstay starts, watches and stops.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Process {
    /// The program and its arguments; at least one entry.
    pub command: Vec<String>,
    /// Its environment, beside a search path.
    pub env: Vec<(String, Secret)>,
    /// User and group id. Default: those of the gateway.
    pub user: Option<(u32, u32)>,
    /// Its working directory. Default `/`.
    pub dir: Option<PathBuf>,
    /// What it may take. Default: whatever the gateway may.
    pub limits: ProcessLimits,
    /// How it is stopped.
    pub stop: ProcessStop,
    /// How it is started again.
    pub restart: Restart,
    /// Where its output goes.
    pub log: ProcessLog,
}

/// What a process may take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ProcessLimits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
    /// Processors.
    pub cpu: Option<f64>,
}

/// How a process is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessStop {
    /// The number of the signal that asks it to end. Default SIGTERM.
    pub signal: i32,
    /// How long it may take then. Default 10 s, as container runtimes have it.
    pub grace: Duration,
}

/// Where output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessLog {
    /// The file. Default: in the state directory, named by pool and endpoint.
    pub file: Option<PathBuf>,
    /// Bytes, beyond which another file is begun. Default 10 MiB.
    pub size: u64,
    /// Older files that are kept. Default 3.
    pub files: u32,
}

/// Servers of a pool that are started and stopped as load asks for them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Replicas {
    /// How many there are.
    pub settings: replicas::Settings,
    /// How long requests in flight may take at one that is let go. Default 30 s.
    pub drain: Duration,
}

/// What all supervised processes have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Supervision {
    /// How long processes are kept while no gateway is there. Default 10 min: longer than a
    /// gateway takes to be started again or upgraded, and short enough that nothing is left
    /// behind for good.
    pub linger: Duration,
    /// Ports for replicas. Default 20000 to 20999: below the range that systems take client
    /// ports from (32768 on Linux).
    pub ports: RangeInclusive<u16>,
}

impl Default for Supervision {
    fn default() -> Self {
        Self { linger: Duration::from_secs(600), ports: 20_000..=20_999 }
    }
}

impl Default for ProcessStop {
    fn default() -> Self {
        Self { signal: 15, grace: Duration::from_secs(10) }
    }
}

impl Default for ProcessLog {
    fn default() -> Self {
        Self { file: None, size: 10 * 1024 * 1024, files: 3 }
    }
}

/// What stands for a replica's port in its command and environment.
pub const PORT: &str = "{port}";

impl Process {
    /// The process of a replica that listens on `port`.
    #[must_use]
    pub fn at_port(&self, port: u16) -> Self {
        let filled = |text: &str| text.replace(PORT, &port.to_string());
        let mut process = self.clone();
        process.command.iter_mut().for_each(|part| *part = filled(part));
        for (_, value) in &mut process.env {
            *value = Secret::literal(&filled(value.expose()));
        }
        process
    }
}
