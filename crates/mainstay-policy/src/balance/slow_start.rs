//! How a target that came back takes up its share.

use std::time::Duration;

use crate::{Moment, Ratio};

/// A ramp from a small share to the full one: caches, compilers and connection pools of a server
/// that has just started are cold. Linear, as HAProxy's `slowstart` and Envoy's default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long the ramp takes; zero: no ramp.
    pub window: Duration,
    /// The share at its foot: above nothing, since a target without requests never warms up.
    pub minimum: Ratio,
}

impl Default for SlowStart {
    /// 10 s from 10 %: a model server is warm after some dozen requests.
    fn default() -> Self {
        Self { window: Duration::from_secs(10), minimum: Ratio::percent(10) }
    }
}

impl SlowStart {
    /// The share, up to 1, of a target that came back at `recovered`; 1 if it was never away.
    #[must_use]
    pub fn weight(&self, recovered: Option<Moment>, now: Moment) -> f32 {
        let Some(recovered) = recovered else { return 1.0 };
        let elapsed = now.since(recovered);
        if elapsed >= self.window {
            return 1.0;
        }
        let done = elapsed.as_secs_f32() / self.window.as_secs_f32();
        self.minimum.get() + (1.0 - self.minimum.get()) * done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_is_linear() {
        let ramp = SlowStart::default();
        let start = Moment::from_millis(50_000);
        let weight = |ms: u64| ramp.weight(Some(start), start + Duration::from_millis(ms));
        assert!((weight(0) - 0.1).abs() < 1e-6);
        assert!((weight(5_000) - 0.55).abs() < 1e-6);
        assert!((weight(10_000) - 1.0).abs() < 1e-6);
        assert!((weight(90_000) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn who_was_never_away_has_its_full_share() {
        assert!((SlowStart::default().weight(None, Moment::ZERO) - 1.0).abs() < 1e-6);
        let none = SlowStart { window: Duration::ZERO, ..SlowStart::default() };
        assert!((none.weight(Some(Moment::ZERO), Moment::ZERO) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_moment_not_yet_come_is_the_foot_of_the_ramp() {
        let ramp = SlowStart::default();
        assert!((ramp.weight(Some(Moment::MAX), Moment::ZERO) - 0.1).abs() < 1e-6);
    }
}
