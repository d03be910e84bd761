//! What a breaker promises: each cause as an example. Properties and threads have files of
//! their own.

use std::time::Duration;

use super::*;
use crate::Ratio;

mod properties;
mod threads;

const FAST: Duration = Duration::from_millis(10);

/// A breaker with a clock and the chance that goes with it.
struct Bench {
    breaker: Breaker,
    now: Moment,
    rng: fastrand::Rng,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let breaker = Breaker::new(settings, 2);
        Self { breaker, now: Moment::from_millis(100_000), rng: fastrand::Rng::with_seed(1) }
    }

    fn wait(&mut self, millis: u64) -> &mut Self {
        self.now = self.now + Duration::from_millis(millis);
        self
    }

    fn permit(&self) -> Permit {
        self.breaker.admit(self.now).unwrap().0
    }

    fn record(&mut self, permit: Permit, outcome: Outcome) -> Option<Transition> {
        self.breaker.record(0, permit, outcome, self.now, &mut self.rng)
    }

    fn call(&mut self, outcome: Outcome) -> Option<Transition> {
        let permit = self.permit();
        self.record(permit, outcome)
    }

    fn pass(&mut self) -> Option<Transition> {
        self.call(Outcome::success(FAST))
    }

    fn fail(&mut self) -> Option<Transition> {
        self.call(Outcome::failure(Class::ServerFault, FAST))
    }

    fn state(&self) -> State {
        self.breaker.status(self.now).state
    }

    /// Fails until it opens; the wait that follows.
    fn trip(&mut self) -> Duration {
        while self.state() == State::Closed {
            self.fail();
        }
        self.breaker.status(self.now).until.unwrap().since(self.now)
    }

    /// Open, then its wait is over and trials succeed.
    fn recover(&mut self) -> Option<Transition> {
        self.now = self.breaker.status(self.now).until.unwrap();
        self.pass();
        self.pass();
        self.pass()
    }
}

/// The defaults without chance, so that waits are exact.
fn steady() -> Settings {
    Settings { jitter: Ratio::ZERO, ..Settings::default() }
}

const fn opened(cause: Cause) -> Option<Transition> {
    Some(Transition { from: State::Closed, to: State::Open, cause })
}

#[test]
fn failures_in_a_row_open_it() {
    let mut bench = Bench::new(steady());
    (0..4).for_each(|_| assert_eq!(bench.fail(), None));
    assert_eq!(bench.fail(), opened(Cause::Consecutive(5)));
    let until = bench.now + Duration::from_secs(2);
    assert_eq!(bench.breaker.admit(bench.now), Err(Refusal::Open { until }));
}

#[test]
fn a_success_ends_a_row_of_failures() {
    let mut bench = Bench::new(steady());
    for _ in 0..3 {
        (0..4).for_each(|_| assert_eq!(bench.fail(), None));
        bench.pass();
    }
    assert_eq!(bench.breaker.status(bench.now).consecutive, 0);
}

#[test]
fn a_share_of_failures_opens_it_but_not_below_the_minimum() {
    let mut bench = Bench::new(steady());
    for _ in 0..9 {
        bench.pass();
        assert_eq!(bench.fail(), None);
    }
    bench.pass();
    assert_eq!(bench.fail(), opened(Cause::FailureRate { failures: 10, calls: 20 }));
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let mut bench = Bench::new(steady());
    for _ in 0..9 {
        bench.pass();
        bench.fail();
    }
    bench.wait(11_000);
    bench.pass();
    assert_eq!(bench.fail(), None);
    assert_eq!(bench.breaker.status(bench.now).calls, 2);
}

#[test]
fn a_window_of_calls_looks_at_the_last_ones_only() {
    let settings =
        Settings { window: WindowKind::Calls(10), consecutive: 0, minimum_calls: 99, ..steady() };
    let mut bench = Bench::new(settings);
    (0..20).for_each(|_| assert_eq!(bench.pass(), None));
    (0..4).for_each(|_| assert_eq!(bench.fail(), None));
    assert_eq!(bench.fail(), opened(Cause::FailureRate { failures: 5, calls: 10 }));
    bench.recover();
    assert_eq!(bench.breaker.status(bench.now).failures, 0);
}

