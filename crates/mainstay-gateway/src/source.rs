//! The gateway as its operators see it: status, readiness, and the verbs that they have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_admin::status::{
    BreakerState, BreakerStatus, EndpointStatus, ForcedStatus, ModelStatus, PoolStatus,
    RotationStatus, ShedStatus, StepKind, StepStatus, TargetStatus,
};
use mainstay_admin::{
    Beat, BreakerOverride, Force, OverrideError, Readiness, Renewal, Source, Status,
};
use mainstay_config::Config;
use mainstay_policy::Moment;
use mainstay_policy::breaker::{Forced, State as Breaker};
use mainstay_policy::chain::{self, Pool};
use mainstay_policy::target::Target;
use mainstay_telemetry::{Event, EventKind, Telemetry};

use crate::embedded::Embedded;
use crate::gate::Gate;
use crate::observe::Board;
use crate::outliers::Rotations;
use crate::request::route_available;
use crate::shared::Shared;
use crate::snapshot::{self, Route};

/// What the admin listener shows and changes.
pub(crate) struct State {
    node: Arc<str>,
    pools: Vec<PoolNames>,
    shared: Arc<Shared>,
    embedded: Vec<Arc<Embedded>>,
    board: Arc<Board>,
    rotations: Arc<Rotations>,
    /// What operators said of the targets that they forced.
    reasons: Mutex<HashMap<u32, String>>,
}

/// A pool's endpoints, as they are shown.
struct PoolNames {
    name: Arc<str>,
    /// Name and URL.
    endpoints: Vec<(Arc<str>, String)>,
}

impl State {
    pub(crate) fn new(
        config: &Config,
        shared: Arc<Shared>,
        embedded: &[Arc<Embedded>],
        (board, rotations): (Arc<Board>, Arc<Rotations>),
    ) -> Self {
        let pools = config.pools.iter().map(|pool| PoolNames {
            name: Arc::clone(&pool.name),
            endpoints: pool
                .endpoints
                .iter()
                .map(|endpoint| (Arc::clone(&endpoint.name), endpoint.url.to_string()))
                .collect(),
        });
        Self {
            node: Arc::clone(&config.node.name),
            pools: pools.collect(),
            shared,
            embedded: embedded.to_vec(),
            board,
            rotations,
            reasons: Mutex::default(),
        }
    }

    fn pool(&self, pool: &PoolNames, targets: &[Arc<Target>], now: Moment) -> PoolStatus {
        let endpoints = pool.endpoints.iter().map(|(name, url)| EndpointStatus {
            name: name.to_string(),
            url: url.clone(),
            models: targets
                .iter()
                .filter(|target| target.key.pool == pool.name && target.key.endpoint == *name)
                .map(|target| self.target(target, now))
                .collect(),
        });
        PoolStatus { name: pool.name.to_string(), endpoints: endpoints.collect() }
    }

    fn target(&self, target: &Target, now: Moment) -> TargetStatus {
        let version = target.key.version.as_ref().map(|version| format!("@{version}"));
        TargetStatus {
            model: format!("{}{}", target.key.model, version.unwrap_or_default()),
            verdict: target.health.verdict(),
            since_seconds: now.since(target.health.since()).as_secs_f64(),
            evidence: self.board.evidence(target.id),
            deep: target.health.deep(),
            breaker: self.breaker(target, now),
            in_flight: target.load.in_flight(),
            latency_ms: target.load.latency(now).as_secs_f64() * 1e3,
            limit: target.limiter.limit(),
            rotation: self.rotation(target),
        }
    }

    fn rotation(&self, target: &Target) -> RotationStatus {
        let share = f64::from(target.health.share().get());
        self.rotations.of(target.id).map_or_else(RotationStatus::default, |state| RotationStatus {
            phase: state.phase.to_owned(),
            share,
            why: state.why,
        })
    }

