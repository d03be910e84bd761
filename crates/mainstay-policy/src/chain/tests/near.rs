//! Near members first, in shares; and keys that lead to the same member.

use super::*;
use crate::balance::locality::{Settings as Shares, Supply};
use crate::balance::{Distance, Key, LoadFactor, Locality};

const ZONE: Distance = Distance::Zone;
const REGION: Distance = Distance::Region;
const FAR: Distance = Distance::Elsewhere;

/// A plan of one pool with these members, and the loop over its shares.
struct Zones {
    plan: Plan,
    locality: Arc<Locality>,
    bench: Bench,
}

impl Zones {
    fn new(members: &[(Distance, Verdict)]) -> Self {
        Self::with_rule(members, Rule::PeakEwma)
    }

    fn with_rule(members: &[(Distance, Verdict)], rule: Rule) -> Self {
        let locality = Arc::new(Locality::default());
        let members = members.iter().enumerate().map(|(at, (distance, verdict))| {
            let mut member = member(*verdict).at(*distance);
            member.seat = crate::balance::Seat::of(&at.to_string());
            member
        });
        let Step::Pool(pool) = pool_of(members.collect()) else { unreachable!() };
        let pool = Pool { locality: Some(Arc::clone(&locality)), rule, ..pool };
        let mut this = Self { plan: plan(vec![Step::Pool(pool)]), locality, bench: Bench::new() };
        this.look();
        this
    }

    fn pool(&self) -> &Pool {
        match &self.plan.steps()[0] {
            Step::Pool(pool) => pool,
            Step::Local(_) => panic!("a pool was made"),
        }
    }

    /// The control loop's look, 100 ms after the last.
    fn look(&mut self) {
        self.bench.now = self.bench.now + ms(100);
        let supplies = supplies(self.pool(), self.bench.now);
        self.locality.step(supplies, &Shares::default(), self.bench.now);
    }

    fn set(&self, at: usize, verdict: Verdict) {
        target(&self.plan, 0, at).health.set(verdict, self.bench.now);
    }

    fn climb(&self) -> Climb<'_> {
        Climb::new(&self.plan, self.bench.now + DEADLINE, true)
    }

    /// How many of so many requests each member gets first.
    fn asked(&mut self, requests: usize) -> Vec<usize> {
        let mut asked = vec![0; self.pool().members.len()];
        for _ in 0..requests {
            let mut climb = Climb::new(&self.plan, self.bench.now + DEADLINE, true);
            asked[self.bench.attempt(&mut climb).member] += 1;
        }
        asked
    }
}

const FOUR: [(Distance, Verdict); 4] = [
    (ZONE, Verdict::Ready),
    (ZONE, Verdict::Ready),
    (REGION, Verdict::Ready),
    (FAR, Verdict::Ready),
];

#[test]
fn the_own_zone_takes_everything_that_it_can_carry() {
    let asked = Zones::new(&FOUR).asked(200);
    assert_eq!((asked[2], asked[3]), (0, 0), "{asked:?}");
}

#[test]
fn what_it_cannot_carry_goes_to_the_next_distance_alone() {
    let mut zones = Zones::new(&FOUR);
    zones.set(1, Verdict::Dead);
    zones.look();
    let asked = zones.asked(1_000);
    assert!((650..750).contains(&asked[0]), "{asked:?}");
    assert_eq!((asked[1], asked[3]), (0, 0), "{asked:?}");
}

#[test]
fn a_dead_zone_is_left_before_any_control_loop_looks() {
    let mut zones = Zones::new(&FOUR);
    zones.set(0, Verdict::Dead);
    zones.set(1, Verdict::Dead);
    let mut climb = Climb::new(&zones.plan, zones.bench.now + DEADLINE, true);
    let choice = zones.bench.attempt(&mut climb);
    assert_eq!((choice.member, choice.why), (2, Why::SpilledOver));
}

#[test]
fn each_failure_goes_one_distance_further() {
    // However many servers a zone has: one attempt finds out that it is dead.
    let many = [(ZONE, Verdict::Ready); 8];
    let mut zones = Zones::new(&[&many[..], &FOUR[2..]].concat());
    let mut climb = Climb::new(&zones.plan, zones.bench.now + DEADLINE, true);
    let distances: Vec<_> = (0..3)
        .map(|_| {
            let failed = zones.bench.fail(&mut climb, Class::Unreachable, SentState::Sent);
            match &zones.plan.steps()[0] {
                Step::Pool(pool) => pool.members[failed.member].distance,
                Step::Local(_) => panic!("a pool was made"),
            }
        })
        .collect();
    assert_eq!(distances, [ZONE, REGION, FAR]);
}

