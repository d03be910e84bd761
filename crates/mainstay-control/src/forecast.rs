//! What would happen: the load on each survivor, what would be missing, and for how long.
//!
//! A [`View`] is what is known now: who is in use, how much each endpoint serves and could serve,
//! which steps answer for each model. A [`Change`] says who would stand differently. The forecast
//! is two flows over the changed view: at first, with those who can answer at once, and then, with
//! the standbys that had to be loaded or started. Nothing is lost on the way: what the survivors
//! take, what later steps answer and what is missing add up to what there is, and nobody is given
//! more than it can serve.
//!
//! Why not simulate requests: a flow is exact for a steady load, takes microseconds, and can be
//! explained line by line. It does not see queues, nor a load that changes meanwhile.

use std::time::Duration;

use mainstay_policy::Standing;

mod change;
mod flow;
mod promotion;
mod report;
mod tell;

pub use change::{Change, Effect};
pub use report::{EndpointLoad, Forecast, ModelAnswers, PoolLoad, Ready, StepLoad};

/// Loads below this, in requests a second, are nothing: they are rounding, or a stray request.
pub const LEAST: f64 = 0.05;

/// All pools and models of a gateway, as they are now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The pools.
    pub pools: Vec<Pool>,
    /// The models with their chains.
    pub models: Vec<Model>,
}

/// A pool, as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How many are to be in use.
    pub wanted: usize,
    /// Whether a standby waits for an operator before it is promoted.
    pub manual: bool,
    /// How long a failure that shows in no request stays unseen: from probes or silence.
    pub detection: Duration,
    /// Its endpoints, in the order of the configuration.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub zone: Option<String>,
    /// And the zone.
    pub region: Option<String>,
    /// What it is for.
    pub standing: Standing,
    /// What it takes until it answers.
    pub readiness: Readiness,
    /// Nearer ones come first: 0 is the own zone, or all are alike.
    pub distance: u8,
    /// Its share relative to the others of the same distance, above 0.
    pub weight: f64,
    /// Requests a second that it serves now.
    pub load: f64,
    /// Requests a second that it can serve; `None` where that is not known yet.
    pub capacity: Option<f64>,
    /// Whether that was measured while it was busy, or is an estimate.
    pub measured: bool,
}

/// What it takes until an endpoint answers requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing: it answers at once.
    #[default]
    Ready,
    /// Its models have to be loaded, which takes so long as far as is known.
    Load(Option<Duration>),
    /// It has to be started and its models loaded, which takes so long together.
    Start(Option<Duration>),
    /// It cannot be had: dead, stalled, or kept out by its breaker.
    Out,
}

/// A model with its chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Who answers, the best first.
    pub steps: Vec<Step>,
}

/// One step of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Who answers.
    pub source: Source,
    /// Requests a second of this model that it answers now.
    pub load: f64,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The pool at this place in [`View::pools`].
    Pool(usize),
    /// A source inside the gateway, which has no limit that counts here.
    Local(String),
}

impl Endpoint {
    /// Requests a second that it can be given: what was measured, and at least what it serves now;
    /// infinite where nothing was measured.
    #[must_use]
    pub fn room(&self) -> f64 {
        self.capacity.map_or(f64::INFINITY, |capacity| capacity.max(self.load))
    }

    /// Whether it takes its share of the traffic.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.standing == Standing::Active && self.readiness == Readiness::Ready
    }
}

impl Readiness {
    /// Whether it has to be loaded or started first.
    #[must_use]
    pub const fn is_standby(self) -> bool {
        matches!(self, Self::Load(_) | Self::Start(_))
    }
}

/// What would come of `change`.
#[must_use]
pub fn forecast(view: &View, change: &Change) -> Forecast {
    let changed = change.apply(view);
    let meanwhile = promotion::at_once(&changed);
    let then = promotion::in_the_end(&changed);
    report::of(view, change, &meanwhile, &then)
}

#[cfg(test)]
mod tests;
