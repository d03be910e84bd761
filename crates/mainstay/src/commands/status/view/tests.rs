//! The tables read well, with and without colours, wide and narrow.

use mainstay_admin::status::{
    ForcedStatus, GroupStatus, MemberStatus, PoolStatus, RotationStatus, ShareStatus, StepKind,
};

use super::*;

const PLAIN: Look = Look { colours: false, width: None };

fn target(verdict: Verdict, evidence: &str, breaker: BreakerStatus) -> TargetStatus {
    TargetStatus {
        model: "fraud".to_owned(),
        verdict,
        since_seconds: 7_512.0,
        evidence: evidence.to_owned(),
        deep: true,
        breaker,
        in_flight: 4,
        latency_ms: 2.54,
        limit: Some(200),
        rotation: RotationStatus::default(),
    }
}

fn endpoint(name: &str, target: TargetStatus) -> EndpointStatus {
    EndpointStatus {
        name: name.to_owned(),
        url: format!("http://{name}"),
        models: vec![target],
        ..EndpointStatus::default()
    }
}

fn step(kind: StepKind, name: &str, available: bool, why: &str) -> StepStatus {
    StepStatus {
        kind,
        name: name.to_owned(),
        available,
        why: why.to_owned(),
        rehearsals: Vec::new(),
    }
}

/// `active: 1`: the first was lost, the second stands in, the third cannot be reached.
fn group() -> GroupStatus {
    let member = |at: usize, standing: &str, why: &str| MemberStatus {
        endpoint: format!("10.0.0.{at}:8000"),
        standing: standing.to_owned(),
        why: why.to_owned(),
        ..MemberStatus::default()
    };
    let first = MemberStatus {
        failback_waits: Some("well for 12 s of 30 s".to_owned()),
        ..member(1, "spare", "10.0.0.2:8000 took over: it is dead")
    };
    let last = MemberStatus {
        preparation: Some("loading".to_owned()),
        ..member(3, "away", "to be loaded first")
    };
    GroupStatus {
        wanted: 1,
        in_use: 1,
        failures: 1,
        later: 1,
        load: 80.0,
        capacity: Some(310.0),
        capacity_measured: true,
        members: vec![first, member(2, "active", "took over: 10.0.0.1:8000 is dead"), last],
        ..GroupStatus::default()
    }
}

fn status() -> Status {
    let open = BreakerStatus {
        state: BreakerState::Open,
        until_seconds: Some(1.52),
        ..BreakerStatus::default()
    };
    let forced = BreakerStatus {
        forced: Some(ForcedStatus {
            to: BreakerState::Open,
            until_seconds: 299.0,
            reason: "replacing a disk".to_owned(),
        }),
        ..BreakerStatus::default()
    };
    let failing = BreakerStatus { calls: 20, failures: 3, ..BreakerStatus::default() };
    let endpoints = vec![
        endpoint("10.0.0.1:8000", target(Verdict::Ready, "3 checks passed", failing)),
        endpoint("10.0.0.2:8000", target(Verdict::Dead, "connection refused", open)),
        endpoint("10.0.0.3:8000", target(Verdict::Ready, "3 checks passed", forced)),
    ];
    Status {
        last_good: None,
        certificates: Vec::new(),
        callers: Vec::new(),
        strangers: None,
        node: "gw-a".to_owned(),
        version: "0.1.0".to_owned(),
        config: "1f2e3d".to_owned(),
        uptime_seconds: 7_512.0,
        ready: true,
        amplification: 1.0,
        amplification_cap: 1.5,
        pools: vec![PoolStatus { name: "fraud-v2".to_owned(), endpoints, ..PoolStatus::default() }],
        models: vec![ModelStatus {
            name: "fraud".to_owned(),
            available: true,
            steps: vec![
                step(StepKind::Pool, "fraud-v2", true, "1 of 3 endpoints take requests"),
                step(StepKind::Embedded, "fraud-lite", false, "operator TfIdf is not known"),
                step(StepKind::Default, "default", true, "always there"),
            ],
            requests: 1_234_567,
            degraded: 12_346,
            failed: 0,
            amplification: 1.024,
            ..ModelStatus::default()
        }],
        ..Status::default()
    }
}

