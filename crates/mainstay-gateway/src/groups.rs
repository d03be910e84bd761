//! Who of each pool is in use: the control loop of redundancy.
//!
//! The way of a request switches to a spare by itself. This loop makes the switch last, brings
//! warm and cold standbys up, and owns the way back; it alone writes what endpoints are for
//! ([`Place`]). What is decided is `mainstay_control::group`'s; here it is seen and done.
//!
//! It looks ten times a second, and at once when an attempt failed, a breaker or a verdict
//! changed, or an operator spoke. An endpoint whose attempts fail is connected to once more: if
//! that is refused too, nobody listens there, and no row of probes is waited for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use mainstay_cluster::process::Handle;
use mainstay_config::Config;
use mainstay_control::group::{
    self, Change, Command, Group, Move, Now, Order, Refusal, Service, Sight, Spec, Standby, Wall,
};
use mainstay_control::orders::{self, Book};
use mainstay_policy::{Moment, Place, Standing};
use mainstay_telemetry::{Event, EventKind};
use tokio::sync::Notify;

use self::member::Member;
use crate::build::Watched;
use crate::orders::Stand;
use crate::outliers::Rotations;
use crate::shared::Shared;

mod member;
mod prepare;
mod status;

/// Between two looks when nothing happens.
const LOOK: Duration = Duration::from_millis(100);

/// Wakes the loop when something happened that may move a post.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// Nanoseconds: the first cause since the last look; 0 for none.
    since: AtomicU64,
    notify: Notify,
}

impl Alarm {
    /// Something happened. Costs one load where the loop is on its way already.
    pub(crate) fn raise(&self, now: Moment) {
        let nanos = now.as_nanos().max(1);
        if self.since.load(Ordering::Relaxed) == 0
            && self.since.compare_exchange(0, nanos, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.notify.notify_one();
        }
    }

    fn take(&self) -> Option<Moment> {
        let nanos = self.since.swap(0, Ordering::Relaxed);
        (nanos > 0).then(|| Moment::from_nanos(nanos))
    }
}

/// The groups of all pools.
#[derive(Debug)]
pub(crate) struct Groups {
    shared: Arc<Shared>,
    rotations: Arc<Rotations>,
    /// Starts and stops the processes of cold standbys.
    processes: Handle,
    /// Numbers for preparations and releases.
    works: AtomicU64,
    pools: Mutex<Vec<Pool>>,
}

/// One pool.
#[derive(Debug)]
struct Pool {
    name: Arc<str>,
    group: Group,
    /// In the order of the group's members.
    members: Vec<Member>,
}

/// What would follow from orders.
#[derive(Debug)]
pub(crate) struct Rehearsed {
    pub(crate) members: Vec<Foreseen>,
    /// What would be done, line by line.
    pub(crate) words: Vec<String>,
}

/// What a member would be for.
#[derive(Debug)]
pub(crate) struct Foreseen {
    pub(crate) name: Arc<str>,
    pub(crate) standing: Standing,
    /// Whether it would only hold the post of one on its way back.
    pub(crate) gives_way: bool,
}

