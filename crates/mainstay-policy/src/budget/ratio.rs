//! How many retries all requests together may make, and how much they may be amplified by
//! retries and hedges together.

use std::time::Duration;

use crate::window::Window;
use crate::{Moment, Ratio};

/// Bits of a counter: about a million requests for each bucket and worker.
const COUNTER_BITS: u32 = 20;

/// The rules of the retry budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySettings {
    /// Retries as a share of the requests in the window.
    pub ratio: Ratio,
    /// Retries that are allowed besides, for each second of the window, so that a gateway with
    /// little traffic can retry at all.
    pub per_second: u32,
    /// The window over which both are counted.
    pub window: Duration,
}

impl Default for RetrySettings {
    /// 20 % and 3 per second over 10 s: one server lost out of five is retried in full, and the
    /// load of retries alone can never overload what was well before.
    fn default() -> Self {
        Self { ratio: Ratio::percent(20), per_second: 3, window: Duration::from_secs(10) }
    }
}

/// The hard cap on what is sent beyond what was asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AmplificationSettings {
    /// Requests sent to servers for each request that came, over the window of the retries; at
    /// least 1.
    pub cap: f64,
    /// Repetitions that are allowed besides, for each second of the window.
    pub per_second: u32,
}

impl Default for AmplificationSettings {
    /// 1.5 leaves room for the default shares of retries (20 %) and hedges (5 %) twice over; a
    /// pool that loses half of its servers is retried in full, and no more than that can make it
    /// worse. 3 per second besides, as for retries.
    fn default() -> Self {
        Self { cap: 1.5, per_second: 3 }
    }
}

/// The retries of a whole gateway, kept to a share of its requests, and with its hedges kept
/// below the cap of amplification.
///
/// *Example:* at 300 requests a second the defaults allow 300 × 10 × 20 % + 30 = 630 retries in
/// any 10 s, an amplification of at most 1.21.
///
/// Each worker counts in a shard of its own; all are summed when a retry asks, which is rare.
/// Workers that ask in the same moment may both get the last retry, so the budget can be
/// overdrawn by at most one retry for each worker.
#[derive(Debug)]
pub struct RetryBudget {
    settings: RetrySettings,
    cap: Option<AmplificationSettings>,
    window: Window<2, COUNTER_BITS>,
    /// Apart, so that a request is one write and hedges take nothing from retries.
    hedges: Window<1, COUNTER_BITS>,
}

impl RetryBudget {
    /// A budget for so many workers; worker `n` uses shard `n`.
    #[must_use]
    pub fn new(settings: RetrySettings, shards: usize) -> Self {
        let (window, hedges) =
            (Window::new(settings.window, shards), Window::new(settings.window, shards));
        Self { settings, cap: None, window, hedges }
    }

    /// The same budget under a hard cap.
    #[must_use]
    pub const fn capped(mut self, cap: AmplificationSettings) -> Self {
        self.cap = Some(cap);
        self
    }

    /// The hard cap, if there is one.
    #[must_use]
    pub const fn cap(&self) -> Option<&AmplificationSettings> {
        self.cap.as_ref()
    }

    /// A request came: the first attempt is free, and earns its share of a retry.
    #[inline]
    pub fn request(&self, shard: usize, now: Moment) {
        self.window.add(shard, now, 0, [true, false]);
    }

    /// Takes a retry from the budget, if one is left.
    #[must_use]
    pub fn try_retry(&self, shard: usize, now: Moment) -> bool {
        let [requests, retries] = self.window.totals(now, 0);
        let allowed = f64::from(retries) + 1.0 <= self.allowance(requests)
            && self.has_room(requests, retries, now);
        if allowed {
            self.window.add(shard, now, 0, [false, true]);
        }
        allowed
    }

    /// Retries within the window.
    #[must_use]
    pub fn retries(&self, now: Moment) -> u32 {
        self.window.totals(now, 0)[1]
    }

    /// Whether the cap has room for a hedge; the pool's own share is asked for elsewhere.
    #[must_use]
    pub fn allows_hedge(&self, now: Moment) -> bool {
        let [requests, retries] = self.window.totals(now, 0);
        self.has_room(requests, retries, now)
    }

    /// A hedge is made.
    pub fn hedge(&self, shard: usize, now: Moment) {
        self.hedges.add(shard, now, 0, [true]);
    }

    /// Requests sent to servers for each request within the window: the first attempt, retries
    /// at the same pool, fallbacks to another, and hedges. 1 when nothing was repeated, or nothing
    /// came.
    #[must_use]
    pub fn amplification(&self, now: Moment) -> f64 {
        let [requests, retries] = self.window.totals(now, 0);
        let [hedges] = self.hedges.totals(now, 0);
        if requests == 0 {
            return 1.0;
        }
        1.0 + f64::from(retries.saturating_add(hedges)) / f64::from(requests)
    }

