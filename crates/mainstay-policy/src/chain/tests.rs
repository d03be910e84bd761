//! What a climb keeps to: each rule as an example. Properties have a file of their own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::balance::{Rule, SlowStart, Why};
use crate::breaker::Forced;
use crate::budget::{Backoff, RetryBudget, RetrySettings};
use crate::target::{Key, Settings, Target};
use crate::{Class, Moment, Outcome, Ratio, SentState, Verdict};

mod causes;
mod hedging;
mod keyed;
mod near;
mod properties;
mod returning;
mod room;
mod standing;

const START: Moment = Moment::from_millis(100_000);
const DEADLINE: Duration = Duration::from_secs(1);
const ATTEMPTS: u8 = 3;
const NEVER: Moment = Moment::from_millis(9_000_000);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A worker of a gateway with a clock and a retry budget.
struct Bench {
    now: Moment,
    rng: fastrand::Rng,
    turn: u32,
    retries: RetryBudget,
    candidates: Vec<crate::balance::Candidate>,
}

impl Bench {
    /// Any number of retries is allowed.
    fn new() -> Self {
        Self::with_retries(1_000)
    }

    fn with_retries(retries: u32) -> Self {
        let window = Duration::from_secs(1);
        let settings = RetrySettings { ratio: Ratio::ZERO, per_second: retries, window };
        Self {
            now: START,
            rng: fastrand::Rng::with_seed(7),
            turn: 0,
            retries: RetryBudget::new(settings, 1),
            candidates: Vec::new(),
        }
    }

    fn next(&mut self, climb: &mut Climb<'_>) -> Next {
        self.turn += 1;
        climb.next(&mut Context {
            now: self.now,
            rng: &mut self.rng,
            turn: self.turn,
            shard: 0,
            retries: &self.retries,
            candidates: &mut self.candidates,
        })
    }

    /// The attempt that may run beside `first`, which is late.
    fn hedge(&mut self, climb: &mut Climb<'_>, first: &Choice) -> Option<Choice> {
        self.turn += 1;
        climb.hedge(
            first,
            &mut Context {
                now: self.now,
                rng: &mut self.rng,
                turn: self.turn,
                shard: 0,
                retries: &self.retries,
                candidates: &mut self.candidates,
            },
        )
    }

    /// The attempt that is to be made next.
    #[track_caller]
    fn attempt(&mut self, climb: &mut Climb<'_>) -> Choice {
        match self.next(climb) {
            Next::Attempt(choice) => choice,
            other => panic!("no attempt but {other:?}, because of {:?}", climb.reason()),
        }
    }

    /// The next attempt, which fails in this way.
    #[track_caller]
    fn fail(&mut self, climb: &mut Climb<'_>, class: Class, sent: SentState) -> Choice {
        let choice = self.attempt(climb);
        climb.failed(&choice, class, sent);
        choice
    }

    /// The next attempt, at which the server fails.
    #[track_caller]
    fn fault(&mut self, climb: &mut Climb<'_>) -> Choice {
        self.fail(climb, Class::ServerFault, SentState::Sent)
    }

    /// The next attempt, which uses all of its time.
    #[track_caller]
    fn hang(&mut self, climb: &mut Climb<'_>) -> Choice {
        let choice = self.fail(climb, Class::Timeout, SentState::MaybeSent);
        self.now = self.now + choice.delay + choice.limit;
        choice
    }
}

fn member(verdict: Verdict) -> Member {
    let text = Arc::<str>::from("x");
    let key = Key { pool: text.clone(), endpoint: text.clone(), model: text, version: None };
    let target = Target::new(0, key, &Settings::default(), 1);
    if verdict != Verdict::Unknown {
        target.health.set(verdict, Moment::from_millis(1_000));
    }
    Member::new(Arc::new(target), 1.0)
}

fn pool_of(members: Vec<Member>) -> Step {
    Step::Pool(Pool {
        members,
        rule: Rule::PeakEwma,
        locality: None,
        slow_start: SlowStart::default(),
        limit: Duration::from_secs(10),
        backoff: Backoff::default(),
        hedges: None,
    })
}

