//! Standbys that are let go, servers that are replaced, and failovers that end.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// `active: 1` of a hot and a warm one, of which the warm one has been made ready and used.
fn with_warm_in_use() -> World {
    let rule = Rule { active: Active::Between(Range::always(1)), ..Rule::default() };
    let mut world = World::new(rule, vec![spec("a", None), spec("w", Some(Standby::Warm))]);
    world.is("w", Fitness::Lost(Loss::Loading));
    world.step();
    world.dies("a");
    let said = world.step();
    assert!(said.iter().any(|line| line.starts_with("prepare w")), "{said:?}");
    world.sights[1].prepared = Prepared::Yes;
    world.comes_back("w");
    world.step();
    assert_eq!(world.active(), ["w"]);
    world
}

/// The same after the hot one has its post back, until the warm one is let go.
fn released() -> World {
    let mut world = with_warm_in_use();
    world.comes_back("a");
    for _ in 0..200 {
        let said = world.after(SECOND);
        if said.iter().any(|line| line.starts_with("release w")) {
            return world;
        }
    }
    panic!("it was never let go");
}

#[test]
fn who_is_released_stands_away_in_the_same_step() {
    let world = released();
    assert_eq!(world.standing("w"), Standing::Away);
}

#[test]
fn who_is_released_is_made_ready_again_before_an_operator_can_have_it_in_use() {
    // What is seen is older than the release: the shell's report comes with the next look.
    let mut world = released();
    world.order(&Order::Failover { from: None, to: Some("w".into()) }).unwrap();
    assert_eq!(world.active(), ["a"]);
    world.sights[1].prepared = Prepared::No;
    let said = world.step();
    assert!(said.iter().any(|line| line.starts_with("prepare w")), "{said:?}");
    assert_eq!(world.active(), ["a"]);
}

#[test]
fn who_is_found_ready_is_let_go_like_any_other() {
    let rule = Rule { active: Active::Between(Range::always(1)), ..Rule::default() };
    let mut world = World::new(rule, vec![spec("a", None), spec("w", Some(Standby::Warm))]);
    world.sights[1].prepared = Prepared::Yes;
    world.step();
    assert_eq!((world.active(), world.standing("w")), (vec!["a"], Standing::Spare));
    let said = world.after(31 * SECOND);
    assert!(said.iter().any(|line| line.starts_with("release w")), "{said:?}");
    assert_eq!(world.standing("w"), Standing::Away);
}

fn moved(name: &str, standby: Option<Standby>) -> Spec {
    Spec { server: "elsewhere".into(), ..spec(name, standby) }
}

#[test]
fn another_server_keeps_the_post_and_the_orders_and_nothing_else() {
    let mut world = hot(1, 2);
    world.step();
    world.dies("a");
    world.step();
    world.comes_back("a");
    world.after(SECOND);
    let penalty =
        |world: &World| world.group.members()[0].penalty.now(&Damping::default(), world.now.moment);
    assert!(penalty(&world) > 0.5);
    world.order(&Order::Weight { endpoint: "a".into(), factor: 2.0 }).unwrap();
    let rule = world.group.rule().clone();
    world.group = world.group.adopt(rule, &[moved("a", None), spec("b", None)]);
    world.is("a", Fitness::Unknown);
    world.step();
    assert_eq!(penalty(&world), 0.0, "nothing is held against the new one");
    assert_eq!(world.group.members()[0].weight(), 2.0);
    assert_eq!(world.active(), ["b"]);
    world.comes_back("a");
    world.after(29 * SECOND);
    assert_eq!(world.active(), ["b"], "its stability counts from now");
}

#[test]
fn another_server_of_a_warm_standby_is_made_ready_anew() {
    let mut world = with_warm_in_use();
    let rule = world.group.rule().clone();
    world.group = world.group.adopt(rule, &[spec("a", None), moved("w", Some(Standby::Warm))]);
    world.sights[1].prepared = Prepared::No;
    world.is("w", Fitness::Unknown);
    let said = world.step();
    assert!(said.iter().any(|line| line.starts_with("prepare w")), "{said:?}");
}

#[test]
fn a_ramp_ends_where_the_server_is_replaced() {
    let mut world = hot(1, 2);
    world.step();
    world.dies("a");
    world.step();
    world.comes_back("a");
    world.step();
    world.after(31 * SECOND);
    assert_eq!(world.active(), ["a", "b"], "on its way back");
    let rule = world.group.rule().clone();
    world.group = world.group.adopt(rule, &[moved("a", None), spec("b", None)]);
    world.is("a", Fitness::Unknown);
    world.step();
    assert_eq!((world.active(), world.share("b")), (vec!["b"], 1.0));
}

#[test]
fn a_failover_is_over_once_it_keeps_nobody_away() {
    let mut world = hot(1, 2);
    world.step();
    world.order(&Order::Failover { from: None, to: None }).unwrap();
    world.step();
    assert_eq!((world.active(), world.group.is_failed_over()), (vec!["b"], true));
    world.after(300 * SECOND);
    assert_eq!(world.active(), ["b"], "it waits to be told");
    // The stand-in is lost: who was kept away is needed.
    world.dies("b");
    world.step();
    assert_eq!((world.active(), world.group.is_failed_over()), (vec!["a"], false));
}

#[test]
fn a_failover_whose_time_is_over_lets_the_way_back_begin() {
    let mut world = hot(1, 2);
    world.step();
    world.order(&Order::Failover { from: None, to: None }).unwrap();
    world.after(60 * SECOND);
    assert_eq!(world.active(), ["b"]);
    world.group.end_failover();
    assert!(!world.group.is_failed_over());
    world.step();
    assert_eq!(world.active(), ["a", "b"], "it was well for long enough, and is ramped");
}

#[test]
fn a_failover_to_one_that_is_made_ready_first_is_pending_and_then_kept_or_over() {
    let rule = Rule { active: Active::Between(Range::always(1)), ..Rule::default() };
    let specs = || vec![spec("a", None), spec("b", None), spec("w", Some(Standby::Warm))];
    let called = |lost: bool| {
        let mut world = World::new(rule.clone(), specs());
        world.is("w", Fitness::Lost(Loss::Loading));
        world.step();
        if lost {
            world.dies("b");
            world.dies("a");
        }
        world.order(&Order::Failover { from: Some("a".into()), to: Some("w".into()) }).unwrap();
        world.step();
        assert!(world.group.is_failed_over(), "it is pending");
        world
    };
    // The post goes another way meanwhile, and its holder comes back by itself.
    let mut world = called(false);
    world.dies("a");
    world.step();
    assert_eq!(world.active(), ["b"]);
    world.sights[2].prepared = Prepared::Yes;
    world.comes_back("w");
    world.comes_back("a");
    world.step();
    world.after(31 * SECOND);
    world.after(61 * SECOND);
    assert_eq!(world.active(), ["a"]);
    assert!(!world.group.is_failed_over(), "an order that keeps nobody away is not kept");
    // A failover away from one that was lost keeps nobody away once it is done.
    let mut world = called(true);
    world.sights[2].prepared = Prepared::Yes;
    world.comes_back("w");
    world.step();
    assert_eq!((world.active(), world.group.is_failed_over()), (vec!["w"], false));
}
