//! Invariants over random sequences of everything that can happen to a breaker.

use proptest::prelude::*;

use super::*;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Op {
    Admit,
    /// The permit at this position (modulo those held) comes back with an outcome.
    Record(usize, Outcome),
    Release(usize),
    /// The permit is lost: its holder never gives it back.
    Lose(usize),
    Wait(u64),
    EndWait,
    Force(Forced, u64),
    Unforce,
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let latency = prop_oneof![1u64..50, 1_000u64..5_000].prop_map(Duration::from_millis);
    let result = prop_oneof![
        2 => Just(Ok(())),
        3 => prop::sample::select(Class::ALL.to_vec()).prop_map(Err),
    ];
    (result, latency).prop_map(|(result, latency)| Outcome { result, latency })
}

fn ops() -> impl Strategy<Value = Op> {
    let forced = prop_oneof![Just(Forced::Open), Just(Forced::Closed)];
    prop_oneof![
        12 => Just(Op::Admit),
        10 => (any::<usize>(), outcomes()).prop_map(|(at, outcome)| Op::Record(at, outcome)),
        1 => any::<usize>().prop_map(Op::Release),
        1 => any::<usize>().prop_map(Op::Lose),
        3 => prop_oneof![1u64..100, 500u64..20_000].prop_map(Op::Wait),
        1 => Just(Op::EndWait),
        1 => (forced, 1u64..10_000).prop_map(|(kind, millis)| Op::Force(kind, millis)),
        1 => Just(Op::Unforce),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let window = prop_oneof![
        (1u64..20_000).prop_map(|ms| WindowKind::Time(Duration::from_millis(ms))),
        (0u8..=80).prop_map(WindowKind::Calls),
    ];
    (window, 0u8..6, 1u32..10, 1u8..5, any::<bool>()).prop_map(
        |(window, consecutive, minimum_calls, permits, slow)| Settings {
            window,
            consecutive,
            minimum_calls,
            permits,
            slow: slow.then(|| SlowCalls { factor: 0.0, ..SlowCalls::default() }),
            ..Settings::default()
        },
    )
}

/// A breaker, and what must hold of it.
struct Model {
    bench: Bench,
    held: Vec<Permit>,
    /// Trial permits of the present half-open period that are not back.
    trials: Vec<Permit>,
    last_trial: Moment,
    forced: Option<(Forced, Moment)>,
}

impl Model {
    fn new(settings: Settings) -> Self {
        let bench = Bench::new(settings);
        let last_trial = bench.now;
        Self { bench, held: Vec::new(), trials: Vec::new(), last_trial, forced: None }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Admit => self.admit(),
            Op::Record(at, outcome) => {
                if let Some(permit) = self.take(at) {
                    self.record(permit, outcome);
                }
            }
            Op::Release(at) => {
                if let Some(permit) = self.take(at) {
                    let before = self.bench.state();
                    self.bench.breaker.release(permit);
                    self.back(permit);
                    assert_eq!(self.bench.state(), before, "a release changes no state");
                }
            }
            Op::Lose(at) => drop(self.take(at)),
            Op::Wait(millis) => drop(self.bench.wait(millis)),
            Op::EndWait => {
                let before = self.bench.state();
                let transition = self.bench.breaker.end_wait(self.bench.now);
                assert_eq!(transition.is_some(), before == State::Open);
                self.changed(before, transition);
            }
            Op::Force(kind, millis) => {
                self.forced = Some((kind, self.bench.now + Duration::from_millis(millis)));
                self.bench.breaker.force(self.forced, self.bench.now);
            }
            Op::Unforce => {
                self.forced = None;
                self.bench.breaker.force(None, self.bench.now);
            }
        }
    }

    fn take(&mut self, at: usize) -> Option<Permit> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(at % self.held.len()))
    }

    fn admit(&mut self) {
        let Bench { breaker, now, .. } = &self.bench;
        let (before, now) = (breaker.status(*now), *now);
        let would = breaker.would_admit(now);
        let answer = breaker.admit(now);
        assert_eq!(would.err(), answer.err(), "would_admit agrees with admit");
        match self.forced.filter(|(_, until)| now < *until) {
            Some((Forced::Open, _)) => return assert_eq!(answer, Err(Refusal::ForcedOpen)),
            Some((Forced::Closed, _)) => assert_eq!(answer, Ok((Permit::Forced, None))),
            None => self.admitted(before, answer),
        }
        self.held.extend(answer.ok().map(|(permit, _)| permit));
    }

    fn admitted(&mut self, before: Status, answer: Result<(Permit, Option<Transition>), Refusal>) {
        let now = self.bench.now;
        if let (State::Open, Some(until)) = (before.state, before.until) {
            assert_eq!(answer.is_ok(), now >= until, "open admits once its wait is over");
        }
        assert!(before.state != State::Closed || answer.is_ok(), "closed admits everything");
        let Ok((permit, transition)) = answer else { return };
        self.changed(before.state, transition);
        if matches!(permit, Permit::Probe { .. }) {
            let permits = usize::from(self.bench.breaker.settings().permits);
            if self.trials.len() == permits {
                let patience = self.bench.breaker.settings().open_max;
                assert!(now >= self.last_trial + patience, "full until nothing came back for long");
                self.trials.clear();
            }
            self.trials.push(permit);
            self.last_trial = now;
            assert!(self.trials.len() <= permits);
        }
    }

    fn record(&mut self, permit: Permit, outcome: Outcome) {
        let before = self.bench.breaker.status(self.bench.now);
        let transition = self.bench.record(permit, outcome);
        self.back(permit);
        let after = self.bench.breaker.status(self.bench.now);
        if outcome.result.is_err_and(|class| !class.blames_target()) || permit == Permit::Forced {
            assert_eq!(after, before, "{outcome:?} on {permit:?} counts nowhere");
        }
        self.changed(before.state, transition);
    }

    fn back(&mut self, permit: Permit) {
        if let Some(at) = self.trials.iter().position(|trial| *trial == permit) {
            self.trials.swap_remove(at);
        }
    }

    /// A state changes with a transition that says so, and never without one.
    fn changed(&mut self, before: State, transition: Option<Transition>) {
        let after = self.bench.state();
        match transition {
            Some(Transition { from, to, .. }) => {
                assert_eq!((from, to), (before, after));
                assert_ne!(from, to);
                self.trials.clear();
            }
            None => assert_eq!(before, after, "a change without a transition"),
        }
    }

    /// Whatever happened, and whatever permits were lost: it admits again in the end.
    fn admits_in_the_end(&mut self) {
        self.bench.breaker.force(None, self.bench.now);
        self.bench.wait(72_001);
        assert!(self.bench.breaker.admit(self.bench.now).is_ok());
    }
}

