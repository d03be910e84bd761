//! Which endpoint a connection goes to: one attempt after the other, within one budget.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::balance::{Key, Why};
use mainstay_policy::chain::{Choice, Climb, Next, Reason};
use mainstay_policy::role::{WriterWord, Writing};
use mainstay_policy::{Class, Moment, SentState};
use mainstay_protocol::classify::Connecting;
use tokio::net::TcpStream;

use super::listener::{Behind, Listener};
use super::visit::Visit;
use crate::snapshot::{Member, Upstream};
use crate::worker::Worker;

/// When nobody took the connection, everybody is asked again after about so long, while there is
/// time: a server that restarts is back sooner than most clients would ask again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// While there is no writer it is looked for so often.
const WRITER_AGAIN: Duration = Duration::from_millis(20);
/// Each attempt in vain doubles that, so many times.
const WRITER_DOUBLED: u32 = 3;

/// The search for an endpoint.
pub(super) struct Seek<'l> {
    worker: Rc<Worker>,
    listener: &'l Listener,
    climb: Climb<'l>,
    key: Option<Key>,
    deadline: Moment,
    /// Attempts left before everybody may be asked again.
    left: u8,
    /// Attempts so far.
    made: u32,
    /// Whether a writer was looked for.
    looked: bool,
}

/// A connection to a writer ends with the writer's epoch.
#[derive(Debug)]
pub(super) struct Fence {
    word: Arc<WriterWord>,
    writing: Writing,
}

impl Fence {
    /// Whether the epoch is over.
    pub(super) fn is_down(&self) -> bool {
        self.word.read() != self.writing
    }
}

/// An endpoint that accepted.
pub(super) struct Reached<'l> {
    pub(super) stream: TcpStream,
    pub(super) visit: Visit,
    /// `None` where there was none: to the writer alone.
    pub(super) choice: Option<Choice>,
    /// What was said of the writer when it was reached.
    pub(super) fence: Option<Fence>,
    pub(super) repeatable: bool,
    pub(super) member: &'l Member,
}

impl<'l> Seek<'l> {
    /// A search for the connection of a client at this address.
    pub(super) fn new(worker: &Rc<Worker>, listener: &'l Listener, client: Option<IpAddr>) -> Self {
        let deadline = worker.clock.now() + listener.settings.connect_budget;
        let keyed = listener.pools.iter().any(|pool| pool.by_client);
        let key = client.filter(|_| keyed).map(|address| key(address.to_canonical()));
        let climb = climb(listener, key, deadline);
        let (worker, left) = (Rc::clone(worker), listener.settings.attempts);
        Self { worker, listener, climb, key, deadline, left, made: 0, looked: false }
    }

