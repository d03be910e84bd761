//! Rows of checks and the verdicts that they amount to; delays; the shared cell.

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
fn dead_means_a_row_of_outright_failures() {
    use Check::{Failed, NotReady, Passed, Refused, TimedOut};
    use Verdict::{Dead, Loading, Ready};
    let table: [(&[Check], Verdict); 7] = [
        (&[Passed, Refused, TimedOut, Failed], Dead),
        (&[Passed, Refused, Refused, NotReady], Loading),
        (&[Passed, NotReady, Refused, Refused], Loading),
        (&[Passed, NotReady, Refused, Refused, Refused], Dead),
        (&[NotReady, NotReady, NotReady, NotReady, Refused, Refused], Loading),
        (&[NotReady, Refused, Passed, Refused, Refused], Loading),
        (&[Passed, NotReady, NotReady, Passed, NotReady, NotReady], Ready),
    ];
    for (checks, expected) in table {
        assert_eq!(verdicts(checks).last(), Some(&expected), "{checks:?}");
    }
}

#[test]
fn a_count_of_nothing_counts_as_one() {
    let settings = Settings { rise: 0, fall: 0, ..Settings::default() };
    let ready = Streak::default().step(Check::Passed, &settings).0;
    let dead = ready.step(Check::Refused, &settings).0;
    assert_eq!(dead.verdict(), Verdict::Dead);
    assert_eq!(dead.step(Check::Passed, &settings).0.verdict(), Verdict::Ready);
}

#[test]
fn intervals_follow_the_state() {
    use Check::{NotReady, Passed, Refused};
    let settings = Settings { jitter: Ratio::ZERO, ..Settings::default() };
    let table: [(&[Check], Duration); 8] = [
        (&[Passed], settings.interval),
        (&[Passed, Refused], settings.fast),
        (&[Passed, Refused, Passed], settings.interval),
        (&[Refused], settings.down),
        (&[Refused, Passed], settings.fast),
        (&[Refused, Passed, Refused], settings.down),
        (&[NotReady], settings.down),
        (&[NotReady, Refused], settings.fast),
    ];
    for (checks, expected) in table {
        let streak = checks.iter().fold(Streak::default(), |s, c| s.step(*c, &settings).0);
        let delay = next_delay(streak, &settings, &mut fastrand::Rng::with_seed(7));
        assert_eq!(delay, expected, "{checks:?}");
    }
}

#[test]
fn a_change_states_its_evidence() {
    use Check::{NotReady, Passed, Refused};
    let table: [(&[Check], &str); 5] = [
        (&[Passed], "a probe passed"),
        (&[Passed, Refused, Refused, Refused], "3 probes in a row, the last was refused"),
        (&[Passed, Refused, Refused, NotReady], "3 probes in a row, the last said not ready"),
        (&[Refused, Refused, NotReady], "a probe said not ready"),
        (
            &[NotReady, NotReady, Refused, Refused, Refused],
            "3 probes in a row, the last was refused",
        ),
    ];
    for (checks, expected) in table {
        let settings = Settings::default();
        let mut streak = Streak::default();
        let mut last = None;
        for check in checks {
            (streak, last) = streak.step(*check, &settings);
        }
        assert_eq!(last.expect("the last check decides").evidence.to_string(), expected);
    }
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
fn sick_dependencies_stand_beside_the_verdict() {
    let cell = Cell::default();
    assert!(cell.deep());
    cell.set(Verdict::Ready, Moment::from_millis(5));
    cell.set_deep(false);
    assert_eq!((cell.verdict(), cell.deep()), (Verdict::Ready, false));
    cell.set(Verdict::Loading, Moment::from_millis(9));
    assert!(!cell.deep(), "another verdict does not heal a dependency");
    cell.set_deep(true);
    assert_eq!((cell.verdict(), cell.deep()), (Verdict::Loading, true));
    assert_eq!(cell.since(), Moment::from_millis(9));
}

#[test]
fn writers_of_the_verdict_and_of_deep_health_lose_nothing() {
    let cell = Cell::default();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..20_000).for_each(|turn| cell.set_deep(turn % 2 == 0)));
        for turn in 1..=20_000 {
            let verdict = if turn % 2 == 0 { Verdict::Ready } else { Verdict::Dead };
            cell.set(verdict, Moment::from_millis(turn));
            assert_eq!((cell.verdict(), cell.since()), (verdict, Moment::from_millis(turn)));
        }
    });
    assert!(!cell.deep());
}

