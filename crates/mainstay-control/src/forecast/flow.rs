//! Where the load goes: down the chains, and within each pool to those who have room.

use super::{Model, Pool, Source, View};

/// The load on everybody, in requests a second.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flow {
    /// By pool, by endpoint.
    pub(super) endpoints: Vec<Vec<f64>>,
    /// By model, by step.
    pub(super) steps: Vec<Vec<f64>>,
    /// By model: what nobody answers.
    pub(super) missing: Vec<f64>,
    /// By pool: what it was asked and could not take.
    pub(super) overflow: Vec<f64>,
}

/// Lets today's load run through `view`. Each step is asked for what it answers today and for what
/// the step before it could not take; steps of the same depth are served alike.
pub(super) fn flow(view: &View) -> Flow {
    let mut left: Vec<f64> = view.pools.iter().map(room).collect();
    let mut flow = Flow {
        endpoints: Vec::new(),
        steps: vec![Vec::new(); view.models.len()],
        missing: vec![0.0; view.models.len()],
        overflow: vec![0.0; view.pools.len()],
    };
    let depth = view.models.iter().map(|model| model.steps.len()).max().unwrap_or_default();
    (0..depth).for_each(|at| level(view, at, &mut left, &mut flow));
    let pools = view.pools.iter().enumerate();
    flow.endpoints = pools.map(|(at, pool)| spread(pool, taken(view, &flow.steps, at))).collect();
    flow
}

/// Serves the steps of one depth; what they cannot take stays missing for the next one.
fn level(view: &View, at: usize, left: &mut [f64], flow: &mut Flow) {
    let models = || view.models.iter().enumerate().filter(|(_, model)| at < model.steps.len());
    let mut asked = vec![0.0; view.pools.len()];
    for (place, model) in models() {
        flow.missing[place] += model.steps[at].load;
        if let Some(pool) = pool_of(model, at) {
            asked[pool] += flow.missing[place];
        }
    }
    for (place, model) in models() {
        let wanted = flow.missing[place];
        let pool = pool_of(model, at);
        let taken = pool.map_or(wanted, |pool| part(wanted, asked[pool], left[pool]));
        flow.steps[place].push(taken);
        flow.missing[place] = wanted - taken;
        if let Some(pool) = pool {
            flow.overflow[pool] += wanted - taken;
        }
    }
    for (left, asked) in left.iter_mut().zip(&asked) {
        *left = (*left - asked).max(0.0);
    }
}

fn pool_of(model: &Model, at: usize) -> Option<usize> {
    match model.steps.get(at)?.source {
        Source::Pool(pool) => Some(pool),
        Source::Local(_) => None,
    }
}

/// Its part of what a pool can take, where several ask for more than that.
fn part(asked: f64, all: f64, left: f64) -> f64 {
    if all <= left { asked } else { asked * left / all }
}

/// What all models are answered by this pool.
fn taken(view: &View, steps: &[Vec<f64>], pool: usize) -> f64 {
    let of_model = |(model, loads): (&Model, &Vec<f64>)| -> f64 {
        let here = loads.iter().enumerate().filter(|(at, _)| pool_of(model, *at) == Some(pool));
        here.map(|(_, load)| load).sum()
    };
    view.models.iter().zip(steps).map(of_model).sum()
}

/// What a pool can take: all who serve, or nobody.
fn room(pool: &Pool) -> f64 {
    pool.endpoints.iter().filter(|e| e.is_serving()).map(super::Endpoint::room).sum()
}

/// Spreads a pool's load: the nearest first, by weight among the equally near, and what one cannot
/// take goes to those who still have room.
fn spread(pool: &Pool, load: f64) -> Vec<f64> {
    let mut given = vec![0.0; pool.endpoints.len()];
    let mut distances: Vec<u8> = pool.endpoints.iter().map(|e| e.distance).collect();
    distances.sort_unstable();
    distances.dedup();
    let mut left = load;
    for distance in distances {
        let here: Vec<usize> = (0..given.len())
            .filter(|at| {
                pool.endpoints[*at].is_serving() && pool.endpoints[*at].distance == distance
            })
            .collect();
        left = pour(pool, here, left, &mut given);
    }
    given
}

/// Fills these by weight until all is given or all are full; what is left over.
fn pour(pool: &Pool, mut open: Vec<usize>, mut left: f64, given: &mut [f64]) -> f64 {
    while left > 0.0 && !open.is_empty() {
        let weights: f64 = open.iter().map(|at| pool.endpoints[*at].weight).sum();
        let fair = |at: usize| left * pool.endpoints[at].weight / weights;
        let free = |at: usize| pool.endpoints[at].room();
        let (full, roomy): (Vec<usize>, Vec<usize>) =
            open.iter().partition(|at| fair(**at) >= free(**at));
        if full.is_empty() {
            roomy.iter().for_each(|at| given[*at] = fair(*at));
            return 0.0;
        }
        for at in full {
            given[at] = free(at);
            left -= free(at);
        }
        open = roomy;
    }
    left.max(0.0)
}
