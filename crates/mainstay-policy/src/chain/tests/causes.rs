//! Steps that are for some failures alone.

use super::*;
use crate::limit::Sample;

fn only(causes: &[Cause]) -> Causes {
    causes.iter().fold(Causes::none(), |causes, cause| causes.and(*cause))
}

/// Pools of two members, the second and the third of them for these causes.
fn by_cause(second: &[Cause], third: &[Cause]) -> Plan {
    let steps = vec![ready(2), ready(2), ready(2)];
    plan(steps).with_causes([Causes::default(), only(second), only(third)])
}

#[test]
fn what_is_too_long_goes_to_the_step_for_it_at_once() {
    let plan = by_cause(&[Cause::Timeout], &[Cause::ContextLength]);
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    assert_eq!(bench.fail(&mut climb, Class::ContextLength, SentState::Sent).step, 0);
    assert_eq!(bench.attempt(&mut climb).step, 2, "no other member would say anything else");
    assert_eq!(climb.reason(), Reason::ContextLength);
}

#[test]
fn a_failure_passes_over_steps_that_are_not_for_it() {
    let plan = by_cause(&[Cause::ContextLength], &[Cause::ServerError, Cause::Timeout]);
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    bench.fault(&mut climb);
    bench.fault(&mut climb);
    assert_eq!(bench.attempt(&mut climb).step, 2);
}

#[test]
fn the_last_failure_is_the_cause() {
    let plan = by_cause(&[Cause::RateLimit], &[Cause::ServerError]);
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    bench.fault(&mut climb);
    bench.fail(&mut climb, Class::Capacity, SentState::Sent);
    assert_eq!(bench.attempt(&mut climb).step, 1);
}

#[test]
fn a_full_pool_is_a_rate_limit() {
    let plan = by_cause(&[Cause::ServerError], &[Cause::RateLimit]);
    for at in 0..2 {
        while target(&plan, 0, at).limiter.try_acquire() {}
    }
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    assert_eq!(bench.attempt(&mut climb).step, 2);
    target(&plan, 0, 0).limiter.release(Sample::Nothing, START);
}

#[test]
fn a_refused_request_was_not_executed_and_may_go_on() {
    let steps = vec![ready(1), ready(1)];
    let causes = [Causes::default(), only(&[Cause::ContentPolicy])];
    let plan = unrepeatable(steps).with_causes(causes);
    let (mut bench, mut climb) = (Bench::new(), climb(&plan));
    bench.fail(&mut climb, Class::ContentPolicy, SentState::Sent);
    assert_eq!(bench.attempt(&mut climb).step, 1);
}

#[test]
fn going_on_with_an_answer_is_a_repetition() {
    let plan = plan(vec![ready(2)]);
    let mut first = climb(&plan);
    first.goes_on();
    assert_eq!(Bench::with_retries(0).next(&mut first), Next::Exhausted);
    let mut second = climb(&plan);
    second.goes_on();
    let mut bench = Bench::new();
    bench.fault(&mut second);
    bench.fault(&mut second);
    assert_eq!(bench.next(&mut second), Next::Exhausted, "three attempts in all");
}

#[test]
fn no_time_is_kept_back_for_a_step_that_a_late_one_would_not_reach() {
    let late = by_cause(&[Cause::ContextLength], &[Cause::ContentPolicy]);
    assert_eq!(late.reserve(0, DEADLINE), Duration::ZERO);
    let reached = by_cause(&[Cause::Timeout], &[Cause::ContentPolicy]);
    assert!(reached.reserve(0, DEADLINE) > Duration::ZERO);
    assert!(late.goes_on_for(0, Cause::ContextLength) && !late.goes_on_for(1, Cause::Timeout));
}
