//! What an endpoint is for decides who is asked first, whatever the balancer thinks.

use super::*;
use crate::Standing;

fn stand(plan: &Plan, member: usize, standing: Standing) {
    target(plan, 0, member).place.stand(standing);
}

/// Who is asked first by each of so many requests.
fn first(bench: &mut Bench, plan: &Plan, requests: usize) -> Vec<(usize, Why)> {
    let mut ask = || {
        let mut climb = Climb::new(plan, bench.now + DEADLINE, true);
        let choice = bench.attempt(&mut climb);
        bench.now = bench.now + ms(5);
        (choice.member, choice.why)
    };
    (0..requests).map(|_| ask()).collect()
}

#[test]
fn a_spare_is_not_asked_while_an_active_member_can_be() {
    let plan = plan(vec![ready(2)]);
    stand(&plan, 1, Standing::Spare);
    target(&plan, 0, 0).load.finish(Some(ms(900)), START);
    let asked = first(&mut Bench::new(), &plan, 100);
    assert!(asked.iter().all(|asked| *asked == (0, Why::Only)), "{asked:?}");
}

#[test]
fn the_request_that_finds_the_active_member_gone_is_answered_by_the_spare() {
    let plan = plan(vec![ready(2)]);
    stand(&plan, 1, Standing::Spare);
    let (mut bench, mut climb) = (Bench::new(), Climb::new(&plan, START + DEADLINE, true));
    let first = bench.fail(&mut climb, Class::Unreachable, SentState::NotSent);
    let second = bench.attempt(&mut climb);
    assert_eq!((first.member, second.member, second.why), (0, 1, Why::StandsIn));
    assert_eq!(second.delay, Duration::ZERO);
}

#[test]
fn a_hung_active_member_leaves_the_spare_its_time() {
    let plan = plan(vec![ready(2)]);
    stand(&plan, 1, Standing::Spare);
    let (mut bench, mut climb) = (Bench::new(), Climb::new(&plan, START + DEADLINE, true));
    assert_eq!(bench.hang(&mut climb).member, 0);
    assert_eq!(bench.attempt(&mut climb).member, 1);
}

#[test]
fn all_active_members_dead_and_every_request_goes_to_the_spare() {
    let plan = plan(vec![pool(&[Verdict::Dead, Verdict::Dead, Verdict::Ready])]);
    stand(&plan, 2, Standing::Spare);
    let asked = first(&mut Bench::new(), &plan, 20);
    assert!(asked.iter().all(|asked| *asked == (2, Why::StandsIn)), "{asked:?}");
}

#[test]
fn a_spare_is_none_for_want_of_room() {
    let plan = plan(vec![ready(2), local(true)]);
    stand(&plan, 1, Standing::Spare);
    while target(&plan, 0, 0).limiter.try_acquire() {}
    let (mut bench, mut climb) = (Bench::new(), Climb::new(&plan, START + DEADLINE, true));
    assert_eq!(bench.next(&mut climb), Next::Wait);
}

#[test]
fn what_a_failback_does_not_give_yet_stays_with_those_in_use() {
    let plan = plan(vec![ready(2)]);
    target(&plan, 0, 0).place.set_share(Ratio::percent(20));
    let asked = first(&mut Bench::new(), &plan, 1_000);
    let preferred = asked.iter().filter(|(member, _)| *member == 0).count();
    assert!((95..=105).contains(&preferred), "{preferred}");
}

#[test]
fn beyond_the_share_of_a_lone_member_the_spare_answers() {
    let plan = plan(vec![ready(2)]);
    target(&plan, 0, 0).place.set_share(Ratio::percent(20));
    stand(&plan, 1, Standing::Spare);
    let asked = first(&mut Bench::new(), &plan, 1_000);
    let preferred = asked.iter().filter(|(member, _)| *member == 0).count();
    assert!((195..=205).contains(&preferred), "{preferred}");
}

#[test]
fn drained_ones_are_asked_only_when_an_error_is_the_alternative() {
    let drained = plan(vec![ready(1), local(true)]);
    stand(&drained, 0, Standing::Drained);
    let (mut bench, mut climb) = (Bench::new(), Climb::new(&drained, START + DEADLINE, true));
    assert_eq!(bench.next(&mut climb), Next::Local(1));
    let alone = plan(vec![ready(1)]);
    stand(&alone, 0, Standing::Drained);
    let mut climb = Climb::new(&alone, START + DEADLINE, true);
    assert_eq!(bench.attempt(&mut climb).why, Why::LastResort);
}

#[test]
fn whoever_is_away_is_never_asked() {
    let plan = plan(vec![ready(1)]).with_last_resort(LastResort::Panic);
    stand(&plan, 0, Standing::Away);
    let (mut bench, mut climb) = (Bench::new(), Climb::new(&plan, START + DEADLINE, true));
    assert_eq!(bench.next(&mut climb), Next::Exhausted);
}