#[test]
fn first_probes_are_spread_evenly() {
    let window = Duration::from_millis(200);
    let delays: Vec<_> = (0..4).map(|at| initial_spread(at, 4, window).as_millis()).collect();
    assert_eq!(delays, [0, 50, 100, 150]);
    assert_eq!(initial_spread(0, 0, window), Duration::ZERO);
}

#[test]
fn golden_requests_answered_wrongly_make_a_verdict_of_their_own() {
    let settings = Settings { rise: 2, fall: 2, ..Settings::default() };
    let mut streak = Streak::default();
    let mut verdicts = Vec::new();
    for check in [Check::Passed, Check::Wrong, Check::Wrong, Check::Passed, Check::Passed] {
        streak = streak.step(check, &settings).0;
        verdicts.push(streak.verdict());
    }
    let (ready, wrong) = (Verdict::Ready, Verdict::Wrong);
    assert_eq!(verdicts, [ready, ready, wrong, wrong, ready]);
    let (first, change) = Streak::default().step(Check::Wrong, &settings);
    assert_eq!(first.verdict(), wrong, "the very first one decides");
    assert_eq!(change.unwrap().evidence.to_string(), "a probe was answered wrongly");
}

#[test]
fn a_wrong_target_is_wrong_until_it_is_right_again_whatever_its_probes_say() {
    let cell = Cell::default();
    let at = Moment::from_millis;
    cell.set(Verdict::Ready, at(1));
    cell.set_wrong(true, at(5));
    assert_eq!((cell.verdict(), cell.since()), (Verdict::Wrong, at(5)));
    cell.set(Verdict::Busy, at(6));
    cell.set_deep(false);
    assert_eq!(cell.verdict(), Verdict::Wrong);
    cell.set(Verdict::Dead, at(7));
    assert!(cell.answers_wrongly());
    assert_eq!(cell.verdict(), Verdict::Dead, "what is not asked anyway keeps its own name");
    cell.set(Verdict::Ready, at(8));
    cell.set_wrong(false, at(9));
    assert_eq!((cell.verdict(), cell.recovered()), (Verdict::Ready, Some(at(9))));
    assert!(!cell.deep() && !cell.answers_wrongly());
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
    fn after_the_first_check_dead_takes_a_row_of_outright_failures(
        checks in prop::collection::vec(check(), 1..60),
        fall in 1_u8..6,
        rise in 1_u8..6,
    ) {
        let settings = Settings { fall, rise, ..Settings::default() };
        let mut streak = Streak::default();
        let mut silent = 0_u32;
        for (at, check) in checks.iter().enumerate() {
            silent = if check.verdict() == Verdict::Dead { silent + 1 } else { 0 };
            let (next, change) = streak.step(*check, &settings);
            let died = change.is_some_and(|change| change.to == Verdict::Dead);
            prop_assert!(at == 0 || !died || silent >= u32::from(fall));
            prop_assert!(silent < u32::from(fall) || next.verdict() == Verdict::Dead);
            prop_assert_ne!(next.verdict(), Verdict::Unknown);
            streak = next;
        }
    }

    #[test]
    fn first_probes_cover_their_window_evenly(count in 1_usize..2000, millis in 1_u64..60_000) {
        let window = Duration::from_millis(millis);
        let share = window / u32::try_from(count).unwrap();
        let delays: Vec<_> = (0..count).map(|at| initial_spread(at, count, window)).collect();
        prop_assert_eq!(delays[0], Duration::ZERO);
        prop_assert!(delays.windows(2).all(|pair| pair[1] - pair[0] == share));
        prop_assert!(delays[count - 1] < window);
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
