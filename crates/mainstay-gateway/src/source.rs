//! The gateway as its operators see it: status, readiness, and the verbs that they have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_admin::status::{
    BreakerState, BreakerStatus, EndpointStatus, ForcedStatus, LastGoodStatus, ModelStatus,
    PoolStatus, ProcessStatus, RehearsalStatus, RotationStatus, SequencesStatus, ShedStatus,
    StepKind, StepStatus, TargetStatus,
};
use mainstay_admin::{
    Beat, BreakerOverride, Carried, Force, Instruction, OrderError, OrderStatus, OverrideError,
    Readiness, Renewal, Source, Status,
};
use mainstay_config::Pool;
use mainstay_control::forecast::Forecast;
use mainstay_control::orders::Scope;
use mainstay_discovery::{Discovery, SourceReport, Unregistered};
use mainstay_policy::breaker::{Forced, State as Breaker};
use mainstay_policy::chain;
use mainstay_policy::target::{Key, Target};
use mainstay_policy::{Moment, Standing};
use mainstay_telemetry::{Event, EventKind, Telemetry};

use crate::callers;
use crate::discovered;
use crate::gate::Gate;
use crate::groups::Groups;
use crate::lifecycle::Lifecycle;
use crate::locality;
use crate::observe::Board;
use crate::orders::Orders;
use crate::outliers::Rotations;
use crate::processes;
use crate::request::{can_serve, route_available};
use crate::shared::Shared;
use crate::snapshot::{self, Route};
use crate::tls;

/// What the admin listener shows and changes.
pub(crate) struct State {
    shared: Arc<Shared>,
    board: Arc<Board>,
    rotations: Arc<Rotations>,
    discovery: Arc<Discovery>,
    orders: Arc<Orders>,
    groups: Arc<Groups>,
    lifecycle: Option<Lifecycle>,
    /// What operators said of the targets that they forced.
    reasons: Mutex<HashMap<Key, String>>,
    processes: Option<processes::View>,
}

/// The targets at each endpoint of each pool.
type ByEndpoint<'t> = HashMap<(&'t str, &'t str), Vec<&'t Arc<Target>>>;

