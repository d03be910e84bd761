//! What the metrics page shows of the present, read from the status.

use std::time::Duration;

use mainstay_policy::Standing;
use mainstay_telemetry::{
    CallerGauges, Gauges, GroupGauges, LastGoodGauges, LocalityGauge, ModelGauges, ProcessGauges,
    RehearsalGauges, SourceGauges, TargetGauges, TargetName, TcpGauges,
};

use crate::status::{
    BreakerState, CallerStatus, EndpointStatus, ModelStatus, PoolStatus, SourceStatus, Status,
    StepStatus, TargetStatus, TcpStatus,
};

/// The gauges of this status.
pub(crate) fn of(status: &Status) -> Gauges {
    let targets = status.pools.iter().flat_map(|pool| {
        let endpoints = pool.endpoints.iter();
        endpoints
            .flat_map(|endpoint| endpoint.models.iter().map(|t| target(&pool.name, endpoint, t)))
    });
    Gauges {
        version: status.version.clone(),
        uptime: seconds(status.uptime_seconds),
        ready: status.ready,
        amplification: status.amplification,
        amplification_cap: status.amplification_cap,
        targets: targets.collect(),
        models: status.models.iter().map(model).collect(),
        last_good: status.last_good.map(|of| LastGoodGauges {
            entries: of.entries,
            memory_bytes: of.memory_bytes,
            disk_bytes: of.disk_bytes,
            stored: of.stored,
            hits: of.hits,
            misses: of.misses,
            lost: of.lost,
        }),
        tcp: status.tcp.iter().map(tcp).collect(),
        processes: processes(status),
        wanted_replicas: status
            .pools
            .iter()
            .filter_map(|pool| Some((pool.name.clone(), pool.wanted_replicas?)))
            .collect(),
        groups: status.pools.iter().filter_map(group).collect(),
        localities: status.pools.iter().flat_map(localities).collect(),
        callers: status.callers.iter().map(caller).collect(),
        strangers: status.strangers,
        certificates: status
            .certificates
            .iter()
            .map(|it| (it.name.clone(), it.expires_unix_seconds))
            .collect(),
        sources: status
            .pools
            .iter()
            .flat_map(|pool| pool.sources.iter().map(|of| source(&pool.name, of)))
            .collect(),
    }
}

fn tcp(listener: &TcpStatus) -> TcpGauges {
    TcpGauges {
        listener: listener.name.clone(),
        open: listener.open,
        accepted: listener.accepted,
        retried: listener.retried,
        bytes: [listener.bytes_from_clients, listener.bytes_to_clients],
        ends: listener.ends.iter().map(|(end, count)| (end.clone(), *count)).collect(),
    }
}

fn source(pool: &str, source: &SourceStatus) -> SourceGauges {
    SourceGauges {
        pool: pool.to_owned(),
        source: source.name.clone(),
        endpoints: [source.endpoints as u64, source.leaving as u64],
        fine: source.trouble.is_none(),
        age: source.since_success_seconds.map(seconds),
        looks: [source.succeeded, source.failed],
    }
}

fn caller(caller: &CallerStatus) -> CallerGauges {
    CallerGauges {
        name: caller.name.clone(),
        asked: caller.asked,
        refused: [caller.refused_model, caller.refused_rate, caller.refused_concurrency],
    }
}

fn processes(status: &Status) -> Vec<ProcessGauges> {
    let of = |pool: &str, endpoint: &EndpointStatus| {
        let process = endpoint.process.as_ref()?;
        Some(ProcessGauges {
            pool: pool.to_owned(),
            endpoint: endpoint.name.clone(),
            running: process.state == "running",
            failures: process.failures,
        })
    };
    let pools = status.pools.iter();
    pools.flat_map(|pool| pool.endpoints.iter().filter_map(|end| of(&pool.name, end))).collect()
}

fn target(pool: &str, endpoint: &EndpointStatus, target: &TargetStatus) -> TargetGauges {
    TargetGauges {
        name: TargetName {
            pool: pool.into(),
            endpoint: endpoint.name.as_str().into(),
            model: target.model.as_str().into(),
        },
        breaker: match target.breaker.state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        },
        verdict: target.verdict,
        deep: target.deep,
        in_flight: target.in_flight,
        latency: seconds(target.latency_ms / 1e3),
        limit: target.limit,
        ejected: matches!(&*target.rotation.phase, "ejected" | "probation"),
        share: target.rotation.share,
    }
}

fn localities(pool: &PoolStatus) -> impl Iterator<Item = LocalityGauge> {
    pool.locality.iter().flat_map(|locality| {
        locality.shares.iter().map(|share| LocalityGauge {
            pool: pool.name.clone(),
            model: locality.model.clone(),
            distance: share.distance.clone(),
            share: share.share,
        })
    })
}

fn model(model: &ModelStatus) -> ModelGauges {
    ModelGauges {
        name: model.name.clone(),
        queued: model.queued,
        shed: [model.shed.critical, model.shed.high, model.shed.normal, model.shed.low],
        sequences: model.sequences.map(|it| (it.known as u64, it.lost)),
        steps: model.steps.iter().map(|step| (step.name.clone(), step.available)).collect(),
        rehearsals: model.steps.iter().flat_map(rehearsals).collect(),
    }
}

fn rehearsals(step: &StepStatus) -> impl Iterator<Item = RehearsalGauges> + '_ {
    step.rehearsals.iter().map(|it| RehearsalGauges {
        step: step.name.clone(),
        endpoint: it.endpoint.clone().unwrap_or_default(),
        alert: it.alert,
        answered: it.answered,
        failed: it.tried.saturating_sub(it.answered),
        age: it.age_seconds,
        latency: it.latency_ms / 1e3,
        agreement: it.agreement,
    })
}

fn group(pool: &PoolStatus) -> Option<GroupGauges> {
    let group = pool.group.as_ref()?;
    let standing = |name: &str| Standing::ALL.into_iter().find(|known| known.as_str() == name);
    let members = group.members.iter();
    Some(GroupGauges {
        pool: pool.name.clone(),
        wanted: group.wanted,
        in_use: group.in_use,
        tolerates: group.failures,
        proposed: group.proposed.is_some(),
        failbacks: members.clone().filter(|member| member.failback_waits.is_some()).count(),
        members: members
            .map(|m| (m.endpoint.clone(), standing(&m.standing).unwrap_or_default()))
            .collect(),
    })
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
