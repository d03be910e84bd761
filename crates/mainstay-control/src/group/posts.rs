//! Who has a post: taken over, filled, given up; and who is made ready for one.

use mainstay_policy::Moment;

use super::change::Kind;
use super::{Distance, Fitness, Group, Mode, Move, Prepared, Service, Sight, Standby};

impl Group {
    /// The best who could sit down now; lost ones only if `anybody`.
    pub(super) fn candidate(&self, sights: &[Sight], anybody: bool) -> Option<usize> {
        (0..self.members.len())
            .filter(|at| self.members[*at].may_be_posted())
            .filter(|at| anybody || !sights[*at].fitness.is_lost())
            .min_by_key(|at| self.preference(sights, *at))
    }

    /// Lower is better: who can serve, is not held back, and comes first.
    fn preference(
        &self,
        sights: &[Sight],
        at: usize,
    ) -> (Fitness, bool, bool, (bool, Distance, Standby, usize)) {
        let member = &self.members[at];
        let fitness = match sights[at].fitness {
            Fitness::Lost(_) => Fitness::Lost(super::Loss::Dead),
            fitness => fitness,
        };
        (fitness, member.suppressed, member.held_off.is_some(), self.rank(at))
    }

    /// Takes over the posts of those who were lost, or may not have one. Gives what is proposed
    /// instead where an operator decides.
    pub(super) fn vacate(&mut self, sights: &[Sight]) -> Option<Move> {
        let mut proposed = None;
        for at in 0..self.members.len() {
            if !self.members[at].holds() {
                continue;
            }
            if !self.members[at].is_open() {
                self.leave(at);
                continue;
            }
            let Some(to) = self.successor(sights, at) else {
                proposed = proposed.or_else(|| self.would_prepare(sights, at));
                continue;
            };
            if self.rule.mode == Mode::Manual {
                proposed = proposed.or(Some(Move { kind: Kind::Failover, from: at, to }));
            } else {
                self.hand_over(at, to, &sights[at].words());
            }
        }
        proposed
    }

    /// Who should have its post instead, as things stand.
    fn successor(&self, sights: &[Sight], at: usize) -> Option<usize> {
        let to = self.candidate(sights, false)?;
        let better = match sights[at].fitness {
            Fitness::Lost(_) => true,
            Fitness::Partly => sights[to].fitness == Fitness::Ready,
            Fitness::Ready | Fitness::Unknown => false,
        };
        better.then_some(to)
    }

    /// In manual mode, who would be made ready for the post of one that is lost.
    fn would_prepare(&self, sights: &[Sight], at: usize) -> Option<Move> {
        let asks = self.rule.mode == Mode::Manual && sights[at].fitness.is_lost();
        let to = asks.then(|| self.unprepared(sights).next()).flatten()?;
        let called = self.members[to].called.is_some();
        (!called).then_some(Move { kind: Kind::Failover, from: at, to })
    }

    /// An operator takes its post away.
    fn leave(&mut self, at: usize) {
        let why = self.members[at].ordered();
        self.members[at].give_up(why);
    }

    /// `to` takes the post of `from`, which `what`.
    pub(super) fn hand_over(&mut self, from: usize, to: usize, what: &str) {
        let name = |at: usize| self.members[at].spec.name.clone();
        let (giver, taker) = (name(from), name(to));
        self.members[to].take_post(format!("took over: {giver} {what}"));
        let giver = &mut self.members[from];
        giver.give_up(format!("{taker} took over: it {what}"));
        giver.prepare = false;
        for member in &mut self.members {
            // Who was on its way back to this post goes on to the one that has it now.
            if let Some(ramp) = member.ramp.as_mut().filter(|ramp| ramp.stand_in == from) {
                ramp.stand_in = to;
            }
        }
    }

