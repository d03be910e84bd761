//! The page is well-formed, says what was counted, and every metric on it is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstay_policy::{Class, SentState};

use super::family::{ALL, Family};
use super::*;
use crate::record::{Attempt, End, Reason, Record, RequestId};
use crate::{Clock, Event, EventKind, Names, Settings, TcpGauges};

/// Written by this test when `MAINSTAY_WRITE_DOCS` is set, compared otherwise.
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

fn target(endpoint: &str) -> TargetName {
    TargetName { pool: "fraud-v2".into(), endpoint: endpoint.into(), model: "fr\"aud".into() }
}

fn telemetry() -> Arc<Telemetry> {
    let names = Names {
        models: vec!["fraud".into()],
        // The same pool twice: its series must not appear twice.
        steps: vec![vec!["fraud-v2".into(), "fraud-v2".into(), "default".into()]],
        golden: vec![1],
        targets: vec![target("a:8000"), target("b:8000"), target("b:8000")],
    };
    Telemetry::new(Settings { workers: 2, recent: 8, kept: 8 }, names, Clock::start())
}

fn gauges() -> Gauges {
    let target = |endpoint, breaker, verdict| TargetGauges {
        name: target(endpoint),
        breaker,
        verdict,
        deep: true,
        in_flight: 3,
        latency: Duration::from_millis(2),
        limit: Some(24),
        ejected: false,
        share: 1.0,
    };
    let steps = vec![("fraud-v2".to_owned(), true), ("default".to_owned(), true)];
    Gauges {
        version: "0.1.0".to_owned(),
        uptime: Duration::from_secs(5),
        ready: true,
        amplification: 1.25,
        amplification_cap: 1.5,
        targets: vec![target("a:8000", 0, Verdict::Ready), target("b:8000", 1, Verdict::Dead)],
        certificates: vec![("listen".to_owned(), 1_800_000_000)],
        callers: vec![CallerGauges { name: "team-a".to_owned(), asked: 7, refused: [1, 2, 3] }],
        strangers: Some(4),
        localities: vec![LocalityGauge {
            pool: "fraud-v2".to_owned(),
            model: "fraud".to_owned(),
            distance: "own-zone".to_owned(),
            share: 0.7,
        }],
        models: vec![ModelGauges {
            name: "fraud".to_owned(),
            queued: 2,
            shed: [0, 0, 1, 5],
            sequences: Some((3, 1)),
            steps,
            rehearsals: vec![RehearsalGauges {
                step: "default".to_owned(),
                answered: 12,
                age: Some(3.5),
                latency: 0.002,
                agreement: Some(0.75),
                ..RehearsalGauges::default()
            }],
        }],
        groups: vec![GroupGauges {
            pool: "p".to_owned(),
            wanted: 1,
            in_use: 1,
            tolerates: 0,
            proposed: false,
            failbacks: 1,
            members: vec![
                ("a:8000".to_owned(), Standing::Spare),
                ("b:8000".to_owned(), Standing::Active),
            ],
        }],
        tcp: vec![TcpGauges {
            listener: "cache".to_owned(),
            open: 2,
            accepted: 7,
            retried: 1,
            bytes: [300, 4000],
            ends: vec![("done".to_owned(), 4), ("failover".to_owned(), 1)],
        }],
        sources: vec![SourceGauges {
            pool: "fraud-v2".to_owned(),
            source: "dns models.internal:8000".to_owned(),
            endpoints: [2, 1],
            fine: false,
            age: Some(Duration::from_secs(4)),
            looks: [7, 3],
        }],
        last_good: Some(LastGoodGauges { entries: 7, hits: 3, ..LastGoodGauges::default() }),
        processes: vec![ProcessGauges {
            pool: "forest".to_owned(),
            endpoint: "a:8000".to_owned(),
            running: true,
            failures: 3,
        }],
        wanted_replicas: vec![("forest".to_owned(), 2)],
    }
}

/// Two answers, one of them after a retry and by the default, and one failure.
fn traffic(telemetry: &Arc<Telemetry>) {
    let mut first = Record {
        id: RequestId(1),
        took: Duration::from_millis(3),
        status: 200,
        ..Record::default()
    };
    first.push(Attempt { sent: SentState::Sent, took_us: 2_900, ..Attempt::default() });
    let mut second = first;
    second.attempts[0].class = Some(Class::Timeout);
    second.push(Attempt { target: 2, class: Some(Class::Unreachable), ..Attempt::default() });
    second.step = 2;
    second.degraded = true;
    second.reason = Reason::AttemptsFailed;
    let failed = Record { step: u8::MAX, end: End::Failed, ..Record::default() };
    telemetry.worker(0).finish(&first);
    telemetry.worker(1).finish(&second);
    telemetry.worker(1).finish(&failed);
}

