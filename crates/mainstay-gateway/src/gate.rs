//! The gate before each model's servers: who may go on, who waits, who is turned away.
//!
//! While there is room a request passes with two atomic steps. Only when there is none it joins
//! the model's queue, behind a short lock that nobody takes otherwise. Whoever frees a place (at
//! a target, or among the model's requests) calls as many of those who wait as there is room
//! for, whichever worker they belong to. No call can be lost: a waiter counts as waiting before
//! it looks for room, and a place is free before whoever freed it looks for waiters.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use mainstay_config::Concurrency;
use mainstay_policy::chain::may_be_asked;
use mainstay_policy::limit::{Bulkhead, Key, Pace, Priority, Queue, Refusal, Took};
use mainstay_policy::target::Target;
use mainstay_policy::{Moment, Standing};
use mainstay_telemetry::Clock;
use tokio::sync::oneshot;

use crate::snapshot::{Route, Source, Step};

/// Which gates each target stands behind.
#[derive(Debug)]
pub(crate) struct Gates {
    /// By the target's number.
    of_target: Vec<Vec<Arc<Gate>>>,
}

/// The gate of one model.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) bulkhead: Bulkhead,
    /// Those in line, and those called who have not begun their attempt yet.
    waiting: AtomicU32,
    line: Mutex<Line>,
    /// Every target of the model's chain, once. Read only where someone waits.
    targets: ArcSwap<Vec<Behind>>,
    /// Those turned away, by priority.
    turned_away: [AtomicU64; Priority::ALL.len()],
}

/// A target behind a gate.
#[derive(Debug)]
struct Behind {
    target: Arc<Target>,
    /// Whether also requests that refuse lesser quality may be sent to it.
    strict: bool,
}

#[derive(Debug)]
struct Line {
    queue: Queue<Waiter>,
    /// Called, and on their way to a place that they do not hold yet.
    called: u32,
}

/// Someone in line.
#[derive(Debug)]
struct Waiter {
    wake: oneshot::Sender<Call>,
    strict: bool,
}

/// What someone who joins the line wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) priority: Priority,
    pub(crate) deadline: Moment,
    /// Its number, if it was in line before.
    pub(crate) number: Option<u64>,
    /// Whether it refuses lesser quality: places at servers of such steps are none for it.
    pub(crate) strict: bool,
}

/// How many more attempts could begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    at_targets: u32,
    in_bulkhead: u32,
}

impl Room {
    fn places(self) -> u32 {
        self.at_targets.min(self.in_bulkhead)
    }

    /// Whether more could begin than are `called` but for want of room at the targets.
    fn is_short(self, called: u32) -> bool {
        self.at_targets <= self.in_bulkhead && self.at_targets <= called
    }
}

/// What someone in line is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// There is room.
    Go,
    /// There will be none.
    Leave(Refusal),
}

impl Gates {
    pub(crate) fn new(routes: &[Arc<Route>]) -> Self {
        let mut by_target: HashMap<u32, Vec<Arc<Gate>>> = HashMap::new();
        for route in routes {
            for Behind { target, .. } in &**route.gate.targets.load() {
                by_target.entry(target.id).or_default().push(Arc::clone(&route.gate));
            }
        }
        let last = by_target.keys().max().map_or(0, |last| last + 1);
        let of_target = (0..last).map(|id| by_target.remove(&id).unwrap_or_default()).collect();
        Self { of_target }
    }

    /// A place at a target has become free.
    #[inline]
    pub(crate) fn freed(&self, target: u32, now: Moment) {
        let gates = self.of_target.get(target as usize).into_iter().flatten();
        gates.filter(|gate| gate.waiting() > 0).for_each(|gate| gate.call(now));
    }
}

impl Gate {
    /// A gate before nobody.
    pub(crate) fn new() -> Self {
        Self {
            bulkhead: Bulkhead::new(u32::MAX),
            waiting: AtomicU32::new(0),
            line: Mutex::new(Line { queue: Queue::new(0), called: 0 }),
            targets: ArcSwap::default(),
            turned_away: Default::default(),
        }
    }

    /// From now on it stands before these targets, with these bounds. Whoever is through, or
    /// waits, stays.
    pub(crate) fn reconfigure(&self, bounds: &Concurrency, steps: &[Step]) {
        self.bulkhead.resize(bounds.max.unwrap_or(u32::MAX));
        self.lock().queue.resize(bounds.queue);
        self.targets.store(Arc::new(targets(steps)));
    }

    /// Takes a place among the model's requests, unless others wait for one.
    #[inline]
    pub(crate) fn enter(&self) -> bool {
        self.waiting() == 0 && self.bulkhead.enter()
    }