proptest! {
    #[test]
    fn a_breaker_keeps_its_promises(
        settings in settings(),
        ops in prop::collection::vec(ops(), 1..300),
    ) {
        let mut model = Model::new(settings);
        for op in ops {
            model.apply(op);
        }
        model.admits_in_the_end();
    }

    #[test]
    fn permits_that_come_back_are_all_there_again(
        outcomes in prop::collection::vec(outcomes(), 1..60),
        permits in 1u8..=MAX_PERMITS,
    ) {
        let mut bench = Bench::new(Settings { permits, ..steady() });
        bench.trip();
        bench.wait(2_000);
        for outcome in outcomes.into_iter().filter(|outcome| outcome.result.is_err()) {
            let held: Vec<_> = (0..permits).map(|_| bench.permit()).collect();
            prop_assert_eq!(bench.breaker.admit(bench.now), Err(Refusal::HalfOpenFull));
            for permit in held {
                bench.record(permit, outcome);
            }
            if bench.state() == State::Open {
                bench.now = bench.breaker.status(bench.now).until.unwrap();
            }
        }
    }

    #[test]
    fn a_word_survives_packing(bits in any::<u64>()) {
        let word = Word::unpack(if bits & 3 == 3 { bits & !1 } else { bits });
        prop_assert_eq!(Word::unpack(word.pack()), word);
    }
}
