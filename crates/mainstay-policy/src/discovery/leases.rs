//! A source whose endpoints speak for themselves: each registers with a lifetime and renews it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Change, LeaseSettings, Roster};
use crate::Moment;

/// Why an endpoint may not register.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many as may be are registered.
    #[error("{0} endpoints are registered already, and no more may be")]
    Full(usize),
    /// Somebody else registered under this name, and its word still holds.
    #[error("this name is registered for {0}, whose word still holds")]
    NameTaken(Arc<str>),
    /// Somebody else registered this address, and its word still holds.
    #[error("this address is registered as {0}, whose word still holds")]
    AddressTaken(Arc<str>),
}

/// The endpoints that registered themselves.
#[derive(Clone, Debug)]
pub struct Leases<V> {
    settings: LeaseSettings,
    /// By name.
    roster: Roster<V>,
    leases: BTreeMap<Arc<str>, Lease>,
    trouble: Option<String>,
}

#[derive(Clone, Debug)]
struct Lease {
    address: Arc<str>,
    until: Moment,
}

impl<V: Clone + PartialEq> Leases<V> {
    /// Nobody, or those who were registered before the start: each has `lifetime` to say so again.
    #[must_use]
    pub fn new(
        settings: LeaseSettings,
        last_known: BTreeMap<Arc<str>, (Arc<str>, V)>,
        lifetime: Duration,
        now: Moment,
    ) -> Self {
        let (mut roster, mut leases) = (Roster::default(), BTreeMap::new());
        for (name, (address, value)) in last_known {
            roster.put(&name, value, "");
            leases.insert(name, Lease { address, until: now + lifetime });
        }
        Self { settings, roster, leases, trouble: None }
    }

    /// The endpoints as they stand.
    #[must_use]
    pub const fn roster(&self) -> &Roster<V> {
        &self.roster
    }

    /// What is wrong with the source, in one line.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// An endpoint registers, or renews its word.
    ///
    /// # Errors
    /// There is no room, or another one holds its name or its address.
    pub fn beat(
        &mut self,
        name: &Arc<str>,
        (address, value): (&Arc<str>, V),
        lifetime: Duration,
        now: Moment,
    ) -> Result<Option<Change>, Refused> {
        let holds = |lease: &Lease| now < lease.until;
        if let Some(lease) = self.leases.get(name) {
            if lease.address != *address && holds(lease) {
                return Err(Refused::NameTaken(Arc::clone(&lease.address)));
            }
        } else if self.leases.len() >= self.settings.most {
            return Err(Refused::Full(self.leases.len()));
        }
        let other = self.leases.iter().find(|(of, l)| *of != name && l.address == *address);
        if let Some((other, _)) = other.filter(|(_, lease)| holds(lease)) {
            return Err(Refused::AddressTaken(Arc::clone(other)));
        }
        let lease = Lease { address: Arc::clone(address), until: now + lifetime };
        self.leases.insert(Arc::clone(name), lease);
        Ok(self.roster.put(name, value, "it registered itself"))
    }

    /// An endpoint says that it goes.
    pub fn leave(&mut self, name: &str, now: Moment) -> Option<Change> {
        if let Some(lease) = self.leases.get_mut(name) {
            lease.until = now;
        }
        self.roster.let_go(name, "it said that it leaves", now)
    }

    /// Lets go who has not renewed its word, and removes who has gone.
    ///
    /// When more than half fall silent at once and still answer, it is their way to here that is
    /// cut, and nobody is let go (Eureka's self-preservation).
    pub fn sweep(&mut self, now: Moment, answers: impl Fn(&str) -> bool) -> Vec<Change> {
        let grace = self.settings.grace;
        let silent = |key: &str| self.leases.get(key).is_none_or(|l| now >= l.until + grace);
        let present = self.roster.present().count();
        let silent: Vec<_> = self.roster.present().filter(|key| silent(key)).cloned().collect();
        let (alive, dead): (Vec<_>, Vec<_>) = silent.into_iter().partition(|key| answers(key));
        let cut = alive.len() * 2 > present;
        self.trouble = cut.then(|| {
            let (silent, of) = (alive.len(), present);
            format!("{silent} of {of} send no heartbeat and still answer: nobody is let go")
        });
        let going = dead.iter().chain(alive.iter().filter(|_| !cut));
        let why = "it sends no heartbeat any more";
        let mut changes: Vec<_> =
            going.filter_map(|key| self.roster.let_go(key, why, now)).collect();
        let removed = self.roster.sweep(self.settings.linger, now, answers);
        for change in &removed {
            self.leases.remove(&change.key);
        }
        changes.extend(removed);
        changes
    }
}
