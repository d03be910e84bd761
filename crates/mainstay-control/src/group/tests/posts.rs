//! Who has a post.

use super::*;

#[test]
fn at_first_those_who_come_first_are_in_use() {
    let mut world = hot(1, 2);
    assert_eq!(world.step(), ["b: active to spare: ready to take over"]);
    assert_eq!(world.active(), ["a"]);
}

#[test]
fn a_spare_takes_over_in_the_step_that_sees_the_loss() {
    let mut world = hot(1, 3);
    world.step();
    world.dies("a");
    assert_eq!(
        world.step(),
        ["a: active to spare: b took over: it is dead", "b: spare to active: took over: a is dead"]
    );
    world.dies("b");
    world.step();
    assert_eq!(world.active(), ["c"]);
}

#[test]
fn four_and_two_stay_four_after_two_losses_and_three_leave_three() {
    let mut world = hot(4, 6);
    world.step();
    world.dies("a");
    world.dies("c");
    world.step();
    assert_eq!(world.active(), ["b", "d", "e", "f"]);
    world.dies("b");
    world.step();
    // Nobody who is ready waits: the lost one keeps its post.
    assert_eq!(world.active(), ["b", "d", "e", "f"]);
    assert_eq!(world.group.in_use(), 4);
}

#[test]
fn where_nothing_is_said_all_are_in_use_and_a_marked_one_stands_by() {
    let specs = vec![spec("a", None), spec("b", None), spec("s", Some(Standby::Hot))];
    let mut world = World::new(Rule::default(), specs);
    world.step();
    assert_eq!((world.active(), world.group.wanted()), (vec!["a", "b"], 2));
    world.is("b", Fitness::Lost(Loss::Stalled));
    world.step();
    assert_eq!(world.active(), ["a", "s"]);
}

#[test]
fn the_own_zone_comes_before_the_region_and_that_before_the_rest() {
    let at = |name: &str, distance| Spec { distance, ..spec(name, None) };
    let specs = vec![
        at("far", Distance::Far),
        at("region", Distance::Region),
        at("zone", Distance::Zone),
        Spec { distance: Distance::Zone, ..spec("marked", Some(Standby::Hot)) },
    ];
    let active = Active::Between(Range::always(1));
    let mut world = World::new(Rule { active, ..Rule::default() }, specs);
    for expected in ["zone", "region", "far", "marked"] {
        world.step();
        assert_eq!(world.active(), [expected]);
        world.dies(expected);
    }
}

#[test]
fn one_that_lost_some_models_gives_way_only_to_one_that_has_all() {
    let mut world = hot(1, 2);
    world.is("b", Fitness::Partly);
    world.step();
    world.is("a", Fitness::Partly);
    world.step();
    assert_eq!(world.active(), ["a"]);
    world.comes_back("b");
    world.step();
    assert_eq!(world.active(), ["b"]);
}

#[test]
fn a_drained_member_gives_its_post_up_and_takes_it_back_when_undrained() {
    let mut world = hot(1, 2);
    world.step();
    world.order(&Order::Drain { endpoint: "a".into() }).unwrap();
    world.step();
    assert_eq!((world.active(), world.standing("a")), (vec!["b"], Standing::Drained));
    world.order(&Order::Maintenance { endpoint: "a".into() }).unwrap();
    world.step();
    assert_eq!(world.standing("a"), Standing::Away);
    world.order(&Order::Undrain { endpoint: "a".into() }).unwrap();
    world.after(Duration::from_secs(60));
    assert!(world.group.members()[0].is_returning());
    world.after(Duration::from_secs(60));
    assert_eq!(world.active(), ["a"]);
}

#[test]
fn a_warm_standby_is_loaded_and_takes_over_when_it_is_ready() {
    let specs =
        vec![spec("a", None), spec("w", Some(Standby::Warm)), spec("c", Some(Standby::Cold))];
    let mut world = World::new(Rule::default(), specs);
    world.is("w", Fitness::Lost(Loss::Loading));
    world.dies("c");
    world.step();
    assert_eq!((world.standing("w"), world.standing("c")), (Standing::Away, Standing::Away));
    world.dies("a");
    assert_eq!(world.step(), ["prepare w: made ready: 1 of 1 posts lack a server"]);
    world.sights[1].prepared = Prepared::Failing;
    assert_eq!(world.step(), ["prepare c: made ready: 1 of 1 posts lack a server"]);
    world.sights[1].prepared = Prepared::Yes;
    world.comes_back("w");
    world.step();
    assert_eq!(world.active(), ["w"]);
    // When its primary is back it is let go, and so is who was not needed.
    world.comes_back("a");
    let mut said = Vec::new();
    (0..2000).for_each(|_| said.extend(world.step()));
    assert_eq!(world.active(), ["a"]);
    assert!(said.contains(&"release w: no longer needed".to_owned()), "{said:#?}");
    assert!(said.contains(&"release c: no longer needed".to_owned()), "{said:#?}");
}

