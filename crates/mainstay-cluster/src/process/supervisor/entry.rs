//! One process: what it is meant to be, what the guardian says of it, and what follows.

use mainstay_control::process::{Cause, Event, Exit, Process, State, Step};
use mainstay_policy::Moment;

use super::{Status, Subject};
use crate::process::wire::Report;

/// One supervised process.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    pub(super) process: Process,
    /// The number of the start that the state speaks of.
    pub(super) run: Option<u64>,
    /// Whether an answer to a start is awaited.
    pub(super) pending: bool,
    /// Whether it is wanted by what is configured, whatever was ordered since.
    pub(super) declared: bool,
    /// When an order that did not reach the guardian is given again.
    pub(super) again: Option<Moment>,
    /// Until when one that was found running, and that nobody wants yet, is kept.
    pub(super) kept: Option<Moment>,
    /// What the guardian said last, and when.
    report: Option<(Report, Moment)>,
    /// An end that the guardian cannot tell of.
    own: Option<(Exit, Moment)>,
    pub(super) why: String,
}

impl Entry {
    pub(super) fn new(subject: Subject) -> Self {
        let process = Process::new(subject.restart);
        let why = if subject.wanted { "not started yet" } else { "a standby that is not needed" };
        Self {
            declared: subject.wanted,
            subject,
            process,
            run: None,
            pending: false,
            again: None,
            kept: None,
            report: None,
            own: None,
            why: why.to_owned(),
        }
    }

    /// `pool/endpoint`: its name for the guardian, and in events.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.subject.pool, self.subject.endpoint)
    }

    /// A step of its state; the cause of a change is kept.
    pub(super) fn step(
        &mut self,
        event: &Event<'_>,
        why: &str,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Step {
        let step = self.process.step(event, why, now, rng);
        if let Some(change) = &step.change {
            self.why.clone_from(&change.cause);
        }
        if matches!(event, Event::Exited(_)) {
            // One that is not to be started again is not wanted from now on.
            self.subject.wanted &= self.process.is_wanted();
        }
        step
    }

    pub(super) fn heard(&mut self, report: Report, now: Moment) {
        self.report = Some((report, now));
    }

    pub(super) fn ended_unseen(&mut self, exit: Exit, now: Moment) {
        self.own = Some((exit, now));
    }

    /// What the last report means for the state, if anything.
    pub(super) fn news(&mut self) -> Option<News> {
        if self.pending {
            return None;
        }
        let (report, heard) = self.report.as_ref()?;
        let there = report.pid.filter(|_| self.run != Some(report.run));
        if let Some(pid) = there.filter(|_| !self.is_there()) {
            self.run = Some(report.run);
            return Some(News::Found { pid, since: *heard - report.age });
        }
        let last = report.last.as_ref().filter(|_| report.pid.is_none());
        let last = last.filter(|last| Some(last.run) == self.run && self.is_there())?;
        self.run = None;
        Some(News::Ended(last.exit.clone()))
    }

    /// Its guardian is lost, and nothing is known of what runs.
    pub(super) const fn lost_sight(&mut self) {
        if let Some((report, _)) = &mut self.report {
            report.pid = None;
        }
    }

    /// What did not reach the guardian when it was ordered, or nobody was there to carry out.
    /// Whatever was carried out has a run, or an answer is awaited.
    pub(super) fn missed(&self, now: Moment) -> Option<Missed> {
        if self.pending || self.again.is_some_and(|again| now < again) {
            return None;
        }
        if let Some(run) = self.run {
            let is_due =
                self.again.is_some() && matches!(self.process.state(), State::Stopping { .. });
            return is_due.then_some(Missed::Stop { run });
        }
        let running = self.report.as_ref().filter(|(report, _)| report.pid.is_some());
        match self.process.state() {
            State::Starting { pid: None, .. } => Some(Missed::Start),
            State::Stopping { .. } => {
                Some(running.map_or(Missed::All, |(report, _)| Missed::Stop { run: report.run }))
            }
            _ => None,
        }
    }

    /// Whether what runs was made from another spec. What the guardian said of an earlier run says
    /// nothing of this one.
    pub(super) fn is_outdated(&self) -> bool {
        let report = self.report.as_ref().map(|(report, _)| report);
        let report = report.filter(|report| Some(report.run) == self.run && self.is_there());
        report.is_some_and(|report| report.fingerprint != self.subject.spec.fingerprint)
    }

    /// Another gateway gives the orders: what it makes of the process is learned anew.
    pub(super) fn leave_to_others(&mut self, why: &str) {
        let anew = Self::new(self.subject.clone());
        let (declared, report, own) = (self.declared, self.report.take(), self.own.take());
        *self = Self { declared, report, own, why: why.to_owned(), ..anew };
    }

    /// Whether the state speaks of a process that is there.
    pub(super) const fn is_there(&self) -> bool {
        match self.process.state() {
            State::Starting { pid, .. } => pid.is_some(),
            State::Running { .. } | State::Stopping { .. } => true,
            State::Stopped | State::BackingOff { .. } | State::CrashLoop { .. } => false,
        }
    }

    /// Since when it has to have been seen to be ready, if that is what it waits for.
    pub(super) const fn waits_for_ready(&self) -> Option<Moment> {
        match self.process.state() {
            State::Starting { pid: Some(_), .. } => Some(self.process.begun()),
            _ => None,
        }
    }

    pub(super) fn status(&self) -> Status {
        let report = self.report.as_ref();
        let (pid, started, until) = match self.process.state() {
            State::Starting { pid, since } => (pid, Some(since), None),
            State::Running { pid, since } => (Some(pid), Some(since), None),
            State::Stopping { .. } => (report.and_then(|(report, _)| report.pid), None, None),
            State::BackingOff { until } | State::CrashLoop { until } => (None, None, Some(until)),
            State::Stopped => (None, None, None),
        };
        let told = report.and_then(|(report, heard)| {
            report.last.as_ref().map(|last| (last.exit.clone(), *heard - last.age))
        });
        let told = told.filter(|(_, at)| self.own.as_ref().is_none_or(|(_, own)| at >= own));
        Status {
            state: self.process.state().as_str(),
            wanted: self.process.is_wanted(),
            outdated: self.is_outdated(),
            crash_looping: self.process.is_looping(),
            pid,
            started,
            until,
            failures: report.map_or(0, |(report, _)| report.failures),
            last: told.or_else(|| self.own.clone()),
            why: self.why.clone(),
            limits: report.map(|(report, _)| report.limits.clone()).unwrap_or_default(),
            log: self.subject.spec.log.path.clone(),
            tail: report.map(|(report, _)| report.tail.clone()).unwrap_or_default(),
        }
    }
}

