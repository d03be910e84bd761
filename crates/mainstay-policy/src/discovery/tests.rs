//! What sources say, and what becomes of the endpoints.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::Moment;

const SETTINGS: Settings = Settings {
    min_refresh: Duration::from_secs(1),
    max_refresh: Duration::from_secs(20),
    linger: Duration::from_secs(10),
    most_removed: Ratio::percent(50),
};

const fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn found(keys: &str, ttl: u64) -> Said<u8> {
    let endpoints = keys.chars().map(|key| (Arc::from(key.to_string()), 0)).collect();
    Said::Found { endpoints, ttl: Some(Duration::from_secs(ttl)), lacking: None }
}

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

/// Changes in short: `+a` added, `~a` changed, `-a` leaving, `^a` returned, `xa` removed.
fn short(changes: &[Change]) -> String {
    let sign = |to| match to {
        Became::Added => '+',
        Became::Changed => '~',
        Became::Leaving => '-',
        Became::Returned => '^',
        Became::Removed => 'x',
    };
    changes.iter().map(|c| format!("{}{}", sign(c.to), c.key)).collect::<Vec<_>>().join(" ")
}

fn present<V: PartialEq>(roster: &Roster<V>) -> String {
    roster.present().map(|key| &**key).collect()
}

fn known(keys: &str) -> Lookups<u8> {
    let mut lookups = Lookups::new(SETTINGS, BTreeMap::new());
    lookups.step(found(keys, 5), at(0), &mut rng());
    lookups
}

#[test]
fn who_is_named_is_added_and_who_is_not_leaves() {
    let mut lookups = known("abc");
    let changes = lookups.step(found("abd", 5), at(5_000), &mut rng());
    assert_eq!(short(&changes), "+d -c");
    assert_eq!(present(lookups.roster()), "abd");
    assert!(lookups.sweep(at(14_999), |_| true).is_empty(), "it answers and is drained");
    let gone = lookups.sweep(at(15_000), |_| true);
    assert_eq!(short(&gone), "xc");
    assert_eq!(gone[0].cause, "no longer named; drained for 10 s");
}

#[test]
fn who_is_not_named_and_does_not_answer_is_removed_at_once() {
    let mut lookups = known("abc");
    lookups.step(found("ab", 5), at(5_000), &mut rng());
    let gone = lookups.sweep(at(5_000), |_| false);
    assert_eq!(short(&gone), "xc", "and nobody who is named");
    assert_eq!(gone[0].cause, "no longer named; it does not answer either");
}

#[test]
fn who_is_named_again_returns() {
    let mut lookups = known("abc");
    lookups.step(found("ab", 5), at(5_000), &mut rng());
    assert_eq!(short(&lookups.step(found("abc", 5), at(9_000), &mut rng())), "^c");
    assert!(lookups.sweep(at(60_000), |_| false).is_empty());
}

#[test]
fn nothing_changes_by_a_failure_or_an_empty_answer() {
    let mut lookups = known("ab");
    assert!(lookups.step(Said::Failed("SERVFAIL".into()), at(1_000), &mut rng()).is_empty());
    assert_eq!(lookups.trouble(), Some("SERVFAIL"));
    assert!(lookups.step(found("", 5), at(2_000), &mut rng()).is_empty());
    assert_eq!(lookups.trouble(), Some("it names no endpoint; the last good set is kept"));
    assert_eq!((present(lookups.roster()).as_str(), lookups.succeeded()), ("ab", Some(at(0))));
}

#[test]
fn a_large_removal_waits_for_its_confirmation() {
    let mut lookups = known("abcd");
    assert_eq!(short(&lookups.step(found("a", 15), at(5_000), &mut rng())), "");
    assert_eq!(lookups.trouble(), Some("3 of 4 are no longer named: to be confirmed"));
    assert!(lookups.next_look() < at(7_000), "soon, whatever its TTL");
    assert_eq!(short(&lookups.step(found("a", 15), at(6_000), &mut rng())), "-b -c -d");
    assert_eq!(lookups.trouble(), None);
}

#[test]
fn a_large_removal_that_is_taken_back_changed_nothing() {
    let mut lookups = known("abcd");
    lookups.step(found("a", 15), at(5_000), &mut rng());
    assert_eq!(short(&lookups.step(found("abcd", 15), at(6_000), &mut rng())), "");
    assert_eq!(lookups.trouble(), None);
    lookups.step(found("b", 15), at(7_000), &mut rng());
    assert_eq!(present(lookups.roster()), "abcd", "the count begins anew");
}

#[test]
fn an_address_that_is_replaced_by_another_goes_after_the_second_answer() {
    let mut lookups = known("a");
    assert_eq!(short(&lookups.step(found("b", 5), at(5_000), &mut rng())), "+b");
    assert_eq!(short(&lookups.step(found("b", 5), at(6_000), &mut rng())), "-a");
}

