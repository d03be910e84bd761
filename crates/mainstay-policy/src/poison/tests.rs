//! What the guard keeps to, as examples and over random histories (invariant 5).

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::Outcome;
use crate::breaker::{self, Breaker, State};

const NOW: Moment = Moment::from_millis(50_000);
const WELL: Others = Others { calls: 20, failures: 0 };
const MODEL: Settings = Settings { endpoints: 2, remember: Duration::from_secs(60) };
const POISON: Fingerprint = Fingerprint(7);

fn place(endpoint: u64) -> Place {
    Place { endpoint, target: endpoint as u32 }
}

/// Others have succeeded everywhere since.
fn lives(_target: u32, _since: Moment) -> bool {
    true
}

#[test]
fn servers_that_were_killed_prove_nothing_against_their_requests() {
    let mut table = Table::new(MODEL);
    let dead = |_, _| false;
    let lost = |endpoint| (place(endpoint), Class::Unreachable);
    assert_eq!(table.failed(POISON, lost(1), NOW, dead), Standing::Suspect);
    assert_eq!(table.failed(POISON, lost(2), NOW, dead), Standing::Shunned);
    assert_eq!(table.failed(POISON, lost(3), NOW, dead), Standing::Shunned);
    assert_eq!(table.condemned(POISON, NOW), None);
}

#[test]
fn a_request_is_condemned_once_its_servers_came_back_for_others() {
    let mut table = Table::new(MODEL);
    let lost = |endpoint| (place(endpoint), Class::Unreachable);
    table.failed(POISON, lost(1), NOW, |_, _| false);
    table.failed(POISON, lost(2), NOW, |_, _| false);
    let later = NOW + Duration::from_secs(5);
    let back = |target, since| target < 3 && since == NOW;
    let standing = table.failed(POISON, lost(1), later, back);
    assert!(matches!(standing, Standing::Condemned { .. }), "{standing:?}");
}

#[test]
fn an_answer_is_a_sign_of_life() {
    let mut table = Table::new(MODEL);
    table.failed(POISON, (place(1), Class::ServerFault), NOW, |_, _| false);
    let standing = table.failed(POISON, (place(2), Class::ServerFault), NOW, |_, _| false);
    assert!(matches!(standing, Standing::Condemned { .. }), "{standing:?}");
}

#[test]
fn two_endpoints_that_serve_others_condemn_for_a_while() {
    let mut table = Table::new(MODEL);
    let until = NOW + MODEL.remember;
    assert_eq!(table.failed(POISON, (place(1), Class::Unreachable), NOW, lives), Standing::Suspect);
    assert_eq!(
        table.failed(POISON, (place(1), Class::Unreachable), NOW, lives),
        Standing::Suspect,
        "one twice"
    );
    assert_eq!(table.condemned(POISON, NOW), None);
    let standing = table.failed(POISON, (place(2), Class::Unreachable), NOW, lives);
    assert_eq!(standing, Standing::Condemned { until });
    assert_eq!(table.condemned(POISON, NOW), Some(until));
    assert_eq!(table.condemned(Fingerprint(8), NOW), None);
    assert_eq!(table.condemned(POISON, until), None, "its time is over");
}

#[test]
fn an_answer_from_anyone_clears_a_suspect() {
    let mut table = Table::new(MODEL);
    table.failed(POISON, (place(1), Class::ServerFault), NOW, lives);
    table.succeeded(POISON);
    assert!(table.is_empty());
    assert_eq!(table.failed(POISON, (place(2), Class::ServerFault), NOW, lives), Standing::Suspect);
}

#[test]
fn two_ways_to_fail_are_no_evidence() {
    let mut table = Table::new(MODEL);
    table.failed(POISON, (place(1), Class::ServerFault), NOW, lives);
    assert_eq!(table.failed(POISON, (place(2), Class::Unreachable), NOW, lives), Standing::Suspect);
    let standing = table.failed(POISON, (place(3), Class::Unreachable), NOW, lives);
    assert!(matches!(standing, Standing::Condemned { .. }));
}

#[test]
fn only_telling_failures_are_suspicious() {
    for class in Class::ALL {
        assert!(!is_suspicious(class, SentState::NotSent, WELL), "{class:?}: a refused connection");
        let bad = Others { calls: 20, failures: 20 };
        assert!(!is_suspicious(class, SentState::Sent, bad), "{class:?}: a bad deployment");
        assert!(!is_suspicious(class, SentState::Sent, Others::default()), "{class:?}: no others");
        if is_suspicious(class, SentState::MaybeSent, WELL) {
            assert!(class.blames_target() && class != Class::Timeout, "{class:?}");
        }
    }
    assert!(is_suspicious(Class::Unreachable, SentState::MaybeSent, WELL));
}

#[test]
fn a_third_of_failures_is_no_witness() {
    assert!(Others { calls: 4, failures: 1 }.mostly_succeed());
    assert!(!Others { calls: 3, failures: 1 }.mostly_succeed());
    assert!(Others { calls: 1, failures: 0 }.mostly_succeed());
}

#[test]
fn memory_is_bounded_and_the_condemned_stay_longest() {
    let mut table = Table::new(MODEL);
    table.failed(POISON, (place(1), Class::ServerFault), NOW, lives);
    table.failed(POISON, (place(2), Class::ServerFault), NOW, lives);
    for n in 0..10_000 {
        table.failed(
            Fingerprint(1_000 + n),
            (place(1), Class::ServerFault),
            NOW + Duration::from_millis(1),
            lives,
        );
    }
    assert_eq!(table.len(), ROOM);
    assert!(table.condemned(POISON, NOW).is_some());
}

