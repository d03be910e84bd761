//! The task that supervises: it translates between orders, the guardian and [`Entry`]s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_control::process::{Command, Event, Exit, Step};
use mainstay_telemetry::{self as telemetry, EventKind, Telemetry};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::entry::{Entry, Missed, News, lost, refused};
use super::{Board, Handle, Key, ORDERS, Options, Order, Subject, Verdicts};
use crate::error::Error;
use crate::process::client::{self, Guardian, Link};
use crate::process::wire::{Answer, Report, Request};

/// Between two looks at time and verdicts.
const TICK: Duration = Duration::from_millis(100);
/// How long a standby that an earlier gateway started is kept for this one to want it too: time
/// to learn how its group stands.
const KEPT: Duration = Duration::from_secs(120);
/// Between two tries for a guardian.
const RETRY: Duration = Duration::from_secs(1);

/// Supervises; run it on the control runtime.
pub struct Supervisor {
    options: Options,
    telemetry: Arc<Telemetry>,
    verdicts: Arc<dyn Verdicts>,
    orders: mpsc::Receiver<Order>,
    board: Arc<Board>,
    entries: BTreeMap<Key, Entry>,
    rng: fastrand::Rng,
    guardian: Option<Guardian>,
    /// Whether there was one before: its end is told of.
    had_guardian: bool,
    /// Whether the guardian has said what runs: nothing is started before.
    informed: bool,
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
}

/// What comes back from the guardian.
#[derive(Debug)]
enum Heard {
    State(Vec<Report>),
    /// Of the guardian with this epoch.
    Lost(u64, String),
    Started(Key, Result<Answer, Error>),
    /// Another gateway gives the orders now.
    Superseded(String),
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor of these processes, and the hand on it.
    #[must_use]
    pub fn new(
        options: Options,
        subjects: Vec<Subject>,
        telemetry: Arc<Telemetry>,
        verdicts: Arc<dyn Verdicts>,
    ) -> (Self, Handle) {
        let (sender, orders) = mpsc::channel(ORDERS);
        let board = Arc::new(Board::default());
        let handle = Handle { orders: sender, board: Arc::clone(&board) };
        let mut supervisor = Self {
            rng: fastrand::Rng::with_seed(options.seed),
            options,
            telemetry,
            verdicts,
            orders,
            board,
            entries: BTreeMap::new(),
            guardian: None,
            had_guardian: false,
            informed: false,
            heard: mpsc::channel(ORDERS),
        };
        for subject in subjects {
            supervisor.add(subject);
        }
        supervisor.publish();
        (supervisor, handle)
    }

