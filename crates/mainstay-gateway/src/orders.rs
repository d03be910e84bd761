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
use mainstay_control::forecast::{Forecast, forecast};
use mainstay_control::orders::{Book, Order, Scope, Turn, Unix, Verb};
use mainstay_policy::Moment;
use mainstay_telemetry::{Event, EventKind};
use tokio::time::MissedTickBehavior;

use crate::groups::Groups;
use crate::shared::Shared;

mod change;
mod keep;
mod meter;
mod places;
mod switch;
mod view;

use keep::Keep;
use meter::Meter;
use places::{Places, Stand};

/// Between two looks: at the loads, at orders that end, at drains that are done.
const LOOK: Duration = Duration::from_secs(1);

/// All orders of a gateway.
#[derive(Debug)]
pub(crate) struct Orders {
    shared: Arc<Shared>,
    groups: Arc<Groups>,
    places: ArcSwap<Places>,
    book: ArcSwap<Book>,
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

impl Orders {
    /// Reads what was kept and applies what still holds.
    pub(crate) fn restore(shared: &Arc<Shared>, groups: Arc<Groups>) -> Arc<Self> {
        let config = &shared.snapshot().config;
        let keep = Keep::new(&config.state_dir);
        let (book, trouble) = keep.load();
        let orders = Self {
            shared: Arc::clone(shared),
            groups,
            places: ArcSwap::from_pointee(Places::new(config)),
            book: ArcSwap::from_pointee(book),
            keep,
            meter: Mutex::default(),
            told: Mutex::default(),
        };
        if let Some(trouble) = trouble {
            orders.tell("orders", ("kept", "lost"), trouble);
        }
        orders.turn();
        orders.apply(&mut orders.told());
        orders.switch_again();
        Arc::new(orders)
    }

    /// There is a new snapshot: what holds is applied to its endpoints.
    fn reconfigure(&self) {
        self.places.store(Arc::new(Places::new(&self.shared.snapshot().config)));
        self.turn();
        self.apply(&mut self.told());
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
        self.tell_empty();
    }

    /// The orders that hold, the oldest first.
    pub(crate) fn list(&self) -> Vec<OrderStatus> {
        let now = self.unix();
        self.book.load().iter().map(|order| status(order, now)).collect()
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
            let book = self.book.load();
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
        let (places, book) = (self.places.load(), self.book.load());
        let meant = places.meant(&instruction.scope).or_else(|unknown| {
            // What is not configured any more can still be given back.
            let ends = matches!(instruction.act, Act::Undrain | Act::EndMaintenance);
            let holds = book.iter().any(|order| order.scope == instruction.scope);
            if ends && holds { Ok(Vec::new()) } else { Err(unknown) }
        })?;
        if let (Scope::Pool(pool), Some(order)) = (&instruction.scope, switch::of(&instruction.act))
        {
            return self.switch(instruction, pool, &order);
        }
        change::sense(&book, instruction)?;
        let mut next = Book::clone(&book);
        self.write_down(instruction, &mut next)?;
        let view = self.view();
        let stands = meant.iter().map(|at| (*at, Stand::under(next.effect(places.place(*at)))));
        let forecast = forecast(&view, &change::of(instruction, &places, stands, &view)?);
        let objections = change::objections(&instruction.act, &forecast);
        if !instruction.dry_run && !instruction.force && !objections.is_empty() {
            return Err(OrderError::TooLittle(objections));
        }
        let endpoints = self.met(&places, &meant, &next, &told);
        if !instruction.dry_run {
            self.keep.save(&next)?;
            self.book.store(Arc::new(next));
            self.apply(&mut told);
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
        let now = |pool: &str, endpoint: &str| {
            let key = (pool.to_owned(), endpoint.to_owned());
            told.stands.get(&key).copied().unwrap_or_default()
        };
        let met = |(pool, endpoint): &(usize, usize)| {
            let place = places.place((*pool, *endpoint));
            Met {
                pool: place.pool.to_owned(),
                endpoint: place.endpoint.to_owned(),
                from: now(place.pool, place.endpoint).to_string(),
                to: Stand::under(next.effect(place)).to_string(),
                in_flight: self.in_flight(place.pool, place.endpoint),
            }
        };
        meant.iter().map(met).collect()
    }

    fn in_flight(&self, pool: &str, endpoint: &str) -> u32 {
        let targets = self.shared.registry.all();
        let here = targets.iter().filter(|t| *t.key.pool == *pool && *t.key.endpoint == *endpoint);
        here.map(|target| target.load.in_flight()).sum()
    }

    /// Hands on what changed since it was last handed on.
    fn apply(&self, told: &mut Told) {
        let (places, book) = (self.places.load(), self.book.load());
        let mut stands = BTreeMap::new();
        for place in places.all() {
            let stand = Stand::under(book.effect(place));
            let key = (place.pool.to_owned(), place.endpoint.to_owned());
            let before = told.stands.get(&key).copied().unwrap_or_default();
            if before != stand {
                let effect = book.effect(place);
                let order = effect.out.or(effect.weight);
                let reason = order.map_or("taken back", |order| &order.reason);
                stand.hand_on(&self.groups, place, before, reason);
            }
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
        let mut next = Book::clone(&self.book.load());
        let turns = next.turn(self.unix(), |scope| places.meant(scope).is_ok());
        if turns.is_empty() {
            return false;
        }
        if let Err(error) = self.keep.save(&next) {
            tracing::warn!(%error, "orders have ended, and the file still has them");
        }
        self.book.store(Arc::new(next));
        turns.into_iter().for_each(|turn| self.tell_turn(turn));
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
        let (places, book) = (self.places.load(), self.book.load());
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

    fn view(&self) -> mainstay_control::forecast::View {
        let now: Moment = self.shared.clock.now();
        view::of((&self.places.load(), &self.book.load()), &self.shared, &self.meter(), now)
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
