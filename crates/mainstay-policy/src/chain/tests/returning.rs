//! Members on their way back, and pools with nobody left.

use super::*;

/// How many of so many requests, one each 5 ms, each member of the first step gets.
fn shares(bench: &mut Bench, plan: &Plan, requests: u32) -> Vec<u32> {
    let mut shares = vec![0; 4];
    for _ in 0..requests {
        let mut climb = Climb::new(plan, bench.now + DEADLINE, true);
        match bench.next(&mut climb) {
            Next::Attempt(choice) if choice.step == 0 => shares[choice.member] += 1,
            Next::Attempt(_) => assert_eq!(climb.reason(), Reason::Returning),
            other => panic!("{other:?}"),
        }
        bench.now = bench.now + ms(5);
    }
    shares
}

#[test]
fn a_share_is_kept_to_whatever_the_balancer_thinks() {
    let plan = plan(vec![ready(4), local(true)]);
    let back = target(&plan, 0, 3);
    back.health.rotation.set_share(Ratio::percent(40));
    // It looks as good as can be: never asked, while all others are slow.
    for at in 0..3 {
        target(&plan, 0, at).load.finish(Some(ms(900)), START);
    }
    let shares = shares(&mut Bench::new(), &plan, 2_000);
    assert!((195..=200).contains(&shares[3]), "{shares:?}");
}

#[test]
fn a_half_open_breaker_gets_no_more_than_a_share_either() {
    let plan = plan(vec![ready(4), local(true)]);
    put_on_probation(target(&plan, 0, 2));
    let shares = shares(&mut Bench::new(), &plan, 2_000);
    // A fortieth of them, or one a second.
    assert!((45..=65).contains(&shares[2]), "{shares:?}");
}

#[test]
fn a_pool_that_returns_leaves_the_rest_to_the_next_one() {
    let plan = plan(vec![pool(&[Verdict::Ready, Verdict::Dead]), ready(1)]);
    target(&plan, 0, 0).health.rotation.set_share(Ratio::percent(20));
    let shares = shares(&mut Bench::new(), &plan, 1_000);
    assert!((98..=100).contains(&shares[0]), "{shares:?}");
}

#[test]
fn where_nobody_is_proven_somebody_answers_all_the_same() {
    let plan = plan(vec![ready(2), local(true)]);
    for at in 0..2 {
        target(&plan, 0, at).health.rotation.set_share(Ratio::percent(10));
    }
    let shares = shares(&mut Bench::new(), &plan, 100);
    assert_eq!(shares.iter().sum::<u32>(), 100);
}

#[test]
fn what_full_members_cannot_take_waits_for_them() {
    let plan = plan(vec![ready(2), local(true)]);
    while target(&plan, 0, 0).limiter.try_acquire() {}
    target(&plan, 0, 1).health.rotation.set_share(Ratio::percent(10));
    let mut bench = Bench::new();
    let mut waits = 0;
    for _ in 0..100 {
        match bench.next(&mut climb(&plan)) {
            Next::Wait => waits += 1,
            Next::Attempt(choice) => assert_eq!((choice.member, choice.why), (1, Why::Returning)),
            other => panic!("{other:?}"),
        }
    }
    assert!((94..=96).contains(&waits), "{waits}");
}

#[test]
fn the_ejected_are_passed_over_and_a_probation_takes_a_few() {
    let plan = plan(vec![ready(3), local(true)]);
    target(&plan, 0, 1).health.rotation.eject();
    let choice = Bench::new().attempt(&mut climb(&plan));
    assert_eq!(choice.skipped.ejected, 0b010);
    target(&plan, 0, 1).health.rotation.try_out(3, Ratio::percent(10));
    let shares = shares(&mut Bench::new(), &plan, 2_000);
    assert_eq!(shares[1], 3, "{shares:?}");
}

#[test]
fn the_ejected_are_a_last_resort() {
    let plan = plan(vec![ready(1)]);
    target(&plan, 0, 0).health.rotation.eject();
    let choice = Bench::new().attempt(&mut climb(&plan));
    assert_eq!(choice.why, Why::LastResort);
}

#[test]
fn fail_fast_asks_no_later_step() {
    let plan = plan(vec![pool(&[Verdict::Dead]), ready(1), local(true)]);
    let plan = plan.with_last_resort(LastResort::FailFast);
    let mut climb = climb(&plan);
    assert_eq!(Bench::new().next(&mut climb), Next::Exhausted);
    assert_eq!(climb.reason(), Reason::FailFast);
}

#[test]
fn panic_asks_everybody_but_whom_an_operator_took_out() {
    let step = pool(&[Verdict::Dead, Verdict::Stalled, Verdict::Ready, Verdict::Loading]);
    let plan = Plan::new(vec![step, local(true)], 9, true, DEADLINE);
    let plan = plan.with_last_resort(LastResort::Panic);
    target(&plan, 0, 2).health.rotation.eject();
    target(&plan, 0, 3).breaker.force(Some((Forced::Open, NEVER)), START);
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    let mut asked: Vec<_> =
        (0..3).map(|_| bench.fault(&mut climb)).map(|choice| (choice.member, choice.why)).collect();
    asked.sort_by_key(|(member, _)| *member);
    assert_eq!(asked, [(0, Why::Panic), (1, Why::Panic), (2, Why::Panic)]);
    assert_eq!(bench.next(&mut climb), Next::Local(1));
}

#[test]
fn a_wait_ends_with_whoever_comes_back_or_in_vain() {
    let plan = Plan::new(vec![pool(&[Verdict::Dead]), local(true)], 3, true, DEADLINE);
    let plan = plan.with_last_resort(LastResort::Wait(ms(200)));
    let mut bench = Bench::new();
    let mut waiting = climb(&plan);
    while let Next::Await(pause) = bench.next(&mut waiting) {
        assert!(pause <= ms(15) && bench.now < START + ms(201));
        bench.now = bench.now + pause;
    }
    assert_eq!(waiting.reason(), Reason::WaitedInVain);
    assert!(bench.now >= START + ms(200));

    bench.now = START;
    let mut waiting = climb(&plan);
    assert!(matches!(bench.next(&mut waiting), Next::Await(_)));
    target(&plan, 0, 0).health.set(Verdict::Ready, START);
    let choice = bench.attempt(&mut waiting);
    assert_eq!((choice.why, waiting.reason()), (Why::Waited, Reason::None));

    // Too many wait already.
    target(&plan, 0, 0).health.set(Verdict::Dead, START);
    let mut full = climb(&plan);
    assert!(matches!(bench.next(&mut full), Next::Await(_)));
    full.wait_no_longer();
    assert_eq!(bench.next(&mut full), Next::Local(1));
}
