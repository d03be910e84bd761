//! The JSON of the status is an interface: scripts read it.

use serde_json::json;

use super::*;

fn order() -> OrderStatus {
    OrderStatus {
        scope: "fraud-v2/a:8000".to_owned(),
        order: "drain".to_owned(),
        reason: "a disk".to_owned(),
        since_seconds: 60.0,
        until_seconds: Some(240.0),
        orphaned: false,
    }
}

fn group() -> GroupStatus {
    let member = MemberStatus {
        endpoint: "a:8000".to_owned(),
        standing: "active".to_owned(),
        why: "it comes first".to_owned(),
        standby: "hot".to_owned(),
        share: 1.0,
        ..MemberStatus::default()
    };
    GroupStatus {
        mode: "automatic".to_owned(),
        failback: "manual".to_owned(),
        wanted: 2,
        wanted_least: 1,
        wanted_most: 3,
        in_use: 1,
        later: 1,
        load: 12.5,
        members: vec![member],
        ..GroupStatus::default()
    }
}

fn status() -> Status {
    let target = TargetStatus {
        model: "fraud".to_owned(),
        verdict: Verdict::Ready,
        since_seconds: 12.5,
        evidence: "3 checks passed".to_owned(),
        deep: true,
        breaker: BreakerStatus {
            state: BreakerState::HalfOpen,
            forced: Some(ForcedStatus {
                to: BreakerState::Open,
                until_seconds: 60.0,
                reason: "maintenance".to_owned(),
            }),
            calls: 20,
            failures: 3,
            until_seconds: Some(1.5),
        },
        in_flight: 4,
        latency_ms: 2.5,
        limit: Some(24),
        rotation: RotationStatus {
            phase: "ramp".to_owned(),
            share: 0.25,
            why: "3 probation requests answered".to_owned(),
        },
    };
    let endpoint = EndpointStatus {
        process: None,
        name: "a:8000".to_owned(),
        url: "http://a:8000".to_owned(),
        models: vec![target],
        zone: Some("z1".to_owned()),
        standing: "drained".to_owned(),
        factor: 1.0,
        order: Some(order()),
        ..EndpointStatus::default()
    };
    let step = StepStatus {
        kind: StepKind::Pool,
        name: "fraud-v2".to_owned(),
        available: true,
        why: "1 of 1 endpoints takes traffic".to_owned(),
        rehearsals: Vec::new(),
    };
    Status {
        tcp: Vec::new(),
        last_good: Some(LastGoodStatus { entries: 7, hits: 3, ..LastGoodStatus::default() }),
        node: "gw-a".to_owned(),
        version: "0.1.0".to_owned(),
        config: "1f2e3d".to_owned(),
        uptime_seconds: 61.0,
        ready: true,
        amplification: 1.25,
        amplification_cap: 1.5,
        pools: vec![PoolStatus {
            name: "fraud-v2".to_owned(),
            endpoints: vec![endpoint],
            group: Some(group()),
            ..PoolStatus::default()
        }],
        models: vec![ModelStatus {
            name: "fraud".to_owned(),
            available: true,
            steps: vec![step],
            requests: 100,
            degraded: 2,
            failed: 1,
            amplification: 1.25,
            hedges: 12,
            hedges_won: 9,
            poisoned: 1,
            replayed: 2,
            in_flight: 7,
            queued: 3,
            shed: ShedStatus { low: 9, ..ShedStatus::default() },
            sequences: None,
        }],
        orders: vec![order()],
        certificates: vec![CertificateStatus {
            name: "listen".to_owned(),
            subject: "gw-a".to_owned(),
            expires_unix_seconds: 1_800_000_000,
        }],
        callers: vec![CallerStatus {
            name: "team-a".to_owned(),
            asked: 5,
            refused_rate: 1,
            ..CallerStatus::default()
        }],
        strangers: Some(2),
    }
}

#[test]
fn the_json_of_the_status_is_an_interface() {
    let order = json!({
        "scope": "fraud-v2/a:8000", "order": "drain", "reason": "a disk",
        "since_seconds": 60.0, "until_seconds": 240.0, "orphaned": false
    });
    let expected = json!({
        "node": "gw-a", "version": "0.1.0", "config": "1f2e3d", "uptime_seconds": 61.0,
        "ready": true, "amplification": 1.25, "amplification_cap": 1.5,
        "pools": [{"name": "fraud-v2", "wanted_replicas": null, "sources": [], "endpoints": [{
            "name": "a:8000", "url": "http://a:8000", "source": "", "models": [{
                "model": "fraud", "verdict": "ready", "since_seconds": 12.5,
                "evidence": "3 checks passed", "deep": true,
                "breaker": {
                    "state": "half-open",
                    "forced": {"to": "open", "until_seconds": 60.0, "reason": "maintenance"},
                    "calls": 20, "failures": 3, "until_seconds": 1.5
                },
                "in_flight": 4, "latency_ms": 2.5, "limit": 24,
                "rotation": {
                    "phase": "ramp", "share": 0.25, "why": "3 probation requests answered"
                }
            }],
            "zone": "z1", "region": null, "standing": "drained", "factor": 1.0, "order": order
        }], "group": {
            "mode": "automatic", "failback": "manual", "wanted": 2, "wanted_least": 1,
            "wanted_most": 3, "in_use": 1, "failures": 0, "later": 1, "load": 12.5,
            "capacity": null, "capacity_measured": false, "proposed": null,
            "members": [{
                "endpoint": "a:8000", "standing": "active", "why": "it comes first",
                "standby": "hot", "returning": false, "share": 1.0, "failback_waits": null,
                "preparation": null
            }]
        }}],
        "models": [{
            "name": "fraud", "available": true,
            "steps": [{
                "kind": "pool", "name": "fraud-v2", "available": true,
                "why": "1 of 1 endpoints takes traffic"
            }],
            "requests": 100, "degraded": 2, "failed": 1, "amplification": 1.25,
            "hedges": 12, "hedges_won": 9, "poisoned": 1, "replayed": 2,
            "in_flight": 7, "queued": 3,
            "shed": {"critical": 0, "high": 0, "normal": 0, "low": 9}
        }],
        "last_good": {
            "entries": 7, "memory_bytes": 0, "disk_bytes": 0, "stored": 0, "hits": 3, "misses": 0,
            "lost": 0
        },
        "orders": [order],
        "certificates": [
            {"name": "listen", "subject": "gw-a", "expires_unix_seconds": 1_800_000_000}
        ],
        "callers": [{
            "name": "team-a", "asked": 5, "refused_model": 0, "refused_rate": 1,
            "refused_concurrency": 0
        }],
        "strangers": 2
    });
    assert_eq!(serde_json::to_value(status()).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Status>(expected).unwrap(), status());
}

#[test]
fn a_verdict_that_is_none_is_refused() {
    let mut value = serde_json::to_value(status()).unwrap();
    value["pools"][0]["endpoints"][0]["models"][0]["verdict"] = json!("lively");
    let error = serde_json::from_value::<Status>(value).unwrap_err();
    assert!(error.to_string().contains("\"lively\" is no verdict"), "{error}");
}
