//! A group: the endpoints of one pool and the rule that says how many of them are in use.
//!
//! Every redundancy scheme is one rule. `active: all` is active-active, `active: 1` is
//! active-passive, `active: N` of more is N+M; `standby` says what it takes to use a spare.
//!
//! A member in use has a **post**, and there are as many posts as the rule wants. A
//! [step](Group::step) looks at what is seen of the members and moves posts:
//!
//! | a post is | when |
//! |---|---|
//! | taken over | who has it is lost, drained or in maintenance, and somebody can stand in |
//! | filled | it is empty: somebody was undrained or discovered, or load asks for more |
//! | given up | there are more than wanted: load is low, or the rule changed |
//! | taken back | somebody who comes first is well, stable, not suppressed, within a window |
//!
//! A member serves all models of its pool. One that can serve only some of them keeps its post
//! until a member waits that can serve all; meanwhile spares answer for the others, request by
//! request. Nobody that can serve none has a post while somebody who is ready waits.
//!
//! Who comes first: members not marked as standbys, then the same zone, the same region, hot
//! before warm before cold, the order in the file.
//!
//! On its way back a member and its stand-in share one post: the traffic of the one grows from
//! nothing to its full share, then that of the other falls to nothing. So the number of members
//! in use never exceeds what is wanted, but by the one that is being ramped.

use std::sync::Arc;

use mainstay_policy::{Moment, Ratio};

mod back;
mod capacity;
mod change;
mod damping;
mod member;
mod order;
mod posts;
mod rule;
mod scale;
mod sight;
mod window;

#[cfg(test)]
mod tests;

pub use back::Wait;
pub use capacity::{Tolerance, tolerance};
pub use change::{Change, Command, Move};
pub use member::{Member, Service, Spec};
pub use order::{Order, Refusal};
pub use rule::{Active, Damping, Distance, Failback, Mode, Range, Rule, Standby};
pub use sight::{Fitness, Loss, Prepared, Sight};
pub use window::{BadWindow, Wall, Window};

use self::scale::Scale;

/// Why a member is made ready once more.
const ANEW: &str = "made ready anew: it is not ready any more";

/// When a step is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// What everything is measured with.
    pub moment: Moment,
    /// For windows of the week.
    pub wall: Wall,
}

/// The endpoints of one pool with their posts.
#[derive(Clone, Debug)]
pub struct Group {
    rule: Rule,
    /// In the order of the file.
    members: Vec<Member>,
    /// How many posts there are.
    wanted: usize,
    scale: Scale,
    /// Since when every post has been held by somebody well.
    calm: Option<Moment>,
    proposed: Option<Move>,
}

impl Group {
    /// A group in which those who come first have the posts.
    #[must_use]
    pub fn new(rule: Rule, specs: Vec<Spec>) -> Self {
        let mut group = Self {
            rule,
            members: specs.into_iter().map(Member::new).collect(),
            wanted: 0,
            scale: Scale::default(),
            calm: None,
            proposed: None,
        };
        group.wanted = group.least();
        for at in group.by_rank().into_iter().take(group.wanted) {
            let member = &mut group.members[at];
            if member.spec.standby.is_none_or(|standby| standby == Standby::Hot) {
                member.posted = true;
                member.say("it comes first");
            }
        }
        group
    }

    /// The same group after a change of its rule or its members: who keeps its name keeps its
    /// post, what operators said of it and, if it is where it was, what is remembered of it.
    #[must_use]
    pub fn adopt(&self, rule: Rule, specs: &[Spec]) -> Self {
        let mut group = Self::new(rule, Vec::new());
        let place = |name: &Arc<str>| specs.iter().position(|spec| spec.name == *name);
        for spec in specs {
            let known = self.members.iter().find(|member| member.spec.name == spec.name);
            let mut member = known.cloned().unwrap_or_else(|| Member::new(spec.clone()));
            let is_same = member.spec.server == spec.server;
            member.spec = spec.clone();
            if !is_same {
                member.begin_anew();
            }
            let moved = |at: usize| place(&self.members[at].spec.name);
            member.ramp = member.ramp.and_then(|ramp| ramp.moved(moved));
            member.called = member.called.and_then(moved);
            group.members.push(member);
        }
        group.scale = self.scale;
        group.wanted = self.wanted.clamp(group.least(), group.most());
        group
    }

