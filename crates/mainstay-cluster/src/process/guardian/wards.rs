//! What the guardian has in its care, and what it is asked about it.
//!
//! A process counts as there until nothing of it is left: its end is told only when everything
//! that it started has ended too and its last output has been read. So a port that it held is
//! free when it is started again, and the cause of its end is judged by all that it said.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mainstay_control::process::exit::{Seen, judge};
use mainstay_control::process::stop::Action;
use mainstay_control::process::{Cause, Exit, Stop};
use mainstay_policy::Moment;
use mainstay_telemetry::Clock;
use rustix::process::{Pid, Signal, WaitStatus, kill_process};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::cgroup::{Root, system_kills};
use super::child::{Child, Name, spawn};
use super::members;
use crate::process::wire::{self, Answer, Ended, PROTOCOL, Report, Request, Spec, StopRule};

/// No guardian has more processes.
const MOST: usize = 1024;
/// Between two looks at what is being stopped.
const LOOK: Duration = Duration::from_millis(50);
/// How long the end of a process waits for the rest of its output.
const OUTPUT: Duration = Duration::from_secs(1);
/// Who says nothing for so long, or takes no answer, loses its connection: it is a place for others.
/// Whoever gives orders or watches speaks at once.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the state is withheld from who knows it already.
const WATCH: Duration = Duration::from_secs(5);

/// Everything in the guardian's care.
#[derive(Debug)]
pub(super) struct Wards {
    mark: String,
    wrapper: Vec<String>,
    clock: Clock,
    wards: BTreeMap<String, Ward>,
    /// After the wards, whose groups are in it and removed first.
    root: Option<Root>,
    epoch: u64,
    /// When somebody of this epoch watched last; `None` where it does not say.
    attended: Option<Moment>,
    visitors: usize,
    /// When the last visitor left.
    alone: Moment,
    changed: watch::Sender<u64>,
}

/// One process that was started at some time.
#[derive(Debug)]
struct Ward {
    spec: Spec,
    run: u64,
    started: Moment,
    child: Option<Child>,
    /// It has not become itself yet.
    starting: bool,
    /// Why it never will.
    refusal: Option<String>,
    /// The last signal that was sent to it.
    sent: Option<i32>,
    stop: Option<Stop>,
    not_ready: bool,
    status: Option<(WaitStatus, Moment)>,
    last: Option<(u64, Exit, Moment)>,
    failures: u64,
    limits: String,
    tail: Vec<String>,
}

impl Wards {
    pub(super) fn new(mark: String, wrapper: Vec<String>) -> Self {
        let clock = Clock::start();
        let (changed, _) = watch::channel(1);
        let (root, alone) = (Root::find(), clock.now());
        let wards = BTreeMap::new();
        Self {
            mark,
            wrapper,
            root,
            clock,
            wards,
            epoch: 0,
            attended: None,
            visitors: 0,
            alone,
            changed,
        }
    }

    pub(super) const fn arrived(&mut self) {
        self.visitors += 1;
    }

    pub(super) fn left(&mut self) {
        self.visitors -= 1;
        self.alone = self.clock.now();
    }

    pub(super) fn alone_for(&self) -> Duration {
        match self.visitors {
            0 => self.clock.now().since(self.alone),
            _ => Duration::ZERO,
        }
    }

    /// Something that this process is the parent of has ended.
    pub(super) fn ended(&mut self, pid: Pid, status: WaitStatus) {
        let now = self.clock.now();
        let ward = self.wards.values_mut().find(|ward| ward.pid() == Some(pid));
        if let Some(ward) = ward.filter(|ward| ward.status.is_none()) {
            ward.status = Some((status, now));
            self.look();
        }
    }

    /// Goes on with everything that is on its way out; whether something still is.
    fn look(&mut self) -> bool {
        let (now, mark) = (self.clock.now(), self.mark.clone());
        let mut leaving = false;
        for (name, ward) in &mut self.wards {
            if ward.look(&format!("{mark}/{name}"), now) {
                leaving |= ward.child.is_some();
                if ward.child.is_none() {
                    self.changed.send_modify(|number| *number += 1);
                }
            }
        }
        leaving
    }

    fn tell(&self) {
        self.changed.send_modify(|number| *number += 1);
    }

    fn state(&self) -> Answer {
        let now = self.clock.now();
        let processes = self.wards.iter().map(|(name, ward)| ward.report(name, now)).collect();
        Answer::State {
            seen: *self.changed.borrow(),
            epoch: self.epoch,
            unattended: self.attended.map(|at| now.since(at)),
            processes,
        }
    }

    /// Somebody of this epoch is there.
    fn attend(&mut self, epoch: Option<u64>) {
        if epoch == Some(self.epoch) {
            self.attended = Some(self.clock.now());
        }
    }

    fn hello(&mut self, protocol: u32, attends: bool) -> Answer {
        if protocol != PROTOCOL {
            return Answer::Refused(format!("this guardian speaks version {PROTOCOL}"));
        }
        self.epoch += 1;
        self.attended = attends.then(|| self.clock.now());
        self.tell();
        Answer::Welcome { epoch: self.epoch, pid: std::process::id() }
    }