/// What is known of a member.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) name: Arc<str>,
    pub(crate) standing: Standing,
    /// Of its weight: by operators and by the way back.
    pub(crate) factor: f32,
    pub(crate) standby: Standby,
    /// Whether no operator took it out.
    pub(crate) is_open: bool,
    /// How long it last took to be made ready.
    pub(crate) took: Option<Duration>,
    pub(crate) sight: Sight,
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OrderRefused {
    /// No pool has this name, or no model uses it.
    #[error("there is no such pool in use")]
    NoPool,
    /// The group refuses.
    #[error(transparent)]
    Group(#[from] Refusal),
}

impl Groups {
    /// No groups yet.
    pub(crate) fn new(
        shared: Arc<Shared>,
        rotations: Arc<Rotations>,
        processes: Handle,
    ) -> Arc<Self> {
        let (works, pools) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { shared, rotations, processes, works, pools })
    }

    /// These are the pools from now on; who keeps its name keeps its post, and who comes (back)
    /// stands as operators said before its first request.
    pub(crate) fn set(self: &Arc<Self>, config: &Config, watched: &[Watched]) {
        let mut guard = self.lock();
        let book = self.shared.book.load();
        let mut before: HashMap<_, _> =
            guard.drain(..).map(|pool| (Arc::clone(&pool.name), pool)).collect();
        *guard = (0..config.pools.len())
            .filter_map(|at| Pool::new(config, at, watched, &mut before))
            .collect();
        guard.iter_mut().for_each(|pool| pool.obey(config, &book));
        drop(guard);
        for gone in before.into_values() {
            gone.members.into_iter().for_each(Member::forget);
        }
        self.look();
    }

    /// Looks until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.shared.alarm.notify.notified() => {}
            }
            self.look();
        }
    }

    /// Sees, decides and does.
    pub(crate) fn look(self: &Arc<Self>) {
        let alarm = self.shared.alarm.take();
        let now = self.now();
        for pool in self.lock().iter_mut() {
            self.suspect(pool, alarm, now.moment);
            self.step(pool, now);
        }
    }

    /// Connects once more to endpoints whose attempts fail, and to those that refused.
    fn suspect(self: &Arc<Self>, pool: &mut Pool, alarm: Option<Moment>, now: Moment) {
        let name = Arc::clone(&pool.name);
        for member in &mut pool.members {
            if !member.is_to_be_asked(alarm, now) {
                continue;
            }
            let since = alarm.unwrap_or(now);
            let (groups, name, place) =
                (Arc::clone(self), Arc::clone(&name), Arc::clone(&member.place));
            let asked = member.ask(since);
            tokio::spawn(async move {
                let refused = asked.await;
                groups.asked((&name, &place), refused);
            });
        }
    }

    fn asked(self: &Arc<Self>, (pool, place): (&str, &Arc<Place>), refused: bool) {
        let now = self.shared.clock.now();
        // By its place, not by its number: the pool may have others by now.
        let is_meant = |member: &&mut Member| Arc::ptr_eq(&member.place, place);
        if let Some(pool) = self.lock().iter_mut().find(|known| *known.name == *pool)
            && let Some(member) = pool.members.iter_mut().find(is_meant)
        {
            member.suspicion = member.suspicion.answered(refused, now);
        }
        if refused {
            self.look();
        }
    }

    fn step(self: &Arc<Self>, pool: &mut Pool, now: Now) {
        let sights = self.sights(pool, now.moment);
        self.find_loaded(pool);
        let changes = pool.group.step(&sights, now);
        // First, so that nobody is let go while requests may still choose it.
        pool.stand();
        for change in &changes {
            self.carry_out(pool, change, now.moment);
        }
    }

    fn sights(&self, pool: &mut Pool, now: Moment) -> Vec<Sight> {
        let compares = pool.group.members().len() > pool.group.wanted();
        let rotations = &self.rotations;
        pool.members.iter_mut().map(|member| member.see(rotations, compares, now)).collect()
    }

    fn carry_out(self: &Arc<Self>, pool: &mut Pool, change: &Change, now: Moment) {
        match change.command {
            Command::Stand { member, from, to } => {
                let returning = pool.group.members()[member].is_returning();
                let member = &mut pool.members[member];
                member.begin_anew();
                let mut cause = change.cause.clone();
                if let Some(took) = member.suspicion.took(now).filter(|_| from == Standing::Active)
                {
                    cause = format!(
                        "{cause}, {:.1} ms after a failed attempt",
                        took.as_secs_f64() * 1e3
                    );
                }
                let to = if returning { "returning" } else { to.as_str() };
                self.tell(&pool.name, &member.name, (from.as_str(), to), cause);
            }
            Command::Prepare { member } => self.prepare(pool, member, &change.cause),
            Command::Release { member } => self.release(pool, member, &change.cause),
            Command::Propose(Move { kind, from, to }) => {
                let name = |at: usize| &*pool.members[at].name;
                let words = format!("{} to {} is proposed", kind.as_str(), name(to));
                let cause = format!(
                    "{}; waits for `mainstay {} {}`",
                    change.cause,
                    kind.as_str(),
                    pool.name
                );
                self.tell(&pool.name, name(from), ("active", &words), cause);
            }
        }
    }

    fn tell(&self, pool: &str, member: &str, (from, to): (&str, &str), cause: String) {
        self.shared.telemetry.event(Event {
            kind: EventKind::Group,
            subject: format!("{pool}/{member}"),
            from: from.to_owned(),
            to: to.to_owned(),
            cause,
        });
    }

    /// An operator's word, carried out at once. Gives what was understood.
    ///
    /// # Errors
    /// There is no such pool or endpoint, or it makes no sense as things stand.
    pub(crate) fn order(
        self: &Arc<Self>,
        pool: &str,
        order: &Order,
        reason: &str,
    ) -> Result<String, OrderRefused> {
        let now = self.now();
        let mut guard = self.lock();
        let pool =
            guard.iter_mut().find(|known| *known.name == *pool).ok_or(OrderRefused::NoPool)?;
        let sights = self.sights(pool, now.moment);
        let understood = pool.group.order(order, reason, &sights)?;
        self.step(pool, now);
        Ok(understood)
    }

    /// What would follow from these orders; nothing is done.
    ///
    /// # Errors
    /// As the orders themselves.
    pub(crate) fn rehearse(&self, pool: &str, orders: &[Order]) -> Result<Rehearsed, OrderRefused> {
        let now = self.now();
        let mut guard = self.lock();
        let pool =
            guard.iter_mut().find(|known| *known.name == *pool).ok_or(OrderRefused::NoPool)?;
        let sights = self.sights(pool, now.moment);
        let mut group = pool.group.clone();
        for order in orders {
            group.order(order, "a dry run", &sights)?;
        }
        let changes = group.step(&sights, now);
        let foreseen = |(at, member): (usize, &group::Member)| Foreseen {
            name: Arc::clone(&member.spec.name),
            standing: member.standing(),
            gives_way: group.gives_way(at),
        };
        Ok(Rehearsed {
            members: group.members().iter().enumerate().map(foreseen).collect(),
            words: changes.iter().map(|change| pool.words(change)).collect(),
        })
    }

    /// What is known of the members of all pools now.
    pub(crate) fn seen(&self) -> HashMap<Arc<str>, Vec<Seen>> {
        let now = self.now();
        let mut guard = self.lock();
        let pool = |pool: &mut Pool| {
            let sights = self.sights(pool, now.moment);
            let members = pool.group.members().iter().zip(&pool.members).zip(sights);
            let seen = members.map(|((decided, member), sight)| Seen {
                name: Arc::clone(&member.name),
                standing: decided.standing(),
                factor: decided.weight() * decided.share().get(),
                standby: member.standby,
                is_open: *decided.service() == Service::Open,
                took: member.took,
                sight,
            });
            (Arc::clone(&pool.name), seen.collect())
        };
        guard.iter_mut().map(pool).collect()
    }

    /// Whether an operator keeps somebody of this pool away from a post that is its own, or moves
    /// one as soon as who is to have it is ready.
    pub(crate) fn is_failed_over(&self, pool: &str) -> bool {
        let guard = self.lock();
        let pool = guard.iter().find(|known| *known.name == *pool);
        pool.is_some_and(|pool| pool.group.is_failed_over())
    }

    /// A failover's time is over: whoever it keeps away comes back as the rule says.
    pub(crate) fn end_failover(&self, pool: &str) {
        if let Some(pool) = self.lock().iter_mut().find(|known| *known.name == *pool) {
            pool.group.end_failover();
        }
    }

    fn now(&self) -> Now {
        let moment = self.shared.clock.now();
        let wall = self.shared.clock.wall(moment).duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { moment, wall: Wall(wall.as_secs()) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A pool with the targets that are watched there; `None` if no model uses it.
    fn new(
        config: &Config,
        at: usize,
        watched: &[Watched],
        before: &mut HashMap<Arc<str>, Self>,
    ) -> Option<Self> {
        let declared = &config.pools[at];
        let here: Vec<_> = watched.iter().filter(|watched| watched.pool == at).collect();
        if here.is_empty() {
            return None;
        }
        let mut before = before.remove(&declared.name);
        let mut known: HashMap<_, _> = before
            .iter_mut()
            .flat_map(|pool| pool.members.drain(..))
            .map(|member| (Arc::clone(&member.name), member))
            .collect();
        let mut specs = Vec::with_capacity(declared.endpoints.len());
        let mut members = Vec::with_capacity(declared.endpoints.len());
        for (endpoint, written) in declared.endpoints.iter().enumerate() {
            let targets = here.iter().filter(|watched| watched.endpoint == endpoint);
            let targets: Vec<_> = targets.map(|watched| Arc::clone(&watched.target)).collect();
            let member = Member::new(declared, written, targets)?;
            specs.push(Spec {
                name: Arc::clone(&written.name),
                server: written.url.to_string().into(),
                standby: written.standby,
                distance: config.node.site.distance(&written.site),
            });
            members.push(member.after(known.remove(&written.name)));
        }
        known.into_values().for_each(Member::forget);
        let rule = declared.group.clone();
        let group = match before {
            Some(before) => before.group.adopt(rule, &specs),
            None => Group::new(rule, specs),
        };
        Some(Self { name: Arc::clone(&declared.name), group, members })
    }

    /// Carries out what operators said of endpoints that were not here before.
    fn obey(&mut self, config: &Config, book: &Book) {
        let declared = config.pools.iter().find(|pool| pool.name == self.name);
        for endpoint in declared.iter().flat_map(|pool| &pool.endpoints) {
            let known = self.group.find(&endpoint.name);
            if known.is_none_or(|at| !self.members[at].is_new) {
                continue;
            }
            let place = orders::Place {
                pool: &self.name,
                endpoint: &endpoint.name,
                zone: endpoint.site.zone.as_deref(),
                region: endpoint.site.region.as_deref(),
            };
            let effect = book.effect(place);
            let stand = Stand::under(effect);
            for order in stand.orders(place, Stand::default()) {
                let reason = effect.out.or(effect.weight).map_or("", |order| &order.reason);
                if let Err(error) = self.group.order(&order, reason, &[]) {
                    tracing::warn!(pool = %self.name, order = order.as_str(), %error, "refused");
                }
            }
        }
    }

    /// Writes down what everybody is for: first who comes in, so that there is always somebody.
    fn stand(&self) {
        let pairs = || self.group.members().iter().zip(&self.members);
        for comes_in in [true, false] {
            for (decided, member) in pairs() {
                let (standing, place) = (decided.standing(), &member.place);
                if (standing == Standing::Active) == comes_in {
                    place.set_share(decided.share());
                    place.set_weight(decided.weight());
                    place.stand(standing);
                }
            }
        }
    }

    fn words(&self, change: &Change) -> String {
        let name = |at: usize| &*self.members[at].name;
        let what = match change.command {
            Command::Stand { member, from, to } => {
                format!("{} {}: {} to {}", self.name, name(member), from.as_str(), to.as_str())
            }
            Command::Prepare { member } => format!("{} {} is made ready", self.name, name(member)),
            Command::Release { member } => format!("{} {} is let go", self.name, name(member)),
            Command::Propose(proposed) => {
                format!(
                    "{} {} to {} is proposed",
                    self.name,
                    proposed.kind.as_str(),
                    name(proposed.to)
                )
            }
        };
        format!("{what}: {}", change.cause)
    }
}
