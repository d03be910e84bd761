//! What operators may say of a pool.

use std::sync::Arc;

use super::change::Kind;
use super::{Fitness, Group, Member, Service, Sight};

/// An operator's word. Drain, maintenance and weight hold until they are taken back; a failover
/// holds until a failback.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// The endpoint takes no new requests; its post goes to a spare.
    Drain {
        /// Its name.
        endpoint: Arc<str>,
    },
    /// The endpoint is not touched at all, not even when an error is the alternative.
    Maintenance {
        /// Its name.
        endpoint: Arc<str>,
    },
    /// The end of a drain or of maintenance.
    Undrain {
        /// Its name.
        endpoint: Arc<str>,
    },
    /// The endpoint's weight is multiplied by this factor; 1 is as configured.
    Weight {
        /// Its name.
        endpoint: Arc<str>,
        /// Above 0.
        factor: f32,
    },
    /// Carry out the failover that is proposed; if none is, move a post to a spare.
    Failover {
        /// Who gives its post up; `None` for whoever is proposed, or the least preferred in use.
        from: Option<Arc<str>>,
        /// Who takes it; `None` for the most preferred that is ready.
        to: Option<Arc<str>>,
    },
    /// Give posts back to whom they belong now, without waiting for stability or a window.
    Failback {
        /// Who comes back; `None` for everybody.
        endpoint: Option<Arc<str>>,
    },
}

impl Order {
    /// The verb, as commands and events show it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Drain { .. } => "drain",
            Self::Maintenance { .. } => "maintenance",
            Self::Undrain { .. } => "undrain",
            Self::Weight { .. } => "weight",
            Self::Failover { .. } => "failover",
            Self::Failback { .. } => "failback",
        }
    }

    /// The endpoints that it names.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<str>> {
        let (first, second) = match self {
            Self::Drain { endpoint }
            | Self::Maintenance { endpoint }
            | Self::Undrain { endpoint }
            | Self::Weight { endpoint, .. } => (Some(endpoint), None),
            Self::Failover { from, to } => (from.as_ref(), to.as_ref()),
            Self::Failback { endpoint } => (endpoint.as_ref(), None),
        };
        first.into_iter().chain(second)
    }
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No endpoint of the pool has this name.
    #[error("the pool has no endpoint {0:?}")]
    Unknown(Arc<str>),
    /// It makes no sense as things stand.
    #[error("{0}")]
    Pointless(String),
}

impl Group {
    /// Carries out what an operator says; the next [step](Self::step) does what follows. Gives
    /// what was understood, in one line.
    ///
    /// # Errors
    /// It names an endpoint that is not there, or makes no sense as things stand.
    pub fn order(
        &mut self,
        order: &Order,
        reason: &str,
        sights: &[Sight],
    ) -> Result<String, Refusal> {
        let missing = order.endpoints().find(|name| self.find(name).is_none());
        if let Some(name) = missing {
            return Err(Refusal::Unknown(Arc::clone(name)));
        }
        match order {
            Order::Drain { endpoint } => {
                self.serve(endpoint, Service::Drained { reason: reason.to_owned() })
            }
            Order::Maintenance { endpoint } => {
                self.serve(endpoint, Service::Maintenance { reason: reason.to_owned() })
            }
            Order::Undrain { endpoint } => self.undrain(endpoint),
            Order::Weight { endpoint, factor } => self.weigh(endpoint, *factor),
            Order::Failover { from, to } => {
                self.fail_over(from.as_ref(), to.as_ref(), reason, sights)
            }
            Order::Failback { endpoint } => self.recall(endpoint.as_ref(), sights),
        }
    }

    fn named(&mut self, name: &Arc<str>) -> Result<&mut Member, Refusal> {
        let found = self.members.iter_mut().find(|member| member.spec.name == *name);
        found.ok_or_else(|| Refusal::Unknown(Arc::clone(name)))
    }

    fn serve(&mut self, name: &Arc<str>, service: Service) -> Result<String, Refusal> {
        let member = self.named(name)?;
        member.service = service;
        let why = member.ordered();
        member.say(why);
        Ok(format!("{name} {}", member.why))
    }

    fn undrain(&mut self, name: &Arc<str>) -> Result<String, Refusal> {
        let member = self.named(name)?;
        if member.service == Service::Open {
            let what = format!("{name} is neither drained nor in maintenance");
            return Err(Refusal::Pointless(what));
        }
        member.service = Service::Open;
        member.say("undrained");
        Ok(format!("{name} is undrained"))
    }

    fn weigh(&mut self, name: &Arc<str>, factor: f32) -> Result<String, Refusal> {
        if !(factor > 0.0 && factor <= 100.0) {
            let what = "a factor is above 0 and at most 100; drain who is to get nothing";
            return Err(Refusal::Pointless(what.to_owned()));
        }
        self.named(name)?.weight = factor;
        Ok(format!("the weight of {name} is multiplied by {factor}"))
    }

