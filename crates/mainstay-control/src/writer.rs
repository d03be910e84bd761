//! One writer: which endpoint of a pool its connections go to, where two at once would do harm.
//!
//! | by | the writer is | and moves when |
//! |---|---|---|
//! | roles | whoever says that it is primary | another one says so, and it does not, or outranked it |
//! | the post | who holds the pool's only post | the [group](crate::group) moves the post |
//!
//! There is one writer or none, never two. A writer that cannot be reached stays the writer while
//! nobody else claims to be: a probe that was missed is no promotion, and connections to it fail by
//! themselves. One that says that it is no primary any more is let go at once, whether there is
//! another or not.
//!
//! Two that both claim to be primary are a **conflict**: the one that was certainly promoted later
//! is used ([`Claim::outranks`]), or whom a Sentinel names; where neither is known the writer stays
//! what it is, and where there is none the one with the longer history is. The other one is not
//! used, and whoever operates them is told.
//!
//! Each move is a new *epoch*. Connections belong to the epoch that they were opened in, and end
//! with it. The next writer is used only when those to the last one are closed; that is for the
//! shell to see to.

use mainstay_policy::Standing;
use mainstay_policy::role::{Claim, Role};

/// Who of a pool is the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Whoever says that it is primary.
    Primary,
    /// Who holds the pool's post.
    Post,
}

/// What is seen of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// Its own word, as of its last probe; `None` where that brought none.
    pub claim: Option<Claim>,
    /// What it is for in its pool.
    pub standing: Standing,
    /// Whether a Sentinel names it; `None` where none is asked, or none has answered yet.
    pub named: Option<bool>,
}

/// The writer of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    /// Its place among the endpoints.
    at: Option<usize>,
    /// How often it has moved.
    epoch: u32,
    /// Another one that claims to be primary as well.
    rival: Option<usize>,
}

/// That the writer is another one from now on, or that there is a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The writer was the first and is the second.
    Moved(Option<usize>, Option<usize>, Why),
    /// Beside the writer, this one claims to be primary too.
    Conflict(usize),
    /// Only one claims it again.
    Settled,
}

/// Why a writer is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It says that it is primary.
    Claims,
    /// It was promoted after the one before, which still claims to be primary.
    Outranks,
    /// A Sentinel names it.
    Named,
    /// It holds the post.
    HoldsPost,
    /// The one before is no primary any more, and nobody else is.
    Stepped,
    /// The one before is drained, in maintenance or gone, and nobody else may be used.
    TakenOut,
    /// A Sentinel names another one.
    NotNamed,
}

impl Why {
    /// The reason in a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claims => "it says that it is primary",
            Self::Outranks => {
                "it was promoted after the one before, which still claims to be primary"
            }
            Self::Named => "a Sentinel names it",
            Self::HoldsPost => "it holds the post",
            Self::Stepped => "the one before is no primary any more",
            Self::TakenOut => "the one before is not to be used any more",
            Self::NotNamed => "a Sentinel names another one, which does not say so itself yet",
        }
    }
}

impl Writer {
    /// Who it is.
    #[must_use]
    pub const fn at(&self) -> Option<usize> {
        self.at
    }

    /// How often it has moved.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Who else claims to be primary.
    #[must_use]
    pub const fn rival(&self) -> Option<usize> {
        self.rival
    }

    /// The same after a change of the endpoints; `place` says where each is now.
    #[must_use]
    pub fn moved(self, place: impl Fn(usize) -> Option<usize>) -> Self {
        Self { at: self.at.and_then(&place), rival: self.rival.and_then(place), ..self }
    }

    /// What follows from what is seen now.
    pub fn step(&mut self, rule: Rule, sights: &[Sight]) -> Vec<Change> {
        let (to, why) = match rule {
            Rule::Primary => self.by_role(sights),
            Rule::Post => self.by_post(sights),
        };
        let mut changes = Vec::new();
        if to != self.at {
            changes.push(Change::Moved(self.at, to, why));
            self.at = to;
            self.epoch = self.epoch.wrapping_add(1);
        }
        let others = || (0..sights.len()).filter(|at| Some(*at) != to);
        let claims = |at: &usize| sights[*at].claims();
        let rival = others().find(claims).filter(|_| rule == Rule::Primary && to.is_some());
        if rival != self.rival {
            changes.push(rival.map_or(Change::Settled, Change::Conflict));
            self.rival = rival;
        }
        changes
    }

    fn by_post(self, sights: &[Sight]) -> (Option<usize>, Why) {
        let holds = |at: &usize| sights.get(*at).is_some_and(|s| s.standing == Standing::Active);
        if let Some(at) = self.at.filter(|at| holds(at)) {
            return (Some(at), Why::HoldsPost);
        }
        let holder = (0..sights.len()).find(holds);
        (holder, if holder.is_some() { Why::HoldsPost } else { Why::TakenOut })
    }

    fn by_role(self, sights: &[Sight]) -> (Option<usize>, Why) {
        let candidates = || (0..sights.len()).filter(|at| sights[*at].may_write());
        let named = sights.iter().position(|sight| sight.named == Some(true));
        if let Some(named) = named {
            let sight = &sights[named];
            return match self.at == Some(named) {
                false if sight.may_write() => (Some(named), Why::Named),
                false => (None, Why::NotNamed),
                true if !sight.is_usable() => (None, Why::TakenOut),
                true if sight.may_write() || sight.claim.is_none() => (Some(named), Why::Claims),
                true => (None, Why::Stepped),
            };
        }
        let own = self.at.and_then(|at| Some((at, sights.get(at)?)));
        let best = candidates().reduce(|best, at| self.better(sights, best, at));
        match (own, best) {
            (Some((at, _)), Some(best)) if at == best => (Some(at), Why::Claims),
            (Some((_, own)), Some(best)) if own.may_write() => (Some(best), Why::Outranks),
            (_, Some(best)) => (Some(best), Why::Claims),
            (Some((_, own)), None) if !own.is_usable() => (None, Why::TakenOut),
            (Some((at, own)), None) if own.claim.is_none() => (Some(at), Why::Claims),
            (_, None) => (None, Why::Stepped),
        }
    }

    /// The better of two that both claim to be primary.
    fn better(self, sights: &[Sight], one: usize, other: usize) -> usize {
        let (Some(first), Some(second)) = (sights[one].claim, sights[other].claim) else {
            return one;
        };
        match (first.outranks(&second), second.outranks(&first)) {
            (true, _) => one,
            (_, true) => other,
            _ if self.at == Some(one) => one,
            _ if self.at == Some(other) => other,
            _ if second.offset > first.offset => other,
            _ => one,
        }
    }
}

impl Sight {
    fn claims(&self) -> bool {
        self.claim.is_some_and(|claim| claim.role == Role::Primary)
    }

    /// Whether nobody took it out.
    const fn is_usable(&self) -> bool {
        matches!(self.standing, Standing::Active | Standing::Spare)
    }

    fn may_write(&self) -> bool {
        self.is_usable() && self.claims()
    }
}

#[cfg(test)]
mod tests;
