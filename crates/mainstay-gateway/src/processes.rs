//! Supervised processes in the gateway: from the configuration to the supervisor, and from
//! verdicts to its question whether a server is ready.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_admin::status::{ExitStatus, ProcessStatus};
use mainstay_cluster::process::{Handle, Options, Status, Subject, Supervisor, Verdicts, wire};
use mainstay_config::{self as config, Check, Config};
use mainstay_control::group::Standby;
use mainstay_policy::{Moment, Verdict};

use crate::observe::Board;
use crate::reconfigure::Reconfigure;
use crate::shared::Shared;

mod departures;
mod replicas;
mod turns;

use replicas::{Replicas, Wanted};

/// This program, also where its file has been replaced since it was started.
const PROGRAM: &str = "/proc/self/exe";
/// The search path of a process that is given none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A verdict from before the start holds for so many intervals of the probe: then it has been
/// confirmed, or would have changed.
const CONFIRMED: u32 = 3;

/// Everything about processes, before it runs.
pub(crate) struct Processes {
    shared: Arc<Shared>,
    board: Arc<Board>,
    supervisor: Supervisor,
    handle: Handle,
    wanted: Arc<Wanted>,
}

/// What operators see of it.
pub(crate) struct View {
    handle: Handle,
    wanted: Arc<Wanted>,
}

impl Processes {
    /// For the configuration that is in effect.
    pub(crate) fn new(shared: Arc<Shared>, board: Arc<Board>, seed: u64) -> Self {
        let config = Arc::clone(&shared.snapshot().config);
        let options = Options {
            program: PROGRAM.into(),
            state_dir: absolute(&config.state_dir),
            linger: config.supervision.linger,
            seed,
        };
        let verdicts = Arc::new(Ready { shared: Arc::clone(&shared) });
        let telemetry = Arc::clone(&shared.telemetry);
        let (supervisor, handle) = Supervisor::new(options, subjects(&config), telemetry, verdicts);
        Self { shared, board, supervisor, handle, wanted: Arc::default() }
    }

    /// The hand on all processes: starts and stops them for groups.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What operators see.
    pub(crate) fn view(&self) -> View {
        View { handle: self.handle.clone(), wanted: Arc::clone(&self.wanted) }
    }

    /// Takes up the replicas of an earlier gateway: before anybody is served, who would miss them,
    /// and before the supervisor learns what runs, since what it does not know of is stopped.
    pub(crate) async fn restore(self, reconfigure: Reconfigure) -> Supervision {
        let Self { shared, board, supervisor, handle, wanted } = self;
        let mut replicas = Replicas::new((shared, board), reconfigure, handle, wanted);
        replicas.restore().await;
        Supervision { supervisor, replicas }
    }
}

/// Everything about processes, ready to run.
pub(crate) struct Supervision {
    supervisor: Supervisor,
    replicas: Replicas,
}

impl Supervision {
    /// Supervises, follows the configuration and the load, until the hand on it retires it.
    pub(crate) async fn run(self) {
        tokio::select! {
            () = self.supervisor.run() => {}
            () = self.replicas.run() => {}
        }
    }
}

impl View {
    /// The process of an endpoint.
    pub(crate) fn process(&self, pool: &str, endpoint: &str, now: Moment) -> Option<ProcessStatus> {
        Some(shown(self.handle.status(pool, endpoint)?, now))
    }

    /// How many servers the load of a pool asks for.
    pub(crate) fn wanted(&self, pool: &str) -> Option<u32> {
        self.wanted.of(pool)
    }
}

/// Every process of a configuration.
fn subjects(config: &Config) -> Vec<Subject> {
    let pools = config.pools.iter();
    pools
        .flat_map(|pool| pool.endpoints.iter().filter_map(|it| subject(config, pool, it)))
        .collect()
}

/// The process of an endpoint, if it has one.
fn subject(config: &Config, pool: &config::Pool, endpoint: &config::Endpoint) -> Option<Subject> {
    let process = endpoint.process.as_ref()?;
    Some(Subject {
        pool: pool.name.to_string(),
        endpoint: endpoint.name.to_string(),
        spec: spec(config, &format!("{}_{}", pool.name, endpoint.name), process),
        restart: process.restart,
        stop: stop(process),
        wanted: endpoint.standby != Some(Standby::Cold),
    })
}