fn page(telemetry: &Telemetry, gauges: &Gauges) -> String {
    let mut page = String::new();
    telemetry.encode(gauges, &mut page).unwrap();
    page
}

/// Series and their values, as a scraper reads them; panics over a page that is not well-formed.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let (mut series, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    let body = page.strip_suffix("# EOF\n").expect("the end mark");
    for line in body.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(kinds.insert(name, kind), None, "{name} is described twice");
        } else if !line.starts_with('#') {
            let (key, value) = line.rsplit_once(' ').unwrap();
            let name = key.split('{').next().unwrap();
            assert!(name.starts_with("mainstay_"), "{name}");
            assert!(family_of(name, &kinds).is_some(), "{name} was not described");
            let value = value.parse().unwrap();
            assert_eq!(series.insert(key.to_owned(), value), None, "{key} appears twice");
        }
    }
    series
}

fn family_of<'a>(name: &'a str, kinds: &BTreeMap<&str, &str>) -> Option<&'a str> {
    let suffixes: [(&str, &[&str]); 4] = [
        ("counter", &["_total"]),
        ("histogram", &["_bucket", "_sum", "_count"]),
        ("info", &["_info"]),
        ("gauge", &[""]),
    ];
    suffixes.into_iter().find_map(|(kind, suffixes)| {
        let stems = suffixes.iter().filter_map(|suffix| name.strip_suffix(suffix));
        stems.into_iter().find(|stem| kinds.get(stem) == Some(&kind))
    })
}