#[test]
fn a_fatal_error_opens_it_at_once() {
    let mut bench = Bench::new(steady());
    let fatal = Outcome::failure(Class::FatalAccelerator, FAST);
    assert_eq!(bench.call(fatal), opened(Cause::FatalAccelerator));
}

#[test]
fn slow_answers_open_it_once_they_are_most() {
    let mut bench = Bench::new(steady());
    (0..30).for_each(|_| assert_eq!(bench.pass(), None));
    bench.wait(20_000);
    let slow = Outcome::success(Duration::from_secs(2));
    (0..19).for_each(|_| assert_eq!(bench.call(slow), None));
    assert_eq!(bench.call(slow), opened(Cause::SlowCalls { slow: 20, calls: 20 }));
}

#[test]
fn what_is_usual_for_a_target_is_not_slow() {
    let mut bench = Bench::new(steady());
    for _ in 0..200 {
        assert_eq!(bench.wait(200).call(Outcome::success(Duration::from_secs(2))), None);
    }
    let limit = bench.breaker.slow_from().unwrap();
    assert!((5.0..7.5).contains(&limit.as_secs_f32()), "{limit:?}");
}

#[test]
fn without_a_factor_the_floor_alone_says_what_is_slow() {
    let floor = Duration::from_millis(50);
    let slow = SlowCalls { factor: 0.0, floor, ..SlowCalls::default() };
    let mut bench = Bench::new(Settings { slow: Some(slow), ..steady() });
    let call = Outcome::success(Duration::from_millis(51));
    (0..19).for_each(|_| assert_eq!(bench.call(call), None));
    assert_eq!(bench.call(call), opened(Cause::SlowCalls { slow: 20, calls: 20 }));
}

#[test]
fn when_the_wait_is_over_real_requests_are_let_through_a_few_at_a_time() {
    let mut bench = Bench::new(steady());
    bench.trip();
    bench.wait(1_999);
    assert!(bench.breaker.would_admit(bench.now).is_err());
    bench.wait(1);
    assert!(bench.breaker.would_admit(bench.now).is_ok());
    let (first, transition) = bench.breaker.admit(bench.now).unwrap();
    let (from, to) = (State::Open, State::HalfOpen);
    assert_eq!(transition, Some(Transition { from, to, cause: Cause::WaitOver }));
    assert!(matches!(first, Permit::Probe { .. }));
    let _others = (bench.permit(), bench.permit());
    assert_eq!(bench.breaker.admit(bench.now), Err(Refusal::HalfOpenFull));
    bench.breaker.release(first);
    assert!(bench.breaker.on_probation());
    assert!(bench.breaker.admit(bench.now).is_ok());
}

#[test]
fn enough_trials_close_it() {
    let mut bench = Bench::new(steady());
    bench.trip();
    let (from, to) = (State::HalfOpen, State::Closed);
    let expected = Transition { from, to, cause: Cause::HalfOpenSucceeded };
    assert_eq!(bench.recover(), Some(expected));
    assert_eq!(bench.breaker.status(bench.now).failures, 0, "a new period begins empty");
    assert_eq!(bench.fail(), None);
}

#[test]
fn one_failed_trial_opens_it_for_twice_as_long() {
    let mut bench = Bench::new(steady());
    let mut wait = bench.trip().as_secs();
    for expected in [4, 8, 16, 32, 60, 60] {
        bench.wait(wait * 1_000);
        let transition = bench.call(Outcome::failure(Class::Timeout, FAST)).unwrap();
        assert_eq!(transition.cause, Cause::HalfOpenFailed(Class::Timeout));
        assert_eq!((transition.from, transition.to), (State::HalfOpen, State::Open));
        wait = bench.breaker.status(bench.now).until.unwrap().since(bench.now).as_secs();
        assert_eq!(wait, expected);
    }
}