    /// Fills empty posts; with somebody who is lost if nobody else is there, so that it is in use
    /// as soon as it is back.
    pub(super) fn fill(&mut self, sights: &[Sight]) {
        while self.in_use() < self.wanted {
            let found = self.candidate(sights, false).or_else(|| self.candidate(sights, true));
            let Some(at) = found else { return };
            let gone = self.members.iter().find(|member| !member.is_open());
            let why = gone.map_or_else(
                || format!("a post is free: {} are wanted", self.wanted),
                |gone| format!("took over: {} {}", gone.spec.name, gone.ordered()),
            );
            self.members[at].take_post(why);
        }
    }

    /// Empties posts that are not wanted.
    pub(super) fn trim(&mut self, sights: &[Sight]) {
        while self.in_use() > self.wanted {
            let ramped = |at: usize| {
                self.members.iter().any(|member| member.ramp.is_some_and(|r| r.stand_in == at))
            };
            let holders = (0..self.members.len()).filter(|at| self.members[*at].holds());
            let last =
                holders.filter(|at| !ramped(*at)).max_by_key(|at| self.preference(sights, *at));
            let Some(at) = last else { return };
            let why = format!("{} are enough", self.wanted);
            self.members[at].give_up(why);
        }
    }

    /// Those who would have to be made ready first, the best first.
    pub(super) fn unprepared<'a>(&'a self, sights: &'a [Sight]) -> impl Iterator<Item = usize> {
        let mut places: Vec<_> = (0..self.members.len())
            .filter(|at| {
                let member = &self.members[*at];
                !member.posted && member.is_open() && !member.is_prepared()
            })
            .collect();
        places.sort_by_key(|at| {
            // Nothing can be loaded at a server that is down; a cold one is down of course.
            let down = self.members[*at].spec.standby == Some(Standby::Warm)
                && matches!(
                    sights[*at].fitness,
                    Fitness::Lost(super::Loss::Dead | super::Loss::Refuses)
                );
            (down, self.rank(*at))
        });
        places.into_iter()
    }

    /// Has as many made ready as there are posts without anybody who can serve, and lets them go
    /// again when all posts have been well held for as long as a failback waits.
    pub(super) fn prepare(&mut self, sights: &[Sight], now: Moment) {
        let missing = self.missing(sights);
        let mut short = missing;
        for at in self.unprepared(sights).collect::<Vec<_>>() {
            let member = &mut self.members[at];
            if short == 0 && member.called.is_none() {
                continue;
            }
            if !member.prepare {
                member.prepare = true;
                member.say(format!(
                    "made ready: {} of {} posts lack a server",
                    missing.max(1),
                    self.wanted
                ));
            }
            if sights[at].prepared != Prepared::Failing {
                short = short.saturating_sub(1);
            }
        }
        self.let_go(sights, missing, now);
    }

    /// Seats that nobody who can serve holds; where an operator decides, only empty ones.
    fn missing(&self, sights: &[Sight]) -> usize {
        let manual = self.rule.mode == Mode::Manual;
        let held =
            |at: &usize| self.members[*at].holds() && (manual || !sights[*at].fitness.is_lost());
        self.wanted.saturating_sub((0..self.members.len()).filter(held).count())
    }

    fn let_go(&mut self, sights: &[Sight], missing: usize, now: Moment) {
        let well = |at: usize| !self.members[at].holds() || !sights[at].fitness.is_lost();
        let ramping = self.members.iter().any(|member| member.ramp.is_some());
        let calm = missing == 0 && !ramping && (0..self.members.len()).all(well);
        self.calm = calm.then(|| self.calm.unwrap_or(now));
        let over = self.calm.is_some_and(|calm| now.since(calm) >= self.rule.failback.stable_for);
        for member in &mut self.members {
            let unused = member.prepare && !member.posted && member.called.is_none();
            if unused && (over || !member.is_open()) {
                member.prepare = false;
                member.say("no longer needed");
            }
        }
    }
}

impl super::Member {
    /// What an operator did with it, as the end of a sentence about it.
    pub(super) fn ordered(&self) -> String {
        match &self.service {
            Service::Open => "is open".to_owned(),
            Service::Drained { reason } => format!("is drained: {reason}"),
            Service::Maintenance { reason } => format!("is in maintenance: {reason}"),
        }
    }
}