    /// Supervises until it is told to retire. What runs then goes on.
    pub async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tries = interval(RETRY);
        tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Orders first: what the guardian says is judged by them.
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Retire) | None => return,
                    Some(order) => self.obey(order),
                },
                Some(heard) = self.heard.1.recv() => match heard {
                    Heard::Superseded(why) => return self.superseded(&why),
                    heard => self.hear(heard),
                },
                _ = ticks.tick() => self.tick(),
                _ = tries.tick(), if self.guardian.is_none() && !self.entries.is_empty() => {
                    self.find_guardian().await;
                }
            }
            self.publish();
        }
    }

    fn add(&mut self, subject: Subject) {
        let key = (subject.pool.clone(), subject.endpoint.clone());
        self.entries.insert(key, Entry::new(subject));
    }

    async fn find_guardian(&mut self) {
        match client::guardian(&self.options).await {
            Ok(guardian) => {
                self.tell_guardian(&guardian);
                tokio::spawn(watch(guardian.clone(), self.heard.0.clone()));
                self.guardian = Some(guardian);
                self.had_guardian = true;
                self.informed = false;
            }
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(error = cause, "no guardian, so no process is supervised");
            }
        }
    }

    fn tell_guardian(&self, guardian: &Guardian) {
        let (from, to) = match (guardian.is_new, self.had_guardian) {
            (false, _) => ("away", "found"),
            (true, false) => ("none", "started"),
            (true, true) => ("lost", "started"),
        };
        let cause = format!("process {}, socket {}", guardian.pid, guardian.socket.display());
        self.event("guardian", from, to, cause);
    }

    fn event(&self, subject: &str, from: &str, to: &str, cause: String) {
        let (subject, from, to) = (subject.to_owned(), from.to_owned(), to.to_owned());
        self.telemetry.event(telemetry::Event {
            kind: EventKind::Process,
            subject,
            from,
            to,
            cause,
        });
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Want { key, wanted, cause } => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.subject.wanted = wanted;
                    entry.kept = None;
                    self.step(&key, &Event::Wanted(wanted), &cause);
                }
            }
            Order::Set { subjects, cause } => self.set(subjects, &cause),
            Order::Retire => {}
        }
    }

    fn set(&mut self, subjects: Vec<Subject>, cause: &str) {
        let key = |subject: &Subject| (subject.pool.clone(), subject.endpoint.clone());
        let gone: Vec<Key> = self
            .entries
            .keys()
            .filter(|known| !subjects.iter().any(|subject| key(subject) == **known))
            .cloned()
            .collect();
        for key in gone {
            self.step(&key, &Event::Wanted(false), cause);
            self.entries.remove(&key);
        }
        for subject in subjects {
            let key = key(&subject);
            let Some(entry) = self.entries.get_mut(&key) else {
                self.add(subject);
                continue;
            };
            let changed = entry.subject.spec.fingerprint != subject.spec.fingerprint;
            entry.process.set_restart(subject.restart);
            let wanted = entry.subject.wanted;
            entry.subject = Subject { wanted, ..subject };
            if changed {
                self.step(&key, &Event::Changed, &format!("another process in {cause}"));
            }
        }
    }

    fn tick(&mut self) {
        if self.guardian.is_none() || !self.informed {
            return;
        }
        let now = self.telemetry.clock().now();
        let keys: Vec<Key> = self.entries.keys().cloned().collect();
        for key in keys {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if let Some(missed) = entry.missed() {
                self.catch_up(&key, missed);
                continue;
            }
            if entry.subject.wanted && !entry.process.is_wanted() && !entry.is_there() {
                self.step(&key, &Event::Wanted(true), "wanted from the start");
                continue;
            }
            if entry.kept.take_if(|until| now >= *until).is_some() {
                self.step(&key, &Event::Wanted(false), "found running, and nobody wants it");
                continue;
            }
            let since = entry.waits_for_ready();
            if since.is_some_and(|since| self.verdicts.is_ready(&key.0, &key.1, since)) {
                self.step(&key, &Event::Ready, "");
            }
            self.step(&key, &Event::Tick, "");
        }
    }

    /// Carries out what was ordered while no guardian was there.
    fn catch_up(&mut self, key: &Key, missed: Missed) {
        let now = self.telemetry.clock().now();
        let Some(entry) = self.entries.get_mut(key) else { return };
        match missed {
            Missed::Start => {
                entry.process.begin_late(now);
                self.start(key);
            }
            Missed::Stop { run } => {
                entry.run = Some(run);
                self.stop(key);
            }
            Missed::All => self.never(key, &refused("no guardian was there".to_owned())),
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::State(reports) => self.state(reports),
            Heard::Lost(epoch, why) => self.lost(epoch, &why),
            Heard::Started(key, answer) => self.answered(&key, answer),
            Heard::Superseded(_) => {}
        }
    }

    fn state(&mut self, reports: Vec<Report>) {
        let now = self.telemetry.clock().now();
        self.informed = true;
        for report in reports {
            let name = report.name.clone();
            let key = name.split_once('/').map(|(pool, end)| (pool.to_owned(), end.to_owned()));
            match key.filter(|key| self.entries.contains_key(key)) {
                Some(key) => {
                    if let Some(entry) = self.entries.get_mut(&key) {
                        entry.heard(report, now);
                    }
                    self.reconcile(&key);
                }
                None => self.dismiss(&report),
            }
        }
    }

    /// A process that the configuration does not have any more.
    fn dismiss(&self, report: &Report) {
        let Some(guardian) = &self.guardian else { return };
        let (epoch, name) = (guardian.epoch, report.name.clone());
        let request = match report.pid {
            // It is stopped by its own rule when it was removed while we watched; this is for one
            // that was removed while nobody did.
            Some(_) => Request::Stop { epoch, name, stop: report.stop, not_ready: false },
            None => Request::Forget { epoch, name },
        };
        self.send(request);
    }

    /// What the guardian said, against what we hold.
    fn reconcile(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match entry.news() {
            Some(News::Ended(exit)) => self.step(key, &Event::Exited(&exit), ""),
            Some(News::Found { pid, since, other }) => {
                let wanted = entry.subject.wanted;
                self.step(key, &Event::Adopted { pid, since }, "");
                if wanted {
                    self.step(key, &Event::Wanted(true), "");
                } else {
                    self.keep(key);
                }
                if other && wanted {
                    self.step(key, &Event::Changed, "found running from another configuration");
                }
            }
            None => {}
        }
    }

    fn keep(&mut self, key: &Key) {
        let until = self.telemetry.clock().now() + KEPT;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.kept = Some(until);
        }
    }

    fn answered(&mut self, key: &Key, answer: Result<Answer, Error>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.pending = false;
        match answer {
            Ok(Answer::Started { pid, run }) => {
                entry.run = Some(run);
                self.step(key, &Event::Started { pid }, "");
                self.reconcile(key);
            }
            Ok(Answer::NotStarted { exit }) => self.never(key, &exit),
            Ok(Answer::Refused(why)) => self.never(key, &refused(why)),
            Ok(other) => {
                self.never(key, &refused(format!("an answer to something else: {other:?}")))
            }
            Err(error) => self.never(key, &refused(error.to_string())),
        }
    }

    fn never(&mut self, key: &Key, exit: &Exit) {
        let now = self.telemetry.clock().now();
        if let Some(entry) = self.entries.get_mut(key) {
            entry.ended_unseen(exit.clone(), now);
        }
        self.step(key, &Event::Exited(exit), "");
    }

    fn lost(&mut self, epoch: u64, why: &str) {
        if self.guardian.as_ref().is_none_or(|guardian| guardian.epoch != epoch) {
            return;
        }
        self.guardian = None;
        tracing::error!(why, "the guardian is lost");
        self.event("guardian", "found", "lost", why.to_owned());
        let now = self.telemetry.clock().now();
        self.entries.values_mut().for_each(Entry::lost_sight);
        let there: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_there() || entry.pending)
            .map(|(key, _)| key.clone())
            .collect();
        for key in there {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.pending = false;
                entry.run = None;
                entry.ended_unseen(lost(), now);
            }
            self.step(&key, &Event::Exited(&lost()), "");
        }
    }

    fn superseded(&self, why: &str) {
        self.event("guardian", "ours", "another gateway's", why.to_owned());
    }

    /// One step of one process, and what it commands.
    fn step(&mut self, key: &Key, event: &Event<'_>, why: &str) {
        let now = self.telemetry.clock().now();
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Step { command, change } = entry.step(event, why, now, &mut self.rng);
        let name = entry.name();
        if let Some(change) = change {
            if change.to == "crash-loop" {
                tracing::error!(process = %name, cause = %change.cause, "a crash loop");
            }
            self.event(&name, change.from, change.to, change.cause);
        }
        match command {
            Some(Command::Start) => self.start(key),
            Some(Command::Stop) => self.stop(key),
            None => {}
        }
    }

    fn start(&mut self, key: &Key) {
        let (Some(guardian), Some(entry)) = (self.guardian.clone(), self.entries.get_mut(key))
        else {
            return;
        };
        entry.pending = true;
        let (epoch, name) = (guardian.epoch, entry.name());
        let request = Request::Start { epoch, name, spec: Box::new(entry.subject.spec.clone()) };
        let (to, key) = (self.heard.0.clone(), key.clone());
        tokio::spawn(async move {
            let answer = order(&guardian, &request, &to).await;
            let _retired = to.send(Heard::Started(key, answer)).await;
        });
    }

    fn stop(&self, key: &Key) {
        let (Some(guardian), Some(entry)) = (&self.guardian, self.entries.get(key)) else { return };
        self.send(Request::Stop {
            epoch: guardian.epoch,
            name: entry.name(),
            stop: entry.subject.stop,
            not_ready: entry.process.timed_out(),
        });
    }

    fn send(&self, request: Request) {
        let Some(guardian) = self.guardian.clone() else { return };
        let to = self.heard.0.clone();
        tokio::spawn(async move {
            if let Err(error) = order(&guardian, &request, &to).await {
                tracing::warn!(%error, "an order to the guardian failed");
            }
        });
    }

    fn publish(&self) {
        let status = |entry: &Entry| entry.status();
        let all = self.entries.iter().map(|(key, entry)| (key.clone(), status(entry)));
        *self.board.lock() = all.collect();
    }
}