fn pool(verdicts: &[Verdict]) -> Step {
    pool_of(verdicts.iter().map(|verdict| member(*verdict)).collect())
}

/// A pool of so many ready members.
fn ready(count: usize) -> Step {
    pool(&vec![Verdict::Ready; count])
}

/// A default prediction or an embedded model.
fn local(available: bool) -> Step {
    Step::Local(Local {
        available: Arc::new(AtomicBool::new(available)),
        needs: ms(100),
        may_decline: false,
    })
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan::new(steps, ATTEMPTS, true, DEADLINE)
}

fn unrepeatable(steps: Vec<Step>) -> Plan {
    Plan::new(steps, ATTEMPTS, false, DEADLINE)
}

fn climb(plan: &Plan) -> Climb<'_> {
    Climb::new(plan, START + DEADLINE, true)
}

fn target(plan: &Plan, step: usize, at: usize) -> &Target {
    match &plan.steps()[step] {
        Step::Pool(pool) => &pool.members[at].target,
        Step::Local(_) => panic!("step {step} is no pool"),
    }
}

/// Half-open: so many failures that it opened, and then probes that passed.
fn put_on_probation(target: &Target) {
    let mut rng = fastrand::Rng::with_seed(1);
    while let Ok((permit, _)) = target.breaker.admit(START) {
        let outcome = Outcome::failure(Class::ServerFault, ms(1));
        target.breaker.record(0, permit, outcome, START, &mut rng);
    }
    target.breaker.end_wait(START).expect("it was open");
}

#[test]
fn a_ready_member_is_asked_first_and_the_others_are_named() {
    let plan = plan(vec![
        pool(&[Verdict::Dead, Verdict::Ready, Verdict::Loading, Verdict::Draining]),
        local(true),
    ]);
    let mut climb = climb(&plan);
    let choice = Bench::new().attempt(&mut climb);
    assert_eq!((choice.step, choice.member, choice.why), (0, 1, Why::Only));
    assert_eq!(choice.delay, Duration::ZERO);
    assert_eq!(choice.skipped, Skipped { verdict: 0b1101, ..Skipped::default() });
    assert_eq!(climb.reason(), Reason::None);
}

#[test]
fn only_some_verdicts_take_traffic() {
    for verdict in Verdict::ALL {
        let plan = plan(vec![pool(&[verdict]), local(true)]);
        let mut climb = climb(&plan);
        let next = Bench::new().next(&mut climb);
        if verdict.takes_traffic() {
            assert!(matches!(next, Next::Attempt(_)), "{verdict:?}: {next:?}");
        } else {
            assert_eq!(next, Next::Local(1), "{verdict:?}");
            assert_eq!(climb.reason(), Reason::NoEndpoint);
        }
    }
}

#[test]
fn whoever_failed_is_not_asked_again() {
    let (plan, mut bench) = (plan(vec![ready(3), local(true)]), Bench::new());
    let mut climb = climb(&plan);
    let mut tried = 0;
    for _ in 0..3 {
        let choice = bench.fault(&mut climb);
        assert_eq!(choice.skipped.tried, tried);
        assert_eq!(tried & 1 << choice.member, 0);
        tried |= 1 << choice.member;
    }
    assert_eq!(bench.next(&mut climb), Next::Local(1));
}

#[test]
fn the_next_pool_is_asked_when_all_of_one_failed() {
    let (plan, mut bench) = (plan(vec![ready(1), ready(1), local(true)]), Bench::new());
    let mut climb = climb(&plan);
    assert_eq!(bench.fault(&mut climb).step, 0);
    let second = bench.attempt(&mut climb);
    assert_eq!((second.step, second.member, second.skipped), (1, 0, Skipped::default()));
    assert_eq!(climb.reason(), Reason::AttemptsFailed);
}

