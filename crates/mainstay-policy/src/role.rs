//! What a server with state says it is: the one that takes writes, or a copy of it.
//!
//! A claim is the server's own word. Two can claim at once to take writes, after a partition for
//! example, and then more than the word is needed to tell which of them came later:
//! [`Claim::outranks`].

use std::sync::atomic::{AtomicU64, Ordering};

/// What a server says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows another one.
    Replica,
}

impl Role {
    /// The role in lower case, as status and events show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// A server's word on its role, and what it says of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it says it is.
    pub role: Role,
    /// Grows with each promotion, where servers count them (PostgreSQL's timeline); else 0.
    pub epoch: u64,
    /// How much of the history it has.
    pub offset: u64,
    /// Which history that is, where servers name them.
    pub lineage: Lineage,
}

/// Names of histories, as Redis has them (`master_replid`, `master_replid2`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The history that it writes or follows.
    pub own: Option<u64>,
    /// The one that it followed before it was promoted.
    pub before: Option<u64>,
}

impl Claim {
    /// A server that says nothing but its role.
    #[must_use]
    pub const fn of(role: Role) -> Self {
        Self { role, epoch: 0, offset: 0, lineage: Lineage { own: None, before: None } }
    }

    /// Whether it was certainly promoted after the other one: by a later epoch, or since it began
    /// from the other's history.
    #[must_use]
    pub fn outranks(&self, other: &Self) -> bool {
        if self.epoch != other.epoch {
            return self.epoch > other.epoch;
        }
        self.lineage.before.is_some() && self.lineage.before == other.lineage.own
    }
}

/// Which target of a pool its connections may go to, where one alone may be written to. Written by
/// the control loop, read before every byte that is passed on.
#[derive(Debug, Default)]
pub struct WriterWord(AtomicU64);

/// What the word says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writing {
    /// Grows with each move.
    pub epoch: u32,
    /// The target's number; `None` while there is nobody.
    pub target: Option<u32>,
}

impl WriterWord {
    /// What holds now.
    #[inline]
    #[must_use]
    pub fn read(&self) -> Writing {
        let word = self.0.load(Ordering::Acquire);
        Writing { epoch: (word >> 32) as u32, target: (word as u32).checked_sub(1) }
    }

    /// What holds from now on.
    pub fn set(&self, epoch: u32, target: Option<u32>) {
        let target = target.map_or(0, |target| target + 1);
        self.0.store(u64::from(epoch) << 32 | u64::from(target), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_was_written() {
        let word = WriterWord::default();
        assert_eq!(word.read(), Writing::default());
        for (epoch, target) in [(1, Some(0)), (u32::MAX, Some(u32::MAX - 1)), (7, None)] {
            word.set(epoch, target);
            assert_eq!(word.read(), Writing { epoch, target });
        }
    }

    #[test]
    fn who_was_promoted_later_outranks() {
        let old = Claim {
            lineage: Lineage { own: Some(7), before: None },
            offset: 900,
            ..Claim::of(Role::Primary)
        };
        let new = Claim {
            lineage: Lineage { own: Some(8), before: Some(7) },
            offset: 100,
            ..Claim::of(Role::Primary)
        };
        assert!(new.outranks(&old) && !old.outranks(&new));
        let unrelated = Claim { lineage: Lineage { own: Some(9), before: None }, ..old };
        assert!(!unrelated.outranks(&old) && !old.outranks(&unrelated));
        let later = Claim { epoch: 2, ..Claim::of(Role::Primary) };
        assert!(later.outranks(&new) && !new.outranks(&later));
    }
}
