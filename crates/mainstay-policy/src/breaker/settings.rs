//! When a breaker opens, for how long, and what closes it again.

use std::time::Duration;

use crate::Ratio;

/// The most half-open permits that a breaker's word has room for.
pub const MAX_PERMITS: u8 = 31;

/// The calls over which rates are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Those of the last so long, in ten buckets: counted per worker, the cheapest.
    Time(Duration),
    /// The last so many, 1 to 64, over all workers. For targets with little traffic; all
    /// workers write to the same words.
    Calls(u8),
}

/// When a call is slow, and how many slow calls are too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowCalls {
    /// The share of slow calls that opens the breaker.
    pub rate: Ratio,
    /// A call is slow beyond so many times the learned 95th percentile of good answers. 0: only
    /// the floor counts.
    pub factor: f32,
    /// No call below this is slow, however fast its target usually is.
    pub floor: Duration,
}

impl Default for SlowCalls {
    /// 80 %, since a slow target still answers and is only worth leaving when nearly all of it
    /// is slow; 3 times the usual; 1 s, so that a millisecond model does not trip on a pause of
    /// its garbage collector.
    fn default() -> Self {
        Self { rate: Ratio::percent(80), factor: 3.0, floor: Duration::from_secs(1) }
    }
}

/// The rules of one breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The share of failures that opens it.
    pub failure_rate: Ratio,
    /// Rates are not judged below so many calls in the window (or the window's size, where that
    /// is smaller). `u32::MAX`: never.
    pub minimum_calls: u32,
    /// The calls over which rates are taken.
    pub window: WindowKind,
    /// So many failures in a row open it; 0: no number does.
    pub consecutive: u8,
    /// Whether slow answers open it as well.
    pub slow: Option<SlowCalls>,
    /// The first wait; each opening soon after the last doubles it.
    pub open: Duration,
    /// The longest wait.
    pub open_max: Duration,
    /// How far a wait may deviate, up and down, so that many gateways do not come back at once.
    pub jitter: Ratio,
    /// Requests let through at a time when half-open, and successes that close it: 1 to
    /// [`MAX_PERMITS`] (other values are brought into that range).
    pub permits: u8,
}

impl Default for Settings {
    /// 50 % of at least 20 calls in 10 s, or 5 in a row: a dead target trips on the five, within
    /// milliseconds; a flaky one on the rate. 2 s is about the restart of a process, and probes
    /// may end the wait earlier; 60 s bounds how long a recovery can go unnoticed.
    fn default() -> Self {
        Self {
            failure_rate: Ratio::percent(50),
            minimum_calls: 20,
            window: WindowKind::Time(Duration::from_secs(10)),
            consecutive: 5,
            slow: Some(SlowCalls::default()),
            open: Duration::from_secs(2),
            open_max: Duration::from_secs(60),
            jitter: Ratio::percent(20),
            permits: 3,
        }
    }
}

impl Settings {
    /// Rules under which nothing ever opens but by an operator's hand.
    #[must_use]
    pub fn off() -> Self {
        Self { minimum_calls: u32::MAX, consecutive: 0, slow: None, ..Self::default() }
    }

    /// Whether no call can open it, not even a fatal one.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.minimum_calls == u32::MAX && self.consecutive == 0
    }

    /// The wait after so many openings in a row (the first is 1), deviating by `chance` (-1 to
    /// 1) of the jitter.
    pub(super) fn wait(&self, openings: u8, chance: f32) -> Duration {
        let doublings = u32::from(openings.saturating_sub(1)).min(31);
        let wait = self.open.saturating_mul(1 << doublings).min(self.open_max.max(self.open));
        let factor = 1.0 + f64::from(self.jitter.get()) * f64::from(chance.clamp(-1.0, 1.0));
        Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(wait)
    }

    pub(super) fn permits(&self) -> u8 {
        self.permits.clamp(1, MAX_PERMITS)
    }

    /// The calls that a rate needs: never more than the window can hold.
    pub(super) fn minimum(&self) -> u32 {
        match self.window {
            WindowKind::Calls(size) if self.minimum_calls != u32::MAX => {
                self.minimum_calls.min(u32::from(size.clamp(1, 64)))
            }
            WindowKind::Calls(_) | WindowKind::Time(_) => self.minimum_calls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let settings = Settings::default();
        let waits: Vec<_> = (0..9).map(|n| settings.wait(n, 0.0).as_secs()).collect();
        assert_eq!(waits, [2, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let settings = Settings::default();
        assert_eq!(settings.wait(1, -1.0).as_secs_f32(), 1.6);
        assert_eq!(settings.wait(1, 1.0).as_secs_f32(), 2.4);
    }

    #[test]
    fn absurd_settings_do_no_harm() {
        let settings = Settings {
            open: Duration::MAX,
            open_max: Duration::ZERO,
            permits: 0,
            window: WindowKind::Calls(0),
            ..Settings::default()
        };
        assert!(settings.wait(200, 1.0) >= Duration::from_secs(1));
        assert_eq!(settings.permits(), 1);
        assert_eq!(settings.minimum(), 1);
    }
}
