//! The forecast as it is shown and sent.

use std::time::Duration;

use mainstay_policy::Standing;
use serde::{Deserialize, Serialize};

use super::flow::{Flow, flow};
use super::{Change, Endpoint, LEAST, Pool, Readiness, Source, View, tell};

/// What would come of a change. Loads are requests a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The change, in words.
    pub change: String,
    /// What would happen, line by line.
    pub summary: Vec<String>,
    /// The pools that it changes something for.
    pub pools: Vec<PoolLoad>,
    /// The models that it changes something for.
    pub models: Vec<ModelAnswers>,
    /// What no step would answer, before standbys are ready.
    pub missing: f64,
    /// What no step would answer after that.
    pub missing_then: f64,
}

/// What would become of one pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolLoad {
    /// Its name.
    pub name: String,
    /// What it serves now.
    pub now: f64,
    /// What it would serve before standbys are ready.
    pub meanwhile: f64,
    /// What it would serve after that.
    pub then: f64,
    /// What it would be asked and could not take, before standbys are ready.
    pub short: f64,
    /// The same after that.
    pub short_then: f64,
    /// How many endpoints serve now.
    pub serving: usize,
    /// How many would, before standbys are ready.
    pub serving_meanwhile: usize,
    /// How many would after that.
    pub serving_then: usize,
    /// Its endpoints.
    pub endpoints: Vec<EndpointLoad>,
}

/// What would become of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointLoad {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub zone: Option<String>,
    /// What it serves now.
    pub now: f64,
    /// What it would serve before standbys are ready.
    pub meanwhile: f64,
    /// What it would serve after that.
    pub then: f64,
    /// What it can serve; none where that is not known.
    pub capacity: Option<f64>,
    /// Whether that was measured while it was busy, or is an estimate.
    #[serde(default)]
    pub measured: bool,
    /// What it would be: `active`, `spare`, `drained`, `away` or `gone`.
    pub becomes: String,
    /// If it comes into use: when it answers.
    pub ready: Option<Ready>,
}

/// When one who comes into use answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// What has to happen: `at-once`, `load` or `start`.
    pub how: String,
    /// How long that takes, as last measured or configured; none where that is not known.
    pub seconds: Option<f64>,
    /// Whether it waits for an operator.
    pub by_hand: bool,
}

/// Who would answer for one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelAnswers {
    /// Its name.
    pub name: String,
    /// Its steps.
    pub steps: Vec<StepLoad>,
    /// What no step would answer, before standbys are ready.
    pub missing: f64,
    /// The same after that.
    pub missing_then: f64,
}

/// What one step would answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepLoad {
    /// The pool's name, or that of the source inside the gateway.
    pub name: String,
    /// What it answers now.
    pub now: f64,
    /// What it would answer before standbys are ready.
    pub meanwhile: f64,
    /// What it would answer after that.
    pub then: f64,
}

impl Forecast {
    /// A pool that somebody served and that nobody would serve at once.
    #[must_use]
    pub fn empties(&self) -> Option<&PoolLoad> {
        self.pools.iter().find(|pool| pool.serving > 0 && pool.serving_meanwhile == 0)
    }

    /// The time until every standby that comes into use answers; `Some(None)` where that is not
    /// known, `None` where nobody has to be waited for.
    #[must_use]
    pub fn wait(&self) -> Option<Option<Duration>> {
        let waits = self.pools.iter().flat_map(|pool| &pool.endpoints).filter_map(|endpoint| {
            let ready = endpoint.ready.as_ref().filter(|ready| ready.how != AT_ONCE)?;
            Some(ready.seconds.map(Duration::from_secs_f64))
        });
        waits.reduce(|one, other| Some(one?.max(other?)))
    }
}

/// [`Ready::how`] of a hot standby.
const AT_ONCE: &str = "at-once";

/// Compares the flow now with those after the change.
pub(super) fn of(before: &View, change: &Change, meanwhile: &View, then: &View) -> Forecast {
    let views = [before, meanwhile, then];
    let flows = Flows { views, now: flow(before), meanwhile: flow(meanwhile), then: flow(then) };
    let pools = (0..before.pools.len()).filter(|at| flows.touches(change, *at));
    let models = (0..before.models.len()).filter(|at| flows.moves(*at));
    let mut forecast = Forecast {
        change: change.words.clone(),
        summary: Vec::new(),
        pools: pools.map(|at| flows.pool(change, at)).collect(),
        models: models.map(|at| flows.model(at)).collect(),
        missing: flows.meanwhile.missing.iter().sum(),
        missing_then: flows.then.missing.iter().sum(),
    };
    forecast.summary = tell::summary(&forecast, change, before);
    forecast
}

