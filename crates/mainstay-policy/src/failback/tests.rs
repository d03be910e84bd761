//! The way back, step by step, and that it never gives more than its share.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Moment;

const START: Moment = Moment::from_millis(100_000);
const SECOND: Duration = Duration::from_secs(1);

/// A target and a clock.
struct Bench {
    failback: Failback,
    settings: Settings,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        Self { failback: Failback::default(), settings: Settings::default(), now: START }
    }

    fn eject(&mut self) -> Step {
        self.failback.eject("slow", self.now, &self.settings)
    }

    /// One second with so many answers and failures, at this pace.
    fn second(&mut self, good: u32, bad: u32, pace: Pace) -> Option<Step> {
        self.now = self.now + SECOND;
        let seen = Seen { now: self.now, elapsed: SECOND, takes_traffic: true, good, bad, pace };
        self.failback.tick(&seen, &self.settings)
    }

    /// The phases of so many seconds, each as good as can be.
    fn well(&mut self, seconds: u32) -> Vec<&'static str> {
        (0..seconds).filter_map(|_| self.second(3, 0, Pace::Unknown)).map(|step| step.to).collect()
    }

    fn share(&self) -> f32 {
        self.failback.share(&self.settings).get()
    }

    fn held(&self) -> Duration {
        match self.failback.phase() {
            Phase::Held { until } => until.since(self.now),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_whole_way_back() {
    let mut bench = Bench::new();
    let step = bench.eject();
    assert_eq!((step.from, step.to, &*step.cause), ("serving", "ejected", "slow; held 10s"));
    assert_eq!(bench.share(), 0.0);
    assert_eq!(bench.well(9), Vec::<&str>::new());
    assert_eq!(bench.well(1), ["probation"]);
    assert_eq!(bench.well(1), ["ramp"]);
    assert!((bench.share() - 0.1).abs() < 1e-6);
    assert_eq!(bench.well(5), Vec::<&str>::new());
    assert!((bench.share() - 0.55).abs() < 1e-3);
    assert_eq!(bench.well(6).last(), Some(&"serving"));
    assert_eq!(bench.share(), 1.0);
}

#[test]
fn a_hold_lasts_until_the_verdict_takes_traffic() {
    let mut bench = Bench::new();
    bench.eject();
    bench.now = bench.now + Duration::from_secs(60);
    let seen = Seen {
        now: bench.now,
        elapsed: SECOND,
        takes_traffic: false,
        good: 0,
        bad: 0,
        pace: Pace::Unknown,
    };
    assert_eq!(bench.failback.tick(&seen, &bench.settings), None);
    assert_eq!(bench.well(1), ["probation"]);
}

#[test]
fn a_bad_probation_answer_holds_it_again_for_twice_as_long() {
    let mut bench = Bench::new();
    bench.eject();
    bench.well(10);
    let step = bench.second(2, 1, Pace::Unknown).expect("a relapse");
    assert_eq!(step.cause, "a probation request failed; held 20s, relapse 1");
    assert_eq!(bench.held(), Duration::from_secs(20));
    bench.well(20);
    let step = bench.second(3, 0, Pace::Times(8.0)).expect("a relapse");
    assert!(step.cause.contains("8.0 times slower than normal"), "{}", step.cause);
    assert_eq!(bench.held(), Duration::from_secs(40));
}

#[test]
fn relapses_double_the_hold_up_to_the_longest_and_are_forgotten() {
    let mut bench = Bench::new();
    let mut holds = Vec::new();
    for _ in 0..7 {
        bench.eject();
        holds.push(bench.held().as_secs());
        while bench.failback.phase() != Phase::Serving {
            bench.well(1);
        }
    }
    assert_eq!(holds, [10, 20, 40, 80, 160, 300, 300]);
    bench.now = bench.now + Duration::from_secs(299);
    bench.eject();
    assert_eq!(bench.held(), Duration::from_secs(300), "it had not been well for long enough");
    while bench.failback.phase() != Phase::Serving {
        bench.well(1);
    }
    bench.now = bench.now + Duration::from_secs(300);
    bench.eject();
    assert_eq!(bench.held(), Duration::from_secs(10));
}

#[test]
fn the_ramp_stands_still_while_it_is_slower_and_steps_back_while_much_slower() {
    let mut bench = Bench::new();
    bench.eject();
    bench.well(11);
    bench.well(5);
    let before = bench.share();
    bench.second(3, 0, Pace::Times(2.0));
    assert_eq!(bench.share(), before);
    bench.second(3, 0, Pace::Times(4.0));
    assert!(bench.share() < before);
    (0..20).for_each(|_| assert_eq!(bench.second(3, 0, Pace::Times(4.0)), None));
    assert!((bench.share() - 0.1).abs() < 1e-6, "never below its foot");
    bench.second(3, 1, Pace::Times(1.0));
    assert!((bench.share() - 0.1).abs() < 1e-6, "failures hold it as well");
}

#[test]
fn who_was_away_takes_up_its_share_from_that_moment_on() {
    let mut bench = Bench::new();
    let step = bench.failback.came_back(SECOND, 10 * SECOND, Ratio::percent(20)).expect("a ramp");
    assert_eq!((step.from, step.to), ("serving", "ramp"));
    assert!((bench.share() - 0.28).abs() < 1e-3);
    assert_eq!(bench.well(10).last(), Some(&"serving"));
    bench.eject();
    assert_eq!(bench.held(), Duration::from_secs(10), "no relapse");
    assert_eq!(bench.failback.came_back(SECOND, 10 * SECOND, Ratio::ZERO), None, "it is held");
    assert_eq!(Failback::default().came_back(SECOND, Duration::ZERO, Ratio::ZERO), None);
}

#[test]
fn who_is_called_back_goes_up_the_ramp_at_once() {
    let mut bench = Bench::new();
    bench.eject();
    let step = bench.failback.recall("called back", &bench.settings);
    assert_eq!((step.from, step.to), ("ejected", "ramp"));
}

/// One second in the life of a target.
#[derive(Clone, Debug)]
enum Event {
    Second(bool, u32, u32, f64),
    Eject,
    Recall,
    Back,
}

fn events() -> impl Strategy<Value = Event> {
    let second = (prop::bool::weighted(0.9), 0u32..9, 0u32..2, 0.5f64..6.0)
        .prop_map(|(up, good, bad, pace)| Event::Second(up, good, bad, pace));
    prop_oneof![20 => second, 1 => Just(Event::Eject), 1 => Just(Event::Recall), 1 => Just(Event::Back)]
}

proptest! {
    #[test]
    fn nobody_skips_a_part_of_the_way(events in prop::collection::vec(events(), 1..300)) {
        let mut bench = Bench::new();
        let mut ejected_at = None;
        for event in events {
            let before = (bench.failback.phase(), bench.share());
            let step = match event {
                Event::Eject if before.0 != Phase::Serving => None,
                Event::Eject => {
                    ejected_at = Some(bench.now);
                    Some(bench.eject())
                }
                Event::Recall if matches!(before.0, Phase::Held { .. } | Phase::Probation { .. }) => {
                    Some(bench.failback.recall("needed", &bench.settings))
                }
                Event::Recall => None,
                Event::Back => bench.failback.came_back(SECOND, 10 * SECOND, Ratio::percent(10)),
                Event::Second(takes_traffic, good, bad, times) => {
                    bench.now = bench.now + SECOND;
                    let (now, pace) = (bench.now, Pace::Times(times));
                    let seen = Seen { now, elapsed: SECOND, takes_traffic, good, bad, pace };
                    bench.failback.tick(&seen, &bench.settings)
                }
            };
            let share = bench.share();
            prop_assert!((0.0..=1.0).contains(&share));
            // One second of a ramp of ten: never a larger step, but for the foot itself.
            let foot = 0.1 + 0.09 * 1.001;
            let back = matches!(event, Event::Back);
            prop_assert!(back || share <= before.1 + 0.0901 || share <= foot, "{before:?} {share}");
            if let Some(step) = step {
                prop_assert!(!step.cause.is_empty());
                let expected = matches!(
                    (step.from, step.to),
                    ("serving" | "probation", "ejected") | ("ejected", "probation")
                        | ("probation" | "ejected" | "serving" | "ramp", "ramp")
                        | ("ramp", "serving")
                );
                prop_assert!(expected, "{step:?}");
                if step.to == "probation" {
                    let since = ejected_at.expect("it was ejected");
                    prop_assert!(bench.now.since(since) >= bench.settings.hold);
                }
            }
        }
    }
}
