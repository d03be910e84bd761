//! A source that is asked again and again: a DNS name, a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Change, Roster, Settings};
use crate::Moment;

/// The most that a look is put off by chance, as a share of the time until it: gateways that
/// started together do not ask together for ever.
const JITTER: f64 = 0.1;

/// What a look at the source brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Said<V> {
    /// These endpoints.
    Found {
        /// By key, with what is said of each.
        endpoints: BTreeMap<Arc<str>, V>,
        /// How long that holds; `None` where the source does not say.
        ttl: Option<Duration>,
        /// Why these may not be all: one of several questions failed. Then nobody is taken away.
        lacking: Option<String>,
    },
    /// No usable answer, and why.
    Failed(String),
}

/// The endpoints of a source that is asked again and again.
#[derive(Clone, Debug)]
pub struct Lookups<V> {
    settings: Settings,
    roster: Roster<V>,
    /// Who was missing in the last answer, where so many were that it waits to be confirmed.
    doubted: BTreeSet<Arc<str>>,
    /// Looks in a row that brought nothing.
    failures: u32,
    next: Moment,
    succeeded: Option<Moment>,
    trouble: Option<String>,
    /// Nothing but what was known before the start.
    restored: bool,
}

impl<V: Clone + PartialEq> Lookups<V> {
    /// A source that was never looked at, with what was last known of it.
    #[must_use]
    pub fn new(settings: Settings, last_known: BTreeMap<Arc<str>, V>) -> Self {
        let mut roster = Roster::default();
        let restored = !last_known.is_empty();
        for (key, value) in last_known {
            roster.put(&key, value, "");
        }
        Self {
            settings,
            roster,
            doubted: BTreeSet::new(),
            failures: 0,
            next: Moment::ZERO,
            succeeded: None,
            trouble: None,
            restored,
        }
    }

    /// The endpoints as they stand.
    #[must_use]
    pub const fn roster(&self) -> &Roster<V> {
        &self.roster
    }

    /// Whether all that is known is what was known before the start.
    #[must_use]
    pub const fn is_restored(&self) -> bool {
        self.restored
    }

    /// When the last usable answer came.
    #[must_use]
    pub const fn succeeded(&self) -> Option<Moment> {
        self.succeeded
    }

    /// What is wrong with the source since its last look, in one line.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Whether so many were missing in the last answer that it waits to be confirmed.
    #[must_use]
    pub fn doubts(&self) -> bool {
        !self.doubted.is_empty()
    }

    /// When it is to be looked at again.
    #[must_use]
    pub const fn next_look(&self) -> Moment {
        self.next
    }

    /// When [`sweep`](Self::sweep) is due at the latest.
    #[must_use]
    pub fn next_sweep(&self) -> Option<Moment> {
        self.roster.next(self.settings.linger)
    }

    /// Takes what a look brought.
    pub fn step(&mut self, said: Said<V>, now: Moment, rng: &mut fastrand::Rng) -> Vec<Change> {
        match said {
            Said::Failed(why) => {
                self.fail(why, now, rng);
                Vec::new()
            }
            Said::Found { endpoints, .. } if endpoints.is_empty() => {
                let kept = if self.roster.is_empty() { "" } else { "; the last good set is kept" };
                self.fail(format!("it names no endpoint{kept}"), now, rng);
                Vec::new()
            }
            Said::Found { endpoints, ttl, lacking } => {
                let complete = lacking.is_none();
                self.failures = 0;
                self.trouble = lacking;
                self.succeeded = Some(now);
                self.restored = false;
                let changes = self.take(endpoints, complete, now);
                let wait = if self.doubted.is_empty() { ttl } else { None };
                let wait = wait.unwrap_or(self.settings.min_refresh);
                self.look_after(wait, now, rng);
                changes
            }
        }
    }

    /// Removes who was leaving long enough, or answers no more.
    pub fn sweep(&mut self, now: Moment, answers: impl Fn(&str) -> bool) -> Vec<Change> {
        self.roster.sweep(self.settings.linger, now, answers)
    }

    fn take(
        &mut self,
        endpoints: BTreeMap<Arc<str>, V>,
        complete: bool,
        now: Moment,
    ) -> Vec<Change> {
        let missing: BTreeSet<_> = match complete {
            true => {
                self.roster.present().filter(|key| !endpoints.contains_key(*key)).cloned().collect()
            }
            false => BTreeSet::new(),
        };
        let present = self.roster.present().count();
        let named = endpoints.into_iter();
        let mut changes: Vec<_> =
            named.filter_map(|(key, value)| self.roster.put(&key, value, "named")).collect();
        if complete {
            let going = self.believed(missing, present);
            let left = |key| self.roster.let_go(key, "no longer named", now);
            changes.extend(going.iter().map(|key| &**key).filter_map(left));
        }
        changes
    }

    /// Who of the missing is really gone, as far as this answer can be believed.
    fn believed(&mut self, missing: BTreeSet<Arc<str>>, present: usize) -> BTreeSet<Arc<str>> {
        let share = missing.len() as f32 / present.max(1) as f32;
        if share <= self.settings.most_removed.get() {
            self.doubted.clear();
            return missing;
        }
        let (sure, doubted): (BTreeSet<_>, BTreeSet<_>) =
            missing.into_iter().partition(|key| self.doubted.contains(key));
        if !doubted.is_empty() {
            let (gone, of) = (doubted.len(), present);
            self.trouble = Some(format!("{gone} of {of} are no longer named: to be confirmed"));
        }
        self.doubted = doubted;
        sure
    }

    /// It brought nothing: soon again, then less and less often.
    fn fail(&mut self, why: String, now: Moment, rng: &mut fastrand::Rng) {
        let wait = self.settings.min_refresh.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(why);
        self.look_after(wait, now, rng);
    }

    fn look_after(&mut self, wait: Duration, now: Moment, rng: &mut fastrand::Rng) {
        let Settings { min_refresh, max_refresh, .. } = self.settings;
        let wait = wait.min(max_refresh).max(min_refresh);
        self.next = now + wait.mul_f64(1.0 + JITTER * rng.f64());
    }
}
