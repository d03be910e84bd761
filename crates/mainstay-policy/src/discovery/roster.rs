//! The endpoints that a source has, those on their way out among them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Became, Change};
use crate::Moment;

/// The endpoints of one source by their keys, each with what is said of it.
#[derive(Clone, Debug)]
pub struct Roster<V> {
    members: BTreeMap<Arc<str>, Member<V>>,
}

#[derive(Clone, Debug)]
struct Member<V> {
    value: V,
    /// Since when it is leaving, and why.
    leaving: Option<(Moment, String)>,
}

impl<V> Default for Roster<V> {
    fn default() -> Self {
        Self { members: BTreeMap::new() }
    }
}

impl<V: PartialEq> Roster<V> {
    /// Every endpoint with what is said of it, and whether it is leaving; in the order of the
    /// keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V, bool)> {
        self.members.iter().map(|(key, member)| (key, &member.value, member.leaving.is_some()))
    }

    /// Endpoints, those on their way out included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Endpoints that are not leaving.
    pub fn present(&self) -> impl Iterator<Item = &Arc<str>> {
        let here = self.members.iter().filter(|(_, member)| member.leaving.is_none());
        here.map(|(key, _)| key)
    }

    /// What is said of an endpoint.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        self.members.get(key).map(|member| &member.value)
    }

    /// It is named, and so described.
    pub(super) fn put(&mut self, key: &Arc<str>, value: V, cause: &str) -> Option<Change> {
        let Some(member) = self.members.get_mut(key) else {
            self.members.insert(Arc::clone(key), Member { value, leaving: None });
            return Some(change(key, Became::Added, cause.to_owned()));
        };
        let returned = member.leaving.take().is_some();
        let same = member.value == value;
        member.value = value;
        match (returned, same) {
            (true, _) => Some(change(key, Became::Returned, cause.to_owned())),
            (false, false) => Some(change(key, Became::Changed, cause.to_owned())),
            (false, true) => None,
        }
    }

    /// It shall go.
    pub(super) fn let_go(&mut self, key: &str, cause: &str, now: Moment) -> Option<Change> {
        let (key, member) = self.members.iter_mut().find(|(known, _)| ***known == *key)?;
        if member.leaving.is_some() {
            return None;
        }
        member.leaving = Some((now, cause.to_owned()));
        Some(change(key, Became::Leaving, cause.to_owned()))
    }

    /// Removes who was leaving for `linger`, or answers no more.
    pub(super) fn sweep(
        &mut self,
        linger: Duration,
        now: Moment,
        answers: impl Fn(&str) -> bool,
    ) -> Vec<Change> {
        let mut gone = Vec::new();
        self.members.retain(|key, member| {
            let Some((since, cause)) = &member.leaving else { return true };
            let drained = now.since(*since);
            let why = match answers(key) {
                false => "it does not answer either".to_owned(),
                true if drained >= linger => format!("drained for {:.0} s", drained.as_secs_f64()),
                true => return true,
            };
            gone.push(change(key, Became::Removed, format!("{cause}; {why}")));
            false
        });
        gone
    }

    /// When the next one that is leaving has lingered long enough.
    pub(super) fn next(&self, linger: Duration) -> Option<Moment> {
        let leaving = self.members.values().filter_map(|member| member.leaving.as_ref());
        leaving.map(|(since, _)| *since + linger).min()
    }
}

fn change(key: &Arc<str>, to: Became, cause: String) -> Change {
    Change { key: Arc::clone(key), to, cause }
}
