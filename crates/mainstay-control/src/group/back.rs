//! The way back: who may take its post back, what it waits for, and the ramp.

use std::fmt;
use std::time::Duration;

use mainstay_policy::Moment;

use super::change::Kind;
use super::member::Ramp;
use super::{Fitness, Group, Mode, Move, Now, Sight};

/// Answers of a returning member before it is judged.
const JUDGED: u32 = 10;
/// It is worse than its stand-in if its share of failures is higher by this, as outliers are.
const MORE_ERRORS: f32 = 0.1;
/// Or if its median is so many times that of its stand-in, as outliers are.
const SLOWER: u32 = 3;
/// And longer than this.
const FLOOR: Duration = Duration::from_millis(10);

/// What a member waits for that would take its post back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wait {
    /// To be well.
    Unwell,
    /// To have been well for so much longer.
    Stable {
        /// How long it has been.
        so_far: Duration,
        /// Of so long.
        of: Duration,
    },
    /// To have come and gone less: suppressed for so long.
    Suppressed {
        /// What is held against it.
        penalty: f32,
        /// For so long.
        left: Duration,
    },
    /// For the next window, which opens after so long.
    Window {
        /// Until it opens.
        opens_in: Duration,
    },
    /// For an operator.
    Told,
    /// For another member that is on its way back.
    Turn,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwell => f.write_str("it is not well yet"),
            Self::Stable { so_far, of } => {
                write!(f, "well for {} s of {} s", so_far.as_secs(), of.as_secs())
            }
            Self::Suppressed { penalty, left } => {
                write!(f, "it came and went (penalty {penalty:.1}); held for {} s", left.as_secs())
            }
            Self::Window { opens_in } => {
                write!(f, "outside its windows; the next opens in {} min", opens_in.as_secs() / 60)
            }
            Self::Told => f.write_str("waits for `mainstay failback`"),
            Self::Turn => f.write_str("another endpoint is on its way back"),
        }
    }
}

impl Group {
    /// What a member waits for to take a post back that is its own; `None` if it waits for
    /// nothing, or there is no post for it.
    #[must_use]
    pub fn pending(&self, at: usize, sights: &[Sight], now: Now) -> Option<Wait> {
        let displaced = self.members[at].held_off.is_some() || self.stand_in(at).is_some();
        (displaced && self.could_return(at)).then(|| self.wait(at, sights, now)).flatten()
    }

    /// Whether it is nothing but unwell or waiting.
    fn could_return(&self, at: usize) -> bool {
        let member = &self.members[at];
        !member.posted && member.is_open() && member.is_prepared()
    }

    /// Who would give its post up for it: the last of those who come after it.
    fn stand_in(&self, at: usize) -> Option<usize> {
        (0..self.members.len())
            .filter(|other| self.members[*other].holds() && self.rank(*other) > self.rank(at))
            .max_by_key(|other| self.rank(*other))
    }

    fn wait(&self, at: usize, sights: &[Sight], now: Now) -> Option<Wait> {
        let (member, rule) = (&self.members[at], &self.rule.failback);
        let Some(well) = member.well.filter(|_| sights[at].fitness == Fitness::Ready) else {
            return Some(Wait::Unwell);
        };
        let so_far = now.moment.since(well);
        if self.members.iter().any(|member| member.ramp.is_some()) {
            Some(Wait::Turn)
        } else if member.recalled {
            None
        } else if member.suppressed {
            let penalty = member.penalty.now(&rule.damping, now.moment);
            let left = member.penalty.left(&rule.damping, now.moment);
            Some(Wait::Suppressed { penalty, left })
        } else if so_far < rule.stable_for {
            Some(Wait::Stable { so_far, of: rule.stable_for })
        } else if rule.mode == Mode::Manual || member.held_off.is_some() {
            Some(Wait::Told)
        } else if !rule.windows.is_empty() && !rule.windows.iter().any(|w| w.is_open(now.wall)) {
            let opens = rule.windows.iter().map(|window| window.opens_in(now.wall)).min();
            Some(Wait::Window { opens_in: opens.unwrap_or_default() })
        } else {
            None
        }
    }

