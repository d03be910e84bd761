//! Full servers: passed over, waited for, and only then answered for by others.

use super::*;
use crate::limit::Sample;

/// Takes every place of a target.
fn fill(target: &Target) {
    while target.limiter.try_acquire() {}
}

fn free(target: &Target) {
    target.limiter.release(Sample::Nothing, START);
}

#[test]
fn a_full_member_is_passed_over_and_the_record_says_so() {
    let plan = plan(vec![ready(2)]);
    fill(target(&plan, 0, 0));
    let choice = Bench::new().attempt(&mut climb(&plan));
    assert_eq!((choice.member, choice.skipped.limit), (1, 0b01));
}

#[test]
fn another_pool_with_room_is_asked_before_anyone_waits() {
    let plan = plan(vec![ready(1), ready(1), local(true)]);
    fill(target(&plan, 0, 0));
    let mut climb = climb(&plan);
    assert_eq!(Bench::new().attempt(&mut climb).step, 1);
    assert_eq!(climb.reason(), Reason::AtLimit);
}

#[test]
fn a_request_waits_before_a_local_step_answers_in_a_servers_place() {
    let plan = plan(vec![ready(1), local(true)]);
    fill(target(&plan, 0, 0));
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    assert_eq!(bench.next(&mut climb), Next::Wait);
    free(target(&plan, 0, 0));
    climb.room();
    assert_eq!(bench.attempt(&mut climb).step, 0);
    assert_eq!(climb.reason(), Reason::None, "the first step answers after all");
}

#[test]
fn who_waited_in_vain_is_answered_by_what_needs_no_room() {
    let plan = plan(vec![ready(1), local(true)]);
    fill(target(&plan, 0, 0));
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    assert_eq!(bench.next(&mut climb), Next::Wait);
    climb.no_room();
    assert_eq!(bench.next(&mut climb), Next::Local(1));
    assert_eq!(climb.reason(), Reason::AtLimit);
    climb.leave(Reason::EmbeddedUnavailable);
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
}

#[test]
fn without_local_steps_a_request_waits_before_nobody_answers() {
    let plan = plan(vec![ready(2)]);
    (0..2).for_each(|at| fill(target(&plan, 0, at)));
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    assert_eq!(bench.next(&mut climb), Next::Wait);
    climb.room();
    assert_eq!(bench.next(&mut climb), Next::Wait, "someone was faster");
    climb.no_room();
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
    assert_eq!(climb.reason(), Reason::AtLimit);
}

#[test]
fn who_was_called_in_vain_again_and_again_is_to_be_turned_away() {
    let plan = plan(vec![ready(1)]);
    fill(target(&plan, 0, 0));
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    let mut waits = 0;
    while climb.is_patient() {
        assert_eq!(bench.next(&mut climb), Next::Wait);
        climb.room();
        waits += 1;
    }
    assert!((2..100).contains(&waits), "{waits}");
    assert_eq!(bench.next(&mut climb), Next::Wait, "to be told that it may not");
    climb.no_room();
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
}

#[test]
fn nobody_waits_for_servers_that_are_dead() {
    let plan = plan(vec![pool(&[Verdict::Dead]), local(true)]);
    assert_eq!(Bench::new().next(&mut climb(&plan)), Next::Local(1));
}

#[test]
fn after_a_failure_the_full_member_is_waited_for() {
    let plan = plan(vec![ready(2)]);
    fill(target(&plan, 0, 1));
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    assert_eq!(bench.fault(&mut climb).member, 0);
    assert_eq!(bench.next(&mut climb), Next::Wait);
    climb.no_room();
    assert_eq!(bench.attempt(&mut climb).why, Why::LastResort);
}

#[test]
fn who_found_no_place_asks_no_server_before_there_is_one() {
    let plan = plan(vec![ready(1), ready(1), local(true)]);
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    climb.hold_back();
    assert_eq!(bench.next(&mut climb), Next::Wait);
    climb.room();
    assert_eq!(bench.attempt(&mut climb).step, 0);
}

#[test]
fn who_never_finds_a_place_asks_no_server_at_all() {
    let (mut bench, with) = (Bench::new(), plan(vec![ready(1), local(true)]));
    let mut held = climb(&with);
    held.hold_back();
    assert_eq!(bench.next(&mut held), Next::Wait);
    held.no_room();
    assert_eq!(bench.next(&mut held), Next::Local(1));

    let without = plan(vec![ready(1)]);
    let mut held = climb(&without);
    held.hold_back();
    assert_eq!(bench.next(&mut held), Next::Wait);
    held.no_room();
    assert_eq!(bench.next(&mut held), Next::Exhausted, "not even as a last resort");
}

#[test]
fn a_local_first_step_needs_no_place() {
    let plan = plan(vec![local(true), ready(1)]);
    let mut climb = climb(&plan);
    climb.hold_back();
    assert_eq!(Bench::new().next(&mut climb), Next::Local(0));
}

#[test]
fn a_place_lost_in_the_last_moment_is_waited_for() {
    let plan = plan(vec![ready(1), local(true)]);
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    let choice = bench.attempt(&mut climb);
    fill(target(&plan, 0, 0));
    climb.refused(&choice);
    assert_eq!(bench.next(&mut climb), Next::Wait);
}

#[test]
fn nobody_waits_with_an_answer_in_hand_or_past_the_deadline() {
    let plan = plan(vec![ready(1)]);
    fill(target(&plan, 0, 0));
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    climb.has_answer();
    assert_eq!(bench.next(&mut climb), Next::Exhausted);

    let mut late = super::climb(&plan);
    bench.now = START + DEADLINE;
    assert_eq!(bench.next(&mut late), Next::Exhausted);
}

#[test]
fn a_large_pool_is_no_different_beyond_its_sixteenth_member() {
    // A full member in use far down the list, and a spare: the request waits.
    let plan = plan(vec![ready(20), local(true)]);
    for at in 0..20 {
        let standing = if at == 18 { crate::Standing::Active } else { crate::Standing::Away };
        target(&plan, 0, at).place.stand(standing);
    }
    target(&plan, 0, 19).place.stand(crate::Standing::Spare);
    while target(&plan, 0, 18).limiter.try_acquire() {}
    let mut climb = climb(&plan);
    assert_eq!(Bench::new().next(&mut climb), Next::Wait);
    // Without the spare it waits just the same.
    target(&plan, 0, 19).place.stand(crate::Standing::Away);
    assert_eq!(Bench::new().next(&mut super::climb(&plan)), Next::Wait);
    // One on its way back takes its share, and what full ones cannot take waits for them.
    target(&plan, 0, 17).place.stand(crate::Standing::Active);
    target(&plan, 0, 17).health.rotation.set_share(Ratio::percent(10));
    let mut bench = Bench::new();
    let waits = (0..100).filter(|_| bench.next(&mut super::climb(&plan)) == Next::Wait).count();
    assert!(waits >= 95, "{waits}");
}

#[test]
fn a_second_attempt_in_a_large_pool_is_known_to_be_one() {
    let plan = plan(vec![ready(20)]);
    for at in 0..18 {
        target(&plan, 0, at).place.stand(crate::Standing::Away);
    }
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    let first = bench.fault(&mut climb);
    let second = bench.attempt(&mut climb);
    assert!(first.member >= 18 && !first.again);
    assert!(second.member >= 18 && second.again && second.skipped.tried == 0);
}