#[test]
fn a_step_whose_answers_broke_a_guard_says_so() {
    let (plan, mut bench) = (plan(vec![ready(2), ready(1), local(true)]), Bench::new());
    let mut climb = climb(&plan);
    let first = bench.fail(&mut climb, Class::BadAnswer, SentState::Sent);
    climb.guard_broken();
    let second = bench.fail(&mut climb, Class::BadAnswer, SentState::Sent);
    climb.guard_broken();
    assert_eq!((first.step, second.step), (0, 0), "the pool's other member is asked first");
    assert_eq!(bench.attempt(&mut climb).step, 1);
    assert_eq!(climb.reason(), Reason::GuardBroken);
}

#[test]
fn what_never_left_us_is_free_up_to_a_bound() {
    let (plan, mut bench) = (plan(vec![ready(9), ready(1), local(true)]), Bench::with_retries(0));
    let mut climb = climb(&plan);
    for _ in 0..MAX_ATTEMPTS {
        assert_eq!(bench.fail(&mut climb, Class::Unreachable, SentState::NotSent).step, 0);
    }
    assert_eq!(bench.next(&mut climb), Next::Local(2));
    assert_eq!(climb.reason(), Reason::AttemptsSpent);
    assert!((bench.retries.amplification(bench.now) - 1.0).abs() < 1e-9);
}

#[test]
fn what_was_sent_counts_and_draws_on_the_budget() {
    for class in [Class::ServerFault, Class::Timeout, Class::Capacity, Class::NotReady] {
        let (plan, mut bench) = (plan(vec![ready(5), ready(1), local(true)]), Bench::new());
        let mut climb = climb(&plan);
        for _ in 0..ATTEMPTS {
            assert_eq!(bench.fail(&mut climb, class, SentState::Sent).step, 0);
        }
        assert_eq!(bench.next(&mut climb), Next::Local(2), "{class:?}");
        assert_eq!(climb.reason(), Reason::AttemptsSpent);
        assert!((bench.retries.amplification(bench.now) - 3.0).abs() < 1e-9, "{class:?}");
    }
}

#[test]
fn a_retry_that_never_left_us_is_drawn_once() {
    let (plan, mut bench) = (plan(vec![ready(9), local(true)]), Bench::with_retries(1));
    let mut climb = climb(&plan);
    bench.fault(&mut climb);
    bench.fail(&mut climb, Class::Unreachable, SentState::NotSent);
    bench.fail(&mut climb, Class::Unreachable, SentState::NotSent);
    bench.fault(&mut climb);
    assert_eq!(bench.next(&mut climb), Next::Local(1));
    assert_eq!(climb.reason(), Reason::RetryBudgetSpent);
}

#[test]
fn a_spent_budget_leaves_the_local_steps() {
    let steps = || vec![ready(3), ready(3), local(true), ready(3), local(true)];
    let (plan, mut bench) = (plan(steps()), Bench::with_retries(0));
    let mut climb = climb(&plan);
    assert_eq!(bench.fault(&mut climb).step, 0);
    assert_eq!(bench.next(&mut climb), Next::Local(2));
    assert_eq!(climb.reason(), Reason::RetryBudgetSpent);
    climb.leave(Reason::EmbeddedUnavailable);
    assert_eq!(bench.next(&mut climb), Next::Local(4));
    climb.leave(Reason::EmbeddedUnavailable);
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
    assert_eq!(climb.reason(), Reason::RetryBudgetSpent);
}

#[test]
fn a_request_is_counted_once_whoever_refuses_it() {
    let (plan, mut bench) = (plan(vec![ready(4), ready(1), local(true)]), Bench::new());
    let mut climb = climb(&plan);
    let refused = bench.attempt(&mut climb);
    climb.refused(&refused);
    assert_ne!(bench.attempt(&mut climb).member, refused.member);
    climb.leave(Reason::LowConfidence);
    bench.fault(&mut climb);
    bench.attempt(&mut self::climb(&plan));
    assert!(bench.retries.try_retry(0, bench.now));
    // One retry over two requests.
    assert!((bench.retries.amplification(bench.now) - 1.5).abs() < 1e-9);
}

