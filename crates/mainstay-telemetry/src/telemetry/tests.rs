//! What workers finish is what readers find.

use std::time::Duration;

use mainstay_policy::{Class, SentState};

use super::*;
use crate::TargetName;
use crate::record::{Attempt, Reason};

fn names() -> Names {
    let target = |endpoint: &str| TargetName {
        pool: "fraud-v2".into(),
        endpoint: endpoint.into(),
        model: "fraud".into(),
    };
    Names {
        models: vec!["fraud".into(), "churn".into()],
        steps: vec![vec!["fraud-v2".into(), "default".into()], vec!["churn".into()]],
        golden: Vec::new(),
        targets: vec![target("a:8000"), target("b:8000")],
    }
}

fn telemetry(workers: usize) -> Arc<Telemetry> {
    let settings = Settings { workers, recent: 8, kept: 8 };
    Telemetry::new(settings, names(), Clock::start())
}

fn answered(id: u64) -> Record {
    let mut record = Record {
        id: RequestId(id),
        started: Moment::from_millis(id),
        took: Duration::from_millis(3),
        status: 200,
        ..Record::default()
    };
    record.push(Attempt { sent: SentState::Sent, status: 200, ..Attempt::default() });
    record
}

fn retried(id: u64) -> Record {
    let mut record = answered(id);
    record.attempts[0].class = Some(Class::Timeout);
    record.push(Attempt { target: 1, sent: SentState::Sent, ..Attempt::default() });
    record
}

#[test]
fn totals_are_summed_over_workers() {
    let telemetry = telemetry(2);
    let workers = [telemetry.worker(0), telemetry.worker(1)];
    workers[0].finish(&answered(1));
    workers[1].finish(&retried(2));
    let degraded = Record { step: 1, degraded: true, reason: Reason::OutOfTime, ..answered(3) };
    workers[1].finish(&degraded);
    workers[0].finish(&Record { step: u8::MAX, end: End::Failed, ..retried(4) });
    let totals = telemetry.totals(0);
    let expected = ModelTotals {
        requests: 4,
        degraded: 1,
        failed: 1,
        retries: 2,
        forwarded: 4,
        sent: 6,
        ..ModelTotals::default()
    };
    assert_eq!(totals, expected);
    assert!((totals.amplification() - 1.5).abs() < f64::EPSILON);
    assert_eq!(telemetry.totals(1), ModelTotals::default());
}

#[test]
fn a_clients_own_fault_is_no_failure_of_ours() {
    let telemetry = telemetry(1);
    let worker = telemetry.worker(0);
    worker.finish(&Record { end: End::ClientFault, ..answered(1) });
    worker.finish(&Record { end: End::Cancelled, ..answered(2) });
    assert_eq!(telemetry.totals(0).failed, 0);
    assert_eq!(telemetry.totals(0).requests, 2);
}

#[test]
fn an_attempt_that_never_left_is_no_amplification() {
    let telemetry = telemetry(1);
    let mut record = answered(1);
    record.attempts[0].sent = SentState::NotSent;
    telemetry.worker(0).finish(&record);
    let totals = telemetry.totals(0);
    assert_eq!((totals.forwarded, totals.sent), (0, 0));
    assert!((totals.amplification() - 1.0).abs() < f64::EPSILON);
}

#[test]
fn requests_without_a_model_are_counted_apart() {
    let telemetry = telemetry(1);
    telemetry.worker(0).finish(&Record { model: u16::MAX, step: u8::MAX, ..answered(1) });
    assert_eq!(telemetry.totals(0).requests, 0);
    assert_eq!(telemetry.totals(u16::MAX).requests, 1);
}

#[test]
fn numbers_without_a_name_do_no_harm() {
    let telemetry = telemetry(1);
    let mut record = Record { model: 9, step: 77, rows_moved: 3, ..answered(1) };
    record.attempts[0].target = 1_000_000;
    telemetry.worker(5).finish(&record);
    assert_eq!(telemetry.request(RequestId(1)), Some(record));
}