#[test]
fn half_an_answer_adds_and_takes_nobody_away() {
    let mut lookups = known("ab");
    let endpoints = [(Arc::from("c"), 0)].into();
    let half = Said::Found { endpoints, ttl: None, lacking: Some("no AAAA".into()) };
    assert_eq!(short(&lookups.step(half, at(5_000), &mut rng())), "+c");
    assert_eq!((present(lookups.roster()).as_str(), lookups.trouble()), ("abc", Some("no AAAA")));
}

#[test]
fn the_next_look_keeps_to_the_ttl_within_bounds() {
    let wait = |ttl| {
        let mut lookups = known("a");
        lookups.step(found("a", ttl), at(0), &mut rng());
        lookups.next_look().as_millis()
    };
    assert!((1_000..=1_100).contains(&wait(0)), "{}", wait(0));
    assert!((5_000..=5_500).contains(&wait(5)), "{}", wait(5));
    assert!((20_000..=22_000).contains(&wait(3_600)), "{}", wait(3_600));
}

#[test]
fn failures_are_looked_into_soon_and_then_less_often() {
    let mut lookups = known("a");
    let mut waits = Vec::new();
    for _ in 0..7 {
        lookups.step(Said::Failed("gone".into()), at(0), &mut rng());
        waits.push(lookups.next_look().as_millis() / 1_000);
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!((waits[0], waits[6] <= 22), (1, true), "{waits:?}");
}

#[test]
fn what_was_known_before_the_start_holds_until_the_first_answer() {
    let mut lookups = Lookups::new(SETTINGS, [(Arc::from("a"), 0), (Arc::from("b"), 0)].into());
    assert!(lookups.is_restored());
    lookups.step(Said::Failed("gone".into()), at(0), &mut rng());
    assert_eq!((lookups.is_restored(), present(lookups.roster()).as_str()), (true, "ab"));
    assert_eq!(short(&lookups.step(found("bc", 5), at(1_000), &mut rng())), "+c -a");
    assert!(!lookups.is_restored());
}

const LEASES: LeaseSettings =
    LeaseSettings { most: 3, grace: Duration::from_secs(5), linger: Duration::from_secs(10) };
const LIFETIME: Duration = Duration::from_secs(3);

fn beat(leases: &mut Leases<u8>, name: &str, at: Moment) -> Result<Option<Change>, Refused> {
    let address = Arc::from(format!("10.0.0.1:{name}"));
    leases.beat(&name.into(), (&address, 0), LIFETIME, at)
}

fn registered(names: &str) -> Leases<u8> {
    let mut leases = Leases::new(LEASES, BTreeMap::new(), LIFETIME, at(0));
    for name in names.chars() {
        beat(&mut leases, &name.to_string(), at(0)).unwrap();
    }
    leases
}

#[test]
fn a_beat_registers_once() {
    let mut leases = registered("");
    assert_eq!(beat(&mut leases, "a", at(0)).unwrap().unwrap().to, Became::Added);
    assert_eq!(beat(&mut leases, "a", at(1_000)), Ok(None));
}

#[test]
fn who_falls_silent_and_answers_no_more_is_removed_after_lifetime_and_grace() {
    let mut leases = registered("ab");
    beat(&mut leases, "b", at(3_000)).unwrap();
    assert!(leases.sweep(at(7_999), |key| key != "a").is_empty());
    let gone = leases.sweep(at(8_000), |key| key != "a");
    assert_eq!(short(&gone), "-a xa");
    assert_eq!(gone[1].cause, "it sends no heartbeat any more; it does not answer either");
}

#[test]
fn who_falls_silent_and_still_answers_is_drained() {
    let mut leases = registered("ab");
    beat(&mut leases, "b", at(7_000)).unwrap();
    assert_eq!(short(&leases.sweep(at(8_000), |_| true)), "-a");
    assert_eq!(leases.trouble(), None);
    beat(&mut leases, "b", at(17_000)).unwrap();
    assert_eq!(short(&leases.sweep(at(18_000), |_| true)), "xa");
}

#[test]
fn when_all_fall_silent_at_once_and_answer_nobody_is_let_go() {
    let mut leases = registered("ab");
    assert!(leases.sweep(at(60_000), |_| true).is_empty());
    assert_eq!(
        leases.trouble(),
        Some("2 of 2 send no heartbeat and still answer: nobody is let go")
    );
    assert_eq!(short(&leases.sweep(at(61_000), |_| false)), "-a -b xa xb");
}

#[test]
fn who_leaves_is_drained_and_removed_when_it_is_gone() {
    let mut leases = registered("ab");
    assert_eq!(leases.leave("a", at(1_000)).unwrap().to, Became::Leaving);
    assert!(leases.sweep(at(2_000), |_| true).is_empty());
    assert_eq!(short(&leases.sweep(at(2_500), |key| key != "a")), "xa");
    assert_eq!(beat(&mut leases, "a", at(3_000)).unwrap().unwrap().to, Became::Added);
}

#[test]
fn names_and_addresses_are_held_for_as_long_as_their_word() {
    let mut leases = registered("a");
    let (x, y) = (Arc::<str>::from("10.0.0.1:a"), Arc::<str>::from("10.0.0.9:a"));
    let mut try_at = |name: &str, address: &Arc<str>, moment| {
        leases.beat(&name.into(), (address, 0), LIFETIME, moment).map(|_| ())
    };
    assert_eq!(try_at("a", &y, at(1_000)), Err(Refused::NameTaken(Arc::clone(&x))));
    assert_eq!(try_at("b", &x, at(1_000)), Err(Refused::AddressTaken("a".into())));
    assert_eq!(try_at("a", &y, at(3_000)), Ok(()), "its word has ended");
}

#[test]
fn there_is_room_for_so_many() {
    let mut leases = registered("abc");
    assert_eq!(beat(&mut leases, "d", at(0)), Err(Refused::Full(3)));
    assert_eq!(beat(&mut leases, "c", at(0)), Ok(None), "who is there may go on");
}

/// One thing that happens to a source.
#[derive(Clone, Debug)]
enum Op {
    Found { keys: BTreeSet<u8>, ttl: u64, complete: bool },
    Failed,
    Sweep { dead: BTreeSet<u8> },
    Wait(u64),
}

fn ops() -> impl Strategy<Value = Op> {
    let keys = || prop::collection::btree_set(b'a'..b'h', 0..7);
    prop_oneof![
        4 => (keys(), 0u64..40, any::<bool>())
            .prop_map(|(keys, ttl, complete)| Op::Found { keys, ttl, complete }),
        1 => Just(Op::Failed),
        3 => keys().prop_map(|dead| Op::Sweep { dead }),
        3 => (1u64..15_000).prop_map(Op::Wait),
    ]
}

fn key(byte: u8) -> Arc<str> {
    char::from(byte).to_string().into()
}

proptest! {
    #[test]
    fn a_source_never_loses_its_endpoints_lightly(
        ops in prop::collection::vec(ops(), 1..60),
        seed: u64,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut lookups: Lookups<u8> = Lookups::new(SETTINGS, BTreeMap::new());
        let (mut now, mut leaving) = (at(0), BTreeMap::new());
        let mut by_changes = BTreeSet::new();
        for op in ops {
            let before: BTreeSet<_> = lookups.roster().present().cloned().collect();
            let (changes, dead) = match &op {
                Op::Wait(millis) => {
                    now = now + Duration::from_millis(*millis);
                    continue;
                }
                Op::Failed => (lookups.step(Said::Failed("no".into()), now, &mut rng), None),
                Op::Found { keys, ttl, complete } => {
                    let endpoints = keys.iter().map(|byte| (key(*byte), 0)).collect();
                    let ttl = Some(Duration::from_secs(*ttl));
                    let lacking = (!complete).then(|| "some".to_owned());
                    let said = Said::Found { endpoints, ttl, lacking };
                    (lookups.step(said, now, &mut rng), None)
                }
                Op::Sweep { dead } => {
                    let dead: BTreeSet<_> = dead.iter().map(|byte| key(*byte)).collect();
                    (lookups.sweep(now, |key| !dead.contains(key)), Some(dead))
                }
            };
            let after: BTreeSet<_> = lookups.roster().present().cloned().collect();
            prop_assert!(before.is_empty() || !after.is_empty(), "emptied by {op:?}");
            if matches!(op, Op::Failed | Op::Sweep { .. } | Op::Found { complete: false, .. }) {
                prop_assert!(before.is_subset(&after), "{op:?} took somebody away");
            }
            if dead.is_none() {
                let wait = lookups.next_look().since(now);
                prop_assert!(wait >= SETTINGS.min_refresh, "{wait:?}");
                prop_assert!(wait <= SETTINGS.max_refresh.mul_f64(1.1), "{wait:?}");
            }
            for change in changes {
                prop_assert!(!change.cause.is_empty());
                match change.to {
                    Became::Added => prop_assert!(by_changes.insert(change.key)),
                    Became::Changed => prop_assert!(by_changes.contains(&change.key)),
                    Became::Returned => prop_assert!(leaving.remove(&change.key).is_some()),
                    Became::Leaving => prop_assert!(leaving.insert(change.key, now).is_none()),
                    Became::Removed => {
                        let since = leaving.remove(&change.key);
                        prop_assert!(by_changes.remove(&change.key));
                        let lingered = since.is_some_and(|s| now.since(s) >= SETTINGS.linger);
                        let dead = dead.as_ref().is_some_and(|dead| dead.contains(&change.key));
                        prop_assert!(since.is_some() && (lingered || dead));
                    }
                }
            }
            let all: BTreeSet<_> = lookups.roster().iter().map(|(key, ..)| key.clone()).collect();
            prop_assert_eq!(&all, &by_changes, "the changes tell all of it");
        }
    }
}
