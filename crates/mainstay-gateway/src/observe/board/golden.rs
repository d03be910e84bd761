//! What golden requests come to: a signal of its own beside all that the fusion weighs.

use std::sync::Arc;

use mainstay_policy::Verdict;
use mainstay_policy::health::{Change, Check};
use mainstay_telemetry::{Event, EventKind};

use super::Board;

/// Said where no server answers as it should: rather the file is old than all of them are wrong.
const DOUBT: &str = "; every server of the pool answers it wrongly: is the file still right?";

impl Board {
    /// Notes what a golden request came to, and tells of the change that it causes.
    pub(crate) fn asked_golden(
        &self,
        subject: usize,
        (check, words): (Check, String),
        change: Option<&Change>,
    ) {
        let now = self.shared.clock.now();
        let mut known = self.lock();
        let Some(entry) = known.subject(subject) else { return };
        entry.golden = Some(words.clone());
        let (target, group) = (Arc::clone(&entry.target), entry.group);
        drop(known);
        self.shared.telemetry.golden(target.id, check);
        let Some(change) = change else { return };
        let (wrong, from) = (change.to == Verdict::Wrong, target.health.verdict());
        if !wrong && change.from == Verdict::Unknown {
            // Right from the beginning is no news.
            return;
        }
        target.health.set_wrong(wrong, now);
        let doubt = if wrong && self.are_all_wrong(group) { DOUBT } else { "" };
        self.shared.telemetry.event(Event {
            kind: EventKind::Verdict,
            subject: target.key.to_string(),
            from: from.as_str().to_owned(),
            to: target.health.verdict().as_str().to_owned(),
            cause: format!("{words}, {} in a row{doubt}", change.evidence.row),
        });
        if !wrong {
            self.welcome(&target, now);
        }
    }

    /// Whether several targets of one group are there, and all answer wrongly.
    fn are_all_wrong(&self, group: usize) -> bool {
        let known = self.lock();
        let members = || known.groups[group].iter().map(|at| &known.entries[*at]);
        members().count() > 1 && members().all(|entry| entry.target.health.answers_wrongly())
    }
}
