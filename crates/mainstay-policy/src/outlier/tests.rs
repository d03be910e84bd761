//! Evaluations as a table, invariant 7 over random pools, and whole pools in virtual time.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::balance::SlowStart;
use crate::target::{self, Key, Target};
use crate::{Moment, Outcome, failback};

mod returns;
mod simulation;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn latencies(count: u32, latency: Duration) -> Histogram {
    let mut histogram = Histogram::default();
    (0..count).for_each(|_| histogram.count_one(latency));
    histogram
}

/// A target like its peers: 20 ms, every request answered, half of what it could do.
fn well() -> View {
    View {
        place: Place::Serving,
        streak: 0,
        recent: Counts { answered: 500, ..Counts::default() },
        latest: latencies(50, ms(20)),
        usual: Some(ms(20)),
        load: 50.0,
        capacity: 100.0,
        overloaded: false,
    }
}

fn slow() -> View {
    View { latest: latencies(50, ms(200)), ..well() }
}

fn failing(answered: u32, failed: u32) -> View {
    View { recent: Counts { answered, failed, ..Counts::default() }, ..well() }
}

fn at(place: Place) -> View {
    View { place, ..well() }
}

/// What is done about these views, in short.
fn done(views: &[View]) -> Vec<String> {
    evaluate(&Settings::default(), views)
        .iter()
        .map(|command| match command {
            Command::Eject { at, cause } => format!("eject {at} {}", cause.as_str()),
            Command::Keep { at, cause, kept } => format!("keep {at} {}: {kept}", cause.as_str()),
            Command::Recall { at, .. } => format!("recall {at}"),
        })
        .collect()
}

#[test]
fn evaluations() {
    let out = |place, view: View| View { place, ..view };
    let table: Vec<(&str, Vec<View>, Vec<&str>)> = vec![
        ("all well", vec![well(); 4], vec![]),
        ("one slow", vec![well(), slow(), well(), well()], vec!["eject 1 latency"]),
        ("all slow", vec![slow(); 4], vec![]),
        ("three of four slow", vec![well(), slow(), slow(), slow()], vec![]),
        ("always slower", vec![well(), View { usual: Some(ms(200)), ..slow() }, well()], vec![]),
        ("nothing usual yet", vec![well(), View { usual: None, ..slow() }, well()], vec![]),
        (
            "too few answers",
            vec![well(), View { latest: latencies(9, ms(200)), ..well() }, well()],
            vec![],
        ),
        (
            "below the floor",
            vec![
                View { latest: latencies(50, ms(1)), usual: Some(ms(1)), ..well() },
                View { latest: latencies(50, ms(8)), usual: Some(ms(1)), ..well() },
            ],
            vec![],
        ),
        ("alone", vec![slow()], vec![]),
        (
            "the last that serves",
            vec![at(Place::Out), View { streak: 9, ..well() }],
            vec!["keep 1 consecutive: nobody else takes traffic"],
        ),
        (
            "the others are on their way back only",
            vec![at(Place::Returning), View { streak: 9, ..well() }],
            vec!["keep 1 consecutive: nobody else takes traffic"],
        ),
        (
            "the others cannot carry the load",
            vec![View { capacity: 60.0, ..well() }, View { streak: 5, ..well() }],
            vec!["keep 1 consecutive: the others bear 60 requests/s of the 100 that come"],
        ),
        (
            "half is out already",
            vec![well(), well(), at(Place::Ejected), at(Place::Ejected), slow()],
            vec!["keep 4 latency: as many are ejected as may be"],
        ),
        (
            "the dead are no ejections",
            vec![
                View { capacity: 900.0, ..well() },
                well(),
                at(Place::Out),
                at(Place::Out),
                at(Place::Out),
                slow(),
            ],
            vec!["eject 5 latency"],
        ),
        (
            "the worst go first",
            vec![
                View { capacity: 900.0, ..well() },
                well(),
                slow(),
                View { streak: 5, ..well() },
                failing(50, 50),
                View { capacity: 900.0, ..well() },
            ],
            vec!["eject 3 consecutive", "eject 4 success-rate", "eject 2 latency"],
        ),
        (
            "one in five fails, at one only",
            vec![well(), well(), failing(80, 20)],
            vec!["eject 2 success-rate"],
        ),
        ("one in five fails, everywhere", vec![failing(80, 20); 4], vec![]),
        ("too few hosts", vec![well(), failing(50, 50)], vec![]),
        ("too few requests", vec![well(), well(), failing(10, 9)], vec![]),
        ("by chance", vec![failing(480, 20), failing(480, 20), failing(17, 3)], vec![]),
        (
            "whoever returns may relapse",
            vec![well(), well(), out(Place::Returning, slow())],
            vec!["eject 2 latency"],
        ),
        (
            "the load has outgrown them",
            vec![View { overloaded: true, ..well() }, at(Place::Ejected), at(Place::Ejected)],
            vec!["recall 1", "recall 2"],
        ),
    ];
    for (name, views, expected) in table {
        assert_eq!(done(&views), expected, "{name}");
    }
}

