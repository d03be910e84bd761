//! What a step wants done.

use mainstay_policy::Standing;

/// Something to do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub command: Command,
    /// Why, in one line.
    pub cause: String,
}

/// What the shell is to do; members by their place in the file. Shares and weights change
/// quietly: the shell reads them from the [members](super::Member).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The member stands differently.
    Stand {
        /// Who.
        member: usize,
        /// How it stood.
        from: Standing,
        /// How it stands now.
        to: Standing,
    },
    /// A warm member is loaded, a cold one started.
    Prepare {
        /// Who.
        member: usize,
    },
    /// It is unloaded or stopped again.
    Release {
        /// Who.
        member: usize,
    },
    /// An operator is asked to decide.
    Propose(Move),
}

/// A post that would go from one member to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Over or back.
    pub kind: Kind,
    /// Who would give it up.
    pub from: usize,
    /// Who would have it.
    pub to: usize,
}

/// Which way a post goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To a stand-in.
    Failover,
    /// To whom it belongs.
    Failback,
}

impl Kind {
    /// The verb that carries it out.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Failback => "failback",
        }
    }
}
