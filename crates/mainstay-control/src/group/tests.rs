//! Groups in a made-up world: members come and go, operators speak, load changes.

use std::time::Duration;

use mainstay_policy::Standing;

use super::*;

mod posts;
mod properties;
mod returns;
mod servers;

/// A group with what is seen of its members.
pub(super) struct World {
    pub(super) group: Group,
    pub(super) sights: Vec<Sight>,
    pub(super) now: Now,
}

pub(super) fn spec(name: &str, standby: Option<Standby>) -> Spec {
    Spec { name: name.into(), server: name.into(), standby, distance: Distance::Zone }
}

/// `active: n` of hot members a, b, c and so on.
pub(super) fn hot(active: u16, members: usize) -> World {
    let specs = ["a", "b", "c", "d", "e", "f"].iter().take(members).map(|name| spec(name, None));
    let active = Active::Between(Range::always(active));
    World::new(Rule { active, ..Rule::default() }, specs.collect())
}

impl World {
    pub(super) fn new(rule: Rule, specs: Vec<Spec>) -> Self {
        let sights = vec![Sight { fitness: Fitness::Ready, ..Sight::default() }; specs.len()];
        Self { group: Group::new(rule, specs), sights, now: Now::default() }
    }

    /// A step after so long.
    pub(super) fn after(&mut self, time: Duration) -> Vec<String> {
        self.now.moment = self.now.moment + time;
        let changes = self.group.step(&self.sights, self.now);
        changes.iter().map(|change| self.words(change)).collect()
    }

    pub(super) fn step(&mut self) -> Vec<String> {
        self.after(Duration::from_millis(100))
    }

    fn words(&self, change: &Change) -> String {
        let name = |at: usize| &self.group.members()[at].spec.name;
        let what = match change.command {
            Command::Stand { member, from, to } => {
                format!("{}: {} to {}", name(member), from.as_str(), to.as_str())
            }
            Command::Prepare { member } => format!("prepare {}", name(member)),
            Command::Release { member } => format!("release {}", name(member)),
            Command::Propose(Move { kind, from, to }) => {
                format!("propose {} {} to {}", kind.as_str(), name(from), name(to))
            }
        };
        format!("{what}: {}", change.cause)
    }

    pub(super) fn is(&mut self, name: &str, fitness: Fitness) {
        let at = self.group.find(name).unwrap();
        self.sights[at].fitness = fitness;
    }

    pub(super) fn dies(&mut self, name: &str) {
        self.is(name, Fitness::Lost(Loss::Dead));
    }

    pub(super) fn comes_back(&mut self, name: &str) {
        self.is(name, Fitness::Ready);
    }

    pub(super) fn order(&mut self, order: &Order) -> Result<String, Refusal> {
        self.group.order(order, "said so", &self.sights)
    }

    pub(super) fn standing(&self, name: &str) -> Standing {
        self.group.members()[self.group.find(name).unwrap()].standing()
    }

    pub(super) fn active(&self) -> Vec<&str> {
        let members = self.group.members().iter();
        members
            .filter(|member| member.standing() == Standing::Active)
            .map(|member| &*member.spec.name)
            .collect()
    }

    pub(super) fn share(&self, name: &str) -> f32 {
        self.group.members()[self.group.find(name).unwrap()].share().get()
    }
}
