//! Makes the faults of the timetable happen while the traffic runs, and knows when it is over.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use mainstay_policy::Moment;
use mainstay_telemetry::Clock;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local};

use super::client::Client;
use super::journal::{Journal, Struck};
use super::stage::{Restarted, Stage};
use super::timetable::{Kind, Timetable};
use super::view::View;
use super::{measure, process, traffic, watch};

/// How precisely acts keep their time, and how often the view changes.
const TICK: Duration = Duration::from_millis(20);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The timetable was played to its end.
    Played,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// The demo while it runs.
struct Director<'d> {
    clock: Clock,
    timetable: &'d Timetable,
    stage: &'d mut Stage,
    journal: &'d RefCell<Journal>,
    view: &'d mut View,
    started: Moment,
    restarts: JoinSet<Restarted>,
    /// Changes that the view has shown.
    shown: usize,
    /// Since when everything has recovered.
    recovered: Option<Moment>,
}

/// Plays the whole timetable, with traffic all the time.
pub(super) async fn direct(
    clock: Clock,
    timetable: &Timetable,
    stage: &mut Stage,
    journal: &Rc<RefCell<Journal>>,
    view: &mut View,
) -> anyhow::Result<Ending> {
    let stop = Rc::new(Notify::new());
    let client = Rc::new(Client::new(stage.http()));
    let (rate, into) = (timetable.rate, Rc::clone(journal));
    let mut traffic = spawn_local(traffic::play(clock, client, rate, into, Rc::clone(&stop)));
    let watch = spawn_local(watch::watch(clock, Client::new(stage.admin()), Rc::clone(journal)));
    let (started, restarts) = (clock.now(), JoinSet::new());
    let (shown, recovered) = (0, None);
    let mut director =
        Director { clock, timetable, stage, journal, view, started, restarts, shown, recovered };
    let ending = tokio::select! {
        ending = director.run() => ending?,
        played = &mut traffic => {
            played.context("the traffic failed")??;
            anyhow::bail!("the traffic ended too soon");
        }
    };
    stop.notify_one();
    if ending == Ending::Played {
        traffic.await.context("the traffic failed")??;
    }
    watch.abort();
    Ok(ending)
}

impl Director<'_> {
    async fn run(&mut self) -> anyhow::Result<Ending> {
        let mut ticks = tokio::time::interval(TICK);
        let mut interrupted = pin!(process::interrupted());
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.act().await?;
                    self.show();
                    if self.is_over() {
                        return Ok(Ending::Played);
                    }
                }
                Some(restarted) = self.restarts.join_next() => {
                    self.stage.restarted(restarted.context("a restart failed")?)?;
                }
                () = &mut interrupted => return Ok(Ending::Interrupted),
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().since(self.started)
    }

    /// Makes every fault and repair whose time has come.
    async fn act(&mut self) -> anyhow::Result<()> {
        let elapsed = self.elapsed();
        let to_mend = measure::to_mend(&self.journal.borrow(), elapsed);
        for index in to_mend {
            self.mend(index);
        }
        let made = self.journal.borrow().struck.len();
        if let Some(fault) = self.timetable.faults.get(made).filter(|f| f.strikes <= elapsed) {
            let at = self.clock.now();
            let pids: Vec<_> =
                self.stage.servers(fault.target).iter().map(|s| s.pid().to_string()).collect();
            match fault.kind {
                Kind::Kill => self.stage.kill(fault.target).await?,
                Kind::Freeze => self.stage.freeze(fault.target),
            }
            self.journal.borrow_mut().struck.push(Struck { fault: *fault, at, mended: None });
            let signal = if fault.kind == Kind::Kill { "SIGKILL" } else { "SIGSTOP" };
            let text = format!("{} {}: {signal} to {}", fault.kind, fault.target, pids.join(", "));
            self.view.fault(elapsed, &text);
        }
        Ok(())
    }

    fn mend(&mut self, index: usize) {
        let mut journal = self.journal.borrow_mut();
        // Whoever answered before the repair cannot show that it worked.
        journal.forget_unattributed();
        let struck = &mut journal.struck[index];
        struck.mended = Some(self.clock.now());
        let target = struck.fault.target;
        let text = match struck.fault.kind {
            Kind::Kill => {
                self.stage.restart(target, &mut self.restarts);
                format!("restart {target}")
            }
            Kind::Freeze => {
                self.stage.thaw(target);
                format!("let {target} go on: SIGCONT")
            }
        };
        self.view.repair(self.started_to(self.clock.now()), &text);
    }

    fn started_to(&self, moment: Moment) -> Duration {
        moment.since(self.started)
    }

    /// Tells what has changed.
    fn show(&mut self) {
        let elapsed = self.elapsed();
        let journal = self.journal.borrow();
        for change in &journal.changes[self.shown..] {
            if change.at >= self.started {
                self.view.change(change.at.since(self.started), &change.text);
            }
        }
        self.shown = journal.changes.len();
        self.view.update(elapsed, &journal, self.stage);
    }

    /// When everything was mended and has been calm for a while; at the latest when the
    /// timetable says so.
    fn is_over(&mut self) -> bool {
        let now = self.clock.now();
        if self.elapsed() >= self.timetable.latest {
            return true;
        }
        if self.recovered.is_none() {
            let journal = self.journal.borrow();
            let made = journal.struck.len() == self.timetable.faults.len();
            if made && self.restarts.is_empty() && measure::all_recovered(&journal) {
                self.recovered = Some(now);
            }
        }
        self.recovered.is_some_and(|since| now.since(since) >= self.timetable.calm)
    }
}