    fn stop(&mut self, name: &str, run: Option<u64>, rule: StopRule, not_ready: bool) -> Answer {
        let now = self.clock.now();
        match self.wards.get_mut(name) {
            // It has ended, and another one was started since.
            Some(ward) if run.is_some_and(|run| run != ward.run) => Answer::Done,
            Some(ward) => {
                ward.not_ready |= not_ready;
                ward.stop(rule, now);
                Answer::Done
            }
            None => Answer::Refused(format!("{name} was never started")),
        }
    }

    fn forget(&mut self, name: &str) -> Answer {
        if self.wards.get(name).is_some_and(|ward| ward.child.is_some()) {
            return Answer::Refused(format!("{name} is running"));
        }
        self.wards.remove(name);
        self.tell();
        Answer::Done
    }

    /// Orders are taken from the latest gateway only.
    fn refusal(&self, epoch: u64) -> Option<Answer> {
        (epoch != self.epoch).then(|| {
            Answer::Refused(format!("epoch {epoch} is over, {} gives the orders now", self.epoch))
        })
    }

    /// The first half of a start.
    fn begin(&mut self, name: &str, spec: Spec) -> Result<super::child::Handshake, String> {
        if self.wards.get(name).is_some_and(|ward| ward.child.is_some()) {
            return Err(format!("{name} is running already"));
        }
        if self.wards.len() >= MOST && !self.wards.contains_key(name) {
            return Err(format!("{MOST} processes are the most"));
        }
        let now = self.clock.now();
        let before = self.wards.remove(name);
        let mut ward = Ward::new(spec, now, before);
        let mark = format!("{}/{name}", self.mark);
        let named = Name { name, mark: &mark, run: ward.run };
        let started = spawn(named, &ward.spec, &self.wrapper, self.root.as_ref());
        let handshake = started.map(|(child, handshake)| {
            ward.limits.clone_from(&child.limits);
            ward.child = Some(child);
            handshake
        });
        if let Err(error) = &handshake {
            ward.never(error.to_string(), now);
        }
        self.wards.insert(name.to_owned(), ward);
        self.tell();
        handshake.map_err(|error| error.to_string())
    }
}

impl Wards {
    /// The second half of a start: process id and run, or why it is none.
    fn became(&mut self, name: &str, became: Result<(), String>) -> Result<(u32, u64), String> {
        let ward = self.wards.get_mut(name).ok_or("it is gone")?;
        ward.starting = false;
        let run = ward.run;
        let pid = ward.pid().map_or(0, |pid| pid.as_raw_nonzero().get());
        if let Err(why) = &became {
            ward.refusal = Some(why.clone());
            members::kill(&[pid]);
        }
        self.look();
        self.tell();
        became.map(|()| (pid.cast_unsigned(), run))
    }
}

impl Ward {
    fn new(spec: Spec, now: Moment, before: Option<Self>) -> Self {
        let (run, last, failures) =
            before.map_or((0, None, 0), |before| (before.run, before.last, before.failures));
        Self {
            spec,
            run: run + 1,
            started: now,
            child: None,
            starting: true,
            refusal: None,
            sent: None,
            stop: None,
            not_ready: false,
            status: None,
            last,
            failures,
            limits: String::new(),
            tail: Vec::new(),
        }
    }

    fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(|child| child.pid)
    }

    /// It could not even be forked.
    fn never(&mut self, why: String, now: Moment) {
        self.starting = false;
        self.failures += 1;
        let exit = Exit { cause: Cause::NotStarted, evidence: why, ran: Duration::ZERO };
        self.last = Some((self.run, exit, now));
    }

    fn stop(&mut self, rule: StopRule, now: Moment) {
        let Some(pid) = self.pid() else { return };
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(Stop::begin(rule.grace, now));
        if let Some(signal) = Signal::from_named_raw(rule.signal).filter(|_| self.status.is_none())
        {
            self.sent = Some(rule.signal);
            let _gone = kill_process(pid, signal);
        }
    }

    /// Goes on with its end, if it is on its way there; whether it was.
    fn look(&mut self, mark: &str, now: Moment) -> bool {
        let Some(child) = &self.child else { return false };
        let overdue = match (&mut self.stop, &self.status) {
            (None, None) => return false,
            (Some(stop), None) => stop.step(now) == Action::Kill,
            // What a process leaves behind is killed at once, asked for or not.
            (_, Some(_)) => true,
        };
        let mut left = members::of(child.pid.as_raw_nonzero().get(), mark);
        left.extend(child.group.iter().flat_map(super::cgroup::Group::members));
        if overdue && !left.is_empty() {
            if self.status.is_none() {
                self.sent = Some(Signal::KILL.as_raw());
            }
            child.group.iter().for_each(super::cgroup::Group::kill);
            members::kill(&left);
        }
        if let Some((status, at)) = self.status.filter(|_| left.is_empty() && !self.starting) {
            let read = child.reader.as_ref().is_none_or(std::thread::JoinHandle::is_finished);
            if read || now.since(at) >= OUTPUT {
                self.close(status, at);
            }
        }
        true
    }

    /// Nothing is left of it.
    fn close(&mut self, status: WaitStatus, at: Moment) {
        let Some(child) = self.child.take() else { return };
        let ran = at.since(self.started);
        self.tail = child.tail.lines();
        let exit = match self.refusal.take() {
            Some(evidence) => Exit { cause: Cause::NotStarted, evidence, ran },
            None => judge(&Seen {
                code: status.exit_status(),
                signal: status.terminating_signal(),
                sent: self.sent,
                group_kills: child.group.as_ref().and_then(super::cgroup::Group::kills),
                system_kills: system_kills().saturating_sub(child.kills_before),
                memory_limit: self.spec.limits.memory,
                tail: self.tail.clone(),
                ran,
            }),
        };
        let cause = if self.not_ready { Cause::NotReady } else { exit.cause };
        if cause != Cause::Stopped {
            self.failures += 1;
        }
        self.last = Some((self.run, Exit { cause, ..exit }, at));
    }

    fn report(&self, name: &str, now: Moment) -> Report {
        let tail = match &self.child {
            Some(child) => child.tail.lines(),
            None => self.tail.clone(),
        };
        Report {
            name: name.to_owned(),
            pid: self.pid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned()),
            run: self.run,
            age: now.since(self.started),
            stop: self.spec.stop,
            fingerprint: self.spec.fingerprint.clone(),
            limits: self.limits.clone(),
            last: self.last.as_ref().map(|(run, exit, at)| Ended {
                run: *run,
                exit: exit.clone(),
                age: now.since(*at),
            }),
            failures: self.failures,
            log: self.spec.log.path.clone(),
            tail,
        }
    }
}

