//! Operators' orders: carried out, kept over restarts, ended in time, and told of.
//!
//! What an order makes of traffic is decided in `mainstay_control` ([`Book`], [`forecast`]); here
//! it is applied to the places of endpoints, written to disk before it counts as done, and shown.
//! Readers (status, forecasts) see the book as it was last put down whole; writers take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use mainstay_admin::status::EndpointStatus;
use mainstay_admin::{Act, Carried, Instruction, Met, OrderError, OrderStatus};
use mainstay_control::forecast::{Change, Effect, Forecast, View, forecast};
use mainstay_control::group;
use mainstay_control::orders::{Book, Order, Place, Scope, Turn, Unix, Verb};
use mainstay_telemetry::{Event, EventKind};
use tokio::time::MissedTickBehavior;

use crate::groups::{Groups, OrderRefused, Rehearsed};
use crate::shared::Shared;

mod change;
mod keep;
mod meter;
mod places;
mod view;

use keep::Keep;
use meter::Meter;
pub(crate) use places::Stand;

use places::Places;

/// Between two looks: at the loads, at orders that end, at drains that are done.
const LOOK: Duration = Duration::from_secs(1);

/// All orders of a gateway.
#[derive(Debug)]
pub(crate) struct Orders {
    shared: Arc<Shared>,
    groups: Arc<Groups>,
    places: ArcSwap<Places>,
    keep: Keep,
    meter: Mutex<Meter>,
    /// Held by whoever changes the book; what the endpoints were last told.
    told: Mutex<Told>,
}

/// What was handed on.
#[derive(Debug, Default)]
struct Told {
    /// By pool and endpoint; who stands as the configuration has it is not here.
    stands: BTreeMap<(String, String), Stand>,
    /// Drains whose requests in flight are done.
    empty: BTreeSet<String>,
}

/// Orders of groups, by pool.
type Asked = BTreeMap<String, Vec<group::Order>>;

impl Told {
    fn stand(&self, place: Place<'_>) -> Stand {
        let key = (place.pool.to_owned(), place.endpoint.to_owned());
        self.stands.get(&key).copied().unwrap_or_default()
    }
}

impl Orders {
    /// Reads what was kept and applies what still holds.
    pub(crate) fn restore(shared: &Arc<Shared>, groups: Arc<Groups>) -> Arc<Self> {
        let config = &shared.snapshot().config;
        let keep = Keep::new(&config.state_dir);
        let (book, trouble) = keep.load();
        shared.book.store(Arc::new(book));
        let orders = Self {
            shared: Arc::clone(shared),
            groups,
            places: ArcSwap::from_pointee(Places::new(config)),
            keep,
            meter: Mutex::default(),
            told: Mutex::default(),
        };
        if let Some(trouble) = trouble {
            orders.tell("orders", ("kept", "lost"), trouble);
        }
        orders.turn();
        orders.apply(&mut orders.told());
        orders.fail_over_again();
        Arc::new(orders)
    }

    /// There is a new snapshot: what holds is applied to its endpoints.
    fn reconfigure(&self) {
        self.places.store(Arc::new(Places::new(&self.shared.snapshot().config)));
        self.turn();
        let mut told = self.told();
        // Whoever left and came back has forgotten what it was told.
        let seen = self.groups.seen();
        let forgot = |pool: &str, endpoint: &str| {
            let members = seen.get(pool);
            members.is_some_and(|all| all.iter().any(|m| *m.name == *endpoint && m.is_open))
        };
        told.stands.retain(|(pool, endpoint), stand| !(stand.is_out() && forgot(pool, endpoint)));
        self.apply(&mut told);
    }

