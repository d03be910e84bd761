//! What a forecast needs to know, read from the running gateway.

use std::collections::HashMap;
use std::sync::Arc;

use mainstay_control::forecast::{Endpoint, Model, Pool, Readiness, Source, Step, View};
use mainstay_control::group::{Fitness, Prepared, Standby};
use mainstay_policy::Standing;
use mainstay_policy::target::Target;

use super::meter::Meter;
use super::places::{EndpointPlace, Places, PoolPlaces};
use crate::groups::Seen;
use crate::shared::Shared;
use crate::snapshot::{self, Route};

/// The targets of each endpoint.
type Targets = HashMap<(Arc<str>, Arc<str>), Vec<Arc<Target>>>;

/// Everything as it is now.
pub(super) fn of(
    places: &Places,
    seen: &HashMap<Arc<str>, Vec<Seen>>,
    shared: &Shared,
    meter: &Meter,
) -> View {
    let mut targets = Targets::new();
    for target in shared.registry.all() {
        let key = (Arc::clone(&target.key.pool), Arc::clone(&target.key.endpoint));
        targets.entry(key).or_default().push(target);
    }
    let pools = places.pools.iter().map(|pool| {
        self::pool(pool, seen.get(&pool.name).map_or(&[][..], Vec::as_slice), &targets, meter)
    });
    let snapshot = shared.snapshot();
    let routes = &snapshot.routes;
    let users = users(routes);
    let models = routes.iter().map(|route| model(route, places, &users, meter));
    View { pools: pools.collect(), models: models.collect() }
}

fn pool(pool: &PoolPlaces, seen: &[Seen], targets: &Targets, meter: &Meter) -> Pool {
    let endpoints = pool.endpoints.iter().map(|at| {
        let key = (Arc::clone(&pool.name), Arc::clone(&at.name));
        let seen = seen.iter().find(|seen| seen.name == at.name);
        endpoint(at, seen, targets.get(&key).map_or(&[][..], Vec::as_slice), meter)
    });
    Pool {
        name: pool.name.to_string(),
        wanted: pool.wanted,
        manual: pool.manual,
        detection: pool.detection,
        endpoints: endpoints.collect(),
    }
}

/// What nobody has seen serves nothing: no model uses it.
fn endpoint(
    at: &EndpointPlace,
    seen: Option<&Seen>,
    targets: &[Arc<Target>],
    meter: &Meter,
) -> Endpoint {
    let known = [capacity(targets, meter), seen.and_then(|seen| seen.sight.capacity)];
    Endpoint {
        name: at.name.to_string(),
        zone: at.site.zone.as_deref().map(str::to_owned),
        region: at.site.region.as_deref().map(str::to_owned),
        standing: seen.map_or(Standing::Active, |seen| seen.standing),
        readiness: seen.map_or(Readiness::Out, readiness),
        distance: at.distance as u8,
        weight: f64::from(at.weight * seen.map_or(1.0, |seen| seen.factor)),
        load: targets.iter().map(|target| meter.rate(target)).sum(),
        capacity: known.into_iter().flatten().reduce(f64::min),
        measured: seen.is_some_and(|seen| seen.sight.measured),
    }
}

/// A warm or cold standby that is not made ready waits to be; whoever else serves nothing cannot
/// be had.
fn readiness(seen: &Seen) -> Readiness {
    let waits = seen.is_open && seen.sight.prepared != Prepared::Yes;
    match (seen.standby, seen.sight.fitness) {
        (Standby::Warm, _) if waits => Readiness::Load(seen.took),
        (Standby::Cold, _) if waits => Readiness::Start(seen.took),
        (_, Fitness::Lost(_)) => Readiness::Out,
        _ => Readiness::Ready,
    }
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
        | snapshot::Source::Default(_)
        | snapshot::Source::Fixed(_) => {
            Step { source: Source::Local(crate::build::step_name(step).to_string()), load: 0.0 }
        }
    });
    Model { name: route.name.to_string(), steps: steps.collect() }
}