/// Answers one gateway until it goes.
pub(super) async fn converse(
    mut stream: UnixStream,
    wards: &Rc<RefCell<Wards>>,
) -> std::io::Result<()> {
    let silent = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    loop {
        let request = timeout(SILENCE, wire::read(&mut stream)).await.map_err(silent)??;
        let answer = answer(request, wards).await;
        timeout(SILENCE, wire::write(&mut stream, &answer)).await.map_err(silent)??;
    }
}

async fn answer(request: Request, wards: &Rc<RefCell<Wards>>) -> Answer {
    match request {
        Request::Hello { protocol, attends } => wards.borrow_mut().hello(protocol, attends),
        Request::Watch { seen, epoch } => state(seen, epoch, wards).await,
        Request::Start { epoch, .. }
        | Request::Stop { epoch, .. }
        | Request::Forget { epoch, .. }
            if wards.borrow().refusal(epoch).is_some() =>
        {
            wards.borrow().refusal(epoch).unwrap_or(Answer::Done)
        }
        Request::Start { name, spec, .. } => start(&name, *spec, wards).await,
        Request::Stop { name, run, stop, not_ready, .. } => {
            wards.borrow_mut().stop(&name, run, stop, not_ready)
        }
        Request::Forget { name, .. } => wards.borrow_mut().forget(&name),
    }
}

async fn state(seen: u64, epoch: Option<u64>, wards: &Rc<RefCell<Wards>>) -> Answer {
    wards.borrow_mut().attend(epoch);
    let mut changes = wards.borrow().changed.subscribe();
    let news = changes.wait_for(|number| *number != seen);
    // In vain is as good: the age of everything is news too.
    let _none = timeout(WATCH, news).await;
    wards.borrow_mut().attend(epoch);
    wards.borrow().state()
}

async fn start(name: &str, spec: Spec, wards: &Rc<RefCell<Wards>>) -> Answer {
    let begun = wards.borrow_mut().begin(name, spec);
    let handshake = match begun {
        Ok(handshake) => handshake,
        Err(why) => return Answer::Refused(why),
    };
    let became = handshake.complete().await;
    let started = wards.borrow_mut().became(name, became);
    match started {
        Ok((pid, run)) => Answer::Started { pid, run },
        Err(evidence) => {
            gone(name, wards).await;
            let exit = Exit { cause: Cause::NotStarted, evidence, ran: Duration::ZERO };
            Answer::NotStarted { exit }
        }
    }
}

/// Waits until nothing is left of a start that failed, so that it can be tried again at once.
async fn gone(name: &str, wards: &Rc<RefCell<Wards>>) {
    let is_there = || wards.borrow().wards.get(name).is_some_and(|ward| ward.child.is_some());
    let ended = async {
        while is_there() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _longer = timeout(OUTPUT.saturating_mul(2), ended).await;
}

/// Kills what outlived its grace, again and again.
pub(super) async fn enforce(wards: Rc<RefCell<Wards>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        wards.borrow_mut().look();
    }
}

/// Stops everything, and waits until nothing is left.
pub(super) async fn stop_all(wards: &Rc<RefCell<Wards>>) {
    {
        let mut wards = wards.borrow_mut();
        // From now on nobody gives orders.
        wards.epoch += 1;
        let now = wards.clock.now();
        for ward in wards.wards.values_mut() {
            ward.stop(ward.spec.stop, now);
        }
    }
    while wards.borrow_mut().look() {
        tokio::time::sleep(LOOK).await;
    }
}
