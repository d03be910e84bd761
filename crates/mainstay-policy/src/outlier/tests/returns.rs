//! Who comes back is judged by what it does from then on, and by what is normal for it.

use super::simulation::{Behaviour, Simulation, WELL};
use super::*;
use crate::balance::Rule;
use crate::{Class, Verdict};

/// So many attempts at this server that end like this.
fn ended(simulation: &Simulation, server: usize, count: usize, result: Result<(), Class>) {
    let outcome = Outcome { result, latency: ms(20) };
    (0..count).for_each(|_| simulation.targets[server].stats.record(0, &outcome));
}

/// One look without any traffic, a second later; where it moved whom.
fn quiet_second(simulation: &mut Simulation) -> Vec<(u32, &'static str)> {
    simulation.now = simulation.now + ms(1_000);
    let changes = simulation.watch.tick(simulation.now);
    changes.iter().map(|change| (change.target.id, change.to)).collect()
}

#[test]
fn one_that_was_always_slower_than_its_peers_gets_its_share_back() {
    let behave = |at, _| Behaviour { latency: ms(if at == 3 { 60 } else { 30 }), ..WELL };
    let mut simulation = Simulation::new(Rule::RoundRobin);
    simulation.run(20, behave);
    simulation.targets[3].health.set(Verdict::Dead, simulation.now);
    simulation.run(5, behave);
    simulation.targets[3].load.forget();
    simulation.targets[3].health.set(Verdict::Ready, simulation.now);
    simulation.run(15, behave);
    let phases: Vec<_> = simulation.changes.iter().map(|change| (change.1, change.2)).collect();
    assert_eq!(phases, [(3, "ramp"), (3, "serving")]);
    assert_eq!(simulation.targets[3].health.share(), Ratio::ONE);
}

#[test]
fn the_failures_before_a_death_do_not_eject_it_when_it_is_back() {
    let mut simulation = Simulation::new(Rule::RoundRobin);
    simulation.run(10, |_, _| WELL);
    simulation.targets[2].health.set(Verdict::Dead, simulation.now);
    ended(&simulation, 2, 6, Err(Class::ServerFault));
    assert_eq!(quiet_second(&mut simulation), []);
    simulation.targets[2].health.set(Verdict::Ready, simulation.now);
    assert_eq!(quiet_second(&mut simulation), [(2, "ramp")]);
    assert_eq!(quiet_second(&mut simulation), []);
}

#[test]
fn one_that_is_called_back_is_not_ejected_for_what_it_was_ejected_for() {
    let mut simulation = Simulation::new(Rule::RoundRobin);
    simulation.run(10, |_, _| WELL);
    ended(&simulation, 2, 6, Err(Class::ServerFault));
    assert_eq!(quiet_second(&mut simulation), [(2, "ejected")]);
    for server in [0, 1, 3] {
        ended(&simulation, server, 50, Err(Class::Capacity));
    }
    assert_eq!(quiet_second(&mut simulation), [(2, "ramp")], "the others are full");
    for _ in 0..5 {
        assert_eq!(quiet_second(&mut simulation), []);
    }
}
