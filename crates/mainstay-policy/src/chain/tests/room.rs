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