#[test]
fn breakers_that_all_refuse_in_the_last_moment_end_a_step() {
    let (plan, mut bench) = (plan(vec![ready(12), local(true)]), Bench::new());
    let mut climb = climb(&plan);
    let mut asked = 0u16;
    for _ in 0..MAX_ATTEMPTS {
        let choice = bench.attempt(&mut climb);
        assert_eq!(asked & 1 << choice.member, 0, "the same one again");
        asked |= 1 << choice.member;
        climb.refused(&choice);
    }
    assert_eq!(bench.next(&mut climb), Next::Local(1));
    assert_eq!(climb.reason(), Reason::NoEndpoint);
}

#[test]
fn what_may_have_been_executed_is_not_repeated_where_that_does_harm() {
    for sent in [SentState::MaybeSent, SentState::Sent] {
        let plan = unrepeatable(vec![ready(3), ready(1), local(true)]);
        let (mut climb, mut bench) = (climb(&plan), Bench::new());
        bench.fail(&mut climb, Class::Timeout, sent);
        assert_eq!(bench.next(&mut climb), Next::Local(2), "{sent:?}");
        assert_eq!(climb.reason(), Reason::NotRepeatable);
        climb.leave(Reason::EmbeddedUnavailable);
        assert_eq!(bench.next(&mut climb), Next::Exhausted, "no last resort either");
    }
}

#[test]
fn what_was_declined_or_never_left_may_be_repeated_always() {
    let table = [
        (Class::NotReady, SentState::Sent),
        (Class::Capacity, SentState::Sent),
        (Class::Unreachable, SentState::NotSent),
    ];
    for (class, sent) in table {
        let plan = unrepeatable(vec![ready(2), local(true)]);
        let (mut climb, mut bench) = (climb(&plan), Bench::new());
        let first = bench.fail(&mut climb, class, sent);
        assert_ne!(bench.attempt(&mut climb).member, first.member, "{class:?}");
    }
}

#[test]
fn a_hung_attempt_leaves_the_reserve() {
    for members in 1..=4 {
        let plan = plan(vec![ready(members), ready(1), local(true)]);
        let (mut climb, mut bench) = (climb(&plan), Bench::new());
        // A fifth of the deadline for the second pool, and what the default prediction needs.
        assert_eq!(plan.reserve(0, DEADLINE), ms(300));
        let choice = bench.hang(&mut climb);
        assert_eq!(choice.limit, ms(700) / u32::try_from(members.min(3)).unwrap());
        assert!((START + DEADLINE).remaining(bench.now) >= ms(300));
    }
}

#[test]
fn attempts_that_all_hang_leave_the_reserve_in_full() {
    // What stands behind would like to have half of all the time.
    let available = Arc::new(AtomicBool::new(true));
    let step = Step::Local(Local { available, needs: ms(500), may_decline: false });
    let (plan, mut bench) = (plan(vec![ready(5), step]), Bench::new());
    let mut climb = climb(&plan);
    for _ in 0..ATTEMPTS {
        bench.hang(&mut climb);
    }
    assert!((START + DEADLINE).remaining(bench.now) >= ms(500), "{:?}", bench.now);
    assert_eq!(bench.next(&mut climb), Next::Local(1));
}

#[test]
fn a_shorter_deadline_shortens_the_reserves() {
    let plan = plan(vec![ready(1), local(true)]);
    let mut climb = Climb::new(&plan, START + ms(40), true);
    assert_eq!(Bench::new().attempt(&mut climb).limit, ms(20));
}

#[test]
fn too_little_time_leaves_the_local_steps() {
    let plan = plan(vec![ready(1), local(true)]);
    let (mut climb, mut bench) = (Climb::new(&plan, START + ms(1), true), Bench::new());
    assert_eq!(bench.next(&mut climb), Next::Local(1));
    assert_eq!(climb.reason(), Reason::OutOfTime);
    climb.leave(Reason::EmbeddedUnavailable);
    bench.now = START + ms(1);
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
}