    /// The next endpoint that accepts; `None` when time is over.
    pub(super) async fn next(&mut self) -> Option<Reached<'l>> {
        let listener = self.listener;
        if let Some((behind, word)) =
            listener.pools.first().and_then(|pool| Some((pool, pool.writer.as_ref()?)))
        {
            return self.next_writer(behind, word).await;
        }
        loop {
            let now = self.worker.clock.now();
            if self.left == 0 {
                self.begin_anew(now).await?;
                continue;
            }
            match self.worker.decide(&mut self.climb, now) {
                Next::Attempt(choice) => {
                    if let Some(reached) = self.attempt(choice, now).await {
                        return Some(reached);
                    }
                }
                Next::Local(_) => self.climb.leave(Reason::NoEndpoint),
                Next::Wait => self.climb.no_room(),
                Next::Await(pause) => tokio::time::sleep(pause).await,
                Next::Exhausted => self.begin_anew(now).await?,
            }
        }
    }

    /// The endpoint that was reached last is no good after all.
    pub(super) fn failed(&mut self, choice: Option<&Choice>, class: Class, sent: SentState) {
        if let Some(choice) = choice {
            self.climb.failed(choice, class, sent);
        }
        self.listener.account.retry();
    }

    /// The writer of the pool, as soon as there is one that accepts.
    async fn next_writer(
        &mut self,
        behind: &'l Behind,
        word: &Arc<WriterWord>,
    ) -> Option<Reached<'l>> {
        loop {
            // Also when it was reached before, and was no good after all.
            if std::mem::replace(&mut self.looked, true) {
                let pause = WRITER_AGAIN * (1 << self.made.min(WRITER_DOUBLED));
                let pause = pause.mul_f32(self.worker.with_rng(|rng| 0.5 + rng.f32()));
                if self.deadline.remaining(self.worker.clock.now()) <= pause {
                    return None;
                }
                tokio::time::sleep(pause).await;
            }
            let writing = word.read();
            if let Some(reached) = self.try_writer(behind, (word, writing)).await {
                return Some(reached);
            }
        }
    }

    async fn try_writer(
        &mut self,
        behind: &'l Behind,
        (word, writing): (&Arc<WriterWord>, Writing),
    ) -> Option<Reached<'l>> {
        let is_writer = |member: &&Member| writing.target == Some(member.target.id);
        let member = behind.members.iter().find(is_writer)?;
        let now = self.worker.clock.now();
        // There is nobody else: its breaker would only make it longer.
        let mut visit = Visit::begin(&self.worker, &member.target, (now, true))?;
        if self.made > 0 {
            self.listener.account.retry();
        }
        self.made += 1;
        let opened = open(&self.worker, &member.upstream, self.deadline.remaining(now)).await;
        let now = self.worker.clock.now();
        match opened {
            Ok(stream) if word.read() == writing => {
                visit.accepted(now);
                let fence = Some(Fence { word: Arc::clone(word), writing });
                let repeatable = behind.rules.repeatable;
                Some(Reached { stream, visit, choice: None, fence, repeatable, member })
            }
            Ok(_) => None,
            Err(class) => {
                visit.failed(class, now);
                None
            }
        }
    }

    async fn begin_anew(&mut self, now: Moment) -> Option<()> {
        let pause = ASK_AGAIN.mul_f32(self.worker.with_rng(|rng| 0.5 + rng.f32()));
        if self.deadline.remaining(now) <= pause {
            return None;
        }
        tokio::time::sleep(pause).await;
        self.climb = climb(self.listener, self.key, self.deadline);
        self.left = self.listener.settings.attempts;
        Some(())
    }

    async fn attempt(&mut self, choice: Choice, now: Moment) -> Option<Reached<'l>> {
        if !choice.delay.is_zero() {
            tokio::time::sleep(choice.delay).await;
        }
        let behind = &self.listener.pools[choice.step];
        let member = &behind.members[choice.member];
        if !behind.admits(member) {
            self.climb.refused(&choice);
            return None;
        }
        let anyway = choice.why == Why::Panic;
        let Some(mut visit) = Visit::begin(&self.worker, &member.target, (now, anyway)) else {
            self.climb.refused(&choice);
            return None;
        };
        if self.made > 0 {
            self.listener.account.retry();
        }
        self.made += 1;
        self.left -= 1;
        let opened = open(&self.worker, &member.upstream, choice.limit).await;
        let now = self.worker.clock.now();
        match opened {
            Ok(stream) => {
                visit.accepted(now);
                let repeatable = behind.rules.repeatable;
                let (choice, fence) = (Some(choice), None);
                Some(Reached { stream, visit, choice, fence, repeatable, member })
            }
            Err(class) => {
                visit.failed(class, now);
                self.climb.failed(&choice, class, SentState::NotSent);
                None
            }
        }
    }
}

/// A climb from the first pool on.
fn climb(listener: &Listener, key: Option<Key>, deadline: Moment) -> Climb<'_> {
    let mut climb = Climb::new(&listener.plan, deadline, false);
    if let Some(key) = key {
        climb.keep_together(key);
    }
    climb
}

fn key(client: IpAddr) -> Key {
    match client {
        IpAddr::V4(address) => Key::of(&address.octets()),
        IpAddr::V6(address) => Key::of(&address.octets()),
    }
}

/// Opens a connection, within the endpoint's own limit and this one.
async fn open(worker: &Worker, upstream: &Upstream, limit: Duration) -> Result<TcpStream, Class> {
    let opening = TcpStream::connect((&*upstream.host, upstream.port));
    let limit = upstream.connect_timeout.min(limit);
    let opened: io::Result<_> =
        tokio::time::timeout(limit, opening).await.map_err(|_| Class::Timeout)?;
    opened.map_err(|error| {
        let class = Connecting::failed(&error).class();
        if class == Class::Shortage {
            worker.shared.short_of(&error, &upstream.label);
        }
        class
    })
}
