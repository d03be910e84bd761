//! What goes to the guardian and what comes back, who gives it orders, and its loss.

use std::sync::Arc;
use std::time::Duration;

use mainstay_control::process::Event;
use tokio::sync::{Semaphore, mpsc};

use super::super::entry::{Entry, lost};
use super::super::{Command, Key};
use super::{Heard, Supervisor};
use crate::error::Error;
use crate::process::client::{self, Guardian, Link};
use crate::process::wire::{Answer, Report, Request};

/// The gateway that gives the orders watches at least every five seconds. One that has not for so
/// long is gone, or stands still and will be told.
const VACANT: Duration = Duration::from_secs(10);

impl Supervisor {
    /// A guardian, or a sign that the gateway which took ours over is gone.
    pub(super) async fn seek(&mut self) {
        match self.command() {
            Command::Ours => self.find_guardian().await,
            Command::Vacant => {}
            Command::Others => {
                let idle = client::unattended(&self.options.socket()).await;
                let why = match idle {
                    Ok(Some(idle)) if idle >= VACANT => {
                        format!("no other gateway has watched for {:.0} s", idle.as_secs_f64())
                    }
                    Ok(_) => return,
                    Err(error) => format!("the guardian does not answer: {error}"),
                };
                self.event("guardian", "another gateway's", "nobody's", why);
                *self.board.command() = Command::Vacant;
            }
        }
    }

    pub(super) fn command(&self) -> Command {
        *self.board.command()
    }

    async fn find_guardian(&mut self) {
        match client::guardian(&self.options).await {
            Ok(guardian) => {
                self.tell_guardian(&guardian);
                let watching = tokio::spawn(watch(guardian.clone(), self.heard.0.clone()));
                self.watching = Some(watching.abort_handle());
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

    /// A process that the configuration does not have any more.
    pub(super) fn dismiss(&self, report: &Report) {
        let Some(guardian) = &self.guardian else { return };
        let (epoch, name) = (guardian.epoch, report.name.clone());
        let request = match report.pid {
            // It is stopped by its own rule when it was removed while we watched; this is for one
            // that was removed while nobody did.
            Some(_) => Request::Stop {
                epoch,
                name,
                run: Some(report.run),
                stop: report.stop,
                not_ready: false,
            },
            None => Request::Forget { epoch, name },
        };
        // What does not arrive is sent again with the next report.
        let (guardian, to, places) = (guardian.clone(), self.heard.0.clone(), self.other_orders());
        tokio::spawn(async move {
            if let Err(error) = order(&guardian, &request, &to, &places).await {
                tracing::warn!(%error, "an order to the guardian failed, and will be given again");
            }
        });
    }

    pub(super) fn lost(&mut self, epoch: u64, why: &str) {
        if self.guardian.as_ref().is_none_or(|guardian| guardian.epoch != epoch) {
            return;
        }
        self.guardian = None;
        self.watching = None;
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

    /// Another gateway gives the orders. From now on it is only looked at whether that one is
    /// still there.
    pub(super) fn superseded(&mut self, epoch: u64, why: &str) {
        if self.guardian.as_ref().is_none_or(|guardian| guardian.epoch != epoch) {
            return;
        }
        self.guardian = None;
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
        *self.board.command() = Command::Others;
        for entry in self.entries.values_mut() {
            entry.leave_to_others("another gateway gives the orders");
        }
        self.event("guardian", "ours", "another gateway's", why.to_owned());
    }

    pub(super) fn start(&mut self, key: &Key) {
        let (Some(guardian), Some(entry)) = (self.guardian.clone(), self.entries.get_mut(key))
        else {
            return;
        };
        entry.pending = true;
        let (epoch, name) = (guardian.epoch, entry.name());
        let request = Request::Start { epoch, name, spec: Box::new(entry.subject.spec.clone()) };
        let (to, key, places) = (self.heard.0.clone(), key.clone(), Arc::clone(&self.places[0]));
        tokio::spawn(async move {
            let answer = order(&guardian, &request, &to, &places).await;
            let _retired = to.send(Heard::Started(key, answer)).await;
        });
    }

    /// A start that is under way is waited for first: the guardian could hear of the stop before.
    pub(super) fn stop(&mut self, key: &Key) {
        let (Some(guardian), Some(entry)) = (self.guardian.clone(), self.entries.get_mut(key))
        else {
            return;
        };
        if entry.pending {
            return;
        }
        entry.again = None;
        let run = entry.run;
        let request = Request::Stop {
            epoch: guardian.epoch,
            name: entry.name(),
            run,
            stop: entry.subject.stop,
            not_ready: entry.process.timed_out(),
        };
        let (to, key, places) = (self.heard.0.clone(), key.clone(), self.other_orders());
        tokio::spawn(async move {
            let answer = order(&guardian, &request, &to, &places).await;
            let _retired = to.send(Heard::Stopped(key, run, answer)).await;
        });
    }

    /// Slow starts must not hold up stops.
    fn other_orders(&self) -> Arc<Semaphore> {
        Arc::clone(&self.places[1])
    }
}

/// One order on a connection of its own: a slow start holds up nothing else.
async fn order(
    guardian: &Guardian,
    request: &Request,
    to: &mpsc::Sender<Heard>,
    places: &Semaphore,
) -> Result<Answer, Error> {
    // It is never closed.
    let _place = places.acquire().await;
    let answer = Link::open(&guardian.socket).await?.ask(request).await?;
    if let Answer::Refused(why) = &answer
        && is_of_another_epoch(why)
    {
        let _retired = to.send(Heard::Superseded(guardian.epoch, why.clone())).await;
    }
    Ok(answer)
}

/// Whether the guardian takes its orders from somebody else.
pub(super) fn is_of_another_epoch(why: &str) -> bool {
    why.starts_with("epoch ")
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
        let watch = Request::Watch { seen: known, epoch: Some(guardian.epoch) };
        match link.ask(&watch).await? {
            Answer::State { epoch, .. } if epoch > guardian.epoch => {
                let why = format!("epoch {} is over, {epoch} gives the orders now", guardian.epoch);
                let _retired = to.send(Heard::Superseded(guardian.epoch, why)).await;
                return Ok(());
            }
            Answer::State { seen, processes, .. } => {
                known = seen;
                if to.send(Heard::State(processes)).await.is_err() {
                    return Ok(());
                }
            }
            other => return Err(Error::Refused(format!("{other:?}"))),
        }
    }
}