/// What was ordered while no guardian was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// A start.
    Start,
    /// The stop of this run.
    Stop { run: u64 },
    /// A start and then a stop: nothing runs.
    All,
}

/// What a report means.
#[derive(Debug)]
pub(super) enum News {
    /// It runs, started by an earlier gateway.
    Found { pid: u32, since: Moment },
    /// It has ended.
    Ended(Exit),
}

/// The end of a process whose guardian has ended.
pub(super) fn lost() -> Exit {
    let evidence = "the guardian ended, and the kernel killed what it had started".to_owned();
    Exit { cause: Cause::GuardianLost, evidence, ran: std::time::Duration::ZERO }
}

/// The end of a process that the guardian would not start.
pub(super) fn refused(why: String) -> Exit {
    Exit { cause: Cause::NotStarted, evidence: why, ran: std::time::Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use mainstay_control::process::Restart;

    use super::*;
    use crate::process::wire::{Limits, Log, Spec, StopRule};

    fn entry() -> Entry {
        let stop = StopRule { signal: 15, grace: std::time::Duration::from_secs(1) };
        Entry::new(Subject {
            pool: "p".to_owned(),
            endpoint: "e".to_owned(),
            spec: Spec {
                argv: Vec::new(),
                env: Vec::new(),
                user: None,
                dir: None,
                limits: Limits::default(),
                stop,
                log: Log { path: "log".into(), size: 1, files: 1 },
                fingerprint: String::new(),
            },
            restart: Restart::default(),
            stop,
            wanted: true,
        })
    }

    #[test]
    fn what_was_ordered_without_a_guardian_is_missed() {
        let (mut entry, mut rng) = (entry(), fastrand::Rng::with_seed(1));
        let mut step = |entry: &mut Entry, event: &Event<'_>| {
            entry.step(event, "", Moment::ZERO, &mut rng);
        };
        let now = Moment::from_nanos(7);
        assert_eq!(entry.missed(now), None);
        step(&mut entry, &Event::Wanted(true));
        assert_eq!(entry.missed(now), Some(Missed::Start));
        entry.pending = true;
        assert_eq!(entry.missed(now), None);
        entry.pending = false;
        step(&mut entry, &Event::Wanted(false));
        assert_eq!(entry.missed(now), Some(Missed::All));
        step(&mut entry, &Event::Exited(&refused(String::new())));
        assert_eq!((entry.process.state(), entry.missed(now)), (State::Stopped, None));
    }

    #[test]
    fn a_stop_that_did_not_arrive_is_given_again_after_a_pause() {
        let (mut entry, mut rng) = (entry(), fastrand::Rng::with_seed(1));
        for event in [Event::Wanted(true), Event::Started { pid: 9 }, Event::Wanted(false)] {
            entry.step(&event, "", Moment::ZERO, &mut rng);
        }
        entry.run = Some(3);
        let (early, late) = (Moment::from_nanos(1), Moment::from_nanos(2));
        assert_eq!(entry.missed(late), None, "it is under way");
        entry.again = Some(late);
        assert_eq!(entry.missed(early), None);
        assert_eq!(entry.missed(late), Some(Missed::Stop { run: 3 }));
    }
}
