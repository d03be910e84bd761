//! A second attempt beside a late one, and servers that asked to be left alone.

use super::*;
use crate::budget::{AmplificationSettings, HedgeAfter, HedgeBudget, HedgeSettings};

const AFTER: Duration = ms(50);

/// A pool of ready members of which so many of a hundred requests may be hedged.
fn hedged(count: usize, share: u8) -> Step {
    let Step::Pool(mut pool) = ready(count) else { panic!("a pool") };
    let settings = HedgeSettings { share: Ratio::percent(share), after: HedgeAfter::Fixed(AFTER) };
    pool.hedges = Some(Arc::new(HedgeBudget::new(settings, 1)));
    Step::Pool(pool)
}

/// A first attempt, late enough to be hedged.
fn late(bench: &mut Bench, climb: &mut Climb<'_>) -> Choice {
    let first = bench.attempt(climb);
    assert_eq!(first.hedge_after, Some(AFTER));
    bench.now = bench.now + AFTER;
    first
}

#[test]
fn a_late_attempt_gets_a_second_one_at_another_member() {
    let (plan, mut bench) = (plan(vec![hedged(3, 100), local(true)]), Bench::new());
    let mut climb = climb(&plan);
    let first = late(&mut bench, &mut climb);
    let second = bench.hedge(&mut climb, &first).expect("a hedge");
    assert_ne!(second.member, first.member);
    assert_eq!((second.why, second.delay, second.hedge_after), (Why::Hedged, ms(0), None));
    assert!(bench.now + second.limit <= START + DEADLINE);
    assert!((bench.retries.amplification(bench.now) - 2.0).abs() < 1e-9);
    climb.failed(&second, Class::ServerFault, SentState::Sent);
    climb.failed(&first, Class::ServerFault, SentState::Sent);
    let third = bench.fault(&mut climb);
    assert!(third.member != first.member && third.member != second.member);
    assert_eq!(bench.next(&mut climb), Next::Local(1), "three attempts, hedge included");
}

#[test]
fn only_what_may_be_executed_twice_is_hedged() {
    let (plan, mut bench) = (unrepeatable(vec![hedged(3, 100)]), Bench::new());
    let mut climb = climb(&plan);
    let first = bench.attempt(&mut climb);
    assert_eq!(first.hedge_after, None);
    assert_eq!(bench.hedge(&mut climb, &first), None);
}

#[test]
fn shares_and_the_cap_bound_hedges() {
    let plan = plan(vec![hedged(2, 5)]);
    let mut bench = Bench::new();
    let mut hedges = 0;
    for _ in 0..200 {
        let mut climb = Climb::new(&plan, bench.now + DEADLINE, true);
        let first = bench.attempt(&mut climb);
        hedges += u32::from(bench.hedge(&mut climb, &first).is_some());
    }
    assert_eq!(hedges, 10);

    let mut bench = Bench::new();
    let settings = RetrySettings { per_second: 0, ..RetrySettings::default() };
    let cap = AmplificationSettings { cap: 1.0, per_second: 0 };
    bench.retries = RetryBudget::new(settings, 1).capped(cap);
    let mut climb = climb(&plan);
    let first = bench.attempt(&mut climb);
    assert_eq!(bench.hedge(&mut climb, &first), None);
}

#[test]
fn a_hedge_goes_to_no_worse_member_and_to_none_that_is_yet_to_prove_itself() {
    let step = hedged(3, 100);
    let Step::Pool(pool) = &step else { panic!("a pool") };
    pool.members[1].target.health.set(Verdict::Slow, START);
    let plan = plan(vec![step]);
    let mut bench = Bench::new();
    let mut climb = climb(&plan);
    let first = late(&mut bench, &mut climb);
    let other = 2 - first.member;
    assert_eq!(bench.hedge(&mut climb, &first).map(|hedge| hedge.member), Some(other));
    put_on_probation(target(&plan, 0, other));
    let mut climb = Climb::new(&plan, bench.now + DEADLINE, true);
    let first = bench.attempt(&mut climb);
    assert_eq!(first.member, other, "real requests prove it");
    target(&plan, 0, 2 - other).health.set(Verdict::Dead, START);
    assert_eq!(bench.hedge(&mut climb, &first), None);
}

#[test]
fn what_was_overtaken_counts_as_an_attempt() {
    let plan = plan(vec![hedged(2, 100), local(true)]);
    let mut bench = Bench::new();
    let mut climb = climb(&plan);
    let first = late(&mut bench, &mut climb);
    let second = bench.hedge(&mut climb, &first).expect("a hedge");
    climb.overtaken(&first, SentState::MaybeSent);
    climb.failed(&second, Class::BadAnswer, SentState::Sent);
    assert_eq!(bench.next(&mut climb), Next::Local(1));
}

#[test]
fn whoever_asked_to_be_left_alone_is_passed_over_and_named() {
    let (plan, mut bench) = (plan(vec![ready(2), local(true)]), Bench::new());
    target(&plan, 0, 0).pause.ask(ms(700), START);
    let choice = bench.attempt(&mut climb(&plan));
    assert_eq!((choice.member, choice.skipped.paused), (1, 0b01));
    target(&plan, 0, 1).pause.ask(ms(700), START);
    assert_eq!(bench.next(&mut climb(&plan)), Next::Local(1), "a later step goes before a wait");
    bench.now = START + ms(701);
    assert_eq!(bench.attempt(&mut Climb::new(&plan, bench.now + DEADLINE, true)).step, 0);
}

#[test]
fn with_nothing_else_left_a_pause_is_waited_for_within_the_deadline() {
    let (plan, mut bench) = (plan(vec![ready(1)]), Bench::new());
    target(&plan, 0, 0).pause.ask(ms(700), START);
    let choice = bench.attempt(&mut climb(&plan));
    assert_eq!(choice.why, Why::Waited);
    assert!(choice.delay >= ms(700), "{choice:?}");
    assert!(START + choice.delay + choice.limit <= START + DEADLINE, "{choice:?}");
    target(&plan, 0, 0).pause.ask(DEADLINE, START);
    assert_eq!(bench.next(&mut climb(&plan)), Next::Exhausted, "no time would be left");
}
