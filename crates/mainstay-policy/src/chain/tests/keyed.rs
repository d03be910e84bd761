//! Requests with a key while members are on their way back.

use super::*;
use crate::Standing;
use crate::balance::ring::{Key as RingKey, LoadFactor};

/// A pool of ready members with names of their own, hashed by key.
fn ring(members: usize) -> Step {
    let member = |at: usize| {
        let (pool, model) = (Arc::<str>::from("p"), Arc::<str>::from("m"));
        let key = Key { pool, endpoint: format!("e{at}").into(), model, version: None };
        let target = Target::new(at as u32, key, &Settings::default(), 1);
        target.health.set(Verdict::Ready, Moment::from_millis(1_000));
        Member::new(Arc::new(target), 1.0)
    };
    match pool_of((0..members).map(member).collect()) {
        Step::Pool(pool) => {
            Step::Pool(Pool { rule: Rule::RingHash(LoadFactor::default()), ..pool })
        }
        local @ Step::Local(_) => local,
    }
}

/// Who answers each of so many keys, one each 5 ms; as step and member.
fn homes(bench: &mut Bench, plan: &Plan, keys: u32) -> Vec<(usize, usize)> {
    let mut home = |key: u32| {
        let mut climb = Climb::new(plan, bench.now + DEADLINE, true);
        climb.keep_together(RingKey::of(&key.to_le_bytes()));
        let choice = bench.attempt(&mut climb);
        bench.now = bench.now + ms(5);
        (choice.step, choice.member)
    };
    (0..keys).map(&mut home).collect()
}

fn count(homes: &[(usize, usize)], who: (usize, usize)) -> usize {
    homes.iter().filter(|home| **home == who).count()
}

#[test]
fn a_lone_member_on_its_way_back_takes_its_share_of_the_keys_and_a_spare_the_rest() {
    for lost in [Standing::Spare, Standing::Active] {
        let plan = plan(vec![ring(2)]);
        target(&plan, 0, 1).place.stand(Standing::Spare);
        target(&plan, 0, 0).health.rotation.set_share(Ratio::percent(20));
        if lost == Standing::Active {
            // A failback instead of a slow start.
            target(&plan, 0, 0).health.rotation.set_share(Ratio::ONE);
            target(&plan, 0, 0).place.set_share(Ratio::percent(20));
        }
        let mut bench = Bench::new();
        let first = homes(&mut bench, &plan, 2_000);
        let back = count(&first, (0, 0));
        assert!((340..460).contains(&back), "{back} of 2000");
        assert_eq!(first, homes(&mut bench, &plan, 2_000), "always the same keys");
    }
}

#[test]
fn a_later_pool_that_is_proven_has_the_rest_as_well() {
    let plan = plan(vec![ring(1), ring(1)]);
    target(&plan, 0, 0).health.rotation.set_share(Ratio::percent(20));
    let homes = homes(&mut Bench::new(), &plan, 2_000);
    let back = count(&homes, (0, 0));
    assert!((340..460).contains(&back), "{back} of 2000");
    assert_eq!(back + count(&homes, (1, 0)), 2_000);
}

#[test]
fn one_of_two_that_is_back_takes_a_share_of_its_own_keys_alone() {
    let plan = plan(vec![ring(3)]);
    target(&plan, 0, 2).place.stand(Standing::Spare);
    target(&plan, 0, 1).health.set(Verdict::Dead, START);
    target(&plan, 0, 0).health.rotation.set_share(Ratio::percent(50));
    let homes = homes(&mut Bench::new(), &plan, 2_000);
    let back = count(&homes, (0, 0));
    assert!((420..580).contains(&back), "half of its half: {back}");
}

#[test]
fn where_nobody_is_proven_whoever_is_there_answers() {
    let plan = plan(vec![ring(1), local(true)]);
    target(&plan, 0, 0).health.rotation.set_share(Ratio::percent(10));
    let homes = homes(&mut Bench::new(), &plan, 200);
    assert_eq!(count(&homes, (0, 0)), 200);
}

#[test]
fn a_half_open_one_is_proven_even_if_no_key_lies_within_its_share() {
    let plan = plan(vec![ring(2)]);
    target(&plan, 0, 1).place.stand(Standing::Spare);
    put_on_probation(target(&plan, 0, 0));
    // One key, again and again, for ten seconds.
    let mut bench = Bench::new();
    let mut proofs = 0;
    for _ in 0..2_000 {
        let mut climb = Climb::new(&plan, bench.now + DEADLINE, true);
        climb.keep_together(RingKey::of(b"only"));
        proofs += usize::from(bench.attempt(&mut climb).why == Why::Probation);
        bench.now = bench.now + ms(5);
    }
    assert!((9..=11).contains(&proofs), "one a second: {proofs}");
}
