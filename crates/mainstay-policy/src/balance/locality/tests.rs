//! The shares as examples, and what holds for them however health swings.

use proptest::prelude::*;

use super::*;

const START: Moment = Moment::from_millis(1_000_000);
const LOOK: Duration = Duration::from_millis(100);
const SETTINGS: Settings =
    Settings { overprovisioning: 1.4, hold: Duration::from_secs(5), back: Duration::from_secs(10) };

const fn supply(usable: f32, all: f32) -> Supply {
    Supply { usable, all }
}

/// A control loop that looks every 100 ms.
struct Loop {
    locality: Locality,
    now: Moment,
}

impl Loop {
    fn new(supplies: [Supply; DISTANCES]) -> Self {
        let mut this = Self { locality: Locality::default(), now: START };
        this.look(supplies);
        this
    }

    fn look(&mut self, supplies: [Supply; DISTANCES]) -> Option<Change> {
        self.now = self.now + LOOK;
        self.locality.step(supplies, &SETTINGS, self.now)
    }

    fn looks(&mut self, supplies: [Supply; DISTANCES], times: usize) {
        (0..times).for_each(|_| drop(self.look(supplies)));
    }

    fn shares(&self) -> [f32; DISTANCES] {
        self.locality.view().shares
    }
}

const WHOLE: [Supply; DISTANCES] = [supply(4.0, 4.0), supply(4.0, 4.0), supply(8.0, 8.0)];
const NO_ZONE: [Supply; DISTANCES] = [supply(0.0, 4.0), supply(4.0, 4.0), supply(8.0, 8.0)];

fn near(shares: [f32; DISTANCES], expected: [f32; DISTANCES]) -> bool {
    shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 1e-3)
}

#[test]
fn distance_is_what_differs() {
    let site = |region, zone| Site { region, zone };
    let own = site(Some("eu"), Some("a"));
    let between = |region, zone| Distance::between(own, site(region, zone));
    assert_eq!(between(None, None), Distance::Zone);
    assert_eq!(between(None, Some("a")), Distance::Zone);
    assert_eq!(between(Some("eu"), Some("b")), Distance::Region);
    assert_eq!(between(None, Some("b")), Distance::Region);
    assert_eq!(between(Some("us"), Some("a")), Distance::Elsewhere);
    assert_eq!(Distance::between(site(None, None), own), Distance::Zone);
}

#[test]
fn what_a_zone_can_carry_stays_in_it() {
    let three_of_four = [supply(3.0, 4.0), supply(4.0, 4.0), supply(0.0, 0.0)];
    assert!(near(Loop::new(three_of_four).shares(), [1.0, 0.0, 0.0]));
}

#[test]
fn what_it_cannot_carry_spills_over_in_proportion() {
    let half = [supply(2.0, 4.0), supply(4.0, 4.0), supply(8.0, 8.0)];
    assert!(near(Loop::new(half).shares(), [0.7, 0.3, 0.0]));
    let quarter = [supply(1.0, 4.0), supply(1.0, 4.0), supply(8.0, 8.0)];
    assert!(near(Loop::new(quarter).shares(), [0.35, 0.35, 0.3]));
}

#[test]
fn where_all_are_short_each_carries_its_part() {
    let short = [supply(1.0, 4.0), supply(0.0, 0.0), supply(1.0, 8.0)];
    assert!(near(Loop::new(short).shares(), [2.0 / 3.0, 0.0, 1.0 / 3.0]));
    let none = [supply(0.0, 4.0), supply(0.0, 4.0), supply(0.0, 8.0)];
    assert!(near(Loop::new(none).shares(), [1.0, 0.0, 0.0]));
    let far = [supply(0.0, 0.0), supply(0.0, 0.0), supply(0.0, 8.0)];
    assert!(near(Loop::new(far).shares(), [0.0, 0.0, 1.0]));
}

#[test]
fn a_lost_zone_leaves_in_one_step_and_comes_back_slowly() {
    let mut looking = Loop::new(WHOLE);
    let change = looking.look(NO_ZONE).expect("told");
    assert!(near(change.to, [0.0, 1.0, 0.0]), "{change:?}");
    assert!(change.cause.contains("own-zone 0.0 of 4.0 usable"), "{}", change.cause);
    looking.looks(WHOLE, 49);
    assert!(near(looking.shares(), [0.0, 1.0, 0.0]), "it holds for 5 s: {:?}", looking.shares());
    looking.looks(WHOLE, 51);
    assert!((0.4..0.6).contains(&looking.shares()[0]), "{:?}", looking.shares());
    looking.looks(WHOLE, 60);
    assert!(near(looking.shares(), [1.0, 0.0, 0.0]));
}