#[test]
fn trials_as_slow_as_what_opened_it_do_not_close_it() {
    let mut bench = Bench::new(steady());
    (0..30).for_each(|_| assert_eq!(bench.pass(), None));
    bench.trip();
    bench.wait(2_000);
    let slow = Outcome::success(Duration::from_secs(3));
    assert_eq!((bench.call(slow), bench.call(slow)), (None, None));
    let transition = bench.call(slow).unwrap();
    assert_eq!(transition.cause, Cause::HalfOpenSlow { slow: 3, calls: 3 });
    assert_eq!(transition.to, State::Open);
}

#[test]
fn probes_end_the_wait() {
    let mut bench = Bench::new(steady());
    assert_eq!(bench.breaker.end_wait(bench.now), None);
    bench.trip();
    let (from, to) = (State::Open, State::HalfOpen);
    let expected = Transition { from, to, cause: Cause::ProbesSucceeded };
    assert_eq!(bench.breaker.end_wait(bench.now), Some(expected));
    assert_eq!(bench.breaker.end_wait(bench.now), None);
    assert!(matches!(bench.permit(), Permit::Probe { .. }));
}

#[test]
fn a_short_time_closed_keeps_the_count_of_openings_a_long_one_clears_it() {
    let mut bench = Bench::new(steady());
    assert_eq!(bench.trip().as_secs(), 2);
    bench.recover();
    bench.wait(1_000);
    assert_eq!(bench.trip().as_secs(), 4);
    assert_eq!(bench.breaker.status(bench.now).reopened, 1);
    bench.recover();
    bench.wait(4_000);
    assert_eq!(bench.trip().as_secs(), 2);
    assert_eq!(bench.breaker.status(bench.now).reopened, 0);
}

#[test]
fn the_first_opening_waits_the_first_wait_even_right_after_the_start() {
    let mut bench = Bench::new(steady());
    bench.now = Moment::ZERO;
    assert_eq!(bench.trip().as_secs(), 2);
}

#[test]
fn jitter_spreads_the_wait() {
    let waits: Vec<_> = (0..200)
        .map(|seed| {
            let mut bench = Bench::new(Settings::default());
            bench.rng = fastrand::Rng::with_seed(seed);
            bench.trip().as_millis()
        })
        .collect();
    assert!(waits.iter().all(|wait| (1_600..=2_401).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait < 1_700) && waits.iter().any(|wait| *wait > 2_300));
}

#[test]
fn failures_that_are_not_the_targets_count_nowhere() {
    for class in Class::ALL.into_iter().filter(|class| !class.blames_target()) {
        let mut bench = Bench::new(steady());
        (0..4).for_each(|_| assert_eq!(bench.fail(), None));
        let before = bench.breaker.status(bench.now);
        for _ in 0..100 {
            assert_eq!(bench.call(Outcome::failure(class, Duration::from_secs(9))), None);
        }
        assert_eq!(bench.breaker.status(bench.now), before, "{class:?}");
    }
}

#[test]
fn a_trial_that_says_nothing_gives_its_permit_back() {
    let mut bench = Bench::new(steady());
    bench.trip();
    bench.wait(2_000);
    for _ in 0..50 {
        let full = [bench.permit(), bench.permit(), bench.permit()];
        for permit in full {
            assert_eq!(bench.record(permit, Outcome::failure(Class::Capacity, FAST)), None);
        }
    }
    assert_eq!(bench.state(), State::HalfOpen);
}

#[test]
fn late_outcomes_of_an_earlier_period_count_nowhere() {
    let mut bench = Bench::new(steady());
    let late: Vec<_> = (0..20).map(|_| bench.permit()).collect();
    bench.trip();
    bench.recover();
    for permit in late {
        assert_eq!(bench.record(permit, Outcome::failure(Class::Timeout, FAST)), None);
    }
    let status = bench.breaker.status(bench.now);
    assert_eq!((status.state, status.calls, status.consecutive), (State::Closed, 0, 0));
}

