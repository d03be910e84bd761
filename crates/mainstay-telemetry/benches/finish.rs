//! What accounting costs a request: the budget for all protections together is about 1 µs.

use std::time::Duration;

use mainstay_policy::{Class, Moment, SentState};
use mainstay_telemetry::record::{Attempt, Record, RequestId};
use mainstay_telemetry::{Clock, Names, Settings, TargetName, Telemetry, Worker};

fn main() {
    divan::main();
}

fn worker() -> Worker {
    let target = |at: usize| TargetName {
        pool: "fraud-v2".into(),
        endpoint: format!("10.0.0.{at}:8000").into(),
        model: "fraud".into(),
    };
    let names = Names {
        models: vec!["fraud".into()],
        steps: vec![vec!["fraud-v2".into(), "embedded".into(), "default".into()]],
        golden: Vec::new(),
        targets: (0..8).map(target).collect(),
    };
    Telemetry::new(Settings::default(), names, Clock::start()).worker(0)
}

fn record(attempts: u32) -> Record {
    let mut record = Record {
        id: RequestId(7),
        started: Moment::from_millis(5),
        took: Duration::from_micros(730),
        deadline: Duration::from_millis(200),
        status: 200,
        ..Record::default()
    };
    for target in 0..attempts {
        let last = target + 1 == attempts;
        record.push(Attempt {
            target,
            class: (!last).then_some(Class::Timeout),
            sent: SentState::Sent,
            took_us: 650,
            ..Attempt::default()
        });
    }
    record
}

/// Most requests have one attempt and go into one ring; a retried one goes into both.
#[divan::bench(args = [1, 3])]
fn finish(bencher: divan::Bencher<'_, '_>, attempts: u32) {
    let (worker, record) = (worker(), record(attempts));
    bencher.bench_local(|| worker.finish(divan::black_box(&record)));
}
