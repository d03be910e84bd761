//! What the configuration says of a chain, ready to be climbed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::balance::{Distance, Locality, Rule, Seat, SlowStart};
use crate::budget::{Backoff, HedgeBudget};
use crate::standing::Standing;
use crate::target::Target;

use super::{Cause, Causes, LastResort};

/// Share of the deadline kept back for each pool that stands later in the chain.
const POOL_RESERVE: f64 = 0.2;

/// All reserves together never take more of the deadline than this, so that the first source
/// always has the larger part.
const RESERVE_CAP: f64 = 0.5;

/// One endpoint of a pool, seen from a chain.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its shared state.
    pub target: Arc<Target>,
    /// Its share of the load relative to the others; above 0, 1 by default.
    pub weight: f32,
    /// How far it is from the gateway; matters where the pool has a [`locality`](Pool::locality).
    pub distance: Distance,
    /// Its place on the ring, by which keys find it.
    pub seat: Seat,
}

/// A pool as a step of a chain.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The interchangeable members, in the order of the file.
    pub members: Vec<Member>,
    /// How one of them is picked.
    pub rule: Rule,
    /// The shares of the distances; `None` where all members are equally near.
    pub locality: Option<Arc<Locality>>,
    /// How a member that came back takes up its share.
    pub slow_start: SlowStart,
    /// The longest that one attempt may take.
    pub limit: Duration,
    /// The pause before a member is tried that failed this request before.
    pub backoff: Backoff,
    /// The share of requests that may be hedged, over all chains with this pool; `None` hedges
    /// nothing.
    pub hedges: Option<Arc<HedgeBudget>>,
}

/// A source inside the gateway: an embedded model, a default prediction, or what is remembered of
/// good answers.
#[derive(Clone, Debug)]
pub struct Local {
    /// Whether it can answer now; an embedded model that failed to load cannot.
    pub available: Arc<AtomicBool>,
    /// The time to keep back for it.
    pub needs: Duration,
    /// Whether it may turn out to have nothing for the very request: then the climb goes on, and
    /// nobody counts on it before.
    pub may_decline: bool,
}

/// One ordered source.
#[derive(Clone, Debug)]
pub enum Step {
    /// Endpoints behind the gateway.
    Pool(Pool),
    /// Inside the gateway.
    Local(Local),
}

/// A model's chain with its rules.
#[derive(Clone, Debug)]
pub struct Plan {
    steps: Vec<Step>,
    /// The causes that each step is for.
    causes: Vec<Causes>,
    deadline: Duration,
    reserves: Vec<Duration>,
    /// The most attempts that may have reached a server, over all steps; at least 1.
    pub attempts: u8,
    /// Whether a request that may have been executed may be sent again.
    pub repeatable: bool,
    /// What happens when nobody is left in a pool.
    pub last_resort: LastResort,
}

impl Member {
    /// A member in the gateway's own zone, with its place on the ring by its endpoint's name.
    #[must_use]
    pub fn new(target: Arc<Target>, weight: f32) -> Self {
        let seat = Seat::of(&target.key.endpoint);
        Self { target, weight, distance: Distance::Zone, seat }
    }

    /// The same, so far away.
    #[must_use]
    pub const fn at(mut self, distance: Distance) -> Self {
        self.distance = distance;
        self
    }

    /// Its weight apart from how it does at present: what the seats of a ring go by.
    #[must_use]
    pub fn steady_weight(&self) -> f32 {
        self.weight * self.target.place.weight()
    }

    /// Whether it is a spare: asked when nobody in use can be.
    #[must_use]
    pub fn is_spare(&self) -> bool {
        self.target.place.standing() == Standing::Spare
    }
}

impl Local {
    /// Whether it can answer now.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }
}

impl Plan {
    /// A plan over `steps` for requests of at most `deadline`.
    #[must_use]
    pub fn new(steps: Vec<Step>, attempts: u8, repeatable: bool, deadline: Duration) -> Self {
        let last_resort = LastResort::default();
        let causes = vec![Causes::default(); steps.len()];
        let reserves = reserves(&steps, &causes, deadline);
        Self {
            steps,
            causes,
            deadline,
            reserves,
            attempts: attempts.max(1),
            repeatable,
            last_resort,
        }
    }

    /// The same with this rule for pools that have nobody left.
    #[must_use]
    pub const fn with_last_resort(mut self, last_resort: LastResort) -> Self {
        self.last_resort = last_resort;
        self
    }

    /// The same with these causes for its steps, in their order. The first is always asked first.
    #[must_use]
    pub fn with_causes(mut self, causes: impl IntoIterator<Item = Causes>) -> Self {
        self.causes.iter_mut().zip(causes).for_each(|(step, causes)| *step = causes);
        self.reserves = reserves(&self.steps, &self.causes, self.deadline);
        self
    }

    /// Whether the step is for failures of this cause.
    #[inline]
    #[must_use]
    pub fn is_for(&self, step: usize, cause: Cause) -> bool {
        self.causes.get(step).is_none_or(|causes| causes.hold(cause))
    }

    /// Whether a step behind `step` is for failures of this cause.
    #[must_use]
    pub fn goes_on_for(&self, step: usize, cause: Cause) -> bool {
        self.causes.iter().skip(step + 1).any(|causes| causes.hold(cause))
    }

    /// The steps in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether a source inside the gateway can answer now, at `step` or behind it; one that may
    /// decline is not counted on.
    #[must_use]
    pub fn has_local_from(&self, step: usize) -> bool {
        let later = self.steps.iter().skip(step);
        later
            .filter_map(|step| match step {
                Step::Local(local) => Some(local),
                Step::Pool(_) => None,
            })
            .any(|local| local.is_available() && !local.may_decline)
    }

    /// The time to keep back for the steps behind `step` of a request that has `whole` to itself
    /// from its first attempt on.
    ///
    /// A client that shortened its deadline shortens the reserves with it.
    #[must_use]
    pub fn reserve(&self, step: usize, whole: Duration) -> Duration {
        let planned = self.reserves.get(step).copied().unwrap_or_default();
        planned.min(whole.mul_f64(RESERVE_CAP))
    }
}

/// The time that each step keeps back for those behind it: for the ones that would be asked if it
/// used all of its own.
fn reserves(steps: &[Step], causes: &[Causes], deadline: Duration) -> Vec<Duration> {
    let wishes = steps.iter().zip(causes).map(|(step, causes)| {
        if causes.hold(Cause::Timeout) { wish(step, deadline) } else { Duration::ZERO }
    });
    let wishes: Vec<Duration> = wishes.collect();
    let cap = deadline.mul_f64(RESERVE_CAP);
    (0..steps.len()).map(|at| wishes[at + 1..].iter().sum::<Duration>().min(cap)).collect()
}

/// What a later step would like to have kept back of a deadline.
fn wish(step: &Step, deadline: Duration) -> Duration {
    match step {
        Step::Pool(pool) => deadline.mul_f64(POOL_RESERVE).min(pool.limit),
        Step::Local(local) => local.needs,
    }
}
