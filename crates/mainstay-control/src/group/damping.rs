//! What is held against a member that comes and goes (RFC 2439, in its simple form).

use std::time::Duration;

use mainstay_policy::Moment;

use super::Damping;

/// One for each loss, halved in each half-life.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Penalty {
    value: f32,
    /// When the value was taken: the last loss.
    at: Moment,
    suppressed: bool,
}

impl Penalty {
    pub(super) const NONE: Self = Self { value: 0.0, at: Moment::ZERO, suppressed: false };

    /// One more loss.
    pub(super) fn add(&mut self, damping: &Damping, now: Moment) {
        // More than this would outlast the longest suppression, and need not be counted.
        let halvings = damping.max.as_secs_f32() / damping.half_life.as_secs_f32();
        let most = damping.reuse * halvings.min(64.0).exp2();
        self.value = (self.now(damping, now) + 1.0).min(most.max(1.0));
        self.at = now;
        self.suppressed |= self.value > damping.suppress;
    }

    /// What is left of it.
    pub(super) fn now(&self, damping: &Damping, now: Moment) -> f32 {
        let halvings = now.since(self.at).as_secs_f32() / damping.half_life.as_secs_f32();
        self.value * (-halvings).exp2()
    }

    /// Whether the member is suppressed; ends when the penalty has fallen below `reuse`.
    pub(super) fn holds(&mut self, damping: &Damping, now: Moment) -> bool {
        self.suppressed &= !self.left(damping, now).is_zero();
        self.suppressed
    }

    /// How long until it may be used again.
    pub(super) fn left(&self, damping: &Damping, now: Moment) -> Duration {
        if !self.suppressed {
            return Duration::ZERO;
        }
        let halvings = (self.value / damping.reuse).log2().max(0.0);
        let lasts = damping.half_life.mul_f32(halvings).min(damping.max);
        lasts.saturating_sub(now.since(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_losses_in_a_minute_suppress_until_the_penalty_has_decayed() {
        let (damping, mut penalty) = (Damping::default(), Penalty::default());
        let at = |seconds| Moment::ZERO + Duration::from_secs(seconds);
        penalty.add(&damping, at(0));
        assert!(!penalty.holds(&damping, at(0)));
        penalty.add(&damping, at(20));
        assert!(penalty.holds(&damping, at(20)));
        assert!(penalty.holds(&damping, at(80)));
        assert!(!penalty.holds(&damping, at(110)));
    }

    #[test]
    fn no_number_of_losses_holds_for_longer_than_the_longest() {
        let (damping, mut penalty) = (Damping::default(), Penalty::default());
        (0..10_000).for_each(|_| penalty.add(&damping, Moment::ZERO));
        assert!(penalty.left(&damping, Moment::ZERO) <= damping.max);
        assert!(!penalty.holds(&damping, Moment::ZERO + damping.max + Duration::from_secs(1)));
    }
}
