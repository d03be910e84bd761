//! How many posts there are: as many as the rule says, or as load asks for within its bounds.

use mainstay_policy::Moment;

use super::{Active, Group, Range, Sight};

/// Since when load has asked for more, or for less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scale {
    above: Option<Moment>,
    below: Option<Moment>,
}

impl Group {
    /// The fewest posts.
    pub(super) fn least(&self) -> usize {
        match self.rule.active {
            Active::All => self.all(),
            Active::Between(range) => range.min.into(),
        }
    }

    /// The most posts.
    pub(super) fn most(&self) -> usize {
        match self.rule.active {
            Active::All => self.all(),
            Active::Between(range) => range.max.max(range.min).into(),
        }
    }

    /// All that are no standbys; one post where nobody but standbys is left.
    fn all(&self) -> usize {
        let unmarked = self.members.iter().filter(|member| member.spec.standby.is_none()).count();
        unmarked.max(usize::from(!self.members.is_empty()))
    }

    /// How many posts there should be now.
    pub(super) fn scaled(&mut self, sights: &[Sight], now: Moment) -> usize {
        let wanted = self.wanted.clamp(self.least(), self.most());
        let Active::Between(range) = self.rule.active else { return wanted };
        if range.min == range.max {
            return wanted;
        }
        let (use_now, use_with_one_less) = self.utilisation(sights);
        let above = wanted < self.most() && use_now.is_some_and(|now| now > range.above);
        let below = wanted > self.least() && use_with_one_less.is_some_and(|u| u < range.below);
        self.scale = Scale {
            above: above.then(|| self.scale.above.unwrap_or(now)),
            below: below.then(|| self.scale.below.unwrap_or(now)),
        };
        self.after(wanted, &range, now)
    }

    fn after(&mut self, wanted: usize, range: &Range, now: Moment) -> usize {
        let over = |since: Option<Moment>, length| since.is_some_and(|at| now.since(at) >= length);
        if over(self.scale.above, range.rise) {
            self.scale = Scale::default();
            return wanted + 1;
        }
        if over(self.scale.below, range.calm) {
            self.scale = Scale::default();
            return wanted - 1;
        }
        wanted
    }

    /// The load as a share of what those in use can bear, and what it would be with one fewer;
    /// `None` where too little was measured.
    fn utilisation(&self, sights: &[Sight]) -> (Option<f32>, Option<f32>) {
        let posted = || self.members.iter().zip(sights).filter(|(member, _)| member.posted);
        let load: f64 = sights.iter().map(|sight| sight.load).sum();
        let measured: Vec<f64> = posted().filter_map(|(_, sight)| sight.capacity).collect();
        let full = posted().count() > 0 && posted().all(|(_, sight)| sight.full);
        if measured.is_empty() {
            return (full.then_some(1.0), (load == 0.0).then_some(0.0));
        }
        let mean = measured.iter().sum::<f64>() / measured.len() as f64;
        let share = |number: usize| {
            let capacity = mean * number as f64;
            (capacity > 0.0).then(|| (load / capacity) as f32)
        };
        let number = posted().count();
        (if full { Some(1.0) } else { share(number) }, share(number.saturating_sub(1)))
    }
}
