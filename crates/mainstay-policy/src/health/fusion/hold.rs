//! The way back of a stalled target: wait, offer one real request, see what becomes of it.
//!
//! ```text
//! Waiting ──the hold-down is over──▶ Offered ──a request takes it──▶ Tried
//!    ▲                                  ▲                              │
//!    │                                  └──no outcome: called off──────┤
//!    └──────────nothing came of it: the hold-down doubles──────────────┘
//! ```
//! A request that completes ends the stall itself, from whatever state.

use std::time::Duration;

use super::{Settings, Signals};
use crate::Moment;

/// A stall this soon after the last one is a relapse.
const RELAPSE: Duration = Duration::from_secs(60);
/// How long a trial may be without anyone waiting before it counts as called off: longer than
/// it takes from the choice of a target to the start of the attempt.
const CALLED_OFF: Duration = Duration::from_millis(500);

/// Where a stalled target stands on its way back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Hold {
    stage: Stage,
    /// Relapses in a row.
    relapses: u8,
    /// When the last stall ended.
    left: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Waiting { until: Moment },
    Offered,
    Tried { since: Moment, lost: u32 },
}

impl Default for Stage {
    fn default() -> Self {
        Self::Waiting { until: Moment::ZERO }
    }
}

impl Hold {
    /// The target stalled.
    pub(super) fn enter(&mut self, now: Moment, settings: &Settings) {
        let soon = self.left.is_some_and(|left| now.since(left) < RELAPSE);
        self.relapses = if soon { self.relapses.saturating_add(1) } else { 0 };
        self.wait(now, settings);
    }

    /// The stall is over.
    pub(super) const fn leave(&mut self, now: Moment) {
        self.left = Some(now);
    }

    /// Whether a trial is on offer now; `limit` is the silence that is too long.
    pub(super) fn step(&mut self, s: &Signals, settings: &Settings, limit: Duration) -> bool {
        match self.stage {
            Stage::Waiting { until } if s.now < until => false,
            Stage::Waiting { .. } => {
                self.stage = Stage::Offered;
                true
            }
            Stage::Offered if s.trial_open => true,
            Stage::Offered => {
                self.stage = Stage::Tried { since: s.now, lost: lost(s) };
                false
            }
            Stage::Tried { since, lost: before } => {
                let lasted = s.now.since(since);
                let failed = lost(s) > before || s.traffic.refused > 0;
                if failed || (s.traffic.waiting > 0 && lasted >= limit) {
                    self.relapses = self.relapses.saturating_add(1);
                    self.wait(s.now, settings);
                } else if s.traffic.waiting == 0 && lasted >= CALLED_OFF {
                    self.stage = Stage::Offered;
                    return true;
                }
                false
            }
        }
    }

    fn wait(&mut self, now: Moment, settings: &Settings) {
        let doubled = settings.hold.saturating_mul(1 << u32::from(self.relapses.min(16)));
        let until = now + doubled.min(settings.hold_max.max(settings.hold));
        self.stage = Stage::Waiting { until };
    }
}

/// Attempts that nothing came of.
const fn lost(s: &Signals) -> u32 {
    s.traffic.unanswered.saturating_add(s.traffic.overtaken)
}