/// The load now, at first, and in the end.
struct Flows<'v> {
    views: [&'v View; 3],
    now: Flow,
    meanwhile: Flow,
    then: Flow,
}

impl Flows<'_> {
    fn touches(&self, change: &Change, pool: usize) -> bool {
        let [before, _, then] = self.views;
        let named = change.effects.iter().any(|(at, ..)| *at == pool);
        let differs = |flow: &Flow| differ(&flow.endpoints[pool], &self.now.endpoints[pool]);
        named
            || before.pools[pool] != then.pools[pool]
            || differs(&self.meanwhile)
            || differs(&self.then)
    }

    fn moves(&self, model: usize) -> bool {
        let differs = |flow: &Flow| differ(&flow.steps[model], &self.now.steps[model]);
        differs(&self.meanwhile) || differs(&self.then)
    }

    fn pool(&self, change: &Change, at: usize) -> PoolLoad {
        let [pool, meanwhile, then] = self.views.map(|view| &view.pools[at]);
        let serving = |pool: &Pool| pool.endpoints.iter().filter(|e| e.is_serving()).count();
        let sum = |flow: &Flow| flow.endpoints[at].iter().sum();
        let endpoint = |place: usize| {
            let gone = change.effects.contains(&(at, place, super::Effect::Gone));
            EndpointLoad {
                name: pool.endpoints[place].name.clone(),
                zone: pool.endpoints[place].zone.clone(),
                now: self.now.endpoints[at][place],
                meanwhile: self.meanwhile.endpoints[at][place],
                then: self.then.endpoints[at][place],
                capacity: pool.endpoints[place].capacity,
                measured: pool.endpoints[place].measured,
                becomes: becomes(&then.endpoints[place], gone),
                ready: ready(pool, &pool.endpoints[place], &then.endpoints[place]),
            }
        };
        PoolLoad {
            name: pool.name.clone(),
            now: sum(&self.now),
            meanwhile: sum(&self.meanwhile),
            then: sum(&self.then),
            short: self.meanwhile.overflow[at],
            short_then: self.then.overflow[at],
            serving: serving(pool),
            serving_meanwhile: serving(meanwhile),
            serving_then: serving(then),
            endpoints: (0..pool.endpoints.len()).map(endpoint).collect(),
        }
    }

    fn model(&self, at: usize) -> ModelAnswers {
        let [before, ..] = self.views;
        let model = &before.models[at];
        let steps = model.steps.iter().enumerate().map(|(step, source)| StepLoad {
            name: match &source.source {
                Source::Pool(pool) => before.pools[*pool].name.clone(),
                Source::Local(name) => name.clone(),
            },
            now: self.now.steps[at][step],
            meanwhile: self.meanwhile.steps[at][step],
            then: self.then.steps[at][step],
        });
        ModelAnswers {
            name: model.name.clone(),
            steps: steps.collect(),
            missing: self.meanwhile.missing[at],
            missing_then: self.then.missing[at],
        }
    }
}

fn differ(one: &[f64], other: &[f64]) -> bool {
    one.iter().zip(other).any(|(one, other)| (one - other).abs() >= LEAST)
}

fn becomes(then: &Endpoint, gone: bool) -> String {
    let word = if gone { "gone" } else { then.standing.as_str() };
    word.to_owned()
}

/// When it answers, if it comes into use.
fn ready(pool: &Pool, before: &Endpoint, then: &Endpoint) -> Option<Ready> {
    let standby = before.standing == Standing::Spare || before.readiness.is_standby();
    if !standby || !then.is_serving() {
        return None;
    }
    let (how, takes) = match before.readiness {
        Readiness::Load(takes) => ("load", takes),
        Readiness::Start(takes) => ("start", takes),
        Readiness::Ready | Readiness::Out => (AT_ONCE, Some(Duration::ZERO)),
    };
    let seconds = takes.map(|takes| takes.as_secs_f64());
    Some(Ready { how: how.to_owned(), seconds, by_hand: pool.manual })
}