#[test]
fn a_warm_standby_that_lost_its_models_is_loaded_anew_once() {
    let specs = vec![spec("a", None), spec("w", Some(Standby::Warm))];
    let mut world = World::new(Rule::default(), specs);
    world.dies("a");
    world.step();
    world.sights[1].prepared = Prepared::Yes;
    world.step();
    assert_eq!(world.active(), ["w"]);
    world.is("w", Fitness::Lost(Loss::Loading));
    world.sights[1].prepared = Prepared::No;
    assert_eq!(world.step(), ["prepare w: made ready anew: it is not ready any more"]);
    world.sights[1].prepared = Prepared::Underway;
    assert_eq!(world.step(), Vec::<String>::new());
}

#[test]
fn load_brings_spares_in_and_calm_lets_them_go() {
    let active = Active::Between(Range::between(1, 3));
    let specs = ["a", "b", "c"].map(|name| spec(name, None)).to_vec();
    let mut world = World::new(Rule { active, ..Rule::default() }, specs);
    world.step();
    world.sights[0].capacity = Some(100.0);
    world.sights[0].load = 90.0;
    world.step();
    world.after(Duration::from_secs(4));
    assert_eq!(world.active(), ["a"]);
    world.after(Duration::from_secs(2));
    assert_eq!(world.active(), ["a", "b"]);
    // Half of that is more than one alone should bear.
    world.after(Duration::from_secs(600));
    assert_eq!(world.active(), ["a", "b"]);
    world.sights[0].load = 30.0;
    world.step();
    world.after(Duration::from_secs(200));
    assert_eq!(world.active(), ["a", "b"]);
    world.after(Duration::from_secs(120));
    assert_eq!(world.active(), ["a"]);
}

#[test]
fn how_many_may_fail_depends_on_the_load() {
    let mut world = hot(3, 4);
    world.step();
    assert_eq!(tolerance(&world.group, &world.sights).failures, 3);
    for sight in &mut world.sights {
        (sight.capacity, sight.load) = (Some(100.0), 50.0);
    }
    // 200 a second need two of them.
    assert_eq!(tolerance(&world.group, &world.sights).failures, 2);
    world.sights.iter_mut().for_each(|sight| sight.load = 90.0);
    assert_eq!(tolerance(&world.group, &world.sights).failures, 0);
    world.sights.iter_mut().for_each(|sight| sight.load = 70.0);
    assert_eq!(tolerance(&world.group, &world.sights).failures, 1);
}

#[test]
fn a_reload_keeps_posts_and_orders_by_name() {
    let mut world = hot(1, 3);
    world.step();
    world.dies("a");
    world.step();
    world.order(&Order::Drain { endpoint: "c".into() }).unwrap();
    let rule = world.group.rule().clone();
    let specs = ["x", "c", "b", "a"].map(|name| spec(name, None)).to_vec();
    world.group = world.group.adopt(rule, &specs);
    world.sights = vec![Sight { fitness: Fitness::Ready, ..Sight::default() }; 4];
    world.step();
    assert_eq!((world.active(), world.standing("c")), (vec!["b"], Standing::Drained));
}

#[test]
fn a_standby_stays_in_use_when_no_other_member_is_left() {
    let specs = vec![spec("a", None), spec("s", Some(Standby::Hot))];
    let mut world = World::new(Rule::default(), specs);
    world.step();
    world.dies("a");
    world.step();
    assert_eq!(world.active(), ["s"]);
    let rule = world.group.rule().clone();
    world.group = world.group.adopt(rule, &[spec("s", Some(Standby::Hot))]);
    world.sights.remove(0);
    world.step();
    assert_eq!((world.active(), world.group.wanted()), (vec!["s"], 1));
}