const fn stop(process: &config::Process) -> wire::StopRule {
    wire::StopRule { signal: process.stop.signal, grace: process.stop.grace }
}

fn spec(config: &Config, label: &str, process: &config::Process) -> wire::Spec {
    let file = || config.state_dir.join("logs").join(format!("{}.log", plain(label)));
    let mut spec = wire::Spec {
        argv: process.command.clone(),
        env: environment(process),
        user: process.user,
        dir: process.dir.as_deref().map(absolute),
        limits: wire::Limits {
            memory: process.limits.memory,
            files: process.limits.files,
            cpu: process.limits.cpu,
        },
        stop: stop(process),
        log: wire::Log {
            path: absolute(&process.log.file.clone().unwrap_or_else(file)),
            size: process.log.size,
            files: process.log.files,
        },
        fingerprint: String::new(),
    };
    spec.fingerprint = fingerprint(&spec);
    spec
}

fn environment(process: &config::Process) -> Vec<(String, String)> {
    let path = ("PATH".to_owned(), PATH.to_owned());
    let own = process.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    std::iter::once(path).chain(own).collect()
}

/// What a process is started anew for: all that it is made from, not how it is stopped or where
/// it logs.
fn fingerprint(spec: &wire::Spec) -> String {
    let made_from = (&spec.argv, &spec.env, spec.user, &spec.dir, spec.limits);
    let text = serde_json::to_vec(&made_from).unwrap_or_default();
    blake3::hash(&text).to_hex().chars().take(16).collect()
}

/// A name as a part of a file's name.
fn plain(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    text.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// The guardian works elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether servers are ready, as their targets' verdicts say.
struct Ready {
    shared: Arc<Shared>,
}

impl Verdicts for Ready {
    fn is_ready(&self, pool: &str, endpoint: &str, since: Moment) -> bool {
        let now = self.shared.clock.now();
        let snapshot = self.shared.snapshot();
        let declared = snapshot.config.pools.iter().find(|known| *known.name == *pool);
        let settled = |pool: &config::Pool| pool.probe.health.interval.saturating_mul(CONFIRMED);
        let confirmed = declared.is_some_and(|pool| now.since(since) >= settled(pool));
        let probed = declared.is_some_and(|pool| !matches!(pool.probe.check, Check::Off));
        let mut targets = snapshot
            .watched
            .iter()
            .map(|watched| &watched.target)
            .filter(|target| *target.key.pool == *pool && *target.key.endpoint == *endpoint);
        // One that nobody asks for, or nobody probes, cannot be waited for.
        targets.all(|target| match target.health.verdict() {
            Verdict::Ready | Verdict::Busy | Verdict::Slow => {
                confirmed || target.health.since() >= since
            }
            Verdict::Unknown => !probed,
            Verdict::Stalled
            | Verdict::Loading
            | Verdict::Draining
            | Verdict::Dead
            | Verdict::Wrong => false,
        })
    }
}

/// A process as operators see it.
fn shown(status: Status, now: Moment) -> ProcessStatus {
    let age = |at: Moment| now.since(at).as_secs_f64();
    ProcessStatus {
        state: status.state.to_owned(),
        wanted: status.wanted,
        outdated: status.outdated,
        crash_looping: status.crash_looping,
        pid: status.pid,
        up_seconds: status.started.map(age),
        until_seconds: status.until.map(|until| until.remaining(now).as_secs_f64()),
        failures: status.failures,
        last_exit: status.last.map(|(exit, at)| ExitStatus {
            cause: exit.cause.to_string(),
            evidence: exit.evidence,
            ago_seconds: age(at),
            ran_seconds: exit.ran.as_secs_f64(),
        }),
        why: status.why,
        limits: status.limits,
        log: status.log.display().to_string(),
        last_lines: status.tail,
    }
}