    fn fail_over(
        &mut self,
        from: Option<&Arc<str>>,
        to: Option<&Arc<str>>,
        reason: &str,
        sights: &[Sight],
    ) -> Result<String, Refusal> {
        let from = self.giver(from, sights)?;
        let to = self.taker(to, sights)?;
        let names = (self.members[from].spec.name.clone(), self.members[to].spec.name.clone());
        if !sights[from].fitness.is_lost() {
            self.members[from].held_off = Some(reason.to_owned());
        }
        if !self.members[to].is_prepared() {
            self.members[to].called = Some(from);
            return Ok(format!("{} is made ready and then takes over from {}", names.1, names.0));
        }
        let held_off = self.members[from].held_off.take();
        self.hand_over(from, to, &format!("was failed over: {reason}"));
        self.members[from].held_off = held_off;
        Ok(format!("{} took over from {}", names.1, names.0))
    }

    /// Who gives its post up.
    fn giver(&self, from: Option<&Arc<str>>, sights: &[Sight]) -> Result<usize, Refusal> {
        let holders: Vec<_> =
            (0..self.members.len()).filter(|at| self.members[*at].holds()).collect();
        if let Some(name) = from {
            let at = self.find(name).filter(|at| holders.contains(at));
            return at.ok_or_else(|| Refusal::Pointless(format!("{name} is not in use")));
        }
        let proposed = self.proposed.filter(|proposed| proposed.kind == Kind::Failover);
        let lost = || holders.iter().copied().find(|at| sights[*at].fitness.is_lost());
        let only = || (holders.len() == 1).then(|| holders[0]);
        proposed.map(|proposed| proposed.from).or_else(lost).or_else(only).ok_or_else(|| {
            Refusal::Pointless("nobody in use is lost; say who is to give its post up".to_owned())
        })
    }

    /// Who takes it.
    fn taker(&self, to: Option<&Arc<str>>, sights: &[Sight]) -> Result<usize, Refusal> {
        let Some(name) = to else {
            let found = self.candidate(sights, false).or_else(|| self.unprepared(sights).next());
            return found.ok_or_else(|| Refusal::Pointless("nobody can take over".to_owned()));
        };
        let at = self.find(name).ok_or_else(|| Refusal::Unknown(Arc::clone(name)))?;
        let member = &self.members[at];
        let obstacle = if member.posted {
            Some("is in use already".to_owned())
        } else if !member.is_open() {
            Some(member.ordered())
        } else if member.is_prepared() && sights[at].fitness.is_lost() {
            Some(sights[at].words())
        } else {
            None
        };
        match obstacle {
            Some(what) => Err(Refusal::Pointless(format!("{name} {what}"))),
            None => Ok(at),
        }
    }

    /// Those who were called and are ready now take over.
    pub(super) fn answer_calls(&mut self, sights: &[Sight]) {
        for (at, sight) in sights.iter().enumerate() {
            let Some(from) = self.members[at].called else { continue };
            if self.members[at].may_be_posted() && sight.fitness == Fitness::Ready {
                self.members[at].called = None;
                if !self.members[from].holds() {
                    // Its post went another way meanwhile: there is nothing to move.
                    self.members[from].held_off = None;
                    continue;
                }
                let held_off = self.members[from].held_off.take();
                self.hand_over(from, at, "was failed over by an operator");
                self.members[from].held_off = held_off;
            } else if !self.members[at].is_open() {
                self.members[at].called = None;
            }
        }
    }

    /// Whether an operator's failover still has an effect: somebody is kept from a post that is its
    /// own, or is about to give one up.
    #[must_use]
    pub fn is_failed_over(&self) -> bool {
        self.members.iter().any(|member| member.held_off.is_some() || member.called.is_some())
    }

    /// The failover is over by itself: whoever it keeps away comes back as the rule says.
    pub fn end_failover(&mut self) {
        for member in &mut self.members {
            (member.held_off, member.called) = (None, None);
        }
    }

    /// A failover that came to nothing, or was overtaken by events, keeps nobody away: who has a
    /// post while nobody is called to take it is where it belongs.
    pub(super) fn settle_failovers(&mut self) {
        let called: Vec<_> = self.members.iter().filter_map(|member| member.called).collect();
        for (at, member) in self.members.iter_mut().enumerate() {
            if member.posted && !called.contains(&at) {
                member.held_off = None;
            }
        }
    }

    fn recall(&mut self, name: Option<&Arc<str>>, sights: &[Sight]) -> Result<String, Refusal> {
        let meant: Vec<_> = (0..self.members.len())
            .filter(|at| name.is_none_or(|name| self.members[*at].spec.name == *name))
            .filter(|at| !self.members[*at].posted)
            .filter(|at| self.members[*at].held_off.is_some() || self.comes_before_a_holder(*at))
            .collect();
        let well: Vec<_> = meant
            .iter()
            .copied()
            .filter(|at| self.members[*at].may_be_posted() && sights[*at].fitness == Fitness::Ready)
            .collect();
        if let (Some(first), true) = (meant.first(), well.is_empty()) {
            let what = format!("{} {}", self.members[*first].spec.name, sights[*first].words());
            return Err(Refusal::Pointless(what));
        }
        if well.is_empty() {
            return Err(Refusal::Pointless("everybody is where it belongs".to_owned()));
        }
        for at in &well {
            (self.members[*at].held_off, self.members[*at].recalled) = (None, true);
        }
        let names: Vec<_> = well.iter().map(|at| &*self.members[*at].spec.name).collect();
        Ok(format!("{} takes its post back", names.join(", ")))
    }

    fn comes_before_a_holder(&self, at: usize) -> bool {
        (0..self.members.len())
            .any(|other| self.members[other].holds() && self.rank(other) > self.rank(at))
    }
}