#[test]
fn whose_breaker_is_open_is_passed_over() {
    let plan = plan(vec![ready(3), local(true)]);
    target(&plan, 0, 0).breaker.force(Some((Forced::Open, NEVER)), START);
    target(&plan, 0, 2).breaker.force(Some((Forced::Open, NEVER)), START);
    let choice = Bench::new().attempt(&mut climb(&plan));
    assert_eq!((choice.member, choice.why), (1, Why::Only));
    assert_eq!(choice.skipped, Skipped { breaker: 0b101, ..Skipped::default() });
}

#[test]
fn open_breakers_are_not_even_the_last_resort() {
    let plan = plan(vec![ready(1)]);
    target(&plan, 0, 0).breaker.force(Some((Forced::Open, NEVER)), START);
    let mut climb = climb(&plan);
    assert_eq!(Bench::new().next(&mut climb), Next::Exhausted);
    assert_eq!(climb.reason(), Reason::NoEndpoint);
}

#[test]
fn whoever_is_on_probation_is_asked_first() {
    let plan = plan(vec![ready(4), local(true)]);
    put_on_probation(target(&plan, 0, 2));
    let mut bench = Bench::new();
    let choice = bench.attempt(&mut climb(&plan));
    assert_eq!((choice.member, choice.why), (2, Why::Probation));
    while target(&plan, 0, 2).breaker.admit(START).is_ok() {}
    let choice = bench.attempt(&mut climb(&plan));
    assert_eq!((choice.why, choice.skipped.breaker), (Why::CheaperOfTwo, 0b100));
}

#[test]
fn tiers_are_asked_in_their_order() {
    let step = pool(&[Verdict::Slow, Verdict::Unknown, Verdict::Ready, Verdict::Busy]);
    let plan = Plan::new(vec![step, local(true)], 9, true, DEADLINE);
    let (mut climb, mut bench) = (climb(&plan), Bench::new());
    let order: Vec<_> = (0..4).map(|_| bench.fault(&mut climb).member).collect();
    assert_eq!(order[3], 1, "busy and slow ones keep their share: {order:?}");
}

#[test]
fn a_slow_member_gets_less_than_its_share() {
    let plan = plan(vec![ready(2)]);
    for member in 0..2 {
        let load = &target(&plan, 0, member).load;
        load.start();
        load.finish(Some(ms(10)), START);
    }
    target(&plan, 0, 0).health.set_favour(0.5);
    let mut bench = Bench::new();
    let asked = (0..200).filter(|_| bench.attempt(&mut climb(&plan)).member == 0).count();
    assert!((1..50).contains(&asked), "{asked} of 200");
}

#[test]
fn a_stalled_member_is_tried_by_one_request_at_a_time() {
    let step = pool(&[Verdict::Ready, Verdict::Stalled]);
    let plan = Plan::new(vec![step], 3, true, DEADLINE);
    let mut bench = Bench::new();
    let choice = bench.attempt(&mut climb(&plan));
    assert_eq!((choice.member, choice.skipped.verdict), (0, 0b10));
    target(&plan, 0, 1).health.offer_trial(true);
    let mut tries = climb(&plan);
    let choice = bench.hang(&mut tries);
    assert_eq!((choice.member, choice.why), (1, Why::Probation));
    assert!(choice.limit <= DEADLINE / 2, "time is left for the other one");
    assert_eq!(bench.attempt(&mut tries).member, 0);
    assert_eq!(bench.attempt(&mut climb(&plan)).member, 0, "taken");
}

#[test]
fn sick_dependencies_put_a_member_behind_the_others() {
    let plan = plan(vec![ready(3), local(true)]);
    target(&plan, 0, 0).health.set_deep(false);
    target(&plan, 0, 1).health.set_deep(false);
    let (mut climb, mut bench) = (climb(&plan), Bench::new());
    assert_eq!(bench.fault(&mut climb).member, 2);
    assert_ne!(bench.fault(&mut climb).member, 2, "not ejected");
}

