//! A change that is only thought of.

use mainstay_policy::Standing;

use super::{Endpoint, Readiness, View};

/// Who would stand differently.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// What it is, in words.
    pub words: String,
    /// Whether it comes without being announced: nobody knows until something fails.
    pub sudden: bool,
    /// By the places of pool and endpoint in the view.
    pub effects: Vec<(usize, usize, Effect)>,
}

/// What would become of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// It is dead.
    Gone,
    /// It stands for something else.
    Stands(Standing),
    /// Its weight is so many times what it is now.
    Weighs(f64),
}

impl Change {
    /// Every endpoint that `fits` dies at once.
    #[must_use]
    pub fn loss(view: &View, words: String, fits: impl Fn(&str, &Endpoint) -> bool) -> Self {
        let effects = places(view, fits).map(|(pool, at)| (pool, at, Effect::Gone)).collect();
        Self { words, sudden: true, effects }
    }

    /// The view after the change, before anybody is promoted.
    pub(super) fn apply(&self, view: &View) -> View {
        let mut changed = view.clone();
        for (pool, at, effect) in &self.effects {
            let endpoints = changed.pools.get_mut(*pool).map(|pool| &mut pool.endpoints);
            let Some(endpoint) = endpoints.and_then(|all| all.get_mut(*at)) else { continue };
            match effect {
                Effect::Gone => endpoint.readiness = Readiness::Out,
                Effect::Stands(standing) => {
                    endpoint.standing = *standing;
                    // Who was taken out is nobody's standby.
                    if endpoint.readiness.is_standby() && *standing != Standing::Active {
                        endpoint.readiness = Readiness::Out;
                    }
                }
                Effect::Weighs(factor) => endpoint.weight *= factor,
            }
        }
        changed
    }
}

/// The places of the endpoints that fit; the pool's name comes with each.
fn places<'v>(
    view: &'v View,
    fits: impl Fn(&str, &Endpoint) -> bool + 'v,
) -> impl Iterator<Item = (usize, usize)> + 'v {
    let all = view.pools.iter().enumerate().flat_map(|(at, pool)| {
        pool.endpoints.iter().enumerate().map(move |(place, endpoint)| (at, pool, place, endpoint))
    });
    all.filter(move |(_, pool, _, endpoint)| fits(&pool.name, endpoint))
        .map(|(pool, _, place, _)| (pool, place))
}
