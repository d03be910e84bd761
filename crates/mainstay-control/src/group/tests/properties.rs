//! Random events: whatever happens, the rule is kept and explained.

use proptest::prelude::*;

use super::*;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happens {
    Fitness(usize, Fitness),
    Prepared(usize, Prepared),
    Load(usize, f64),
    Order(u8, usize, usize),
    Worse(usize),
    Time(u64),
    Reload(u16),
}

fn happens() -> impl Strategy<Value = Happens> {
    let fitness = prop_oneof![
        3 => Just(Fitness::Ready),
        1 => Just(Fitness::Partly),
        1 => Just(Fitness::Unknown),
        3 => Just(Fitness::Lost(Loss::Dead)),
        1 => Just(Fitness::Lost(Loss::Loading)),
        1 => Just(Fitness::Lost(Loss::Stalled)),
    ];
    let prepared = prop_oneof![
        Just(Prepared::No),
        Just(Prepared::Underway),
        Just(Prepared::Failing),
        Just(Prepared::Yes)
    ];
    prop_oneof![
        6 => (0..5usize, fitness).prop_map(|(at, fitness)| Happens::Fitness(at, fitness)),
        2 => (0..5usize, prepared).prop_map(|(at, prepared)| Happens::Prepared(at, prepared)),
        1 => (0..5usize, 0.0..200.0).prop_map(|(at, load)| Happens::Load(at, load)),
        2 => (0..7u8, 0..5usize, 0..5usize).prop_map(|(kind, a, b)| Happens::Order(kind, a, b)),
        1 => (0..5usize).prop_map(Happens::Worse),
        4 => (1..40_000u64).prop_map(Happens::Time),
        1 => (1..4u16).prop_map(Happens::Reload),
    ]
}

fn rule(active: u16, manual: bool, ramp: u64) -> Rule {
    let mode = if manual { Mode::Manual } else { Mode::Automatic };
    let active = match active {
        0 => Active::All,
        4 => Active::Between(Range::between(1, 3)),
        number => Active::Between(Range::always(number)),
    };
    let ramp = Duration::from_secs(ramp);
    let stable_for = Duration::from_secs(5);
    let failback = Failback { mode, ramp, stable_for, ..Failback::default() };
    Rule { active, mode, failback }
}

fn apply(world: &mut World, happens: &Happens) {
    let name = |world: &World, at: usize| world.group.members()[at].spec.name.clone();
    match *happens {
        Happens::Fitness(at, fitness) => world.sights[at].fitness = fitness,
        Happens::Prepared(at, prepared) => world.sights[at].prepared = prepared,
        Happens::Load(at, load) => {
            (world.sights[at].load, world.sights[at].capacity) = (load, Some(100.0));
        }
        Happens::Worse(at) => (world.sights[at].judged, world.sights[at].failed) = (50, 40),
        Happens::Time(millis) => {
            world.now.moment = world.now.moment + Duration::from_millis(millis);
        }
        Happens::Reload(active) => {
            let members = world.group.members().iter();
            let specs: Vec<_> = members.map(|member| member.spec.clone()).collect();
            let rule = Rule { active: rule(active, false, 1).active, ..world.group.rule().clone() };
            world.group = world.group.adopt(rule, &specs);
        }
        Happens::Order(kind, first, second) => {
            let (endpoint, other) = (name(world, first), name(world, second));
            let order = match kind {
                0 => Order::Drain { endpoint },
                1 => Order::Maintenance { endpoint },
                2 | 3 => Order::Undrain { endpoint },
                4 => Order::Failover { from: Some(endpoint), to: Some(other) },
                5 => Order::Failover { from: None, to: None },
                _ => Order::Failback { endpoint: None },
            };
            let _refused = world.order(&order);
        }
    }
}

/// What must hold after every step.
fn check(world: &World, changes: &[Change]) -> Result<(), TestCaseError> {
    let (group, sights) = (&world.group, &world.sights);
    let members = group.members();
    let active = || (0..members.len()).filter(|at| members[*at].standing() == Standing::Active);
    let returning = members.iter().filter(|member| member.is_returning()).count();
    prop_assert!(group.in_use() <= group.wanted(), "more in use than wanted");
    prop_assert!(active().count() <= group.wanted() + returning, "more active than wanted");
    prop_assert!(returning <= 1, "one comes back after the other");
    for at in active() {
        prop_assert!(*members[at].service() == Service::Open, "an operator took it out");
    }
    if group.rule().mode == Mode::Automatic {
        let lost = active().find(|at| sights[*at].fitness.is_lost());
        let waits = (0..members.len()).find(|at| {
            members[*at].standing() == Standing::Spare && sights[*at].fitness == Fitness::Ready
        });
        prop_assert!(lost.is_none() || waits.is_none(), "a lost one is active, a ready one waits");
    }
    for (at, member) in members.iter().enumerate() {
        if member.standing() == Standing::Away && *member.service() == Service::Open {
            let unready =
                member.spec.standby > Some(Standby::Hot) && sights[at].prepared != Prepared::Yes;
            prop_assert!(unready || group.rule().mode == Mode::Manual, "away for no reason");
        }
    }
    for change in changes {
        prop_assert!(!change.cause.is_empty(), "no explanation: {change:?}");
        prop_assert!(!change.cause.contains('\n'), "more than a line: {change:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_rule_is_kept_and_explained(
        active in 0..5u16,
        manual in prop::bool::weighted(0.2),
        ramp in 0..30u64,
        events in prop::collection::vec(happens(), 1..120),
    ) {
        let specs = vec![
            spec("a", None),
            spec("b", None),
            Spec { distance: Distance::Far, ..spec("c", None) },
            spec("h", Some(Standby::Hot)),
            spec("w", Some(Standby::Warm)),
        ];
        let mut world = World::new(rule(active, manual, ramp), specs);
        world.group.step(&world.sights, world.now);
        for event in &events {
            apply(&mut world, event);
            let changes = world.group.step(&world.sights, world.now);
            for change in &changes {
                if let Command::Release { member } = change.command {
                    // As the shell does it, at once.
                    world.sights[member].prepared = Prepared::No;
                }
            }
            check(&world, &changes)?;
        }
    }

    /// When everything is well for long enough, everybody is where it belongs.
    #[test]
    fn calm_ends_in_the_order_of_the_file(
        active in 1..4u16,
        events in prop::collection::vec(happens(), 1..60),
    ) {
        let specs = ["a", "b", "c", "d", "e"].map(|name| spec(name, None)).to_vec();
        let mut world = World::new(rule(active, false, 2), specs);
        for event in events.iter().filter(|event| {
            !matches!(event, Happens::Order(..) | Happens::Reload(_) | Happens::Load(..))
        }) {
            apply(&mut world, event);
            world.group.step(&world.sights, world.now);
        }
        world.sights.iter_mut().for_each(|sight| {
            *sight = Sight { fitness: Fitness::Ready, ..Sight::default() };
        });
        for _ in 0..400 {
            world.after(Duration::from_secs(5));
        }
        let first = ["a", "b", "c"][..usize::from(active)].to_vec();
        prop_assert_eq!(world.active(), first);
    }
}