#[test]
fn spares_stand_behind_active_members_however_far() {
    let mut zones = Zones::new(&[(ZONE, Verdict::Ready), (REGION, Verdict::Ready)]);
    target(&zones.plan, 0, 0).place.stand(crate::Standing::Spare);
    zones.look();
    assert_eq!(zones.asked(50), [0, 50]);
}

#[test]
fn a_spilled_request_goes_to_no_other_region() {
    let mut zones = Zones::new(&[(ZONE, Verdict::Dead), (FAR, Verdict::Ready)]);
    let mut climb = Climb::new(&zones.plan, zones.bench.now + DEADLINE, true);
    climb.stay();
    let asked = zones.bench.attempt(&mut climb);
    assert_eq!((asked.member, asked.why), (0, Why::LastResort), "the far one is no last resort");
}

#[test]
fn a_zone_on_its_way_back_gets_what_its_members_may_take() {
    let mut zones = Zones::new(&[(ZONE, Verdict::Dead), (FAR, Verdict::Ready)]);
    zones.look();
    assert_eq!(zones.asked(100), [0, 100]);
    zones.set(0, Verdict::Ready);
    target(&zones.plan, 0, 0).place.set_share(Ratio::percent(20));
    // 5 s of calm, then 10 % a second up to 1.4 × 20 %.
    (0..100).for_each(|_| zones.look());
    let asked = zones.asked(1_000);
    assert!((240..320).contains(&asked[0]), "{asked:?} {:?}", zones.locality.view());
}

#[test]
fn supplies_are_what_can_be_asked_of_what_is_meant_to_be() {
    let verdicts = [(ZONE, Verdict::Ready), (ZONE, Verdict::Dead), (REGION, Verdict::Unknown)];
    let zones = Zones::new(&[&verdicts[..], &[(FAR, Verdict::Ready); 3]].concat());
    let stand = |at, standing| target(&zones.plan, 0, at).place.stand(standing);
    stand(3, crate::Standing::Spare);
    stand(4, crate::Standing::Drained);
    target(&zones.plan, 0, 5).place.set_weight(3.0);
    let supply = |usable, all| Supply { usable, all };
    let supplies = supplies(zones.pool(), zones.bench.now);
    assert_eq!(supplies, [supply(1.0, 2.0), supply(1.0, 1.0), supply(3.0, 4.0)]);
}

fn homes(zones: &mut Zones, keys: std::ops::Range<u32>) -> Vec<usize> {
    keys.map(|key| {
        let mut climb = Climb::new(&zones.plan, zones.bench.now + DEADLINE, true);
        climb.keep_together(Key::of(&key.to_le_bytes()));
        zones.bench.attempt(&mut climb).member
    })
    .collect()
}

fn ring(members: usize) -> Zones {
    Zones::with_rule(&vec![(ZONE, Verdict::Ready); members], Rule::RingHash(LoadFactor::default()))
}

#[test]
fn a_key_leads_home_and_a_loss_moves_only_its_own() {
    let mut zones = ring(5);
    let before = homes(&mut zones, 0..1_000);
    assert_eq!(before, homes(&mut zones, 0..1_000));
    zones.set(2, Verdict::Dead);
    zones.look();
    let after = homes(&mut zones, 0..1_000);
    for (before, after) in before.iter().zip(&after) {
        assert!(*before == 2 && *after != 2 || before == after);
    }
    zones.set(2, Verdict::Ready);
    zones.bench.now = zones.bench.now + Duration::from_secs(30);
    let back = homes(&mut zones, 0..1_000);
    assert!(before == back, "and they come back when the slow start is over");
}

#[test]
fn a_home_on_its_way_back_takes_more_and_more_of_its_own_keys() {
    let mut zones = ring(4);
    let before = homes(&mut zones, 0..2_000);
    let own = before.iter().filter(|home| **home == 1).count();
    let mut last = 0;
    for percent in [10, 50, 100] {
        target(&zones.plan, 0, 1).place.set_share(Ratio::percent(percent));
        let now = homes(&mut zones, 0..2_000);
        let back = now.iter().filter(|home| **home == 1).count();
        assert!(now.iter().zip(&before).all(|(now, before)| *now != 1 || *before == 1));
        let expected = own * usize::from(percent) / 100;
        assert!(back.abs_diff(expected) < 40 && back > last, "{back} of {own}");
        last = back;
    }
}