fn lines(page: &str) -> Vec<String> {
    page.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn the_page_reads_well() {
    let expected = "\
gw-a  ready  up 2h 5m  configuration 1f2e3d  mainstay 0.1.0

MODEL  STEP                                  WHY                              REQUESTS       DEGRADED  FAILED  AMPLIFICATION
fraud  1. fraud-v2 (pool)       available    1 of 3 endpoints take requests  1 234 567  12 346 (1.0%)       0           1.02
       2. fraud-lite (embedded) unavailable  operator TfIdf is not known
       3. default               available    always there

POOL      ENDPOINT       MODEL  VERDICT     FOR  BREAKER                              IN FLIGHT  LATENCY  WHY";
    let page = lines(&render(&status(), PLAIN));
    let squeezed = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let expected = lines(expected);
    assert_eq!(squeezed(&page[..expected.len()]), squeezed(&expected), "{}", page.join("\n"));
}

#[test]
fn hedges_poison_and_replays_are_told_of_once_there_are_some() {
    let mut status = status();
    let model = &mut status.models[0];
    (model.hedges, model.hedges_won, model.poisoned, model.replayed) = (1_200, 900, 2, 5);
    let page = render(&status, PLAIN);
    let note = "fraud: 1 200 late attempts hedged, 900 of the hedges answered first; \
                2 poison requests refused; 5 answers replayed";
    assert!(page.contains(note), "{page}");
}

#[test]
fn breakers_say_what_an_operator_wants_to_know() {
    let page = render(&status(), PLAIN);
    for part in
        ["closed, 3 of 20 failed", "open for 1.5s", "forced open for 4m 59s: replacing a disk"]
    {
        assert!(page.contains(part), "{page}");
    }
}

#[test]
fn who_is_out_or_on_its_way_back_says_so_and_why() {
    let mut status = status();
    let rotation = |phase: &str, share, why: &str| RotationStatus {
        phase: phase.to_owned(),
        share,
        why: why.to_owned(),
    };
    let endpoints = &mut status.pools[0].endpoints;
    endpoints[0].models[0].rotation = rotation("ramp", 0.4, "3 probation requests answered");
    let why = "median 213 ms of 50 answers, its peers 18 ms, usually 20 ms; held 10s";
    endpoints[2].models[0].rotation = rotation("ejected", 0.0, why);
    let page = render(&status, PLAIN);
    assert!(page.contains("ready, ramp 40%"), "{page}");
    assert!(page.contains("3 probation requests answered; 3 checks passed"), "{page}");
    assert!(page.contains("ready, ejected") && page.contains(why), "{page}");
}

#[test]
fn who_is_not_simply_in_use_says_so_and_orders_have_their_reasons() {
    let mut status = status();
    let order = OrderStatus {
        scope: "fraud-v2/10.0.0.1:8000".to_owned(),
        order: "drain".to_owned(),
        reason: "new kernel".to_owned(),
        since_seconds: 61.0,
        until_seconds: Some(600.0),
        orphaned: false,
    };
    let endpoints = &mut status.pools[0].endpoints;
    endpoints[0].standing = "drained".to_owned();
    endpoints[0].order = Some(order.clone());
    endpoints[1].standing = "spare".to_owned();
    endpoints[2].factor = 0.5;
    endpoints[2].zone = Some("eu-west-1b".to_owned());
    let maintenance = OrderStatus {
        scope: "zone eu-west-1a".to_owned(),
        order: "maintenance".to_owned(),
        until_seconds: None,
        ..order.clone()
    };
    status.orders = vec![order, maintenance];
    let page = lines(&render(&status, PLAIN));
    let squeezed: Vec<String> =
        page.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for part in [
        "POOL ENDPOINT ZONE USE MODEL VERDICT",
        "10.0.0.1:8000 drained fraud ready",
        "10.0.0.2:8000 spare fraud dead",
        "10.0.0.3:8000 eu-west-1b active x0.50 fraud ready",
        "ORDER ON FOR STILL REASON",
        "drain fraud-v2/10.0.0.1:8000 1m 1s 10m new kernel",
        "maintenance zone eu-west-1a 1m 1s until taken back new kernel",
    ] {
        assert!(squeezed.iter().any(|line| line.contains(part)), "{part}: {page:#?}");
    }
}

#[test]
fn colours_are_there_only_where_they_are_wanted() {
    assert!(!render(&status(), PLAIN).contains('\u{1b}'));
    let coloured = render(&status(), Look { colours: true, width: None });
    assert!(coloured.contains('\u{1b}'));
    assert_eq!(
        lines(&console::strip_ansi_codes(&coloured)),
        lines(&render(&status(), PLAIN)),
        "colours move nothing"
    );
}

#[test]
fn a_narrow_terminal_is_kept_to() {
    let page = render(&status(), Look { colours: false, width: Some(100) });
    let tables = page.lines().skip(1);
    assert!(tables.map(|line| line.trim_end().chars().count()).max() <= Some(100), "{page}");
}

#[test]
fn a_sick_dependency_shows() {
    let mut status = status();
    status.pools[0].endpoints[0].models[0].deep = false;
    assert!(render(&status, PLAIN).contains("ready, dependency sick"));
}

#[test]
fn a_gateway_without_pools_has_no_empty_table() {
    let status = Status { pools: Vec::new(), ready: false, ..status() };
    let page = render(&status, PLAIN);
    assert!(page.contains("not ready") && !page.contains("ENDPOINT"), "{page}");
}

#[test]
fn times_and_numbers_are_short() {
    for (seconds, expected) in [
        (0.4, "0s"),
        (59.9, "59s"),
        (60.0, "1m"),
        (3_601.0, "1h"),
        (7_512.0, "2h 5m"),
        (90_000.0, "1d 1h"),
        (-1.0, "0s"),
    ] {
        assert_eq!(age(seconds), expected);
    }
    assert_eq!((grouped(999).as_str(), grouped(1_000_000).as_str()), ("999", "1 000 000"));
    assert_eq!((part(0, 10).as_str(), part(1, 8).as_str()), ("0", "1 (12.5%)"));
}

#[test]
fn sources_stand_below_with_what_is_wrong_with_them() {
    let mut status = status();
    let pool = &mut status.pools[0];
    pool.endpoints[1].source = "dns models.internal:8000".to_owned();
    pool.sources = vec![
        SourceStatus {
            name: "dns models.internal:8000".to_owned(),
            endpoints: 2,
            leaving: 1,
            since_success_seconds: Some(65.0),
            trouble: Some("it could not find out (SERVFAIL)".to_owned()),
            ..SourceStatus::default()
        },
        SourceStatus { name: "registered".to_owned(), ..SourceStatus::default() },
    ];
    let page = render(&status, PLAIN);
    let squeezed: Vec<_> =
        page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let has = |line: &str| squeezed.iter().any(|known| known.starts_with(line));
    assert!(has("10.0.0.2:8000 (dns) fraud dead"), "{page}");
    assert!(has("POOL SOURCE ENDPOINTS LEAVING LAST ANSWER WHY"), "{page}");
    let line = "fraud-v2 dns models.internal:8000 2 1 1m 5s ago it could not find out (SERVFAIL)";
    assert!(has(line), "{page}");
    assert!(has("registered 0 0"), "{page}");
}

#[test]
fn who_is_in_use_and_who_waits_reads_well() {
    let pool =
        PoolStatus { name: "fraud-v2".to_owned(), group: Some(group()), ..PoolStatus::default() };
    assert_eq!(
        groups::notes(&pool).trim_start(),
        "fraud-v2: 1 of 1 in use (80 requests/s of about 310, measured); one may fail now, one more standby \
         takes time to be ready\n  \
         10.0.0.1:8000 spare: 10.0.0.2:8000 took over: it is dead; its way back: well for 12 s of \
         30 s\n  \
         10.0.0.2:8000 active: took over: 10.0.0.1:8000 is dead\n  \
         10.0.0.3:8000 away: to be loaded first; loading"
    );
}

#[test]
fn where_requests_go_is_said_with_the_reason() {
    let share = |distance: &str, sites: &[&str], share| ShareStatus {
        distance: distance.to_owned(),
        sites: sites.iter().map(ToString::to_string).collect(),
        share,
        ..ShareStatus::default()
    };
    let shares = vec![share("own-zone", &["eu/a"], 0.7), share("own-region", &[], 0.3)];
    let why = "own-zone 1.0 of 2.0 usable, × 1.4".to_owned();
    let locality = vec![LocalityStatus { model: "fraud".to_owned(), shares, why }];
    let pool = PoolStatus { name: "p".to_owned(), locality, ..PoolStatus::default() };
    assert_eq!(
        nearness(&pool),
        "\np/fraud: own-zone (eu/a) 70 %, own-region 30 %: own-zone 1.0 of 2.0 usable, × 1.4"
    );
}