#[test]
fn the_page_says_what_was_counted() {
    let telemetry = telemetry();
    traffic(&telemetry);
    let series = parse(&page(&telemetry, &gauges()));
    let expected = [
        (r#"mainstay_requests_total{model="fraud",step="fraud-v2",outcome="answered"}"#, 1.0),
        (r#"mainstay_requests_total{model="fraud",step="default",outcome="answered"}"#, 1.0),
        (r#"mainstay_requests_total{model="fraud",step="none",outcome="failed"}"#, 1.0),
        (r#"mainstay_requests_total{model="unknown",step="none",outcome="client-fault"}"#, 0.0),
        (r#"mainstay_degraded_total{model="fraud",step="default",reason="attempts-failed"}"#, 1.0),
        (r#"mainstay_degraded_total{model="fraud",step="default",reason="out-of-time"}"#, 0.0),
        (r#"mainstay_retries_total{model="fraud"}"#, 1.0),
        (r#"mainstay_forwarded_requests_total{model="fraud"}"#, 2.0),
        (r#"mainstay_sent_attempts_total{model="fraud"}"#, 2.0),
        ("mainstay_amplification_ratio", 1.25),
        ("mainstay_amplification_cap_ratio", 1.5),
        (r#"mainstay_hedges_total{model="fraud"}"#, 0.0),
        (r#"mainstay_poison_requests_total{model="fraud"}"#, 0.0),
        (r#"mainstay_step_available{model="fraud",step="default"}"#, 1.0),
        (r#"mainstay_request_duration_seconds_count{model="fraud"}"#, 3.0),
        (r#"mainstay_request_duration_seconds_bucket{le="0.0032",model="fraud"}"#, 3.0),
        (r#"mainstay_request_duration_seconds_bucket{le="0.0024",model="fraud"}"#, 1.0),
        ("mainstay_ready", 1.0),
        ("mainstay_uptime_seconds", 5.0),
        (r#"mainstay_build_info{version="0.1.0"}"#, 1.0),
    ];
    for (key, value) in expected {
        assert_eq!(series.get(key), Some(&value), "{key}");
    }
}

#[test]
fn the_page_says_what_became_of_each_targets_attempts() {
    let telemetry = telemetry();
    traffic(&telemetry);
    let series = parse(&page(&telemetry, &gauges()));
    let at = |name: &str, endpoint: &str, more: &str| {
        let labels = format!(r#"pool="fraud-v2",endpoint="{endpoint}",model="fr\"aud"{more}"#);
        series.get(&format!("{name}{{{labels}}}")).copied()
    };
    assert_eq!(at("mainstay_attempts_total", "a:8000", r#",class="ok""#), Some(1.0));
    assert_eq!(at("mainstay_attempts_total", "a:8000", r#",class="timeout""#), Some(1.0));
    assert_eq!(at("mainstay_attempts_total", "b:8000", r#",class="unreachable""#), Some(1.0));
    assert_eq!(at("mainstay_attempt_duration_seconds_count", "a:8000", ""), Some(2.0));
    assert_eq!(at("mainstay_breaker_state", "b:8000", ""), Some(1.0));
    assert_eq!(at("mainstay_verdict", "b:8000", r#",verdict="dead""#), Some(1.0));
    assert_eq!(at("mainstay_verdict", "b:8000", r#",verdict="ready""#), Some(0.0));
    assert_eq!(at("mainstay_dependencies_healthy", "a:8000", ""), Some(1.0));
    assert_eq!(at("mainstay_in_flight", "a:8000", ""), Some(3.0));
    assert_eq!(at("mainstay_latency_seconds", "a:8000", ""), Some(0.002));
}

#[test]
fn buckets_only_grow_and_end_with_the_count() {
    let telemetry = telemetry();
    traffic(&telemetry);
    let page = page(&telemetry, &gauges());
    parse(&page);
    let lines = |prefix: &str| {
        let lines = page.lines().filter(|line| line.starts_with(prefix));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).collect()
    };
    let buckets: Vec<_> = lines("mainstay_attempt_duration_seconds_bucket{");
    let counts: Vec<_> = lines("mainstay_attempt_duration_seconds_count{");
    let each = buckets.len() / counts.len();
    for (buckets, count) in buckets.chunks(each).zip(counts) {
        assert!(buckets.is_sorted(), "{buckets:?}");
        assert_eq!(buckets.last(), Some(&count));
    }
    assert!(page.contains(r#"le="+Inf""#));
}

#[test]
fn events_are_counted_by_kind() {
    let telemetry = telemetry();
    telemetry.event(Event {
        kind: EventKind::Breaker,
        subject: "fraud-v2/a:8000/fraud".to_owned(),
        from: "closed".to_owned(),
        to: "open".to_owned(),
        cause: "5 failures in a row".to_owned(),
    });
    let series = parse(&page(&telemetry, &gauges()));
    assert_eq!(series[r#"mainstay_events_total{kind="breaker"}"#], 1.0);
    assert_eq!(series[r#"mainstay_events_total{kind="verdict"}"#], 0.0);
}

#[test]
fn every_metric_is_on_the_page_and_on_it_once() {
    let telemetry = telemetry();
    // What is of language models alone is shown once there is something of it.
    let worker = telemetry.worker(0);
    worker.tokens(0, [7, 3]);
    worker.first_token(0, Duration::from_millis(20));
    worker.token_gap(0, Duration::from_millis(5));
    let page = page(&telemetry, &gauges());
    let described: Vec<_> = page.lines().filter(|line| line.starts_with("# HELP ")).collect();
    let names: BTreeSet<_> = ALL.iter().map(|family| family.name()).collect();
    assert_eq!((described.len(), names.len()), (ALL.len(), ALL.len()));
    for family in ALL {
        assert!(page.contains(&family.name()), "{}", family.name());
    }
}

#[test]
fn every_metric_is_documented() {
    let expected = document();
    if std::env::var_os("MAINSTAY_WRITE_DOCS").is_some() {
        std::fs::write(DOCS, &expected).unwrap();
    }
    let found = std::fs::read_to_string(DOCS).unwrap();
    assert!(found == expected, "docs/metrics.md is out of date: set MAINSTAY_WRITE_DOCS=1");
}

fn document() -> String {
    let rows: String = ALL.iter().map(|family| row(family)).collect();
    format!(
        "# Metrics\n\nOn the admin listener's `/metrics`, in the OpenMetrics text format. This \
         page is made from the source by a test.\n\nLabels hold names from the configuration \
         only, so no client can make them grow. `model` is the name that clients ask for \
         (`unknown` where none was recognised); together with `pool` and `endpoint` it is the \
         name upstream. `step` is a step of the model's chain (`none` where none \
         answered).\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n{rows}"
    )
}

fn row(family: &Family) -> String {
    let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let (name, kind) = (family.name(), family.kind());
    format!("| `{name}` | {kind} | {} | {} |\n", labels.join(", "), family.help)
}