#[test]
fn causes_state_their_figures() {
    let views = [well(), slow(), failing(80, 20), well()];
    let commands = evaluate(&Settings::default(), &views);
    let causes: Vec<_> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Eject { cause, .. } => Some(cause.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(causes.len(), 2, "{commands:?}");
    assert_eq!(causes[0], "success rate 80.0 % of 100 requests, the others 100.0 %, limit 90.0 %");
    assert_eq!(causes[1], "median 213 ms of 50 answers, its peers 18 ms, usually 20 ms");
}

#[test]
fn nobody_is_ejected_where_it_is_off() {
    let views = [well(), slow(), failing(0, 500), View { streak: 99, ..well() }];
    assert_eq!(evaluate(&Settings::off(), &views), []);
    let none = Settings { max_ejected: Ratio::ZERO, ..Settings::default() };
    let ejected =
        evaluate(&none, &views).iter().any(|command| matches!(command, Command::Eject { .. }));
    assert!(!ejected);
}

/// One second in which each target answers twenty requests, each in this time.
fn answer(targets: &[Arc<Target>], latency: Duration, now: Moment) -> bool {
    let mut rng = fastrand::Rng::with_seed(3);
    for at in 0..20 {
        for target in targets {
            let now = now + ms(at);
            let Ok((permit, _)) = target.breaker.admit(now) else { return false };
            let outcome = Outcome::success(latency);
            target.stats.record(0, &outcome);
            target.breaker.record(0, permit, outcome, now, &mut rng);
        }
    }
    true
}

#[test]
fn what_all_of_them_share_opens_no_breaker() {
    let targets: Vec<_> = (0..4)
        .map(|id| {
            let key = Key {
                pool: "p".into(),
                endpoint: id.to_string().into(),
                model: "m".into(),
                version: None,
            };
            Arc::new(Target::new(id, key, &target::Settings::default(), 1))
        })
        .collect();
    let slow_start = SlowStart::default();
    let mut watch =
        Watch::new(Settings::default(), failback::Settings::default(), slow_start, targets.clone());
    for second in 0..40_u64 {
        let now = Moment::from_millis(100_000 + second * 1_000);
        // Beyond three times what is usual, and beyond a second: slow for any breaker.
        let latency = if second < 15 { ms(450) } else { ms(1_800) };
        assert!(answer(&targets, latency, now), "a breaker opened in second {second}");
        let changes = watch.tick(now + ms(999));
        assert!(changes.is_empty(), "{changes:?}");
    }
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        6 => Just(Place::Serving),
        1 => Just(Place::Returning),
        1 => Just(Place::Ejected),
        1 => Just(Place::Out),
    ]
}

fn views() -> impl Strategy<Value = View> {
    let counts = (0u32..12, 0u32..300, 0u32..60);
    let times = (1u64..400, 0u32..80, prop::option::of(1u64..400));
    let rates = (0.0f64..500.0, 0.0f64..1_000.0, prop::bool::weighted(0.1));
    (places(), counts, times, rates).prop_map(|(place, counts, times, rates)| {
        let (streak, answered, failed) = counts;
        let (median, samples, usual) = times;
        let (load, capacity, overloaded) = rates;
        View {
            place,
            streak,
            recent: Counts { answered, failed, ..Counts::default() },
            latest: latencies(samples, ms(median)),
            usual: usual.map(ms),
            load,
            capacity,
            overloaded,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Invariant 7: nothing is ejected when what remains could not carry the load.
    #[test]
    fn what_remains_carries_the_load(
        views in prop::collection::vec(views(), 0..12),
        percent in 0u8..=100,
    ) {
        let max_ejected = Ratio::percent(percent);
        let settings = Settings { max_ejected, ..Settings::default() };
        let commands = evaluate(&settings, &views);
        let ejected: Vec<_> = commands
            .iter()
            .filter_map(|command| match command {
                Command::Eject { at, .. } => Some(*at),
                _ => None,
            })
            .collect();
        let remain = |at: &usize| views[*at].place == Place::Serving && !ejected.contains(at);
        let remaining: Vec<_> = (0..views.len()).filter(remain).collect();
        let load: f64 = views.iter().map(|view| view.load).sum();
        let capacity: f64 = remaining.iter().map(|at| views[*at].capacity).sum();
        if !ejected.is_empty() {
            prop_assert!(!remaining.is_empty(), "the last was ejected");
            prop_assert!(capacity >= load, "{capacity} for {load}");
            let before = views.iter().filter(|view| view.place == Place::Ejected).count();
            let share = (before + ejected.len()) as f64 / views.len() as f64;
            prop_assert!(before + ejected.len() == 1 || share <= f64::from(percent) / 100.0 + 1e-3);
            prop_assert!(percent > 0);
        }
        for at in &ejected {
            prop_assert!(matches!(views[*at].place, Place::Serving | Place::Returning));
        }
        // Each is spoken of at most once.
        let mut spoken: Vec<_> = commands.iter().map(Command::at).collect();
        spoken.sort_unstable();
        spoken.dedup();
        prop_assert_eq!(spoken.len(), commands.len());
    }

    #[test]
    fn targets_that_are_all_alike_are_never_outliers(
        view in views(),
        count in 1usize..12,
    ) {
        let alike = View { streak: 0, place: Place::Serving, overloaded: false, ..view };
        prop_assert_eq!(evaluate(&Settings::default(), &vec![alike; count]), []);
    }
}
