//! A gateway that is made up: two endpoints, one of them dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_admin::status::{
    BreakerState, BreakerStatus, EndpointStatus, ModelStatus, PoolStatus, SourceStatus, StepKind,
    StepStatus, TargetStatus,
};
use mainstay_admin::{
    Beat, BreakerOverride, Carried, Instruction, OrderError, OrderStatus, OverrideError, Readiness,
    Renewal, Source, Status,
};
use mainstay_control::forecast::Forecast;
use mainstay_control::orders::Scope;
use mainstay_policy::Verdict;
use mainstay_telemetry::{Clock, Names, Settings, TargetName, Telemetry};

pub(crate) struct Fake {
    pub(crate) telemetry: Arc<Telemetry>,
    live: AtomicBool,
    ready: Mutex<Readiness>,
    forced: Mutex<Vec<BreakerOverride>>,
    beats: Mutex<Vec<Beat>>,
    told: Mutex<Vec<Instruction>>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let target = |endpoint: &str| TargetName {
            pool: "fraud-v2".into(),
            endpoint: endpoint.into(),
            model: "fraud".into(),
        };
        let names = Names {
            models: vec!["fraud".into()],
            steps: vec![vec!["fraud-v2".into(), "default".into()]],
            golden: Vec::new(),
            targets: vec![target("a:8000"), target("b:8000")],
        };
        Self {
            telemetry: Telemetry::new(Settings::default(), names, Clock::start()),
            live: AtomicBool::new(true),
            ready: Mutex::new(Readiness::yes()),
            forced: Mutex::default(),
            beats: Mutex::default(),
            told: Mutex::default(),
        }
    }

    pub(crate) fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Relaxed);
    }

    pub(crate) fn set_ready(&self, ready: Readiness) {
        *self.ready.lock().unwrap() = ready;
    }

    /// What endpoints said of themselves.
    pub(crate) fn beats(&self) -> Vec<Beat> {
        self.beats.lock().unwrap().clone()
    }

    /// The orders that it was given.
    pub(crate) fn told(&self) -> Vec<Instruction> {
        self.told.lock().unwrap().clone()
    }

    /// What it was told to force.
    pub(crate) fn forced(&self) -> Vec<BreakerOverride> {
        self.forced.lock().unwrap().clone()
    }
}

impl Source for Fake {
    fn status(&self) -> Status {
        status()
    }

    fn live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    fn readiness(&self) -> Readiness {
        self.ready.lock().unwrap().clone()
    }

    fn deep(&self) -> Readiness {
        Readiness::yes()
    }

    fn force_breaker(&self, request: &BreakerOverride) -> Result<usize, OverrideError> {
        let known = ["a:8000".to_owned(), "b:8000".to_owned()];
        if !known.contains(&request.endpoint) {
            return Err(OverrideError::Endpoint { known: known.to_vec() });
        }
        self.forced.lock().unwrap().push(request.clone());
        Ok(1)
    }

    fn order(&self, instruction: &Instruction) -> Result<Carried, OrderError> {
        self.told.lock().unwrap().push(instruction.clone());
        Ok(Carried { done: !instruction.dry_run, ..Carried::default() })
    }

    fn orders(&self) -> Vec<OrderStatus> {
        Vec::new()
    }

    fn forecast(&self, scope: &Scope) -> Result<Forecast, OrderError> {
        Ok(Forecast { change: format!("{scope} dies"), ..Forecast::default() })
    }

    fn heartbeat(&self, beat: &Beat) -> Result<Renewal, OverrideError> {
        if beat.pool != "fraud-v2" {
            return Err(OverrideError::Pool { known: vec!["fraud-v2".to_owned()] });
        }
        self.beats.lock().unwrap().push(beat.clone());
        let lifetime = beat.lifetime.unwrap_or(Duration::from_secs(3));
        Ok(Renewal { renew: lifetime / 3, lifetime })
    }

    fn leave(&self, pool: &str, endpoint: &str) -> Result<(), OverrideError> {
        if pool != "fraud-v2" {
            return Err(OverrideError::Pool { known: vec!["fraud-v2".to_owned()] });
        }
        if endpoint != "a:8000" {
            return Err(OverrideError::Unregistered("it did not register itself".to_owned()));
        }
        Ok(())
    }

    fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }
}

pub(crate) fn status() -> Status {
    let steps = vec![step(StepKind::Pool, "fraud-v2"), step(StepKind::Default, "default")];
    Status {
        last_good: None,
        certificates: Vec::new(),
        callers: Vec::new(),
        strangers: None,
        node: "gw-a".to_owned(),
        version: "0.1.0".to_owned(),
        config: "1f2e3d".to_owned(),
        uptime_seconds: 5.0,
        ready: true,
        amplification: 1.0,
        amplification_cap: 1.5,
        pools: vec![PoolStatus {
            writer: None,
            locality: Vec::new(),
            name: "fraud-v2".to_owned(),
            wanted_replicas: None,
            endpoints: vec![
                endpoint("a:8000", Verdict::Ready, BreakerState::Closed),
                endpoint("b:8000", Verdict::Dead, BreakerState::Open),
            ],
            group: None,
            sources: vec![SourceStatus {
                name: "dns models.internal:8000".to_owned(),
                endpoints: 2,
                leaving: 1,
                since_success_seconds: Some(4.0),
                trouble: Some("SERVFAIL".to_owned()),
                succeeded: 7,
                failed: 3,
                ..SourceStatus::default()
            }],
        }],
        models: vec![ModelStatus {
            name: "fraud".to_owned(),
            available: true,
            steps,
            amplification: 1.0,
            ..ModelStatus::default()
        }],
        ..Status::default()
    }
}

fn endpoint(name: &str, verdict: Verdict, state: BreakerState) -> EndpointStatus {
    let target = TargetStatus {
        model: "fraud".to_owned(),
        verdict,
        breaker: BreakerStatus { state, ..BreakerStatus::default() },
        ..TargetStatus::default()
    };
    EndpointStatus {
        name: name.to_owned(),
        url: format!("http://{name}"),
        models: vec![target],
        ..EndpointStatus::default()
    }
}

fn step(kind: StepKind, name: &str) -> StepStatus {
    StepStatus {
        kind,
        name: name.to_owned(),
        available: true,
        why: String::new(),
        rehearsals: Vec::new(),
    }
}