    fn breaker(&self, target: &Target, now: Moment) -> BreakerStatus {
        let status = target.breaker.status(now);
        let forced = status.forced.map(|(forced, until)| ForcedStatus {
            to: match forced {
                Forced::Open => BreakerState::Open,
                Forced::Closed => BreakerState::Closed,
            },
            until_seconds: until.remaining(now).as_secs_f64(),
            reason: self.reasons().get(&target.id).cloned().unwrap_or_default(),
        });
        BreakerStatus {
            state: match status.state {
                Breaker::Closed => BreakerState::Closed,
                Breaker::Open => BreakerState::Open,
                Breaker::HalfOpen => BreakerState::HalfOpen,
            },
            forced,
            calls: status.calls,
            failures: status.failures,
            until_seconds: status.until.map(|until| until.remaining(now).as_secs_f64()),
        }
    }

    fn model(&self, route: &Route, now: Moment) -> ModelStatus {
        let totals = self.shared.telemetry.totals(route.id);
        let gate = self.shared.gates.get(route.id);
        ModelStatus {
            name: route.name.to_string(),
            available: route_available(route, now),
            steps: route
                .steps
                .iter()
                .zip(route.plan.steps())
                .map(|(step, plan)| step_status(step, plan, now))
                .collect(),
            requests: totals.requests,
            degraded: totals.degraded,
            failed: totals.failed,
            amplification: totals.amplification(),
            hedges: totals.hedges,
            hedges_won: totals.hedges_won,
            poisoned: totals.poisoned,
            replayed: totals.replayed,
            in_flight: gate.map_or(0, |gate| gate.bulkhead.in_flight()),
            queued: gate.map_or(0, Gate::waiting),
            shed: gate.map(shed).unwrap_or_default(),
        }
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, HashMap<u32, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places of a pool and of its endpoint in the configuration.
    fn place(&self, pool: &str, endpoint: &str) -> Result<(usize, usize), OverrideError> {
        let names = |names: Vec<&Arc<str>>| names.iter().map(ToString::to_string).collect();
        let at = self.pools.iter().position(|known| *known.name == *pool).ok_or_else(|| {
            OverrideError::Pool { known: names(self.pools.iter().map(|pool| &pool.name).collect()) }
        })?;
        let endpoints = &self.pools[at].endpoints;
        let found = endpoints.iter().position(|(name, _)| **name == *endpoint);
        let known = || names(endpoints.iter().map(|(name, _)| name).collect());
        found.map(|found| (at, found)).ok_or_else(|| OverrideError::Endpoint { known: known() })
    }

    /// The targets that an operator means.
    fn meant(&self, request: &BreakerOverride) -> Result<Vec<Arc<Target>>, OverrideError> {
        let names = |names: Vec<&Arc<str>>| names.iter().map(ToString::to_string).collect();
        self.place(&request.pool, &request.endpoint)?;
        let here: Vec<_> = self
            .shared
            .registry
            .all()
            .into_iter()
            .filter(|target| *target.key.pool == *request.pool)
            .filter(|target| *target.key.endpoint == *request.endpoint)
            .collect();
        let Some(model) = &request.model else { return Ok(here) };
        let meant: Vec<_> =
            here.iter().filter(|target| *target.key.model == **model).cloned().collect();
        if meant.is_empty() {
            let known = names(here.iter().map(|target| &target.key.model).collect());
            return Err(OverrideError::Model { known });
        }
        Ok(meant)
    }

    fn force(&self, target: &Target, request: &BreakerOverride, now: Moment) {
        let forced = match request.force {
            Force::Open => Some((Forced::Open, now + request.lasts)),
            Force::Closed => Some((Forced::Closed, now + request.lasts)),
            Force::None => None,
        };
        target.breaker.force(forced, now);
        let mut reasons = self.reasons();
        match forced {
            Some(_) => reasons.insert(target.id, request.reason.clone()),
            None => reasons.remove(&target.id),
        };
        self.shared.telemetry.event(Event {
            kind: EventKind::Operator,
            subject: target.key.to_string(),
            from: target.breaker.status(now).state.as_str().to_owned(),
            to: format!("forced {}", request.force.as_str()),
            cause: request.reason.clone(),
        });
    }
}

impl Source for State {
    fn status(&self) -> Status {
        let now = self.shared.clock.now();
        let targets = self.shared.registry.all();
        Status {
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.shared.snapshot.version.clone(),
            uptime_seconds: now.since(self.shared.telemetry.started()).as_secs_f64(),
            ready: self.readiness().ready,
            amplification: self.shared.retries.amplification(now),
            amplification_cap: self.shared.retries.cap().map_or(f64::INFINITY, |cap| cap.cap),
            pools: self.pools.iter().map(|pool| self.pool(pool, &targets, now)).collect(),
            models: self.shared.snapshot.routes.iter().map(|r| self.model(r, now)).collect(),
        }
    }

