//! What each request pays for its protections: breaker, balance and retry budget.
//!
//! Run with `cargo bench -p mainstay-policy`. All protections together may cost about 1 µs a
//! request; the sum of one `admit_and_record_success`, one `list_and_pick`, one `start_and_finish`
//! and one `request` is their share of it.

use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use mainstay_policy::balance::{
    self, Candidate, Distance, Load, LoadFactor, Rule, SlowStart, pick,
};
use mainstay_policy::breaker::{Breaker, Settings};
use mainstay_policy::budget::{Backoff, RetryBudget, RetrySettings};
use mainstay_policy::chain::{Climb, Context, Member, Plan, Pool, Step};
use mainstay_policy::target::{self, Key, Target};
use mainstay_policy::{Class, Moment, Outcome, Verdict};

/// Time between two calls of a worker at 50 000 requests a second.
const STEP: Duration = Duration::from_micros(20);
const LATENCY: Duration = Duration::from_millis(3);
const WORKERS: usize = 8;

fn main() {
    divan::main();
}

/// A clock that goes on by one step with each call.
fn clock() -> impl FnMut() -> Moment {
    let mut now = Moment::from_millis(1_000_000);
    move || {
        now = now + STEP;
        now
    }
}

#[divan::bench]
fn admit_and_record_success(bencher: Bencher<'_, '_>) {
    let breaker = Breaker::new(Settings::default(), WORKERS);
    let (mut tick, mut rng) = (clock(), fastrand::Rng::with_seed(1));
    bencher.bench_local(|| {
        let now = tick();
        let admitted = black_box(&breaker).admit(now);
        admitted.map(|(permit, _)| {
            breaker.record(3, permit, Outcome::success(black_box(LATENCY)), now, &mut rng)
        })
    });
}

#[divan::bench]
fn admit_and_record_failure(bencher: Bencher<'_, '_>) {
    let settings = Settings { consecutive: 0, minimum_calls: u32::MAX - 1, ..Settings::default() };
    let breaker = Breaker::new(settings, WORKERS);
    let (mut tick, mut rng) = (clock(), fastrand::Rng::with_seed(1));
    let failure = Outcome::failure(Class::ServerFault, LATENCY);
    bencher.bench_local(|| {
        let now = tick();
        let admitted = black_box(&breaker).admit(now);
        admitted.map(|(permit, _)| breaker.record(3, permit, black_box(failure), now, &mut rng))
    });
}

/// What a chain does for each choice: ask every breaker and load, then pick.
#[divan::bench(args = [3, 16])]
fn list_and_pick(bencher: Bencher<'_, '_>, targets: u16) {
    let members: Vec<_> =
        (0..targets).map(|_| (Breaker::new(Settings::default(), WORKERS), Load::new())).collect();
    let (mut tick, mut rng) = (clock(), fastrand::Rng::with_seed(1));
    let now = tick();
    for (_, load) in &members {
        load.start();
        load.finish(Some(LATENCY), now);
    }
    let mut candidates = Vec::with_capacity(members.len());
    bencher.bench_local(|| {
        let now = tick();
        candidates.clear();
        for ((breaker, load), index) in members.iter().zip(0..) {
            if breaker.would_admit(now).is_ok() {
                candidates.push(Candidate { index, cost: load.cost(now), weight: 1.0, tier: 0 });
            }
        }
        pick(Rule::PeakEwma, &candidates, 0, &mut rng)
    });
}

#[divan::bench(args = [3, 16])]
fn pick_alone(bencher: Bencher<'_, '_>, targets: u16) {
    let mut rng = fastrand::Rng::with_seed(1);
    let candidates: Vec<_> = (0..targets)
        .map(|index| Candidate { index, cost: f64::from(index % 5), weight: 1.0, tier: 0 })
        .collect();
    bencher.bench_local(|| pick(Rule::PeakEwma, black_box(&candidates), 0, &mut rng));
}

#[divan::bench]
fn start_and_finish(bencher: Bencher<'_, '_>) {
    let load = Load::new();
    let mut tick = clock();
    bencher.bench_local(|| {
        black_box(&load).start();
        load.finish(Some(black_box(LATENCY)), tick());
    });
}

#[divan::bench]
fn request(bencher: Bencher<'_, '_>) {
    let budget = RetryBudget::new(RetrySettings::default(), WORKERS);
    let mut tick = clock();
    bencher.bench_local(|| black_box(&budget).request(3, tick()));
}

#[divan::bench]
fn try_retry(bencher: Bencher<'_, '_>) {
    let budget = RetryBudget::new(RetrySettings::default(), WORKERS);
    let mut tick = clock();
    bencher.bench_local(|| black_box(&budget).try_retry(3, tick()));
}

/// A pool of so many members, each second one in another zone where there are `zones`.
fn plan(members: u16, zones: bool, rule: Rule) -> Plan {
    let member = |at: u16| {
        let name = |text: String| Arc::<str>::from(text);
        let (endpoint, text) = (name(format!("10.0.0.{at}:8000")), name("p".to_owned()));
        let key = Key { pool: text.clone(), endpoint, model: text, version: None };
        let target = Target::new(at.into(), key, &target::Settings::default(), WORKERS);
        target.health.set(Verdict::Ready, Moment::from_millis(1));
        target.load.start();
        target.load.finish(Some(LATENCY), Moment::from_millis(1_000_000));
        let far = zones && !at.is_multiple_of(2);
        let distance = if far { Distance::Region } else { Distance::Zone };
        Member::new(Arc::new(target), 1.0).at(distance)
    };
    let pool = Pool {
        members: (0..members).map(member).collect(),
        rule,
        locality: zones.then(Arc::default),
        slow_start: SlowStart::default(),
        limit: Duration::from_secs(10),
        backoff: Backoff::default(),
        hedges: None,
    };
    Plan::new(vec![Step::Pool(pool)], 3, true, Duration::from_secs(1))
}

/// The first decision of each request.
fn first_decision(bencher: Bencher<'_, '_>, plan: &Plan, key: Option<balance::Key>) {
    let retries = RetryBudget::new(RetrySettings::default(), WORKERS);
    let (mut tick, mut rng, mut candidates) =
        (clock(), fastrand::Rng::with_seed(1), Vec::with_capacity(16));
    bencher.bench_local(|| {
        let now = tick();
        let mut climb = Climb::new(black_box(plan), now + Duration::from_secs(1), true);
        if let Some(key) = key {
            climb.keep_together(key);
        }
        climb.next(&mut Context {
            now,
            rng: &mut rng,
            turn: 0,
            shard: 3,
            retries: &retries,
            candidates: &mut candidates,
        })
    });
}

/// The usual pool: all members equally near.
#[divan::bench(args = [3, 16])]
fn decide(bencher: Bencher<'_, '_>, members: u16) {
    first_decision(bencher, &plan(members, false, Rule::PeakEwma), None);
}

/// Half of the members in another zone.
#[divan::bench(args = [3, 16])]
fn decide_with_zones(bencher: Bencher<'_, '_>, members: u16) {
    first_decision(bencher, &plan(members, true, Rule::PeakEwma), None);
}

/// A key that leads to its home.
#[divan::bench(args = [3, 16])]
fn decide_by_key(bencher: Bencher<'_, '_>, members: u16) {
    let rule = Rule::RingHash(LoadFactor::default());
    first_decision(bencher, &plan(members, false, rule), Some(balance::Key::of(b"user-1")));
}
