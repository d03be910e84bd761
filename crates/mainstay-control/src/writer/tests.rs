//! Who writes, event by event; and that there are never two.

use mainstay_policy::role::Lineage;
use proptest::prelude::*;

use super::*;

const SILENT: Sight = Sight { claim: None, standing: Standing::Active, named: None };

const fn says(role: Role) -> Sight {
    Sight { claim: Some(Claim::of(role)), ..SILENT }
}

const PRIMARY: Sight = says(Role::Primary);
const REPLICA: Sight = says(Role::Replica);

fn history(sight: Sight, own: u64, before: Option<u64>, offset: u64) -> Sight {
    let lineage = Lineage { own: Some(own), before };
    let claim = sight.claim.map(|claim| Claim { lineage, offset, ..claim });
    Sight { claim, ..sight }
}

fn moved(from: Option<usize>, to: Option<usize>, why: Why) -> Vec<Change> {
    vec![Change::Moved(from, to, why)]
}

#[test]
fn the_writer_is_who_says_so_and_moves_when_another_does() {
    let mut writer = Writer::default();
    assert_eq!(writer.step(Rule::Primary, &[REPLICA, SILENT]), []);
    assert_eq!(writer.step(Rule::Primary, &[PRIMARY, REPLICA]), moved(None, Some(0), Why::Claims));
    assert_eq!(writer.step(Rule::Primary, &[PRIMARY, REPLICA]), []);
    // Silent: killed, frozen, or a probe was lost. It stays until somebody else takes over.
    assert_eq!(writer.step(Rule::Primary, &[SILENT, REPLICA]), []);
    let changes = writer.step(Rule::Primary, &[SILENT, PRIMARY]);
    assert_eq!(changes, moved(Some(0), Some(1), Why::Claims));
    assert_eq!((writer.at(), writer.epoch()), (Some(1), 2));
    assert_eq!(writer.step(Rule::Primary, &[REPLICA, PRIMARY]), []);
}

#[test]
fn who_steps_down_is_let_go_at_once() {
    let mut writer = Writer::default();
    writer.step(Rule::Primary, &[PRIMARY, REPLICA]);
    let changes = writer.step(Rule::Primary, &[REPLICA, REPLICA]);
    assert_eq!(changes, moved(Some(0), None, Why::Stepped));
}

#[test]
fn of_two_the_one_that_was_promoted_later_writes() {
    let old = history(PRIMARY, 7, None, 900);
    let new = history(PRIMARY, 8, Some(7), 850);
    let mut writer = Writer::default();
    writer.step(Rule::Primary, &[old, history(REPLICA, 7, None, 850)]);
    let changes = writer.step(Rule::Primary, &[old, new]);
    assert_eq!(changes, [Change::Moved(Some(0), Some(1), Why::Outranks), Change::Conflict(0)]);
    assert_eq!(
        writer.step(Rule::Primary, &[history(REPLICA, 8, None, 860), new]),
        [Change::Settled]
    );
}

#[test]
fn of_two_strangers_the_writer_stays_and_else_the_longer_history_is_it() {
    let one = history(PRIMARY, 7, None, 100);
    let other = history(PRIMARY, 9, None, 900);
    let mut writer = Writer::default();
    writer.step(Rule::Primary, &[one, REPLICA]);
    assert_eq!(writer.step(Rule::Primary, &[one, other]), [Change::Conflict(1)]);
    assert_eq!(writer.at(), Some(0));
    let mut writer = Writer::default();
    writer.step(Rule::Primary, &[one, other]);
    assert_eq!((writer.at(), writer.rival()), (Some(1), Some(0)));
}

#[test]
fn whom_a_sentinel_names_writes_when_it_says_so_itself() {
    let named = |sight: Sight, is: bool| Sight { named: Some(is), ..sight };
    let mut writer = Writer::default();
    writer.step(Rule::Primary, &[named(PRIMARY, true), named(REPLICA, false)]);
    assert_eq!(writer.at(), Some(0));
    let changes = writer.step(Rule::Primary, &[named(PRIMARY, false), named(REPLICA, true)]);
    assert_eq!(changes, moved(Some(0), None, Why::NotNamed));
    let changes = writer.step(Rule::Primary, &[named(PRIMARY, false), named(PRIMARY, true)]);
    assert_eq!(changes, [Change::Moved(None, Some(1), Why::Named), Change::Conflict(0)]);
}

#[test]
fn who_is_taken_out_writes_no_more() {
    let mut writer = Writer::default();
    writer.step(Rule::Primary, &[PRIMARY, REPLICA]);
    let drained = Sight { standing: Standing::Drained, ..PRIMARY };
    let changes = writer.step(Rule::Primary, &[drained, REPLICA]);
    assert_eq!(changes, moved(Some(0), None, Why::TakenOut));
}

#[test]
fn the_post_is_followed_and_kept_while_it_is_shared() {
    let at = |standing| Sight { standing, ..SILENT };
    let (active, spare, away) = (at(Standing::Active), at(Standing::Spare), at(Standing::Away));
    let mut writer = Writer::default();
    writer.step(Rule::Post, &[active, spare]);
    assert_eq!(writer.step(Rule::Post, &[spare, active]), moved(Some(0), Some(1), Why::HoldsPost));
    // On its way back the first shares the post; all connections move together, at the end.
    assert_eq!(writer.step(Rule::Post, &[active, active]), []);
    assert_eq!(writer.step(Rule::Post, &[active, spare]), moved(Some(1), Some(0), Why::HoldsPost));
    assert_eq!(writer.step(Rule::Post, &[away, spare]), moved(Some(0), None, Why::TakenOut));
}

fn any_sight() -> impl Strategy<Value = Sight> {
    let claim =
        prop::option::of((any::<bool>(), 0u64..3, 0u64..9, 0u64..4, 0u64..4)).prop_map(|it| {
            it.map(|(primary, epoch, offset, own, before)| Claim {
                role: if primary { Role::Primary } else { Role::Replica },
                epoch,
                offset,
                lineage: Lineage { own: Some(own), before: (before > 0).then_some(before) },
            })
        });
    (claim, 0usize..4, prop::option::of(any::<bool>())).prop_map(|(claim, standing, named)| Sight {
        claim,
        standing: Standing::ALL[standing],
        named,
    })
}

proptest! {
    #[test]
    fn each_move_is_an_epoch_and_nobody_writes_who_denies_it_or_is_out(
        steps in prop::collection::vec(prop::collection::vec(any_sight(), 3), 1..20)
    ) {
        let mut writer = Writer::default();
        for sights in &steps {
            let before = writer;
            let changes = writer.step(Rule::Primary, sights);
            let moves = changes.iter().filter(|it| matches!(it, Change::Moved(..))).count();
            prop_assert_eq!(moves, usize::from(before.at() != writer.at()));
            prop_assert_eq!(writer.epoch() - before.epoch(), u32::try_from(moves).unwrap());
            if let Some(at) = writer.at() {
                let sight = &sights[at];
                prop_assert!(sight.claim.is_none_or(|claim| claim.role == Role::Primary));
                let kept = before.at() == Some(at) && sight.claim.is_none();
                prop_assert!(sight.may_write() || kept);
            }
        }
    }
}
