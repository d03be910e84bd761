//! Busy is not dead, and answering probes is not working: for every sequence of events.

use super::*;

/// What happens between two looks.
#[derive(Clone, Copy, Debug)]
enum Event {
    Probe(Check),
    Ask,
    /// The oldest attempt is called off by its client.
    CallOff,
    Pass(u64),
    Page(u8),
    Beat(State),
}

/// Mostly missed; now and then one gets through.
fn missed() -> impl Strategy<Value = Check> {
    use Check::{Failed, Passed, Refused, TimedOut};
    prop::sample::select(vec![TimedOut, TimedOut, Refused, Failed, Passed])
}

proptest! {
    /// A target whose requests all complete soon is never out of traffic, however its probes are
    /// missed, and however late its heartbeat is.
    #[test]
    fn a_target_whose_requests_complete_is_never_ejected_for_missed_probes(
        probes in prop::collection::vec(prop::option::of(missed()), 20..200),
        takes in 1u64..900,
        beats in any::<bool>(),
    ) {
        let mut world = World::ready();
        if beats {
            world.expected = Some(heartbeat::Settings::default());
            let lifetime = Duration::from_secs(3);
            world.heart.beat(State::Ready, None, lifetime, world.now);
        }
        for probe in probes {
            world.ask();
            world.pass(ms(takes));
            world.end(Ok(()));
            if let Some(check) = probe {
                world.probe(check);
            }
            // Requests come one upon the other: a saturated server is never idle.
            world.ask();
            world.pass(ms(1));
            world.end(Ok(()));
            prop_assert!(world.look().takes_traffic(), "{}", world.cause());
        }
    }

    /// A target that answers its probes while nothing comes of its requests is out within the
    /// limit and a look, and stays out until a request completes.
    #[test]
    fn answered_probes_do_not_save_a_target_whose_requests_stall(
        events in prop::collection::vec(
            prop_oneof![
                3 => Just(Event::Probe(Check::Passed)),
                3 => Just(Event::Ask),
                4 => (1u64..400).prop_map(Event::Pass),
                1 => Just(Event::Beat(State::Ready)),
            ],
            10..120,
        ),
        times_out in prop::option::of(100u64..3_000),
    ) {
        let mut world = World::ready();
        (0..2).for_each(|_| world.ask());
        let began = world.now;
        for event in events {
            match event {
                Event::Probe(check) => world.probe(check),
                Event::Ask if world.fusion.verdict().takes_traffic() || world.trial_open => {
                    world.trial_open = false;
                    world.ask();
                }
                Event::Beat(state) => {
                    world.heart.beat(state, None, Duration::from_secs(3), world.now);
                }
                Event::Pass(millis) => {
                    world.pass(ms(millis));
                    let late = |start: Moment| {
                        times_out.is_some_and(|limit| world.now.since(start) >= ms(limit))
                    };
                    let ended = world.under_way.iter().filter(|start| late(**start)).count();
                    (0..ended).for_each(|_| world.end(Err(Class::Timeout)));
                    let verdict = world.look();
                    if world.now.since(began) >= world.settings.stall_after {
                        prop_assert_eq!(verdict, Verdict::Stalled);
                    }
                }
                _ => {}
            }
        }
        world.run(ms(1_500));
        prop_assert_eq!(world.fusion.verdict(), Verdict::Stalled);
        world.ask();
        world.pass(ms(5));
        let last = world.under_way.len() - 1;
        let started = world.under_way.remove(last);
        world.progress.finish(started, Ok(()), world.now);
        prop_assert!(world.look().takes_traffic());
    }

    /// Whatever happens, a change names two verdicts and a cause, and a target that is not
    /// stalled offers no trial.
    #[test]
    fn every_change_has_a_cause(
        events in prop::collection::vec(
            prop_oneof![
                prop::sample::select(Check::ALL.to_vec()).prop_map(Event::Probe),
                Just(Event::Ask),
                Just(Event::CallOff),
                (0u64..2_000).prop_map(Event::Pass),
                any::<u8>().prop_map(Event::Page),
                prop::sample::select(State::ALL.to_vec()).prop_map(Event::Beat),
            ],
            1..200,
        ),
    ) {
        let mut world = World::unknown();
        world.expected = Some(heartbeat::Settings::default());
        for event in events {
            match event {
                Event::Probe(check) => world.probe(check),
                Event::Ask => world.ask(),
                Event::CallOff => {
                    world.under_way.pop();
                }
                Event::Pass(millis) => world.pass(ms(millis)),
                Event::Page(done) => world.page(f64::from(done), 3.0),
                Event::Beat(state) => {
                    world.heart.beat(state, None, Duration::from_secs(3), world.now);
                }
            }
            let verdict = world.look();
            prop_assert!(!world.trial_open || verdict == Verdict::Stalled);
        }
        prop_assert!(world.changes.iter().all(|(_, cause)| !cause.is_empty()));
    }
}