#[test]
fn what_health_ruled_out_is_the_last_resort() {
    let plan = plan(vec![pool(&[Verdict::Dead]), pool(&[Verdict::Loading])]);
    let (mut climb, mut bench) = (climb(&plan), Bench::new());
    let first = bench.fault(&mut climb);
    assert_eq!((first.step, first.why), (0, Why::LastResort));
    assert_eq!(first.delay, Duration::ZERO, "nothing was tried so far");
    let second = bench.fault(&mut climb);
    assert_eq!((second.step, second.why), (1, Why::LastResort));
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
    assert_eq!(climb.reason(), Reason::NoEndpoint);
}

#[test]
fn the_last_resort_comes_after_every_local_step() {
    let plan = plan(vec![pool(&[Verdict::Dead]), local(true)]);
    let (mut climb, mut bench) = (climb(&plan), Bench::new());
    assert_eq!(bench.next(&mut climb), Next::Local(1));
    climb.leave(Reason::EmbeddedUnavailable);
    assert_eq!(bench.fault(&mut climb).why, Why::LastResort);
    assert_eq!(bench.next(&mut climb), Next::Exhausted, "local steps are asked once");
}

#[test]
fn an_answer_at_hand_needs_no_last_resort() {
    let plan = plan(vec![ready(1), pool(&[Verdict::Dead])]);
    let (mut climb, mut bench) = (climb(&plan), Bench::new());
    bench.attempt(&mut climb);
    climb.leave(Reason::LowConfidence);
    climb.has_answer();
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
    assert_eq!(climb.reason(), Reason::LowConfidence);
}

#[test]
fn an_answer_at_hand_ends_the_last_resort() {
    let plan = plan(vec![pool(&[Verdict::Dead]), pool(&[Verdict::Dead])]);
    let (mut climb, mut bench) = (climb(&plan), Bench::new());
    assert_eq!(bench.attempt(&mut climb).why, Why::LastResort);
    climb.leave(Reason::LowConfidence);
    climb.has_answer();
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
}

#[test]
fn the_same_member_is_asked_again_only_after_a_pause() {
    let (plan, mut bench) = (plan(vec![ready(1)]), Bench::new());
    let mut climb = climb(&plan);
    bench.fault(&mut climb);
    let again = bench.attempt(&mut climb);
    assert_eq!((again.member, again.why), (0, Why::LastResort));
    assert!(again.delay > Duration::ZERO && again.delay <= Backoff::default().base);
    assert_eq!(again.limit, (DEADLINE - again.delay), "nothing stands behind");
}

#[test]
fn the_first_reason_is_kept() {
    let (plan, mut bench) = (plan(vec![ready(1), ready(1), local(true)]), Bench::new());
    let mut climb = climb(&plan);
    bench.attempt(&mut climb);
    climb.leave(Reason::LowConfidence);
    assert_eq!(bench.fault(&mut climb).step, 1);
    assert_eq!(bench.next(&mut climb), Next::Local(2));
    assert_eq!(climb.reason(), Reason::LowConfidence);
}

#[test]
fn local_steps_that_cannot_answer_are_passed_over() {
    let plan = plan(vec![local(false), ready(1), local(false), local(true)]);
    let (mut climb, mut bench) = (climb(&plan), Bench::new());
    assert_eq!(bench.fault(&mut climb).step, 1);
    assert_eq!(climb.reason(), Reason::EmbeddedUnavailable);
    assert_eq!(bench.next(&mut climb), Next::Local(3));

    let mut without = Climb::new(&plan, START + DEADLINE, false);
    assert_eq!(bench.fault(&mut without).step, 1);
    assert_eq!(bench.attempt(&mut without).why, Why::LastResort);
}

#[test]
fn members_beyond_the_sixteenth_are_asked_if_not_named() {
    let mut verdicts = vec![Verdict::Dead; 20];
    verdicts[19] = Verdict::Ready;
    let plan = plan(vec![pool(&verdicts), local(true)]);
    let choice = Bench::new().attempt(&mut climb(&plan));
    assert_eq!((choice.member, choice.skipped.verdict), (19, u16::MAX));
}

#[test]
fn reasons_have_names_of_their_own() {
    let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert!(Reason::ALL.iter().zip(0..).all(|(reason, code)| *reason as u8 == code));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
}
