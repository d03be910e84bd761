//! What a forecast needs to know, read from the running gateway.

use std::collections::HashMap;
use std::sync::Arc;

use mainstay_control::forecast::{Endpoint, Model, Pool, Readiness, Source, Step, View};
use mainstay_control::group::Standby;
use mainstay_control::orders::Book;
use mainstay_policy::target::Target;
use mainstay_policy::{Moment, Standing};

use super::meter::Meter;
use super::places::{EndpointPlace, Places, PoolPlaces};
use crate::shared::Shared;
use crate::snapshot::{self, Route};

/// The targets of each endpoint.
type Targets = HashMap<(Arc<str>, Arc<str>), Vec<Arc<Target>>>;

/// Everything as it is now.
pub(super) fn of(
    (places, book): (&Places, &Book),
    shared: &Shared,
    meter: &Meter,
    now: Moment,
) -> View {
    let mut targets = Targets::new();
    for target in shared.registry.all() {
        let key = (Arc::clone(&target.key.pool), Arc::clone(&target.key.endpoint));
        targets.entry(key).or_default().push(target);
    }
    let snapshot = shared.snapshot();
    let routes = &snapshot.routes;
    let pools = places.pools.iter().enumerate().map(|(index, pool)| {
        let is_out = |at: usize| book.effect(places.place((index, at))).out.is_some();
        self::pool(pool, is_out, &targets, (meter, now))
    });
    let users = users(routes);
    let models = routes.iter().map(|route| model(route, places, &users, meter));
    View { pools: pools.collect(), models: models.collect() }
}

fn pool(
    pool: &PoolPlaces,
    is_out: impl Fn(usize) -> bool,
    targets: &Targets,
    (meter, now): (&Meter, Moment),
) -> Pool {
    let endpoints = pool.endpoints.iter().enumerate().map(|(index, at)| {
        let key = (Arc::clone(&pool.name), Arc::clone(&at.name));
        let targets = targets.get(&key).map_or(&[][..], Vec::as_slice);
        let endpoint = endpoint(at, targets, meter, now);
        match endpoint.readiness {
            // Who was taken out is nobody's standby.
            Readiness::Load(_) | Readiness::Start(_) if is_out(index) => {
                Endpoint { readiness: Readiness::Out, ..endpoint }
            }
            _ => endpoint,
        }
    });
    Pool {
        name: pool.name.to_string(),
        wanted: pool.wanted,
        manual: pool.manual,
        detection: pool.detection,
        endpoints: endpoints.collect(),
    }
}

fn endpoint(at: &EndpointPlace, targets: &[Arc<Target>], meter: &Meter, now: Moment) -> Endpoint {
    let place = targets.first().map(|target| &target.place);
    let standing = place.map_or(Standing::Active, |place| place.standing());
    let factor = place.map_or(1.0, |place| place.weight() * place.share().get());
    Endpoint {
        name: at.name.to_string(),
        zone: at.site.zone.as_deref().map(str::to_owned),
        region: at.site.region.as_deref().map(str::to_owned),
        standing,
        readiness: readiness(at, standing, targets, now),
        distance: at.distance as u8,
        weight: f64::from(at.weight * factor),
        load: targets.iter().map(|target| meter.rate(target)).sum(),
        capacity: capacity(targets, meter),
    }
}

/// A warm or cold standby that is away waits to be loaded or started; whoever else does not answer
/// cannot be had.
fn readiness(
    at: &EndpointPlace,
    standing: Standing,
    targets: &[Arc<Target>],
    now: Moment,
) -> Readiness {
    match (standing, at.standby) {
        (Standing::Away, Some(Standby::Warm)) => Readiness::Load(None),
        (Standing::Away, Some(Standby::Cold)) => Readiness::Start(None),
        _ if targets.iter().any(|target| answers(target, now)) => Readiness::Ready,
        _ => Readiness::Out,
    }
}

fn answers(target: &Target, now: Moment) -> bool {
    target.health.verdict().takes_traffic()
        && target.breaker.would_admit(now).is_ok()
        && !target.health.is_ejected()
}

/// What an endpoint can serve of its models in today's mixture; idle, of the one that it can serve
/// least of.
fn capacity(targets: &[Arc<Target>], meter: &Meter) -> Option<f64> {
    let known: Vec<(f64, f64)> = targets
        .iter()
        .filter_map(|target| Some((meter.rate(target), meter.capacity(target)?)))
        .collect();
    let load: f64 = known.iter().map(|(rate, _)| rate).sum();
    let busy: f64 = known.iter().map(|(rate, capacity)| rate / capacity).sum();
    if busy > 0.0 {
        return Some(load / busy);
    }
    known.into_iter().map(|(_, capacity)| capacity).reduce(f64::min)
}

/// How many steps of all chains ask each target.
fn users(routes: &[Arc<Route>]) -> HashMap<u32, f64> {
    let mut users = HashMap::new();
    for member in routes.iter().flat_map(|route| route.members()) {
        *users.entry(member.target.id).or_insert(0.0) += 1.0;
    }
    users
}

fn model(route: &Route, places: &Places, users: &HashMap<u32, f64>, meter: &Meter) -> Model {
    // Nobody can count on an answer that may not be remembered.
    let certain = |step: &&snapshot::Step| !matches!(step.source, snapshot::Source::LastGood);
    let steps = route.steps.iter().filter(certain).map(|step| match &step.source {
        snapshot::Source::Pool(pool) => {
            let at = places.pools.iter().position(|known| known.name == pool.name);
            let rate = |target: &Target| meter.rate(target) / users[&target.id];
            Step {
                source: Source::Pool(at.unwrap_or(usize::MAX)),
                load: pool.members.iter().map(|member| rate(&member.target)).sum(),
            }
        }
        // What they answer needs no server, now or later.
        snapshot::Source::Embedded(_)
        | snapshot::Source::LastGood
        | snapshot::Source::Default(_) => {
            Step { source: Source::Local(crate::build::step_name(step).to_string()), load: 0.0 }
        }
    });
    Model { name: route.name.to_string(), steps: steps.collect() }
}
