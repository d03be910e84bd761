//! The shares of near and far: looked at ten times a second, on the control runtime.
//!
//! What there is follows from verdicts, breakers and standings, as every request reads them; the
//! shares follow from that alone (`balance/locality.rs` of policy). A request needs this loop for
//! its share only: where nobody at a distance can be asked, it goes on by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mainstay_admin::status::{LocalityStatus, ShareStatus};
use mainstay_config as config;
use mainstay_policy::Moment;
use mainstay_policy::balance::Distance;
use mainstay_policy::balance::locality::{Change, Shares, View};
use mainstay_policy::chain::{self, Pool};
use mainstay_telemetry::{Event, EventKind};

use crate::shared::Shared;
use crate::snapshot::{PoolSource, Route, Snapshot, Source};

/// Between two looks: as often as verdicts are judged.
const LOOK: Duration = Duration::from_millis(100);

/// Watches every pool with distances for as long as it runs.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = shared.clock.now();
        for route in &shared.snapshot().routes {
            for (source, pool) in with_distances(route) {
                look(&shared, source, pool, now);
            }
        }
    }
}

/// The pools of a route whose members are not all equally near.
pub(crate) fn with_distances(route: &Route) -> impl Iterator<Item = (&PoolSource, &Pool)> {
    route.steps.iter().zip(route.plan.steps()).filter_map(|(step, plan)| {
        match (&step.source, plan) {
            (Source::Pool(source), chain::Step::Pool(pool)) if pool.locality.is_some() => {
                Some((source, pool))
            }
            _ => None,
        }
    })
}

fn look(shared: &Shared, source: &PoolSource, pool: &Pool, now: Moment) {
    let Some(locality) = &pool.locality else { return };
    let change = locality.step(chain::supplies(pool, now), &source.near, now);
    if let Some(change) = change {
        tell(shared, source, &change);
    }
}

fn tell(shared: &Shared, source: &PoolSource, change: &Change) {
    let model = model(source);
    let Change { from, to, cause } = change;
    shared.telemetry.event(Event {
        kind: EventKind::Locality,
        subject: format!("{}/{model}", source.name),
        from: Shares(from).to_string(),
        to: Shares(to).to_string(),
        cause: cause.clone(),
    });
}

/// How near the requests of a pool stay, for each model that it serves.
pub(crate) fn status(snapshot: &Snapshot, pool: &config::Pool) -> Vec<LocalityStatus> {
    let mut all: Vec<LocalityStatus> = Vec::new();
    for (source, planned) in snapshot.routes.iter().flat_map(|route| with_distances(route)) {
        let Some(locality) = planned.locality.as_ref().filter(|_| source.name == pool.name) else {
            continue;
        };
        let model = model(source);
        // Two routes may ask for the same model.
        if all.iter().all(|known| known.model != model) {
            let View { shares, supplies, why } = locality.view();
            let shares = Distance::ALL.into_iter().zip(shares).zip(supplies);
            let shares = shares.filter(|(_, supply)| supply.all > 0.0);
            let shares = shares.map(|((distance, share), supply)| ShareStatus {
                distance: distance.as_str().to_owned(),
                sites: sites(planned, pool, distance),
                share: share.into(),
                usable: supply.usable.into(),
                all: supply.all.into(),
            });
            all.push(LocalityStatus { model: model.to_owned(), shares: shares.collect(), why });
        }
    }
    all
}

/// The zones and regions of the endpoints at a distance.
fn sites(planned: &Pool, pool: &config::Pool, distance: Distance) -> Vec<String> {
    let at = planned.members.iter().zip(&pool.endpoints);
    let at = at.filter(|(member, _)| member.distance == distance);
    let name = |site: &config::Site| {
        let parts = [site.region.as_deref(), site.zone.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    };
    let names: BTreeSet<_> = at.map(|(_, endpoint)| name(&endpoint.site)).collect();
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

/// The model as the servers of the pool know it.
fn model(source: &PoolSource) -> &str {
    source.members.first().map_or("*", |member| &*member.target.key.model)
}
