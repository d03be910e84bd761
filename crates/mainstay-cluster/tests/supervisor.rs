//! A supervisor against a guardian that loses connections, is slow, and has other masters.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_cluster::process::wire::{self, Answer, Limits, Log, Report, Request, Spec, StopRule};
use mainstay_cluster::process::{Command, Handle, Options, Status, Subject, Supervisor, Verdicts};
use mainstay_control::process::{Cause, Exit, Restart};
use mainstay_policy::Moment;
use mainstay_telemetry::{Clock, Names, Settings, Telemetry};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

/// Longer than any wait here takes, even on a machine that stands still for a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a server is ready is not the matter here.
struct AlwaysReady;

impl Verdicts for AlwaysReady {
    fn is_ready(&self, _: &str, _: &str, _: Moment) -> bool {
        true
    }
}

/// A guardian by script: it starts nothing.
#[derive(Default)]
struct Guardian {
    epoch: u64,
    unattended: Option<Duration>,
    running: BTreeMap<String, (u64, String)>,
    ended: BTreeMap<String, u64>,
    /// So many stops are lost with their connections.
    losing: u32,
    stops: Vec<(String, Option<u64>)>,
    /// Connections with an order under way, now and at most.
    orders: (usize, usize),
    slow: Duration,
}

type Shared = Arc<Mutex<Guardian>>;

fn guardian(folder: &Path) -> Shared {
    let guardian = Shared::default();
    let listener = UnixListener::bind(folder.join("guardian.sock")).unwrap();
    let shared = Arc::clone(&guardian);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let shared = Arc::clone(&shared);
            tokio::spawn(converse(stream, shared));
        }
    });
    guardian
}

async fn converse(mut stream: UnixStream, guardian: Shared) {
    while let Ok(request) = wire::read::<Request>(&mut stream).await {
        let is_order = !matches!(request, Request::Hello { .. } | Request::Watch { .. });
        if is_order {
            let slow = {
                let mut guardian = guardian.lock().unwrap();
                guardian.orders.0 += 1;
                guardian.orders.1 = guardian.orders.1.max(guardian.orders.0);
                guardian.slow
            };
            tokio::time::sleep(slow).await;
        } else if matches!(request, Request::Watch { seen, .. } if seen > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let answer = guardian.lock().unwrap().answer(request);
        if is_order {
            guardian.lock().unwrap().orders.0 -= 1;
        }
        let Some(answer) = answer else { return };
        if wire::write(&mut stream, &answer).await.is_err() {
            return;
        }
    }
}

impl Guardian {
    /// `None` where the connection is lost.
    fn answer(&mut self, request: Request) -> Option<Answer> {
        Some(match request {
            Request::Hello { .. } => {
                self.epoch += 1;
                self.unattended = None;
                Answer::Welcome { epoch: self.epoch, pid: 1 }
            }
            Request::Watch { .. } => Answer::State {
                seen: 1,
                epoch: self.epoch,
                unattended: self.unattended,
                processes: self.reports(),
            },
            Request::Start { epoch, .. }
            | Request::Stop { epoch, .. }
            | Request::Forget { epoch, .. }
                if epoch != self.epoch =>
            {
                Answer::Refused(format!("epoch {epoch} is over"))
            }
            Request::Start { name, spec, .. } => {
                let run = self.ended.get(&name).copied().unwrap_or_default() + 1;
                self.running.insert(name, (run, spec.fingerprint));
                Answer::Started { pid: 100 + u32::try_from(run).unwrap(), run }
            }
            Request::Stop { name, run, .. } => {
                self.stops.push((name.clone(), run));
                if self.losing > 0 {
                    self.losing -= 1;
                    return None;
                }
                if let Some((run, _)) = self.running.remove(&name) {
                    self.ended.insert(name, run);
                }
                Answer::Done
            }
            Request::Forget { name, .. } => {
                self.ended.remove(&name);
                Answer::Done
            }
        })
    }

    fn reports(&self) -> Vec<Report> {
        let stop = rule();
        let report = |name: &str, run: u64, fingerprint: &str, is_there: bool| Report {
            name: name.to_owned(),
            pid: is_there.then_some(100 + u32::try_from(run).unwrap()),
            run,
            age: Duration::ZERO,
            stop,
            fingerprint: fingerprint.to_owned(),
            limits: String::new(),
            last: (!is_there).then(|| wire::Ended {
                run,
                exit: Exit {
                    cause: Cause::Stopped,
                    evidence: "told to".to_owned(),
                    ran: Duration::ZERO,
                },
                age: Duration::ZERO,
            }),
            failures: 0,
            log: "log".into(),
            tail: Vec::new(),
        };
        let running = self.running.iter().map(|(name, (run, of))| report(name, *run, of, true));
        let gone = self.ended.iter().filter(|(name, _)| !self.running.contains_key(*name));
        running.chain(gone.map(|(name, run)| report(name, *run, "", false))).collect()
    }
}

fn rule() -> StopRule {
    StopRule { signal: 15, grace: Duration::from_secs(1) }
}

fn subject(endpoint: &str, fingerprint: &str, wanted: bool) -> Subject {
    Subject {
        pool: "p".to_owned(),
        endpoint: endpoint.to_owned(),
        spec: Spec {
            argv: Vec::new(),
            env: Vec::new(),
            user: None,
            dir: None,
            limits: Limits::default(),
            stop: rule(),
            log: Log { path: "log".into(), size: 1, files: 1 },
            fingerprint: fingerprint.to_owned(),
        },
        restart: Restart::default(),
        stop: rule(),
        wanted,
    }
}

fn supervise(folder: &Path, subjects: Vec<Subject>) -> Handle {
    let settings = Settings { workers: 1, recent: 1, kept: 1 };
    let telemetry = Telemetry::new(settings, Names::default(), Clock::start());
    let options = Options {
        program: "/bin/false".into(),
        state_dir: folder.to_owned(),
        linger: Duration::from_secs(1),
        seed: 1,
    };
    let (supervisor, handle) = Supervisor::new(options, subjects, telemetry, Arc::new(AlwaysReady));
    tokio::spawn(supervisor.run());
    handle
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_state(handle: &Handle, endpoint: &str, state: &str) -> Status {
    let what = format!("{endpoint} is {state}");
    until(&what, || handle.status("p", endpoint).filter(|status| status.state == state)).await
}

#[tokio::test]
async fn a_stop_that_is_lost_with_its_connection_is_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let guardian = guardian(folder.path());
    let handle = supervise(folder.path(), vec![subject("a", "1", true)]);
    until_state(&handle, "a", "running").await;
    guardian.lock().unwrap().losing = 2;
    handle.stop("p", "a", "a test").unwrap();
    let status = until_state(&handle, "a", "stopped").await;
    assert!(!status.wanted);
    let stops = guardian.lock().unwrap().stops.clone();
    assert_eq!(stops, vec![("p/a".to_owned(), Some(1)); 3]);
}

#[tokio::test]
async fn a_hundred_starts_at_once_take_few_connections() {
    let folder = tempfile::tempdir().unwrap();
    let guardian = guardian(folder.path());
    guardian.lock().unwrap().slow = Duration::from_millis(5);
    let names: Vec<_> = (0..100).map(|number| format!("e{number}")).collect();
    let subjects = names.iter().map(|name| subject(name, "1", true)).collect();
    let handle = supervise(folder.path(), subjects);
    for name in &names {
        until_state(&handle, name, "running").await;
    }
    let most = guardian.lock().unwrap().orders.1;
    assert!(most <= 32, "{most} at once");
}

#[tokio::test]
async fn a_stop_waits_for_the_answer_to_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let guardian = guardian(folder.path());
    guardian.lock().unwrap().slow = Duration::from_millis(200);
    let handle = supervise(folder.path(), vec![subject("a", "1", true)]);
    until_state(&handle, "a", "starting").await;
    handle.stop("p", "a", "a test").unwrap();
    until_state(&handle, "a", "stopped").await;
    assert!(guardian.lock().unwrap().running.is_empty());
}

