//! What golden requests come to: a signal of its own beside all that the fusion weighs.

use std::sync::Arc;

use mainstay_policy::Verdict;
use mainstay_policy::health::{Change, Check};
use mainstay_telemetry::{Event, EventKind};

use super::Board;

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
        let entry = &mut known.entries[subject];
        entry.golden = Some(words.clone());
        let target = Arc::clone(&entry.target);
        drop(known);
        self.shared.telemetry.golden(target.id, check);
        let Some(change) = change else { return };
        let (wrong, from) = (change.to == Verdict::Wrong, target.health.verdict());
        if !wrong && change.from == Verdict::Unknown {
            // Right from the beginning is no news.
            return;
        }
        target.health.set_wrong(wrong, now);
        self.shared.telemetry.event(Event {
            kind: EventKind::Verdict,
            subject: target.key.to_string(),
            from: from.as_str().to_owned(),
            to: target.health.verdict().as_str().to_owned(),
            cause: format!("{words}, {} in a row", change.evidence.row),
        });
        if !wrong {
            self.welcome(&target, now);
        }
    }
}