/// One order on a connection of its own: a slow start holds up nothing else.
async fn order(
    guardian: &Guardian,
    request: &Request,
    to: &mpsc::Sender<Heard>,
) -> Result<Answer, Error> {
    let answer = Link::open(&guardian.socket).await?.ask(request).await?;
    if let Answer::Refused(why) = &answer
        && why.starts_with("epoch ")
    {
        let _retired = to.send(Heard::Superseded(why.clone())).await;
    }
    Ok(answer)
}

/// Passes the guardian's reports on until it is lost.
async fn watch(guardian: Guardian, to: mpsc::Sender<Heard>) {
    let why = match passed_on(&guardian, &to).await {
        Ok(()) => return,
        Err(error) => error.to_string(),
    };
    let _retired = to.send(Heard::Lost(guardian.epoch, why)).await;
}

/// Ends well only when nobody listens any more.
async fn passed_on(guardian: &Guardian, to: &mpsc::Sender<Heard>) -> Result<(), Error> {
    let mut link = Link::open(&guardian.socket).await?;
    let mut known = 0;
    loop {
        match link.ask(&Request::Watch { seen: known }).await? {
            Answer::State { seen, processes } => {
                known = seen;
                if to.send(Heard::State(processes)).await.is_err() {
                    return Ok(());
                }
            }
            other => return Err(Error::Refused(format!("{other:?}"))),
        }
    }
}
