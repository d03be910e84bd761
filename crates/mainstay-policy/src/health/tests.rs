use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Moment, Verdict};

/// Runs checks through a streak; the verdict after each.
fn verdicts(checks: &[Check]) -> Vec<Verdict> {
    let settings = Settings::default();
    let mut streak = Streak::default();
    checks
        .iter()
        .map(|check| {
            streak = streak.step(*check, &settings).0;
            streak.verdict()
        })
        .collect()
}

#[test]
fn the_first_check_decides_at_once() {
    assert_eq!(verdicts(&[Check::Passed]), [Verdict::Ready]);
    assert_eq!(verdicts(&[Check::NotReady]), [Verdict::Loading]);
    assert_eq!(verdicts(&[Check::Refused]), [Verdict::Dead]);
    assert_eq!(verdicts(&[Check::TimedOut]), [Verdict::Dead]);
}

#[test]
fn a_ready_target_falls_after_three_and_rises_after_three() {
    use Check::{Passed, TimedOut};
    use Verdict::{Dead, Ready};
    assert_eq!(
        verdicts(&[Passed, TimedOut, TimedOut, Passed, TimedOut, TimedOut, TimedOut]),
        [Ready, Ready, Ready, Ready, Ready, Ready, Dead],
        "a pass in between starts the count again"
    );
    assert_eq!(verdicts(&[TimedOut, Passed, Passed, Passed]), [Dead, Dead, Dead, Ready]);
}

#[test]
fn whoever_answers_not_ready_is_alive() {
    use Check::{NotReady, Passed, Refused};
    use Verdict::{Dead, Loading, Ready};
    assert_eq!(
        verdicts(&[Refused, NotReady, Passed, Passed, Passed]),
        [Dead, Loading, Loading, Loading, Ready]
    );
}

#[test]
fn a_change_states_its_evidence() {
    let settings = Settings::default();
    let mut streak = Streak::default().step(Check::Passed, &settings).0;
    for _ in 0..2 {
        streak = streak.step(Check::Refused, &settings).0;
    }
    let (_, change) = streak.step(Check::Refused, &settings);
    let change = change.unwrap();
    assert_eq!((change.from, change.to), (Verdict::Ready, Verdict::Dead));
    assert_eq!(change.evidence.to_string(), "3 probes in a row, the last was refused");
}

#[test]
fn only_a_return_is_a_recovery() {
    let cell = Cell::default();
    cell.set(Verdict::Ready, Moment::from_millis(1));
    assert_eq!(cell.recovered(), None, "it was never away");
    cell.set(Verdict::Dead, Moment::from_millis(2));
    cell.set(Verdict::Ready, Moment::from_millis(3));
    assert_eq!(cell.recovered(), Some(Moment::from_millis(3)));
    assert_eq!(cell.since(), Moment::from_millis(3));
}

#[test]
fn first_probes_are_spread_evenly() {
    let window = Duration::from_millis(200);
    let delays: Vec<_> = (0..4).map(|at| initial_spread(at, 4, window).as_millis()).collect();
    assert_eq!(delays, [0, 50, 100, 150]);
    assert_eq!(initial_spread(0, 0, window), Duration::ZERO);
}

fn check() -> impl Strategy<Value = Check> {
    prop::sample::select(Check::ALL.to_vec())
}

proptest! {
    #[test]
    fn nobody_falls_before_a_row_and_nobody_rises_before_a_row(
        checks in prop::collection::vec(check(), 1..60),
    ) {
        let settings = Settings::default();
        let mut streak = Streak::default();
        let (mut passed, mut missed) = (0_u32, 0_u32);
        for (at, check) in checks.iter().enumerate() {
            if *check == Check::Passed { passed += 1; missed = 0 } else { missed += 1; passed = 0 }
            let (next, change) = streak.step(*check, &settings);
            if let Some(change) = change {
                prop_assert_ne!(change.from, change.to);
                if at > 0 && change.to == Verdict::Ready {
                    prop_assert!(passed >= u32::from(settings.rise));
                }
                if change.from == Verdict::Ready {
                    prop_assert!(missed >= u32::from(settings.fall));
                }
            }
            streak = next;
        }
    }

    #[test]
    fn delays_stay_within_their_jitter(seed: u64, checks in prop::collection::vec(check(), 0..9)) {
        let settings = Settings::default();
        let mut rng = fastrand::Rng::with_seed(seed);
        let streak = checks.iter().fold(Streak::default(), |s, c| s.step(*c, &settings).0);
        let delay = next_delay(streak, &settings, &mut rng);
        let bases = [settings.interval, settings.fast, settings.down];
        prop_assert!(bases.iter().any(|base| {
            delay >= base.mul_f32(0.799) && delay <= base.mul_f32(1.201)
        }), "{delay:?}");
        if streak.is_in_transition() {
            prop_assert!(delay <= settings.fast.mul_f32(1.201));
        }
    }
}
