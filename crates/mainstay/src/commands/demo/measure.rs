//! How long each fault took to be detected, answered around, and recovered from.
//!
//! Computed from the journal alone, so that the live view and the summary cannot differ.

use std::time::Duration;

use mainstay_policy::Moment;

use super::journal::{Journal, Played, Source, Struck};
use super::timetable::Target;

/// What one fault came to; `None` where it has not come yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// From the fault to the first failed attempt or the first change for the worse.
    pub(super) detected: Option<Duration>,
    /// From the fault to the first answer that another source gave instead.
    pub(super) switched: Option<Duration>,
    /// From the repair to the first answer by what was repaired.
    pub(super) recovered: Option<Duration>,
}

/// What this fault came to.
pub(super) fn times(journal: &Journal, struck: &Struck) -> Times {
    let after = |moment: Moment| moment.since(struck.at);
    let target = struck.fault.target;
    let detected = detected(journal, struck, target);
    let switched = detected.and_then(|detected| switched(journal, struck, target, detected));
    let recovered = struck.mended.and_then(|mended| {
        let first = first_after(journal, mended, |played| answered_by(played, target))?;
        Some(first.since(mended))
    });
    Times { detected: detected.map(after), switched: switched.map(after), recovered }
}

/// Whether every fault has been mended and recovered from.
pub(super) fn all_recovered(journal: &Journal) -> bool {
    journal.struck.iter().all(|struck| times(journal, struck).recovered.is_some())
}

/// The faults whose time to be mended has come.
///
/// Faults within a fault go first: a second pool that comes back after the first one would find
/// no request left to show that it has recovered.
pub(super) fn to_mend(journal: &Journal, elapsed: Duration) -> Vec<usize> {
    let struck = &journal.struck;
    let recovered = |struck: &Struck| times(journal, struck).recovered.is_some();
    let is_due = |index: &usize| {
        let this = &struck[*index];
        let due = this.mended.is_none() && this.fault.mended <= elapsed;
        due && struck[index + 1..].iter().all(recovered)
    };
    (0..struck.len()).filter(is_due).collect()
}

fn detected(journal: &Journal, struck: &Struck, target: Target) -> Option<Moment> {
    let attempt = first_after(journal, struck.at, |played| failed_at(played, target));
    let change = journal
        .changes
        .iter()
        .filter(|change| change.worse && change.at >= struck.at && target.covers(&change.subject))
        .map(|change| change.at)
        .min();
    attempt.into_iter().chain(change).min()
}

/// The first answer by others to a request that the target had failed; or, where the fault was
/// noticed before any request met it, the first answer by others after that.
fn switched(
    journal: &Journal,
    struck: &Struck,
    target: Target,
    detected: Moment,
) -> Option<Moment> {
    let instead = first_after(journal, struck.at, |played| {
        played.source.is_some() && failed_at(played, target) && !is_of(played, target)
    });
    let around =
        first_after(journal, detected, |played| played.source.is_some() && !is_of(played, target));
    instead.into_iter().chain(around).min()
}

fn first_after(
    journal: &Journal,
    moment: Moment,
    fits: impl Fn(&Played) -> bool,
) -> Option<Moment> {
    let fitting = journal.played.iter().filter(|played| played.at >= moment && fits(played));
    fitting.map(|played| played.at).min()
}

fn failed_at(played: &Played, target: Target) -> bool {
    played.failed_at.iter().any(|server| target.covers(server))
}

/// Whether the target may have given the answer. An answer of the first pool whose server is not
/// known yet may be by any of its servers; a dead one gives none.
fn is_of(played: &Played, target: Target) -> bool {
    match target {
        Target::Forest(_) => answered_by(played, target),
        Target::AllForest => played.source == Some(Source::Forest),
        Target::AllBoosting => played.source == Some(Source::Boosting),
    }
}

fn answered_by(played: &Played, target: Target) -> bool {
    match target {
        Target::Forest(_) => played.server.as_deref().is_some_and(|server| target.covers(server)),
        Target::AllForest => played.source == Some(Source::Forest) && !played.degraded,
        Target::AllBoosting => played.source == Some(Source::Boosting),
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::Change;
    use super::super::timetable::{Fault, Kind};
    use super::*;

    fn played(at_ms: u64, source: Source) -> Played {
        Played {
            at: Moment::from_millis(at_ms),
            source: Some(source),
            degraded: source != Source::Forest,
            right: true,
            failed_at: Vec::new(),
            server: None,
        }
    }

    fn struck(target: Target) -> Struck {
        let fault = Fault {
            kind: Kind::Kill,
            target,
            strikes: Duration::ZERO,
            mended: Duration::from_millis(500),
        };
        Struck { fault, at: Moment::from_millis(1_000), mended: Some(Moment::from_millis(1_500)) }
    }

    const fn ms(value: u64) -> Option<Duration> {
        Some(Duration::from_millis(value))
    }

    #[test]
    fn a_server_that_fails_a_request_is_detected_and_switched_by_it() {
        let mut journal = Journal::default();
        journal.add(played(999, Source::Forest), None);
        let mut retried = played(1_004, Source::Forest);
        retried.failed_at = vec!["forest/forest-1".to_owned()];
        retried.server = Some("forest/forest-2".to_owned());
        journal.add(retried, None);
        let mut back = played(3_500, Source::Forest);
        back.server = Some("forest/forest-1".to_owned());
        journal.add(back, None);
        let expected = Times { detected: ms(4), switched: ms(4), recovered: ms(2_000) };
        assert_eq!(times(&journal, &struck(Target::Forest(0))), expected);
    }

    #[test]
    fn a_change_that_the_gateway_tells_detects_as_well() {
        let mut journal = Journal::default();
        journal.changes.push(Change {
            at: Moment::from_millis(1_100),
            subject: "forest/forest-1/digits".to_owned(),
            worse: true,
            text: String::new(),
        });
        journal.add(played(1_050, Source::Forest), None);
        journal.add(played(1_120, Source::Forest), None);
        let expected = Times { detected: ms(100), switched: ms(120), recovered: None };
        assert_eq!(times(&journal, &struck(Target::Forest(0))), expected);
    }

    #[test]
    fn a_pool_has_recovered_with_its_first_answer() {
        let mut journal = Journal::default();
        let mut degraded = played(1_010, Source::Embedded);
        degraded.failed_at = vec!["boosting/boosting-1".to_owned()];
        journal.add(degraded, None);
        journal.add(played(2_500, Source::Boosting), None);
        let expected = Times { detected: ms(10), switched: ms(10), recovered: ms(1_000) };
        assert_eq!(times(&journal, &struck(Target::AllBoosting)), expected);
    }

    #[test]
    fn a_fault_within_a_fault_is_mended_first() {
        let mut journal = Journal::default();
        let open = |target| Struck { mended: None, ..struck(target) };
        journal.struck = vec![open(Target::AllForest), open(Target::AllBoosting)];
        assert!(to_mend(&journal, Duration::from_millis(499)).is_empty());
        assert_eq!(to_mend(&journal, Duration::from_millis(500)), [1]);
        journal.struck[1].mended = Some(Moment::from_millis(1_500));
        assert!(to_mend(&journal, Duration::from_millis(600)).is_empty());
        journal.add(played(1_700, Source::Boosting), None);
        assert_eq!(to_mend(&journal, Duration::from_millis(700)), [0]);
    }
}
