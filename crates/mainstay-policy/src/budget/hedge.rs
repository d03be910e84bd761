//! When a slow attempt gets a second one beside it, and how many may.
//!
//! A hedge is a second attempt at another member while the first still runs; the first usable
//! answer wins (*The Tail at Scale*, Dean and Barroso, 2013). Sent at the 95th percentile of the
//! first target's own latency it costs one request in twenty and cuts the tail to what two
//! servers have in common. When everything is slow every request would hedge, which is why the
//! share is counted and capped: a hedge is a luxury, and is never made on credit.

use std::time::Duration;

use crate::window::Window;
use crate::{Moment, Ratio};

/// Bits of a counter: about a million requests for each bucket and worker.
const COUNTER_BITS: u32 = 20;

/// The time over which hedges are a share of requests: long enough for one request in twenty to
/// be something, short enough for a burst of hedges to be forgiven.
const SPAN: Duration = Duration::from_secs(10);

/// How long an attempt may take before it is hedged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HedgeAfter {
    /// The 95th percentile of the target's own answers, once it is known.
    #[default]
    P95,
    /// A time of the operator's choosing.
    Fixed(Duration),
}

/// The rules of a pool's hedges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeSettings {
    /// Hedges as a share of the pool's requests in the last 10 s.
    pub share: Ratio,
    /// How long the first attempt may take.
    pub after: HedgeAfter,
}

impl Default for HedgeSettings {
    /// At the own 95th percentile one request in twenty is hedged, so 5 % is all there is to do.
    fn default() -> Self {
        Self { share: Ratio::percent(5), after: HedgeAfter::P95 }
    }
}

/// The hedges of one pool, kept to a share of its requests.
///
/// *Example:* of 200 requests in 10 s at most 10 are hedged; a pool with fewer than 20 requests
/// in 10 s has no hedges at all. Workers that ask in the same moment may overdraw by one each.
#[derive(Debug)]
pub struct HedgeBudget {
    settings: HedgeSettings,
    window: Window<2, COUNTER_BITS>,
}

impl HedgeBudget {
    /// A budget for so many workers; worker `n` uses shard `n`.
    #[must_use]
    pub fn new(settings: HedgeSettings, shards: usize) -> Self {
        Self { settings, window: Window::new(SPAN, shards) }
    }

    /// Its rules.
    #[must_use]
    pub const fn settings(&self) -> &HedgeSettings {
        &self.settings
    }

    /// A request came to the pool, and earns its share of a hedge.
    #[inline]
    pub fn request(&self, shard: usize, now: Moment) {
        self.window.add(shard, now, 0, [true, false]);
    }

    /// Whether a hedge is left.
    #[must_use]
    pub fn allows(&self, now: Moment) -> bool {
        let [requests, hedges] = self.window.totals(now, 0);
        // A share such as 5 % is not exact in binary; half a thousandth makes up for it.
        let allowance = f64::from(self.settings.share.get()) * f64::from(requests) + 5e-4;
        f64::from(hedges) + 1.0 <= allowance
    }

    /// A hedge is made.
    pub fn spend(&self, shard: usize, now: Moment) {
        self.window.add(shard, now, 0, [false, true]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hedges_are_a_share_of_requests_and_nothing_besides() {
        let budget = HedgeBudget::new(HedgeSettings::default(), 2);
        let now = Moment::from_millis(1_000);
        assert!(!budget.allows(now), "no request, no hedge");
        (0..19).for_each(|n| budget.request(n % 2, now));
        assert!(!budget.allows(now), "a twentieth of nineteen is less than one");
        (19..200).for_each(|n| budget.request(n % 2, now));
        let granted = (0..50).filter(|_| {
            let allowed = budget.allows(now);
            if allowed {
                budget.spend(0, now);
            }
            allowed
        });
        assert_eq!(granted.count(), 10);
        assert!(!budget.allows(now + SPAN * 2), "what is past earns nothing");
    }
}