    /// Lets the first who may take its post back begin; or proposes that it does.
    pub(super) fn fail_back(&mut self, sights: &[Sight], now: Now) -> Option<Move> {
        let mut proposed = None;
        for at in self.by_rank() {
            let Some(stand_in) = self.stand_in(at).filter(|_| self.could_return(at)) else {
                continue;
            };
            match self.wait(at, sights, now) {
                None => {
                    self.begin(at, stand_in, now.moment);
                    return None;
                }
                Some(Wait::Told) if self.members[at].held_off.is_none() => {
                    let back = Move { kind: Kind::Failback, from: stand_in, to: at };
                    proposed = proposed.or(Some(back));
                }
                Some(_) => {}
            }
        }
        proposed
    }

    fn begin(&mut self, at: usize, stand_in: usize, now: Moment) {
        let told = self.members[at].recalled;
        let stands_in = self.members[stand_in].spec.name.clone();
        let what = if told { "as it was told" } else { "it has been well for long enough" };
        self.members[at].take_post(format!("takes its post back from {stands_in}: {what}"));
        self.members[at].ramp = Some(Ramp { stand_in, began: now });
        if self.rule.failback.ramp.is_zero() {
            self.arrive(at, stand_in);
        }
    }

    /// The ramp is over.
    fn arrive(&mut self, at: usize, stand_in: usize) {
        let member = &mut self.members[at];
        (member.ramp, member.recalled) = (None, false);
        let name = member.spec.name.clone();
        self.members[stand_in].give_up(format!("{name} has its post back"));
    }

    /// Looks after those who are on their way back.
    pub(super) fn tend_ramps(&mut self, sights: &[Sight], now: Moment) {
        for at in 0..self.members.len() {
            let Some(Ramp { stand_in, began }) = self.members[at].ramp else { continue };
            let other = &self.members[stand_in];
            let ramp = Ramp { stand_in, began };
            if !self.members[at].is_open() {
                let why = self.members[at].ordered();
                self.members[at].give_up(why);
            } else if let Some(why) = worse(&sights[at], &sights[stand_in]) {
                self.abort(at, &why, now);
            } else if sights[stand_in].fitness.is_lost() || !other.is_open() || !other.posted {
                self.arrive(at, stand_in);
                self.members[stand_in].say("lost while its post was taken back");
            } else if ramp.progress(self.rule.failback.ramp, now) >= 1.0 {
                self.arrive(at, stand_in);
            }
        }
    }

    fn abort(&mut self, at: usize, why: &str, now: Moment) {
        let damping = self.rule.failback.damping;
        let member = &mut self.members[at];
        member.give_up(format!("its way back was called off: {why}"));
        if member.well.take().is_some() {
            // Who was lost has been charged for that already.
            member.penalty.add(&damping, now);
            member.suppressed = member.penalty.holds(&damping, now);
        }
    }
}

/// What is worse of a returning member than of its stand-in.
fn worse(own: &Sight, other: &Sight) -> Option<String> {
    match own.fitness {
        Fitness::Lost(_) => return Some(format!("it {}", own.words())),
        Fitness::Partly if other.fitness == Fitness::Ready => {
            return Some(format!("it {}", own.words()));
        }
        _ => {}
    }
    if own.judged < JUDGED {
        return None;
    }
    if own.errors() > other.errors() + MORE_ERRORS {
        let percent = |sight: &Sight| sight.errors() * 100.0;
        return Some(format!(
            "{:.0} % of its requests failed, {:.0} % of its stand-in's",
            percent(own),
            percent(other)
        ));
    }
    let (own, other) = (own.median?, other.median?);
    (own > other * SLOWER && own > FLOOR).then(|| {
        format!("its median is {} ms, its stand-in's {} ms", own.as_millis(), other.as_millis())
    })
}