    /// Whether one more repetition keeps below the cap.
    fn has_room(&self, requests: u32, retries: u32, now: Moment) -> bool {
        let Some(cap) = self.cap else { return true };
        let [hedges] = self.hedges.totals(now, 0);
        let base = f64::from(cap.per_second) * self.settings.window.as_secs_f64();
        let allowed = base + (cap.cap - 1.0) * f64::from(requests) + 5e-4;
        f64::from(retries) + f64::from(hedges) + 1.0 <= allowed
    }

    /// The retries that so many requests in the window allow.
    fn allowance(&self, requests: u32) -> f64 {
        let base = f64::from(self.settings.per_second) * self.settings.window.as_secs_f64();
        // A share such as 20 % is not exact in binary; half a thousandth makes up for it.
        base + f64::from(self.settings.ratio.get()) * f64::from(requests) + 5e-4
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    /// How many of `tries` retries are granted.
    fn granted(budget: &RetryBudget, tries: u32, now: Moment) -> usize {
        (0..tries).filter(|_| budget.try_retry(0, now)).count()
    }

    #[test]
    fn retries_are_a_share_of_requests_and_some_besides() {
        let budget = RetryBudget::new(RetrySettings::default(), 2);
        (0..1000).for_each(|n| budget.request(n % 2, at(1_000)));
        assert_eq!(granted(&budget, 1000, at(2_000)), 230);
        assert!((budget.amplification(at(2_000)) - 1.23).abs() < 1e-9);
    }

    #[test]
    fn without_requests_the_constant_part_remains() {
        let budget = RetryBudget::new(RetrySettings::default(), 1);
        assert_eq!(granted(&budget, 100, at(0)), 30);
        assert_eq!(granted(&budget, 100, at(9_000)), 0);
        assert_eq!(granted(&budget, 100, at(10_000)), 30);
    }

    #[test]
    fn a_budget_of_nothing_grants_nothing() {
        let none =
            RetrySettings { ratio: Ratio::ZERO, per_second: 0, window: Duration::from_secs(10) };
        let budget = RetryBudget::new(none, 1);
        (0..1000).for_each(|_| budget.request(0, at(1)));
        assert_eq!(granted(&budget, 10, at(1)), 0);
        assert!((budget.amplification(at(1)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn retries_and_hedges_share_one_cap() {
        let greedy = RetrySettings { ratio: Ratio::ONE, ..RetrySettings::default() };
        let cap = AmplificationSettings { cap: 1.2, per_second: 0 };
        let budget = RetryBudget::new(greedy, 2).capped(cap);
        (0..1000).for_each(|n| budget.request(n % 2, at(1_000)));
        let hedges = (0..150).filter(|_| {
            let allowed = budget.allows_hedge(at(1_000));
            if allowed {
                budget.hedge(1, at(1_000));
            }
            allowed
        });
        assert_eq!(hedges.count(), 150);
        assert_eq!(granted(&budget, 1000, at(1_000)), 50);
        assert!(!budget.allows_hedge(at(1_000)));
        assert!((budget.amplification(at(1_000)) - 1.2).abs() < 1e-9);
    }

    proptest! {
        /// Invariant 2: whatever the mixture of requests, retries and hedges, and however much
        /// the shares of their own would allow, the cap holds.
        #[test]
        fn nothing_lifts_the_cap(
            steps in prop::collection::vec((0u8..3, 0usize..4), 1..500),
            cap in 1.0f64..3.0,
            per_second in 0u32..3,
        ) {
            let greedy = RetrySettings { ratio: Ratio::ONE, per_second: 1_000, ..RetrySettings::default() };
            let budget =
                RetryBudget::new(greedy, 4).capped(AmplificationSettings { cap, per_second });
            let now = at(3_000);
            let (mut requests, mut repeated) = (0u32, 0u32);
            for (what, shard) in steps {
                match what {
                    0 => {
                        budget.request(shard, now);
                        requests += 1;
                    }
                    1 => repeated += u32::from(budget.try_retry(shard, now)),
                    _ if budget.allows_hedge(now) => {
                        budget.hedge(shard, now);
                        repeated += 1;
                    }
                    _ => {}
                }
                let most = f64::from(per_second) * 10.0 + (cap - 1.0) * f64::from(requests);
                prop_assert!(f64::from(repeated) <= most + 1e-3, "{repeated} of {most}");
            }
        }
    }

    #[test]
    fn workers_that_ask_at_once_overdraw_by_one_each_at_most() {
        let settings =
            RetrySettings { ratio: Ratio::ZERO, per_second: 10, window: Duration::from_secs(10) };
        let budget = RetryBudget::new(settings, 4);
        let total: usize = std::thread::scope(|scope| {
            let ask = |shard| (0..1000).filter(|_| budget.try_retry(shard, at(1))).count();
            let workers: Vec<_> = (0..4).map(|shard| scope.spawn(move || ask(shard))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert!((100..=104).contains(&total), "{total}");
    }
}