    fn live(&self) -> bool {
        let now = self.shared.clock.now();
        self.shared.pulses.iter().all(|pulse| pulse.is_alive(now))
    }

    fn readiness(&self) -> Readiness {
        let now = self.shared.clock.now();
        let mut reasons = Vec::new();
        if self.shared.is_draining() {
            reasons.push("draining".to_owned());
        }
        let routes = &self.shared.snapshot.routes;
        if !routes.iter().any(|route| route_available(route, now)) {
            reasons.push("no model can be answered".to_owned());
        }
        if reasons.is_empty() { Readiness::yes() } else { Readiness::no(reasons) }
    }

    fn deep(&self) -> Readiness {
        let now = self.shared.clock.now();
        let mut reasons = self.readiness().reasons;
        reasons.extend(self.board.sick_dependencies());
        for embedded in &self.embedded {
            if let Some(problem) = embedded.problem() {
                reasons.push(format!("{}: {problem}", embedded.label));
            }
        }
        for route in &self.shared.snapshot.routes {
            for (step, plan) in route.steps.iter().zip(route.plan.steps()) {
                let status = step_status(step, plan, now);
                if !status.available && status.kind == StepKind::Pool {
                    reasons.push(format!("{}: {}: {}", route.name, status.name, status.why));
                }
            }
        }
        if reasons.is_empty() { Readiness::yes() } else { Readiness::no(reasons) }
    }

    fn force_breaker(&self, request: &BreakerOverride) -> Result<usize, OverrideError> {
        let meant = self.meant(request)?;
        let now = self.shared.clock.now();
        for target in &meant {
            self.force(target, request, now);
        }
        Ok(meant.len())
    }

    fn heartbeat(&self, beat: &Beat) -> Result<Renewal, OverrideError> {
        let place = self.place(&beat.pool, &beat.endpoint)?;
        let (renew, lifetime) = self.board.beat(place, beat.state, beat.load, beat.lifetime);
        Ok(Renewal { renew, lifetime })
    }

    fn telemetry(&self) -> &Arc<Telemetry> {
        &self.shared.telemetry
    }
}

fn shed(gate: &Gate) -> ShedStatus {
    let [critical, high, normal, low] = gate.turned_away();
    ShedStatus { critical, high, normal, low }
}

fn step_status(step: &snapshot::Step, plan: &chain::Step, now: Moment) -> StepStatus {
    let name = crate::build::step_name(step).to_string();
    let (kind, available, why) = match (&step.source, plan) {
        (snapshot::Source::Pool(_), chain::Step::Pool(pool)) => {
            let (can, of) = answering(pool, now);
            (StepKind::Pool, can > 0, format!("{can} of {of} endpoints take requests"))
        }
        (snapshot::Source::Embedded(embedded), _) => {
            let available = embedded.model().is_some();
            let why = embedded.problem().unwrap_or_else(|| "loaded".to_owned());
            (StepKind::Embedded, available, why)
        }
        _ => (StepKind::Default, true, "always there".to_owned()),
    };
    StepStatus { kind, name, available, why }
}

/// How many members take requests now, and how many there are.
fn answering(pool: &Pool, now: Moment) -> (usize, usize) {
    let can = pool.members.iter().filter(|member| {
        member.target.health.verdict().takes_traffic()
            && member.target.breaker.would_admit(now).is_ok()
            && !member.target.health.is_ejected()
    });
    (can.count(), pool.members.len())
}