#[test]
fn a_late_trial_neither_opens_nor_frees_a_permit_of_the_next_trial() {
    let mut bench = Bench::new(steady());
    bench.trip();
    bench.wait(2_000);
    let late = bench.permit();
    bench.fail();
    bench.wait(4_000);
    let _full = [bench.permit(), bench.permit(), bench.permit()];
    assert_eq!(bench.record(late, Outcome::failure(Class::Timeout, FAST)), None);
    assert_eq!(bench.breaker.admit(bench.now), Err(Refusal::HalfOpenFull));
}

#[test]
fn permits_that_never_come_back_do_not_stick_it_for_ever() {
    let mut bench = Bench::new(steady());
    bench.trip();
    bench.wait(2_000);
    let _lost = [bench.permit(), bench.permit(), bench.permit()];
    bench.wait(59_999);
    assert_eq!(bench.breaker.admit(bench.now), Err(Refusal::HalfOpenFull));
    bench.wait(1);
    assert!(matches!(bench.permit(), Permit::Probe { .. }));
}

#[test]
fn forced_open_refuses_until_it_expires() {
    let mut bench = Bench::new(steady());
    let until = bench.now + Duration::from_secs(60);
    bench.breaker.force(Some((Forced::Open, until)), bench.now);
    assert_eq!(bench.breaker.status(bench.now).forced, Some((Forced::Open, until)));
    assert_eq!(bench.breaker.would_admit(bench.now), Err(Refusal::ForcedOpen));
    assert_eq!(bench.breaker.admit(bench.now), Err(Refusal::ForcedOpen));
    bench.wait(60_000);
    assert_eq!(bench.breaker.status(bench.now).forced, None);
    assert!(bench.breaker.admit(bench.now).is_ok());
}

#[test]
fn forced_closed_lets_everything_through_and_learns_nothing() {
    let mut bench = Bench::new(steady());
    bench.trip();
    let until = bench.now + Duration::from_secs(1);
    bench.breaker.force(Some((Forced::Closed, until)), bench.now);
    assert!(!bench.breaker.on_probation());
    for _ in 0..10 {
        assert_eq!(bench.permit(), Permit::Forced);
        assert_eq!(bench.fail(), None);
    }
    bench.wait(1_000);
    assert!(matches!(bench.breaker.admit(bench.now), Err(Refusal::Open { .. })));
    assert!(bench.breaker.on_probation());
}

#[test]
fn an_override_can_be_ended_and_a_past_one_is_none() {
    let bench = Bench::new(steady());
    let later = bench.now + Duration::from_secs(5);
    bench.breaker.force(Some((Forced::Open, later)), bench.now);
    bench.breaker.force(None, bench.now);
    assert!(bench.breaker.admit(bench.now).is_ok());
    bench.breaker.force(Some((Forced::Open, bench.now)), bench.now);
    assert!(bench.breaker.admit(bench.now).is_ok());
    bench.breaker.force(Some((Forced::Open, Moment::MAX)), bench.now);
    assert_eq!(
        bench.breaker.admit(Moment::from_millis(u64::MAX / 2_000_000)),
        Err(Refusal::ForcedOpen)
    );
}

#[test]
fn switched_off_it_never_opens() {
    let mut bench = Bench::new(Settings::off());
    for class in Class::ALL.into_iter().cycle().take(1_000) {
        assert_eq!(bench.call(Outcome::failure(class, Duration::from_secs(30))), None);
    }
}

#[test]
fn causes_read_as_one_line() {
    let lines = [
        (Cause::FailureRate { failures: 11, calls: 20 }, "11 of the last 20 calls failed"),
        (Cause::Consecutive(5), "5 failures in a row"),
        (Cause::SlowCalls { slow: 17, calls: 20 }, "17 of the last 20 calls were slow"),
        (Cause::FatalAccelerator, "fatal accelerator error"),
        (Cause::WaitOver, "the wait is over"),
        (Cause::ProbesSucceeded, "probes succeed again"),
        (Cause::HalfOpenFailed(Class::Timeout), "a trial request failed: timeout"),
        (Cause::HalfOpenSlow { slow: 3, calls: 3 }, "3 of 3 trial requests were slow"),
        (Cause::HalfOpenSucceeded, "trial requests succeeded"),
    ];
    for (cause, line) in lines {
        assert_eq!(cause.to_string(), line);
    }
}
