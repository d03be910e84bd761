//! The way back.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// `active: 1` of two, whose first has been lost and is back.
fn returned() -> World {
    let mut world = hot(1, 2);
    world.step();
    world.dies("a");
    world.step();
    world.comes_back("a");
    world.step();
    world
}

fn pending(world: &World, name: &str) -> Option<Wait> {
    world.group.pending(world.group.find(name).unwrap(), &world.sights, world.now)
}

#[test]
fn it_is_stable_then_ramped_and_then_whole() {
    let mut world = returned();
    world.after(10 * SECOND);
    assert_eq!(world.active(), ["b"]);
    let waits = Wait::Stable { so_far: 10 * SECOND, of: 30 * SECOND };
    assert_eq!(pending(&world, "a"), Some(waits));
    world.after(20 * SECOND);
    assert_eq!((world.active(), world.group.in_use()), (vec!["a", "b"], 1));
    assert!(world.share("a") < 0.05 && world.share("b") == 1.0);
    world.after(15 * SECOND);
    assert!((world.share("a") - 0.5).abs() < 0.01 && world.share("b") == 1.0);
    world.after(30 * SECOND);
    assert!(world.share("a") == 1.0 && (world.share("b") - 0.5).abs() < 0.01);
    world.after(15 * SECOND);
    assert_eq!((world.active(), world.share("b")), (vec!["a"], 1.0));
    assert_eq!(pending(&world, "a"), None);
}

#[test]
fn a_ramp_is_called_off_when_it_goes_worse_than_with_the_stand_in() {
    for worse in [
        Sight { judged: 20, failed: 8, ..Sight::default() },
        Sight { judged: 20, median: Some(SECOND), ..Sight::default() },
    ] {
        let mut world = returned();
        world.after(30 * SECOND);
        world.sights[0] = Sight { fitness: Fitness::Ready, ..worse };
        world.sights[1] = Sight {
            median: Some(SECOND / 10),
            judged: 100,
            fitness: Fitness::Ready,
            ..Sight::default()
        };
        let said = world.step();
        assert!(said[0].contains("its way back was called off"), "{said:?}");
        assert_eq!(world.active(), ["b"]);
        // That counts like a loss, the second one within a minute.
        world.sights[0].judged = 0;
        world.after(SECOND);
        world.after(31 * SECOND);
        assert!(matches!(pending(&world, "a"), Some(Wait::Suppressed { .. })));
    }
}

#[test]
fn who_is_lost_on_its_way_back_leaves_the_post_with_its_stand_in() {
    let mut world = returned();
    world.after(30 * SECOND);
    world.dies("a");
    world.step();
    assert_eq!((world.active(), world.share("b")), (vec!["b"], 1.0));
}

#[test]
fn a_stand_in_that_is_lost_gives_the_whole_post_back_at_once() {
    let mut world = returned();
    world.after(30 * SECOND);
    world.dies("b");
    world.step();
    assert_eq!((world.active(), world.share("a")), (vec!["a"], 1.0));
}

#[test]
fn windows_are_waited_for() {
    let mut world = returned();
    world.group.rule.failback.windows = vec!["02:00-04:00".parse().unwrap()];
    world.now.wall = Wall(86_400 * 20_000 + 3600);
    world.after(40 * SECOND);
    assert_eq!(pending(&world, "a"), Some(Wait::Window { opens_in: 3600 * SECOND }));
    world.now.wall = Wall(86_400 * 20_000 + 7200);
    world.step();
    assert!(world.group.members()[0].is_returning());
}

#[test]
fn a_member_that_flaps_ten_times_a_minute_is_taken_back_once() {
    let mut world = hot(1, 2);
    world.group.rule.failback.stable_for = 2 * SECOND;
    world.group.rule.failback.ramp = Duration::ZERO;
    world.step();
    let mut said = Vec::new();
    for _ in 0..10 {
        world.dies("a");
        (0..10).for_each(|_| said.extend(world.step()));
        world.comes_back("a");
        (0..50).for_each(|_| said.extend(world.step()));
    }
    let back =
        |said: &[String]| said.iter().filter(|line| line.starts_with("a: spare to active")).count();
    assert_eq!(back(&said), 1, "{said:#?}");
    assert!(matches!(pending(&world, "a"), Some(Wait::Suppressed { .. })));
    (0..6000).for_each(|_| said.extend(world.step()));
    assert_eq!(world.active(), ["a"]);
}

#[test]
fn a_manual_pool_proposes_and_does_as_it_is_told() {
    let mut world = hot(1, 2);
    world.group.rule.mode = Mode::Manual;
    world.group.rule.failback.mode = Mode::Manual;
    world.step();
    assert_eq!(world.standing("b"), Standing::Away);
    world.dies("a");
    assert_eq!(world.step(), ["propose failover a to b: a is dead; b would take over"]);
    assert_eq!(world.after(60 * SECOND), [""; 0]);
    assert_eq!(world.active(), ["a"]);
    world.order(&Order::Failover { from: None, to: None }).unwrap();
    world.step();
    assert_eq!((world.active(), world.group.proposed()), (vec!["b"], None));
    world.comes_back("a");
    world.step();
    let said = world.after(60 * SECOND);
    assert_eq!(said, ["propose failback b to a: a is well again; b stands in for it"]);
    assert_eq!(pending(&world, "a"), Some(Wait::Told));
    world.order(&Order::Failback { endpoint: None }).unwrap();
    world.step();
    world.after(60 * SECOND);
    assert_eq!(world.active(), ["a"]);
}

#[test]
fn who_was_failed_over_by_an_operator_stays_away_until_it_is_told() {
    let mut world = hot(1, 2);
    world.step();
    world.order(&Order::Failover { from: None, to: Some("b".into()) }).unwrap();
    world.step();
    world.after(3600 * SECOND);
    assert_eq!((world.active(), pending(&world, "a")), (vec!["b"], Some(Wait::Told)));
    // But it is not left out while nobody else is there.
    world.dies("b");
    world.step();
    assert_eq!(world.active(), ["a"]);
}

#[test]
fn orders_that_make_no_sense_are_refused_with_the_reason() {
    let mut world = hot(2, 3);
    world.step();
    let unknown = world.order(&Order::Drain { endpoint: "x".into() });
    assert_eq!(unknown, Err(Refusal::Unknown("x".into())));
    for (order, words) in [
        (Order::Undrain { endpoint: "a".into() }, "neither drained"),
        (Order::Failover { from: None, to: None }, "say who"),
        (Order::Failover { from: Some("c".into()), to: None }, "not in use"),
        (Order::Failover { from: Some("a".into()), to: Some("b".into()) }, "in use already"),
        (Order::Failback { endpoint: None }, "where it belongs"),
        (Order::Weight { endpoint: "a".into(), factor: 0.0 }, "above 0"),
    ] {
        let refusal = world.order(&order).unwrap_err().to_string();
        assert!(refusal.contains(words), "{refusal}");
    }
}
