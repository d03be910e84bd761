//! How many retries all requests together may make.

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

/// The retries of a whole gateway, kept to a share of its requests.
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
    window: Window<2, COUNTER_BITS>,
}

impl RetryBudget {
    /// A budget for so many workers; worker `n` uses shard `n`.
    #[must_use]
    pub fn new(settings: RetrySettings, shards: usize) -> Self {
        Self { settings, window: Window::new(settings.window, shards) }
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
        let allowed = f64::from(retries) + 1.0 <= self.allowance(requests);
        if allowed {
            self.window.add(shard, now, 0, [false, true]);
        }
        allowed
    }

    /// Attempts for each request within the window; 1 when there was no retry.
    #[must_use]
    pub fn amplification(&self, now: Moment) -> f64 {
        let [requests, retries] = self.window.totals(now, 0);
        1.0 + f64::from(retries) / f64::from(requests.max(1))
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