#[test]
fn a_remarkable_request_is_kept_when_the_recent_ring_has_turned_over() {
    let telemetry = telemetry(1);
    let worker = telemetry.worker(0);
    worker.finish(&retried(1));
    (2..100).for_each(|id| worker.finish(&answered(id)));
    assert_eq!(telemetry.request(RequestId(1)), Some(retried(1)));
    assert_eq!(telemetry.request(RequestId(2)), None);
    assert_eq!(telemetry.recent(10, true), [retried(1)]);
}

#[test]
fn the_latest_records_come_first() {
    let telemetry = telemetry(2);
    let workers = [telemetry.worker(0), telemetry.worker(1)];
    for id in 1..=6 {
        workers[id as usize % 2].finish(&answered(id));
    }
    let ids = |limit| telemetry.recent(limit, false).iter().map(|r| r.id.0).collect::<Vec<_>>();
    assert_eq!(ids(3), [6, 5, 4]);
    assert_eq!(ids(100), [6, 5, 4, 3, 2, 1]);
}

#[test]
fn a_model_keeps_its_counts_when_its_chain_changes_and_comes_back() {
    let telemetry = telemetry(1);
    let worker = telemetry.worker(0);
    worker.finish(&answered(1));
    let shape = |steps: &[&str]| Shape {
        model: "fraud".into(),
        steps: steps.iter().map(|step| (*step).into()).collect(),
    };
    let (new, old) = (shape(&["default", "fraud-v2", "fraud-v3"]), shape(&["fraud-v2", "default"]));
    let numbers = telemetry.number_models(&[new.clone(), old, new]);
    assert_eq!(numbers, [Some(2), Some(0), Some(2)]);
    telemetry.show(Shown { models: vec![2], ..Shown::default() });
    worker.finish(&Record { model: 2, step: 1, ..answered(2) });
    assert_eq!(telemetry.totals(2).requests, 2);
    assert_eq!(telemetry.totals(0).requests, 2);
    let mut page = String::new();
    telemetry.encode(&crate::Gauges::default(), &mut page).unwrap();
    let line = r#"mainstay_requests_total{model="fraud",step="fraud-v2",outcome="answered"} 2"#;
    assert!(page.contains(line), "{page}");
    assert!(!page.contains("churn"), "it is not in the configuration any more");
}

#[test]
fn a_number_that_is_given_to_another_target_counts_anew() {
    let telemetry = telemetry(1);
    let worker = telemetry.worker(0);
    worker.finish(&retried(1));
    let name =
        |endpoint: &str| TargetName { endpoint: endpoint.into(), ..names().targets[0].clone() };
    let shown = |targets| telemetry.show(Shown { targets, ..Shown::default() });
    let at = |at| telemetry.names().target(1, at).map(|name| name.endpoint.to_string());
    shown(vec![(0, name("a:8000"))]);
    assert_eq!(at(telemetry.clock().now()).unwrap(), "b:8000", "its records are still there");
    shown(vec![(0, name("a:8000")), (1, name("c:8000")), (500, name("d:8000"))]);
    assert_eq!(at(telemetry.clock().now()).unwrap(), "c:8000");
    assert_eq!(at(Moment::ZERO), None, "it was another one then");
    worker.finish(&Record {
        attempts: [Attempt { target: 500, ..Attempt::default() }; 6],
        ..answered(2)
    });
    let mut page = String::new();
    telemetry.encode(&crate::Gauges::default(), &mut page).unwrap();
    let count = |endpoint: &str| {
        let labels = format!(
            r#"attempts_total{{pool="fraud-v2",endpoint="{endpoint}",model="fraud",class="ok"}} "#
        );
        page.lines()
            .find_map(|line| line.strip_prefix("mainstay_")?.strip_prefix(&labels)?.parse().ok())
    };
    assert_eq!([count("b:8000"), count("c:8000"), count("d:8000")], [None, Some(0u64), Some(1)]);
}
