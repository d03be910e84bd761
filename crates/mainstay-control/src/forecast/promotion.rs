//! Who comes into use: at once those who only have to be asked, then those to be loaded or started.
//!
//! Preferred are spares near the gateway, then those that need least until they answer, then the
//! order of the configuration. Where a pool promotes by hand, hot standbys still answer: they are
//! asked inside the request that finds nobody else.

use mainstay_policy::Standing;

use super::{Endpoint, Pool, Readiness, View};

/// The view with those in use who answer without delay.
pub(super) fn at_once(changed: &View) -> View {
    let mut view = changed.clone();
    for pool in &mut view.pools {
        fill(pool, |endpoint| endpoint.readiness == Readiness::Ready);
    }
    view
}

/// The view once every standby that comes into use is ready.
pub(super) fn in_the_end(changed: &View) -> View {
    let mut view = changed.clone();
    for pool in &mut view.pools {
        let by_hand = pool.manual;
        fill(pool, |endpoint| !by_hand || endpoint.readiness == Readiness::Ready);
    }
    for endpoint in view.pools.iter_mut().flat_map(|pool| &mut pool.endpoints) {
        if endpoint.standing == Standing::Active && endpoint.readiness.is_standby() {
            endpoint.readiness = Readiness::Ready;
        }
    }
    view
}

/// Brings spares into use until as many are as are wanted.
fn fill(pool: &mut Pool, may: impl Fn(&Endpoint) -> bool) {
    let in_use = pool.endpoints.iter().filter(|endpoint| endpoint.is_serving()).count();
    let mut spares: Vec<usize> = (0..pool.endpoints.len())
        .filter(|at| is_spare(&pool.endpoints[*at]) && may(&pool.endpoints[*at]))
        .collect();
    spares.sort_by_key(|at| {
        let endpoint = &pool.endpoints[*at];
        (endpoint.distance, effort(endpoint.readiness), *at)
    });
    for at in spares.into_iter().take(pool.wanted.saturating_sub(in_use)) {
        pool.endpoints[at].standing = Standing::Active;
    }
}

/// A standby that nobody has taken out: a hot one is a spare, others are away until loaded.
fn is_spare(endpoint: &Endpoint) -> bool {
    match endpoint.readiness {
        Readiness::Ready => endpoint.standing == Standing::Spare,
        Readiness::Load(_) | Readiness::Start(_) => {
            matches!(endpoint.standing, Standing::Spare | Standing::Away)
        }
        Readiness::Out => false,
    }
}

/// Less is preferred.
const fn effort(readiness: Readiness) -> u8 {
    match readiness {
        Readiness::Ready => 0,
        Readiness::Load(_) => 1,
        Readiness::Start(_) => 2,
        Readiness::Out => 3,
    }
}