    /// Gives the place back; `took` as [`Bulkhead::leave`] wants it.
    #[inline]
    pub(crate) fn leave(&self, took: Option<Took>, now: Moment) {
        self.bulkhead.leave(took);
        if self.waiting() > 0 {
            self.call(now);
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How fast requests are served now.
    pub(crate) fn pace(&self) -> Pace {
        self.bulkhead.pace()
    }

    /// Those turned away since the start, by priority.
    pub(crate) fn turned_away(&self) -> [u64; Priority::ALL.len()] {
        self.turned_away.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts someone who is turned away.
    pub(crate) fn turn_away(&self, priority: Priority) {
        self.turned_away[priority as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Calls as many of those in line as there is room for.
    pub(crate) fn call(&self, now: Moment) {
        let service = self.pace().service;
        let (any, strict) = (self.room(false, now), self.room(true, now));
        let mut line = self.lock();
        loop {
            let has_room = |room: Option<Room>| room.is_none_or(|it| line.called < it.places());
            let (any, strict) = (has_room(any), has_room(strict));
            let fits = |waiter: &Waiter| if waiter.strict { strict } else { any };
            let Some((_, waiter, in_time)) = line.queue.next(now, service, fits) else { break };
            let call = if in_time { Call::Go } else { Call::Leave(Refusal::TooLate) };
            // Whoever left in the meantime has no use for the call.
            if waiter.wake.send(call).is_ok() && in_time {
                line.called += 1;
            }
        }
        if !line.queue.is_empty() {
            let is_short = |room: Option<Room>| room.is_some_and(|it| it.is_short(line.called));
            self.awaited(is_short(any), is_short(strict));
        }
    }

    /// Someone waits for room at `any` target, or at one that `strict` requests may be sent to.
    fn awaited(&self, any: bool, strict: bool) {
        let targets = self.targets.load();
        let wanted = targets.iter().filter(|it| any || (strict && it.strict));
        wanted.for_each(|it| it.target.limiter.awaited());
    }

    /// The room for more attempts now, of `strict` requests or any; `None` where nobody could be
    /// asked even with room, so that there is nothing to wait for.
    pub(crate) fn room(&self, strict: bool, now: Moment) -> Option<Room> {
        let targets = self.targets.load();
        let open = targets.iter().filter(move |it| it.strict || !strict);
        let asked = || open.clone().map(|it| &*it.target).filter(|it| may_be_asked(it, now));
        // A spare stands in for those that fail, not for those that are full.
        let full = |pool: &str| {
            let in_use = asked().filter(|it| it.place.standing() == Standing::Active);
            in_use.filter(|it| *it.key.pool == *pool).any(|it| it.limiter.is_full())
        };
        let usable =
            || asked().filter(|it| it.place.standing() != Standing::Spare || !full(&it.key.pool));
        // Who is on its way back gets its share, and not what the others have no room for.
        let proven = || usable().filter(|target| target.health.rotation.is_full());
        let free = proven().map(|target| target.limiter.free()).reduce(u32::saturating_add);
        let any = || usable().map(|target| target.limiter.free()).reduce(u32::saturating_add);
        let at_targets = free.or_else(any)?;
        Some(Room { at_targets, in_bulkhead: self.bulkhead.free() })
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every target of a model's chain, once.
fn targets(steps: &[Step]) -> Vec<Behind> {
    let mut targets: Vec<Behind> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    for step in steps {
        let Source::Pool(pool) = &step.source else { continue };
        for member in &pool.members {
            let at = *places.entry(member.target.id).or_insert_with(|| {
                targets.push(Behind { target: Arc::clone(&member.target), strict: false });
                targets.len() - 1
            });
            targets[at].strict |= !step.degraded;
        }
    }
    targets
}

/// A place in line, or the call from it on its way to a place at a server. Dropping it gives
/// either to the next.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    clock: Clock,
    key: Key,
    call: oneshot::Receiver<Call>,
    called: bool,
}

impl Ticket {
    /// Joins the line of a model. Whoever was in line before keeps its number.
    ///
    /// # Errors
    /// Why it may not wait.
    pub(crate) fn take(
        gate: &Arc<Gate>,
        clock: Clock,
        wish: Wish,
        now: Moment,
    ) -> Result<Self, Refusal> {
        let (wake, call) = oneshot::channel();
        let mut line = gate.lock();
        let Wish { priority, deadline, number, strict } = wish;
        let number = number.unwrap_or_else(|| line.queue.number());
        let key = Key { priority, deadline, number };
        if let Some(leaver) = line.queue.judge(key, now, gate.pace())?
            && let Some(other) = line.queue.leave(leaver)
        {
            // It is gone already if nobody listens.
            let _gone = other.wake.send(Call::Leave(Refusal::Full));
        }
        line.queue.join(key, Waiter { wake, strict });
        gate.waiting.fetch_add(1, Ordering::SeqCst);
        drop(line);
        // Whoever comes back was called in vain a moment ago, and would be again: it waits until
        // a place is given back, or until it looks for itself.
        if wish.number.is_none() {
            gate.call(now);
        }
        Ok(Self { gate: Arc::clone(gate), clock, key, call, called: false })
    }

    /// Its number in line.
    pub(crate) const fn number(&self) -> u64 {
        self.key.number
    }

    /// Waits for the call.
    pub(crate) async fn call(&mut self) -> Call {
        let call = (&mut self.call).await.unwrap_or(Call::Leave(Refusal::Full));
        self.called = call == Call::Go;
        call
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let gate = &self.gate;
        let mut line = gate.lock();
        if line.queue.leave(self.key).is_none() {
            let called = self.called || self.call.try_recv() == Ok(Call::Go);
            line.called = line.called.saturating_sub(u32::from(called));
        }
        gate.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(line);
        if gate.waiting() > 0 {
            gate.call(self.clock.now());
        }
    }
}