#[tokio::test]
async fn a_superseded_supervisor_comes_back_when_the_other_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let guardian = guardian(folder.path());
    let handle = supervise(folder.path(), vec![subject("a", "1", true)]);
    until_state(&handle, "a", "running").await;
    // Another gateway takes over, and starts something of its own.
    {
        let mut guardian = guardian.lock().unwrap();
        guardian.epoch += 1;
        guardian.unattended = Some(Duration::ZERO);
        guardian.running.insert("p/b".to_owned(), (1, "1".to_owned()));
    }
    until_state(&handle, "a", "elsewhere").await;
    assert_eq!(handle.command(), Command::Others);
    handle.stop("p", "a", "what is ordered meanwhile is kept in mind").unwrap();

    guardian.lock().unwrap().unattended = Some(Duration::from_secs(11));
    until("nobody gives orders", || (handle.command() == Command::Vacant).then_some(())).await;
    assert_eq!(guardian.lock().unwrap().epoch, 2, "it waits to be told what there is");
    let both = vec![subject("a", "1", true), subject("b", "1", true)];
    handle.set(both, "what the other one started is kept").unwrap();
    let found = until_state(&handle, "b", "running").await;
    assert_eq!((found.pid, handle.command()), (Some(101), Command::Ours));
    assert!(guardian.lock().unwrap().epoch >= 3);
    let stops = guardian.lock().unwrap().stops.clone();
    assert!(stops.iter().all(|(name, _)| name != "p/b"), "{stops:?}");
}

#[tokio::test]
async fn a_changed_process_runs_on_until_it_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let guardian = guardian(folder.path());
    let handle = supervise(folder.path(), vec![subject("a", "1", true)]);
    let before = until_state(&handle, "a", "running").await;
    handle.set(vec![subject("a", "2", true)], "a test").unwrap();
    let status = until("it is outdated", || handle.status("p", "a").filter(|it| it.outdated)).await;
    assert_eq!((status.state, status.pid), ("running", before.pid));
    assert!(handle.outdated_pools().contains("p"));
    handle.renew("p", "a", "its turn").unwrap();
    let renewed = until("it is new", || {
        handle.status("p", "a").filter(|it| !it.outdated && it.state == "running")
    });
    assert_eq!(renewed.await.pid, Some(102));
    assert_eq!(guardian.lock().unwrap().running["p/a"].1, "2");
}

#[tokio::test]
async fn one_that_is_no_standby_any_more_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let _guardian = guardian(folder.path());
    let handle = supervise(folder.path(), vec![subject("a", "1", false)]);
    assert_eq!(until_state(&handle, "a", "stopped").await.pid, None);
    handle.set(vec![subject("a", "1", true)], "a test").unwrap();
    until_state(&handle, "a", "running").await;
}