#[test]
fn a_home_with_more_than_its_part_is_passed_over() {
    let mut zones = ring(4);
    let home = homes(&mut zones, 7..8)[0];
    for _ in 0..10 {
        target(&zones.plan, 0, home).load.start();
    }
    let mut climb = zones.climb();
    climb.keep_together(Key::of(&7u32.to_le_bytes()));
    let mut bench = Bench::new();
    let choice = bench.attempt(&mut climb);
    assert_ne!(choice.member, home);
    assert_eq!(choice.why, Why::HomeIsFull);
}

#[test]
fn a_key_looks_first_at_the_same_distance_while_the_shares_stand() {
    let half = [(ZONE, Verdict::Ready), (ZONE, Verdict::Dead), (FAR, Verdict::Ready)];
    let mut zones = Zones::with_rule(&half, Rule::RingHash(LoadFactor::default()));
    let homes_now = homes(&mut zones, 0..500);
    assert_eq!(homes_now, homes(&mut zones, 0..500));
    let far = homes_now.iter().filter(|home| **home == 2).count();
    assert!((100..200).contains(&far), "{far}");
}

#[test]
fn a_pinned_request_goes_to_its_server_or_nowhere() {
    let plan = plan(vec![ready(3), local(true)]);
    let mut bench = Bench::new();
    let mut ask = |plan: &Plan| {
        let mut climb = Climb::new(plan, bench.now + DEADLINE, true);
        climb.pin(Pin { step: 0, member: 1 });
        let next = bench.next(&mut climb);
        if let Next::Attempt(choice) = next {
            climb.failed(&choice, Class::Timeout, SentState::MaybeSent);
            assert_eq!(bench.next(&mut climb), Next::Exhausted, "it is executed once");
            return Some((choice.member, choice.why));
        }
        assert_eq!(next, Next::Exhausted);
        None
    };
    assert_eq!(ask(&plan), Some((1, Why::Sequence)));
    target(&plan, 0, 1).place.stand(crate::Standing::Drained);
    assert_eq!(ask(&plan), Some((1, Why::Sequence)), "what has begun there may end there");
    target(&plan, 0, 1).health.set(Verdict::Dead, START);
    assert_eq!(ask(&plan), None);
}

#[test]
fn a_pinned_request_that_never_left_is_sent_once_more() {
    let plan = plan(vec![ready(2)]);
    let (mut bench, mut climb) = (Bench::new(), Climb::new(&plan, START + DEADLINE, true));
    climb.pin(Pin { step: 0, member: 0 });
    for _ in 0..2 {
        let choice = bench.fail(&mut climb, Class::Unreachable, SentState::NotSent);
        assert_eq!(choice.member, 0);
    }
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
}

#[test]
fn who_waited_for_room_far_away_does_not_begin_with_the_dead_zone_again() {
    let mut zones = Zones::new(&[(ZONE, Verdict::Ready), (REGION, Verdict::Ready)]);
    let far = |zones: &Zones| Arc::clone(&zones.pool().members[1].target);
    while far(&zones).limiter.try_acquire() {}
    let plan = zones.plan.clone();
    let mut climb = Climb::new(&plan, zones.bench.now + DEADLINE, true);
    let dead = zones.bench.fail(&mut climb, Class::Unreachable, SentState::NotSent);
    assert_eq!(dead.member, 0);
    assert_eq!(zones.bench.next(&mut climb), Next::Wait);
    far(&zones).limiter.release(crate::limit::Sample::Nothing, zones.bench.now);
    climb.room();
    assert_eq!(zones.bench.attempt(&mut climb).member, 1);
}

#[test]
fn whoever_waits_does_not_spend_its_attempts_where_nobody_listens() {
    let plan = plan(vec![ready(3)]);
    while target(&plan, 0, 2).limiter.try_acquire() {}
    let (mut bench, mut climb) = (Bench::new(), Climb::new(&plan, START + DEADLINE, true));
    for _ in 0..2 {
        bench.fail(&mut climb, Class::Unreachable, SentState::NotSent);
    }
    for _ in 0..5 {
        assert_eq!(bench.next(&mut climb), Next::Wait);
        climb.room();
    }
    target(&plan, 0, 2).limiter.release(crate::limit::Sample::Nothing, START);
    assert_eq!(bench.attempt(&mut climb).member, 2);
}