impl State {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (board, rotations, groups): (Arc<Board>, Arc<Rotations>, Arc<Groups>),
        discovery: Arc<Discovery>,
        orders: Arc<Orders>,
    ) -> Self {
        Self {
            shared,
            board,
            rotations,
            discovery,
            orders,
            groups,
            reasons: Mutex::default(),
            processes: None,
            lifecycle: None,
        }
    }

    /// The same, with what is known of supervised processes.
    pub(crate) fn with_processes(self, processes: processes::View) -> Self {
        Self { processes: Some(processes), ..self }
    }

    /// The same, with the hand on the process.
    pub(crate) fn with_lifecycle(self, lifecycle: Lifecycle) -> Self {
        Self { lifecycle: Some(lifecycle), ..self }
    }

    fn process(&self, pool: &str, endpoint: &str, now: Moment) -> Option<ProcessStatus> {
        self.processes.as_ref()?.process(pool, endpoint, now)
    }

    fn pool(
        &self,
        pool: &Pool,
        (targets, sources): (&ByEndpoint<'_>, &[SourceReport]),
        now: Moment,
    ) -> PoolStatus {
        let endpoints = pool.endpoints.iter().map(|endpoint| EndpointStatus {
            name: endpoint.name.to_string(),
            url: match &pool.tcp {
                Some(_) => format!("tcp://{}", endpoint.url.authority()),
                None => endpoint.url.to_string(),
            },
            process: self.process(&pool.name, &endpoint.name, now),
            models: targets
                .get(&(&*pool.name, &*endpoint.name))
                .into_iter()
                .flatten()
                .map(|target| self.target(target, now))
                .collect(),
            source: discovered::source_of(sources, &endpoint.name),
            ..self.orders.standing(&pool.name, &endpoint.name)
        });
        PoolStatus {
            name: pool.name.to_string(),
            wanted_replicas: self.processes.as_ref().and_then(|it| it.wanted(&pool.name)),
            endpoints: endpoints.collect(),
            locality: locality::status(&self.shared.snapshot(), pool),
            sources: sources.iter().map(discovered::source_status).collect(),
            group: self.groups.status(&pool.name),
            writer: self.shared.claims.status(&pool.name),
        }
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
            reason: self.reasons().get(&target.key).cloned().unwrap_or_default(),
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
        let gate = &route.gate;
        ModelStatus {
            name: route.name.to_string(),
            available: route_available(route, now),
            steps: route
                .steps
                .iter()
                .zip(route.plan.steps())
                .enumerate()
                .map(|(at, (step, plan))| StepStatus {
                    rehearsals: rehearsals(route, at, now),
                    ..self.step(step, plan, now)
                })
                .collect(),
            requests: totals.requests,
            degraded: totals.degraded,
            failed: totals.failed,
            amplification: totals.amplification(),
            hedges: totals.hedges,
            hedges_won: totals.hedges_won,
            poisoned: totals.poisoned,
            replayed: totals.replayed,
            sequences: route.sequences.as_ref().map(|sequences| SequencesStatus {
                known: sequences.table.len(),
                lost: sequences.table.lost(),
            }),
            in_flight: gate.bulkhead.in_flight(),
            queued: gate.waiting(),
            shed: shed(gate),
        }
    }

    /// A step of a chain, and whether it could answer.
    fn step(&self, step: &snapshot::Step, plan: &chain::Step, now: Moment) -> StepStatus {
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
            (snapshot::Source::LastGood, _) => {
                let counts = self.shared.last_good.counts();
                let (entries, disk) = (counts.entries, counts.disk_bytes);
                let why = format!("{entries} answers in memory, {} KiB on disk", disk / 1024);
                (StepKind::LastGood, entries > 0 || disk > 0, why)
            }
            _ => (StepKind::Default, true, "always there".to_owned()),
        };
        StepStatus { kind, name, available, why, rehearsals: Vec::new() }
    }

    fn last_good(&self, routes: &[Arc<Route>]) -> Option<LastGoodStatus> {
        routes.iter().any(|route| route.last_good.is_some()).then(|| {
            let counts = self.shared.last_good.counts();
            LastGoodStatus {
                entries: counts.entries,
                memory_bytes: counts.bytes,
                disk_bytes: counts.disk_bytes,
                stored: counts.stored,
                hits: counts.hits,
                misses: counts.misses,
                lost: counts.lost + self.shared.aftermath.lost(),
            }
        })
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, HashMap<Key, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of a pool and of its endpoint, as the configuration has them.
    fn place(&self, pool: &str, endpoint: &str) -> Result<(Arc<str>, Arc<str>), OverrideError> {
        let snapshot = self.shared.snapshot();
        let pools = &snapshot.config.pools;
        let known = pools.iter().find(|known| *known.name == *pool).ok_or_else(|| {
            OverrideError::Pool { known: pools.iter().map(|pool| pool.name.to_string()).collect() }
        })?;
        let found = known.endpoints.iter().find(|known| *known.name == *endpoint);
        let found = found.ok_or_else(|| OverrideError::Endpoint {
            known: known.endpoints.iter().map(|known| known.name.to_string()).collect(),
        })?;
        Ok((Arc::clone(&known.name), Arc::clone(&found.name)))
    }

    /// The names of the pool and the endpoint that speaks, registered where its pool lets it.
    fn registered(&self, beat: &Beat) -> Result<(Arc<str>, Arc<str>), OverrideError> {
        let snapshot = self.shared.snapshot();
        let pool = snapshot.config.pools.iter().find(|pool| *pool.name == *beat.pool);
        let usual = pool.and_then(|pool| pool.heartbeat).unwrap_or_default();
        let lifetime = beat.lifetime.unwrap_or_else(|| usual.interval * u32::from(usual.misses));
        match (discovered::register(&self.discovery, beat, lifetime), pool) {
            (Ok(()), Some(pool)) => Ok((Arc::clone(&pool.name), beat.endpoint.as_str().into())),
            (Err(Unregistered::Refused(why)), _) if beat.registration.url.is_some() => {
                Err(OverrideError::Unregistered(why))
            }
            (Err(Unregistered::Refused(why)), _) => {
                self.place(&beat.pool, &beat.endpoint).map_err(|_| OverrideError::Unregistered(why))
            }
            _ => self.place(&beat.pool, &beat.endpoint),
        }
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
            Some(_) => reasons.insert(target.key.clone(), request.reason.clone()),
            None => reasons.remove(&target.key),
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
        let snapshot = self.shared.snapshot();
        let config = &snapshot.config;
        let mut targets = ByEndpoint::new();
        let sources = self.discovery.report();
        for watched in &snapshot.watched {
            let key = &watched.target.key;
            targets.entry((&key.pool, &key.endpoint)).or_default().push(&watched.target);
        }
        Status {
            node: config.node.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: config.version.clone(),
            uptime_seconds: now.since(self.shared.telemetry.started()).as_secs_f64(),
            ready: self.readiness().ready,
            amplification: snapshot.retries.amplification(now),
            amplification_cap: snapshot.retries.cap().map_or(f64::INFINITY, |cap| cap.cap),
            pools: config
                .pools
                .iter()
                .map(|pool| {
                    let of = sources.iter().find(|(name, _)| *name == pool.name);
                    let of = of.map_or(&[][..], |(_, reports)| reports);
                    self.pool(pool, (&targets, of), now)
                })
                .collect(),
            models: snapshot.routes.iter().map(|route| self.model(route, now)).collect(),
            tcp: snapshot.tcp.iter().map(|listener| listener.status(now)).collect(),
            orders: self.orders.list(),
            last_good: self.last_good(&snapshot.routes),
            certificates: tls::status(&snapshot),
            callers: snapshot.callers.iter().flat_map(|it| callers::status(it)).collect(),
            strangers: snapshot.callers.as_ref().map(|it| it.strangers()),
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
        let snapshot = self.shared.snapshot();
        if !can_serve(&snapshot, now) {
            let what = if snapshot.routes.is_empty() {
                "no TCP connection can be passed on"
            } else {
                "no model can be answered"
            };
            reasons.push(what.to_owned());
        }
        if reasons.is_empty() { Readiness::yes() } else { Readiness::no(reasons) }
    }

    fn deep(&self) -> Readiness {
        let now = self.shared.clock.now();
        let mut reasons = self.readiness().reasons;
        reasons.extend(self.board.sick_dependencies());
        let snapshot = self.shared.snapshot();
        for embedded in &snapshot.embedded {
            if let Some(problem) = embedded.problem() {
                reasons.push(format!("{}: {problem}", embedded.label));
            }
        }
        for route in &snapshot.routes {
            for (step, plan) in route.steps.iter().zip(route.plan.steps()) {
                let status = self.step(step, plan, now);
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

    fn order(&self, instruction: &Instruction) -> Result<Carried, OrderError> {
        self.orders.order(instruction)
    }

    fn orders(&self) -> Vec<OrderStatus> {
        self.orders.list()
    }

    fn forecast(&self, scope: &Scope) -> Result<Forecast, OrderError> {
        self.orders.forecast(scope)
    }

    fn heartbeat(&self, beat: &Beat) -> Result<Renewal, OverrideError> {
        let place = self.registered(beat)?;
        let (renew, lifetime) = self.board.beat(place, beat.state, beat.load, beat.lifetime);
        Ok(Renewal { renew, lifetime })
    }

    fn leave(&self, pool: &str, endpoint: &str) -> Result<(), OverrideError> {
        if self.discovery.leave(pool, endpoint) {
            return Ok(());
        }
        self.place(pool, endpoint)?;
        Err(OverrideError::Unregistered("it did not register itself".to_owned()))
    }

    fn telemetry(&self) -> &Arc<Telemetry> {
        &self.shared.telemetry
    }

    fn lifecycle(&self) -> Option<Arc<dyn mainstay_admin::Lifecycle>> {
        let lifecycle = self.lifecycle.clone()?;
        Some(Arc::new(lifecycle))
    }
}

/// What rehearsals have shown of a step.
fn rehearsals(route: &Route, step: usize, now: Moment) -> Vec<RehearsalStatus> {
    let shown = route.rehearsal.as_ref().map(|it| it.shown(route)).unwrap_or_default();
    let here = shown.into_iter().filter(|shown| shown.step == step);
    here.map(|shown| {
        let proof = shown.proof;
        let age = proof.succeeded.map(|at| now.since(at).as_secs_f64());
        RehearsalStatus {
            endpoint: shown.endpoint.as_deref().map(str::to_owned),
            state: proof.state.as_str().to_owned(),
            alert: proof.state.is_alert(),
            age_seconds: age,
            tried: proof.tried,
            answered: proof.answered,
            latency_ms: proof.latency.as_secs_f64() * 1e3,
            agreement: proof.agreement(),
            why: proof.why,
        }
    })
    .collect()
}

fn shed(gate: &Gate) -> ShedStatus {
    let [critical, high, normal, low] = gate.turned_away();
    ShedStatus { critical, high, normal, low }
}

/// How many members take requests now, and how many there are.
fn answering(pool: &chain::Pool, now: Moment) -> (usize, usize) {
    let can = pool.members.iter().filter(|member| {
        matches!(member.target.place.standing(), Standing::Active | Standing::Spare)
            && member.target.health.verdict().takes_traffic()
            && member.target.breaker.would_admit(now).is_ok()
            && !member.target.health.is_ejected()
    });
    (can.count(), pool.members.len())
}