    /// Looks once a second, and at every new snapshot, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut swaps = self.shared.swaps();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let swapped = tokio::select! {
                _ = tick.tick() => false,
                changed = swaps.changed() => changed.is_ok(),
            };
            let orders = Arc::clone(&self);
            let look = move || if swapped { orders.reconfigure() } else { orders.look() };
            // It may write a file.
            if let Err(error) = tokio::task::spawn_blocking(look).await {
                tracing::error!(%error, "the look at the orders panicked");
            }
        }
    }

    fn look(&self) {
        let now = self.shared.clock.now();
        self.meter().read(&self.shared.registry.all(), now);
        if self.turn() {
            self.apply(&mut self.told());
        }
        {
            let _writing = self.told();
            self.end_failovers(true);
        }
        self.tell_empty();
    }

    /// The orders that hold, the oldest first.
    pub(crate) fn list(&self) -> Vec<OrderStatus> {
        let now = self.unix();
        self.shared.book.load().iter().map(|order| status(order, now)).collect()
    }

    /// What an endpoint is for, and under which order; the rest of its status is not known here.
    pub(crate) fn standing(&self, pool: &str, endpoint: &str) -> EndpointStatus {
        let places = self.places.load();
        let place = self.shared.registry.place(pool, endpoint);
        let mut status = EndpointStatus {
            standing: place
                .as_ref()
                .map(|place| place.standing())
                .unwrap_or_default()
                .as_str()
                .to_owned(),
            factor: place.map_or(1.0, |place| f64::from(place.weight() * place.share().get())),
            ..EndpointStatus::default()
        };
        if let Some(at) = places.find(pool, endpoint) {
            let place = places.place(at);
            let book = self.shared.book.load();
            let effect = book.effect(place);
            let order = effect.out.or(effect.weight);
            status.zone = place.zone.map(str::to_owned);
            status.region = place.region.map(str::to_owned);
            status.order = order.map(|order| self::status(order, self.unix()));
        }
        status
    }

    /// What an order would do or has done.
    pub(crate) fn order(&self, instruction: &Instruction) -> Result<Carried, OrderError> {
        let mut told = self.told();
        let (places, book) = (self.places.load(), self.shared.book.load());
        let meant = places.meant(&instruction.scope).or_else(|unknown| {
            // What is not configured any more can still be given back.
            let ends = matches!(instruction.act, Act::Undrain | Act::EndMaintenance);
            let holds = book.iter().any(|order| order.scope == instruction.scope);
            if ends && holds { Ok(Vec::new()) } else { Err(unknown) }
        })?;
        change::sense(&book, instruction)?;
        let mut next = Book::clone(&book);
        self.write_down(instruction, &mut next)?;
        let view = self.view();
        let asked = self.asked(instruction, (&places, &meant), &next, &told);
        let rehearsed = self.rehearse(&asked)?;
        let change = change::of(instruction, (&places, &meant), &rehearsed, &view);
        let mut forecast = forecast(&view, &change);
        forecast.summary.splice(0..0, rehearsed.into_values().flat_map(|one| one.words));
        let objections = change::objections(&instruction.act, &forecast);
        if !instruction.dry_run && !instruction.force && !objections.is_empty() {
            return Err(OrderError::TooLittle(objections));
        }
        let endpoints = match instruction.act {
            Act::Failover { .. } | Act::Failback => self.moved(&view, &change),
            _ => self.met(&places, &meant, &next, &told),
        };
        if !instruction.dry_run {
            self.keep.save(&next)?;
            self.shared.book.store(Arc::new(next));
            self.apply(&mut told);
            if let Act::Failover { .. } | Act::Failback = instruction.act {
                self.hand_on(&asked, &instruction.reason);
            }
            self.end_failovers(false);
            told.empty.remove(&instruction.scope.to_string());
            self.tell_of(instruction, &book);
        }
        Ok(Carried { done: !instruction.dry_run, endpoints, refused: objections, forecast })
    }

    /// What would come of the death of everybody in `scope`.
    pub(crate) fn forecast(&self, scope: &Scope) -> Result<Forecast, OrderError> {
        let places = self.places.load();
        let meant = places.meant(scope)?;
        Ok(forecast(&self.view(), &change::death(scope, &meant)))
    }

    /// What the groups are told.
    fn asked(
        &self,
        instruction: &Instruction,
        (places, meant): (&Places, &[(usize, usize)]),
        next: &Book,
        told: &Told,
    ) -> Asked {
        if let Some(order) = change::of_seats(instruction) {
            let pool = meant.first().map(|at| places.place(*at).pool.to_owned());
            return pool.map(|pool| (pool, vec![order])).into_iter().collect();
        }
        let mut asked = Asked::new();
        for at in meant {
            let place = places.place(*at);
            let before = told.stand(place);
            let stand = Stand::under(next.effect(place));
            asked.entry(place.pool.to_owned()).or_default().extend(stand.orders(place, before));
        }
        asked
    }

    fn rehearse(&self, asked: &Asked) -> Result<BTreeMap<String, Rehearsed>, OrderError> {
        let mut rehearsed = BTreeMap::new();
        for (pool, orders) in asked {
            match self.groups.rehearse(pool, orders) {
                Ok(one) => drop(rehearsed.insert(pool.clone(), one)),
                // Nobody uses it: nothing follows.
                Err(OrderRefused::NoPool) => {}
                Err(refused) => return Err(OrderError::Pointless(refused.to_string())),
            }
        }
        Ok(rehearsed)
    }

    /// Tells the groups; what they refuse now was rehearsed before, or is restored.
    fn hand_on(&self, asked: &Asked, reason: &str) {
        for (pool, orders) in asked {
            for order in orders {
                match self.groups.order(pool, order, reason) {
                    Ok(_) | Err(OrderRefused::NoPool) => {}
                    Err(error) => {
                        tracing::warn!(pool, order = order.as_str(), %error, "an order was refused");
                    }
                }
            }
        }
    }

    /// A failover is kept for as long as it keeps somebody from a post that is its own; one away
    /// from a server that was lost is over once it is done.
    fn end_failovers(&self, tells: bool) {
        let book = self.shared.book.load();
        let over = |order: &&Order| match &order.scope {
            Scope::Pool(pool) => {
                matches!(order.verb, Verb::Failover { .. }) && !self.groups.is_failed_over(pool)
            }
            Scope::Endpoint { .. } | Scope::Zone(_) | Scope::Region(_) => false,
        };
        let over: Vec<_> = book.iter().filter(over).cloned().collect();
        if over.is_empty() {
            return;
        }
        let mut next = Book::clone(&book);
        for order in &over {
            let _ = next.lift(&order.scope, |verb| *verb == order.verb);
            if tells {
                let cause = format!("nobody is kept away any more; it was: {}", order.reason);
                self.tell(&order.scope.to_string(), (&order.verb.to_string(), "ended"), cause);
            }
        }
        if let Err(error) = self.keep.save(&next) {
            tracing::warn!(%error, "a failover has ended, and the file still has it");
        }
        self.shared.book.store(Arc::new(next));
    }

    /// What was failed over before a restart is failed over again.
    fn fail_over_again(&self) {
        for order in self.shared.book.load().iter() {
            if let (Scope::Pool(pool), Verb::Failover { to }) = (&order.scope, &order.verb) {
                let again = change::failover(to.as_deref());
                self.hand_on(&Asked::from([(pool.clone(), vec![again])]), &order.reason);
            }
        }
    }

    fn write_down(&self, instruction: &Instruction, book: &mut Book) -> Result<(), OrderError> {
        let Some(verb) = change::verb(&instruction.act) else {
            let _ = book.lift(&instruction.scope, |verb| change::ends(&instruction.act, verb));
            return Ok(());
        };
        let since = self.unix();
        let until = instruction.lasts.map(|lasts| Unix(since.0 + lasts.as_secs()));
        let (scope, reason) = (instruction.scope.clone(), instruction.reason.clone());
        let order = Order { scope, verb, reason, since, until, orphaned: None };
        match book.place(order) {
            Ok(_) => Ok(()),
            Err(full) => Err(OrderError::Pointless(full.to_string())),
        }
    }

    /// The endpoints that it meets: as they are and as they will be.
    fn met(&self, places: &Places, meant: &[(usize, usize)], next: &Book, told: &Told) -> Vec<Met> {
        let met = |(pool, endpoint): &(usize, usize)| {
            let place = places.place((*pool, *endpoint));
            Met {
                pool: place.pool.to_owned(),
                endpoint: place.endpoint.to_owned(),
                from: told.stand(place).to_string(),
                to: Stand::under(next.effect(place)).to_string(),
                in_flight: self.in_flight(place.pool, place.endpoint),
            }
        };
        meant.iter().map(met).collect()
    }

    /// The endpoints whose posts move.
    fn moved(&self, view: &View, change: &Change) -> Vec<Met> {
        let met = |(pool, at, effect): &(usize, usize, Effect)| {
            let (pool, endpoint) = (&view.pools[*pool], &view.pools[*pool].endpoints[*at]);
            let Effect::Stands(to) = effect else { return None };
            (*to != endpoint.standing).then(|| Met {
                pool: pool.name.clone(),
                endpoint: endpoint.name.clone(),
                from: endpoint.standing.as_str().to_owned(),
                to: to.as_str().to_owned(),
                in_flight: self.in_flight(&pool.name, &endpoint.name),
            })
        };
        change.effects.iter().filter_map(met).collect()
    }

    fn in_flight(&self, pool: &str, endpoint: &str) -> u32 {
        let targets = self.shared.registry.all();
        let here = targets.iter().filter(|t| *t.key.pool == *pool && *t.key.endpoint == *endpoint);
        here.map(|target| target.load.in_flight()).sum()
    }

    /// Hands on what changed since it was last handed on.
    fn apply(&self, told: &mut Told) {
        let (places, book) = (self.places.load(), self.shared.book.load());
        let mut stands = BTreeMap::new();
        for place in places.all() {
            let effect = book.effect(place);
            let stand = Stand::under(effect);
            let orders = stand.orders(place, told.stand(place));
            if !orders.is_empty() {
                let reason =
                    effect.out.or(effect.weight).map_or("it is over", |order| &order.reason);
                self.hand_on(&Asked::from([(place.pool.to_owned(), orders)]), reason);
            }
            let key = (place.pool.to_owned(), place.endpoint.to_owned());
            if stand != Stand::default() {
                stands.insert(key, stand);
            }
        }
        told.stands = stands;
    }

    /// Ends what is over; whether anything changed.
    fn turn(&self) -> bool {
        let _writing = self.told();
        let places = self.places.load();
        let mut next = Book::clone(&self.shared.book.load());
        let turns = next.turn(self.unix(), |scope| places.meant(scope).is_ok());
        if turns.is_empty() {
            return false;
        }
        if let Err(error) = self.keep.save(&next) {
            tracing::warn!(%error, "orders have ended, and the file still has them");
        }
        self.shared.book.store(Arc::new(next));
        for turn in turns {
            if let Turn::Expired(Order { scope: Scope::Pool(pool), verb, .. }) = &turn
                && matches!(verb, Verb::Failover { .. })
            {
                self.groups.end_failover(pool);
            }
            self.tell_turn(turn);
        }
        true
    }

    fn tell_turn(&self, turn: Turn) {
        let (order, to, cause) = match turn {
            Turn::Expired(order) => (order, "ended", "its time is over".to_owned()),
            Turn::Orphaned(order) => {
                (order, "orphaned", "nothing of it is configured; it is kept for a day".to_owned())
            }
            Turn::Found(order) => (order, "held", "it is configured again".to_owned()),
            Turn::Dropped(order) => {
                (order, "dropped", "nothing of it was configured for a day".to_owned())
            }
        };
        let cause = format!("{cause}; it was given for: {}", order.reason);
        self.tell(&order.scope.to_string(), (&order.verb.to_string(), to), cause);
    }

    fn tell_of(&self, instruction: &Instruction, before: &Book) {
        let like = |order: &&Order| {
            order.scope == instruction.scope && change::touches(&instruction.act, &order.verb)
        };
        let none = || "none".to_owned();
        let from = before.iter().find(like).map_or_else(none, |order| order.verb.to_string());
        let to = change::verb(&instruction.act).map_or_else(none, |verb| verb.to_string());
        let until = instruction.lasts.map(|lasts| format!(" for {}", humantime(lasts)));
        let to = format!("{to}{}", until.unwrap_or_default());
        self.tell(&instruction.scope.to_string(), (&from, &to), instruction.reason.clone());
    }

    /// Says once of each drain that nothing is left in flight.
    fn tell_empty(&self) {
        let mut told = self.told();
        let (places, book) = (self.places.load(), self.shared.book.load());
        let mut done = BTreeSet::new();
        for order in book.iter().filter(|order| is_out(order)) {
            let Ok(meant) = places.meant(&order.scope) else { continue };
            let busy = meant.iter().map(|at| places.place(*at));
            if busy.map(|place| self.in_flight(place.pool, place.endpoint)).sum::<u32>() > 0 {
                continue;
            }
            let subject = order.scope.to_string();
            if !told.empty.contains(&subject) {
                let took = self.unix().0.saturating_sub(order.since.0);
                let cause = format!("nothing is in flight {took} s after: {}", order.reason);
                self.tell(&subject, (order.verb.as_str(), "empty"), cause);
            }
            done.insert(subject);
        }
        told.empty = done;
    }

    fn tell(&self, subject: &str, (from, to): (&str, &str), cause: String) {
        self.shared.telemetry.event(Event {
            kind: EventKind::Operator,
            subject: subject.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            cause,
        });
    }

    fn unix(&self) -> Unix {
        let wall = self.shared.clock.wall(self.shared.clock.now());
        Unix(wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    fn view(&self) -> View {
        view::of(&self.places.load(), &self.groups.seen(), &self.shared, &self.meter())
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it keeps requests away.
const fn is_out(order: &Order) -> bool {
    matches!(order.verb, Verb::Drain | Verb::Maintenance)
}

fn status(order: &Order, now: Unix) -> OrderStatus {
    OrderStatus {
        scope: order.scope.to_string(),
        order: order.verb.to_string(),
        reason: order.reason.clone(),
        since_seconds: now.0.saturating_sub(order.since.0) as f64,
        until_seconds: order.until.map(|until| until.0.saturating_sub(now.0) as f64),
        orphaned: order.orphaned.is_some(),
    }
}

/// A whole number of the largest unit that fits.
fn humantime(time: Duration) -> String {
    match time.as_secs() {
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}