#[test]
fn a_deployment_that_goes_bad_everywhere_at_once_is_blamed_within_an_instant() {
    let mut table = Table::new(MODEL);
    let (mut condemned, mut cleared) = (0, 0);
    for n in 0u64..200 {
        let now = NOW + Duration::from_millis(5 * n);
        for endpoint in [n % 3, (n + 1) % 3] {
            let seen = (place(endpoint), Class::ServerFault);
            match table.failed(Fingerprint(n.into()), seen, now, |_, _| false) {
                Standing::Condemned { .. } => condemned += 1,
                Standing::Cleared => cleared += 1,
                Standing::Suspect | Standing::Shunned => {
                    assert!(now <= NOW + INSTANT + Duration::from_millis(20), "{n}");
                    let unproven = table.unproven(Fingerprint(n.into()));
                    assert!(
                        n == 0 || unproven.len() < 2,
                        "connections prove nothing: {unproven:?}"
                    );
                }
            }
        }
    }
    assert!(condemned <= 1, "{condemned}");
    assert!(cleared >= 350, "{cleared}");
}

#[test]
fn one_success_ends_a_run_of_failures() {
    let mut table = Table::new(MODEL);
    let seen = (place(1), Class::ServerFault);
    table.failed(Fingerprint(1), seen, NOW, |_, _| false);
    table.failed(Fingerprint(2), seen, NOW, |_, _| false);
    let later = NOW + Duration::from_secs(1);
    assert_eq!(table.failed(POISON, seen, later, |_, _| false), Standing::Cleared);
    assert_eq!(table.failed(POISON, seen, later, lives), Standing::Suspect);
}

/// One thing that happens to a request.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// It fails at an endpoint, with what others meet there.
    Fails(u8, Class, SentState, Others),
    Succeeds,
    Passes(u64),
}

fn events() -> impl Strategy<Value = Event> {
    let class = prop::sample::select(Class::ALL.to_vec());
    let sent =
        prop::sample::select(vec![SentState::NotSent, SentState::MaybeSent, SentState::Sent]);
    let others = (0u32..10, 0u32..10)
        .prop_map(|(calls, failures)| Others { calls: calls + failures, failures });
    prop_oneof![
        8 => (0u8..4, class, sent, others).prop_map(|(at, c, s, o)| Event::Fails(at, c, s, o)),
        1 => Just(Event::Succeeds),
        1 => (0u64..40_000).prop_map(Event::Passes),
    ]
}

proptest! {
    /// Whoever is condemned failed on enough distinct endpoints in one telling way while others
    /// mostly succeeded there, and has had no answer since.
    #[test]
    fn nobody_is_condemned_without_evidence(
        history in prop::collection::vec((0u128..3, events()), 1..60),
        endpoints in 2u8..=MOST_ENDPOINTS,
    ) {
        let mut table = Table::new(Settings { endpoints, ..MODEL });
        let mut now = NOW;
        let mut evidence: HashMap<(u128, Class), HashSet<u8>> = HashMap::new();
        for (request, event) in history {
            let fingerprint = Fingerprint(request);
            match event {
                Event::Passes(millis) => now = now + Duration::from_millis(millis),
                Event::Succeeds => {
                    let free = table.condemned(fingerprint, now).is_none();
                    table.succeeded(fingerprint);
                    if free {
                        evidence.retain(|(of, _), _| *of != request);
                    }
                }
                Event::Fails(at, class, sent, others) if is_suspicious(class, sent, others) => {
                    let seen = evidence.entry((request, class)).or_default();
                    seen.insert(at);
                    let count = seen.len();
                    let standing = table.failed(fingerprint, (place(at.into()), class), now, lives);
                    if let Standing::Condemned { until } = standing {
                        prop_assert!(until > now && until <= now + MODEL.remember);
                        let most = evidence
                            .iter()
                            .filter(|((of, _), _)| *of == request)
                            .map(|(_, seen)| seen.len())
                            .max();
                        prop_assert!(most.unwrap_or(count) >= usize::from(endpoints));
                    }
                }
                Event::Fails(..) => {}
            }
            prop_assert!(table.len() <= ROOM);
        }
    }

    /// Invariant 5: a client's own fault never counts against a server, whatever the mixture.
    #[test]
    fn a_clients_own_fault_opens_no_breaker(
        faults in prop::collection::vec(
            prop::sample::select(vec![
                Class::ClientFault, Class::Poison, Class::Overtaken, Class::Capacity,
            ]),
            1..200,
        ),
    ) {
        let breaker = Breaker::new(breaker::Settings::default(), 1);
        let mut rng = fastrand::Rng::with_seed(3);
        for (at, class) in (0u64..).zip(faults) {
            let now = NOW + Duration::from_millis(at);
            let (permit, _) = breaker.admit(now).expect("closed");
            let outcome = Outcome::failure(class, Duration::from_millis(1));
            prop_assert_eq!(breaker.record(0, permit, outcome, now, &mut rng), None);
        }
        prop_assert_eq!(breaker.status(NOW).state, State::Closed);
        prop_assert_eq!(breaker.status(NOW).failures, 0);
    }
}