#[test]
fn a_return_is_told_when_it_begins_and_when_it_ends() {
    let mut looking = Loop::new(WHOLE);
    looking.look(NO_ZONE);
    let told = (0..200).filter_map(|_| looking.look(WHOLE)).collect::<Vec<_>>();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].cause.contains("on the way back to own-zone 100 %"), "{}", told[0].cause);
}

#[test]
fn what_far_ones_lose_comes_back_at_once() {
    let mut looking = Loop::new(NO_ZONE);
    looking.looks(WHOLE, 5);
    let only_zone = [supply(4.0, 4.0), supply(0.0, 4.0), supply(0.0, 8.0)];
    looking.look(only_zone);
    assert!(near(looking.shares(), [1.0, 0.0, 0.0]), "{:?}", looking.shares());
}

#[test]
fn a_zone_that_swings_loses_its_share_once() {
    let mut looking = Loop::new(WHOLE);
    looking.look(NO_ZONE);
    for swing in 0..30 {
        looking.looks(if swing % 2 == 0 { WHOLE } else { NO_ZONE }, 20);
        assert!(near(looking.shares(), [0.0, 1.0, 0.0]), "{swing}: {:?}", looking.shares());
    }
}

#[test]
fn requests_are_drawn_as_the_shares_say() {
    let looking = Loop::new([supply(2.0, 4.0), supply(0.0, 0.0), supply(8.0, 8.0)]);
    let mut rng = fastrand::Rng::with_seed(3);
    let drawn = (0..10_000).filter(|_| looking.locality.draw(&mut rng) == Distance::Zone).count();
    assert!((6_800..7_200).contains(&drawn), "{drawn}");
    assert_eq!(Loop::new(WHOLE).locality.draw_for(u64::MAX), Distance::Zone);
    assert_eq!(Loop::new(NO_ZONE).locality.draw_for(u64::MAX), Distance::Region);
    let same = |key| looking.locality.draw_for(key) == looking.locality.draw_for(key);
    assert!((0..100u64).all(|key| same(key << 50)));
}

fn supplies() -> impl Strategy<Value = [Supply; DISTANCES]> {
    let one = (0u8..=8, 0u8..=8);
    let supply = |(all, usable): (u8, u8)| supply(f32::from(usable.min(all)), f32::from(all));
    [one.clone(), one.clone(), one].prop_map(move |all| all.map(supply))
}

proptest! {
    #[test]
    fn shares_are_a_whole_and_within_what_can_be_carried(
        steps in prop::collection::vec((supplies(), 1u16..3_000), 1..60)
    ) {
        let locality = Locality::default();
        let mut now = START;
        for (supplies, pause) in steps {
            now = now + Duration::from_millis(pause.into());
            let before = locality.view().shares;
            let _told = locality.step(supplies, &SETTINGS, now);
            let shares = locality.view().shares;
            prop_assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-3, "{shares:?}");
            let caps = caps(&supplies, SETTINGS.overprovisioning);
            prop_assert!(shares.iter().zip(caps).all(|(s, cap)| *s >= -1e-3 && *s <= cap + 1e-3));
            // Nearer only slowly, but for what the far ones cannot carry any more.
            let most = f32::from(pause) / 1_000.0 / SETTINGS.back.as_secs_f32() + 1e-3;
            let forced = exceeds(&before, &caps) || now == START + Duration::from_millis(pause.into());
            prop_assert!(forced || shares[0] <= before[0] + most, "{before:?} {shares:?}");
        }
    }

    #[test]
    fn more_servers_near_never_mean_less_requests_near(
        supplies in supplies(), distance in 0usize..DISTANCES
    ) {
        let mut more = supplies;
        more[distance].usable = (more[distance].usable + 1.0).min(more[distance].all);
        let (less, more) = (Loop::new(supplies).shares(), Loop::new(more).shares());
        prop_assert!(more[distance] >= less[distance] - 1e-3, "{less:?} {more:?}");
    }

    #[test]
    fn however_health_swings_a_share_turns_round_once_in_a_hold(
        health in prop::collection::vec(0u8..=4, 100..400)
    ) {
        let mut looking = Loop::new(WHOLE);
        let mut returns = Vec::new();
        let mut last = looking.shares()[0];
        let mut falling = false;
        for usable in health {
            looking.look([supply(usable.into(), 4.0), WHOLE[1], WHOLE[2]]);
            let share = looking.shares()[0];
            if share > last + 1e-3 && falling {
                returns.push(looking.now);
            }
            falling = share < last - 1e-3 || (falling && share <= last + 1e-3);
            last = share;
        }
        prop_assert!(returns.windows(2).all(|two| two[1].since(two[0]) >= SETTINGS.hold));
    }
}