    /// What follows from what is seen now; as many sights as members, in their order.
    pub fn step(&mut self, sights: &[Sight], now: Now) -> Vec<Change> {
        debug_assert_eq!(sights.len(), self.members.len(), "one sight for each member");
        self.observe(sights, now.moment);
        self.wanted = self.scaled(sights, now.moment);
        self.tend_ramps(sights, now.moment);
        self.answer_calls(sights);
        self.settle_failovers();
        let proposed = self.vacate(sights);
        self.fill(sights);
        self.trim(sights);
        let back = self.fail_back(sights, now);
        let proposed = proposed.or(back);
        self.prepare(sights, now.moment);
        let mut changes = self.settle(now.moment);
        changes.extend(self.propose(proposed, sights));
        changes
    }

    /// Whether this one only holds the post of another that is on its way back.
    #[must_use]
    pub fn gives_way(&self, at: usize) -> bool {
        self.members.iter().any(|member| member.ramp.is_some_and(|ramp| ramp.stand_in == at))
    }

    /// The members, in the order of the file.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The rule.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// How many are to be in use.
    #[must_use]
    pub const fn wanted(&self) -> usize {
        self.wanted
    }

    /// How many are; a member on its way back and its stand-in count as one.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.members.iter().filter(|member| member.holds()).count()
    }

    /// What waits for an operator.
    #[must_use]
    pub const fn proposed(&self) -> Option<Move> {
        self.proposed
    }

    /// The place of a member.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| *member.spec.name == *name)
    }

    /// The members by who comes first.
    fn by_rank(&self) -> Vec<usize> {
        let mut places: Vec<_> = (0..self.members.len()).collect();
        places.sort_by_key(|at| self.rank(*at));
        places
    }

    /// Lower comes first.
    fn rank(&self, at: usize) -> (bool, Distance, Standby, usize) {
        let spec = &self.members[at].spec;
        (spec.standby.is_some(), spec.distance, spec.standby.unwrap_or_default(), at)
    }

    fn observe(&mut self, sights: &[Sight], now: Moment) {
        for (member, sight) in self.members.iter_mut().zip(sights) {
            member.observe(sight, &self.rule.failback.damping, now);
        }
    }

    /// What stands differently now.
    fn settle(&mut self, now: Moment) -> Vec<Change> {
        let manual = self.rule.mode == Mode::Manual;
        let ramp = self.rule.failback.ramp;
        let shares: Vec<_> = (0..self.members.len()).map(|at| self.share(at, ramp, now)).collect();
        let mut changes = Vec::new();
        for (at, member) in self.members.iter_mut().enumerate() {
            member.share = shares[at];
            if member.preparing && !member.prepare {
                // From here on it cannot be had, whatever it was.
                member.prepared = Prepared::No;
            }
            let (from, to) = (member.standing, member.due(manual));
            if from != to {
                member.standing = to;
                if !member.told {
                    member.why = member.usual_why(to);
                }
                let command = Command::Stand { member: at, from, to };
                changes.push(Change { command, cause: member.why.clone() });
            }
            let anew = member.prepare && member.preparing && member.unloaded;
            if anew || member.prepare != member.preparing {
                member.preparing = member.prepare;
                let command = if member.prepare {
                    Command::Prepare { member: at }
                } else {
                    Command::Release { member: at }
                };
                let cause = if anew { ANEW.to_owned() } else { member.why.clone() };
                changes.push(Change { command, cause });
            }
            member.told = false;
        }
        changes
    }

    /// The share of its traffic that a member has: less than all on a ramp.
    fn share(&self, at: usize, ramp: std::time::Duration, now: Moment) -> Ratio {
        let own = self.members[at].ramp.map(|own| own.share(ramp, now));
        let others = self.members.iter().filter_map(|member| member.ramp);
        let stands_in = others
            .filter(|other| other.stand_in == at)
            .map(|other| other.share_of_stand_in(ramp, now))
            .next();
        own.or(stands_in).unwrap_or(Ratio::ONE)
    }

    fn propose(&mut self, proposed: Option<Move>, sights: &[Sight]) -> Option<Change> {
        if proposed == self.proposed {
            return None;
        }
        self.proposed = proposed;
        let Move { kind, from, to } = proposed?;
        let (from, to) = (&self.members[from].spec.name, &self.members[to].spec.name);
        let cause = match kind {
            change::Kind::Failover => {
                format!("{from} {}; {to} would take over", sights[self.proposed?.from].words())
            }
            change::Kind::Failback => format!("{to} is well again; {from} stands in for it"),
        };
        Some(Change { command: Command::Propose(self.proposed?), cause })
    }
}
