//! The task that supervises: it translates between orders, the guardian and [`Entry`]s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_control::process::{self, Event, Exit, State, Step};
use mainstay_telemetry::{self as telemetry, EventKind, Telemetry};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use self::guarded::is_of_another_epoch;
use super::entry::{Entry, Missed, News, refused};
use super::{
    Board, Command, Handle, Key, ORDERS, ORDERS_AT_ONCE, Options, Order, Subject, Verdicts,
};
use crate::error::Error;
use crate::process::client::Guardian;
use crate::process::wire::{Answer, Report};

mod guarded;

/// Between two looks at time and verdicts.
const TICK: Duration = Duration::from_millis(100);
/// How long a standby that an earlier gateway started is kept for this one to want it too: time
/// to learn how its group stands.
const KEPT: Duration = Duration::from_secs(120);
/// Between two tries for a guardian.
const RETRY: Duration = Duration::from_secs(1);
/// Before an order is given again that did not reach the guardian.
const AGAIN: Duration = Duration::from_millis(500);

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
    watching: Option<AbortHandle>,
    /// Places for starts and for other orders.
    places: [Arc<Semaphore>; 2],
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
}

/// What comes back from the guardian.
#[derive(Debug)]
enum Heard {
    State(Vec<Report>),
    /// Of the guardian with this epoch.
    Lost(u64, String),
    Started(Key, Result<Answer, Error>),
    /// The answer to the stop of this run.
    Stopped(Key, Option<u64>, Result<Answer, Error>),
    /// Another gateway than that of this epoch gives the orders now.
    Superseded(u64, String),
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
            watching: None,
            places: std::array::from_fn(|_| Arc::new(Semaphore::new(ORDERS_AT_ONCE))),
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
                Some(heard) = self.heard.1.recv() => self.hear(heard),
                _ = ticks.tick() => self.tick(),
                _ = tries.tick(), if self.guardian.is_none() && !self.entries.is_empty() => {
                    self.seek().await;
                }
            }
            self.publish();
        }
    }

    fn add(&mut self, subject: Subject) {
        let key = (subject.pool.clone(), subject.endpoint.clone());
        self.entries.insert(key, Entry::new(subject));
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
                    self.want(&key, wanted, &cause);
                }
            }
            Order::Set { subjects, cause } => {
                self.set(subjects, &cause);
                let mut command = self.board.command();
                if *command == Command::Vacant {
                    *command = Command::Ours;
                }
            }
            Order::Renew { key, cause } => self.step(&key, &Event::Changed, &cause),
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
            self.want(&key, false, cause);
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
            // One that was a standby, and is none any more, is wanted like any other.
            let joins = subject.wanted && !entry.declared;
            entry.declared = subject.wanted;
            let wanted = entry.subject.wanted || joins;
            entry.subject = Subject { wanted, ..subject };
            let waits =
                matches!(entry.process.state(), State::BackingOff { .. } | State::CrashLoop { .. });
            if joins {
                entry.kept = None;
                self.want(&key, true, &format!("no standby any more in {cause}"));
            } else if changed && waits && self.command() == Command::Ours {
                self.step(&key, &Event::Changed, &format!("another process in {cause}"));
            }
        }
    }

    /// While another gateway gives the orders, what is wanted is only kept in mind.
    fn want(&mut self, key: &Key, wanted: bool, cause: &str) {
        if self.command() == Command::Ours {
            self.step(key, &Event::Wanted(wanted), cause);
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
            if let Some(missed) = entry.missed(now) {
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
        entry.again = None;
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
            // What was asked before another gateway took over.
            Heard::Started(..) | Heard::Stopped(..) if self.command() != Command::Ours => {}
            Heard::Started(key, answer) => self.answered(&key, answer),
            Heard::Stopped(key, run, answer) => self.stopped(&key, run, answer),
            Heard::Superseded(epoch, why) => self.superseded(epoch, &why),
        }
    }

    fn state(&mut self, reports: Vec<Report>) {
        if self.guardian.is_none() {
            return;
        }
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

    /// What the guardian said, against what we hold.
    fn reconcile(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match entry.news() {
            Some(News::Ended(exit)) => self.step(key, &Event::Exited(&exit), ""),
            Some(News::Found { pid, since }) => {
                let wanted = entry.subject.wanted;
                self.step(key, &Event::Adopted { pid, since }, "");
                if wanted {
                    self.step(key, &Event::Wanted(true), "");
                } else {
                    self.keep(key);
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
                if matches!(entry.process.state(), State::Stopping { .. }) {
                    // Its stop waited for this answer.
                    return self.stop(key);
                }
                self.step(key, &Event::Started { pid }, "");
                self.reconcile(key);
            }
            Ok(Answer::NotStarted { exit }) => self.never(key, &exit),
            Ok(Answer::Refused(why)) => self.never(key, &refused(why)),
            Ok(other) => {
                self.never(key, &refused(format!("an answer to something else: {other:?}")))
            }
            Err(error) => self.failed(key, &error),
        }
    }

    /// The answer to the stop of a run.
    fn stopped(&mut self, key: &Key, run: Option<u64>, answer: Result<Answer, Error>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let is_meant = entry.run == run && matches!(entry.process.state(), State::Stopping { .. });
        match answer {
            _ if !is_meant => {}
            Ok(Answer::Refused(why)) if !is_of_another_epoch(&why) => {
                entry.run = None;
                self.never(key, &refused(why));
            }
            Ok(_) => {}
            Err(error) => self.failed(key, &error),
        }
    }

    /// An order did not reach the guardian, or its answer did not reach us. That says nothing of
    /// the process: it is given again, unless a report tells meanwhile that it was carried out.
    fn failed(&mut self, key: &Key, error: &Error) {
        let again = self.telemetry.clock().now() + AGAIN;
        if let Some(entry) = self.entries.get_mut(key) {
            tracing::warn!(%error, process = %entry.name(), "an order is given again");
            entry.again = Some(again);
        }
    }

    fn never(&mut self, key: &Key, exit: &Exit) {
        let now = self.telemetry.clock().now();
        if let Some(entry) = self.entries.get_mut(key) {
            entry.ended_unseen(exit.clone(), now);
        }
        self.step(key, &Event::Exited(exit), "");
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
            Some(process::Command::Start) => self.start(key),
            Some(process::Command::Stop) => self.stop(key),
            None => {}
        }
    }

    fn publish(&self) {
        let elsewhere = self.command() != Command::Ours;
        let status = |entry: &Entry| {
            let mut status = entry.status();
            if elsewhere {
                status.state = "elsewhere";
            }
            status
        };
        let all = self.entries.iter().map(|(key, entry)| (key.clone(), status(entry)));
        *self.board.lock() = all.collect();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
    }
}
