//! A bound on the requests of one model, and how fast they are served.
//!
//! Named after the walls that keep one flooded compartment from sinking the ship (Nygard,
//! "Release It!"). Two words: what is under way, and the usual time that one takes. Together
//! they say the rate of service without counting anything (Little's law: what is under way is
//! the rate times the time each takes).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Each request moves the usual time by one part in so many.
const BLEND: u64 = 16;

/// Requests of one model under way, bounded, shared by all workers.
#[derive(Debug)]
pub struct Bulkhead {
    max: u32,
    in_flight: AtomicU32,
    /// Nanoseconds that a request usually takes; 0 before the first.
    service: AtomicU64,
}

/// How fast requests are served now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Requests a second; 0 where nothing is known.
    pub rate: f64,
    /// What one takes once it is its turn.
    pub service: Duration,
}

impl Bulkhead {
    /// Room for `max` requests; `u32::MAX` is no bound.
    #[must_use]
    pub const fn new(max: u32) -> Self {
        Self { max, in_flight: AtomicU32::new(0), service: AtomicU64::new(0) }
    }

    /// Takes a place, if there is one. Each place taken must be [left](Self::leave).
    #[inline]
    pub fn enter(&self) -> bool {
        if self.max == u32::MAX {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        let another = |count: u32| (count < self.max).then_some(count + 1);
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::Relaxed, another).is_ok()
    }

    /// Gives a place back. `service` is what the request took, where it was answered by a server
    /// as it should be: others say nothing of the time that one takes.
    #[inline]
    pub fn leave(&self, service: Option<Duration>) {
        if let Some(service) = service {
            let took = u64::try_from(service.as_nanos()).unwrap_or(u64::MAX / 2).max(1);
            let usual = self.service.load(Ordering::Relaxed);
            // Two workers at once may lose one of many observations, which does no harm.
            let next = if usual == 0 { took } else { usual - usual / BLEND + took / BLEND };
            self.service.store(next.max(1), Ordering::Relaxed);
        }
        let one_less = |count: u32| count.checked_sub(1);
        let _ = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::Relaxed, one_less);
    }

    /// Places left.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.max.saturating_sub(self.in_flight())
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// The bound; `None` where there is none.
    #[must_use]
    pub const fn max(&self) -> Option<u32> {
        if self.max == u32::MAX { None } else { Some(self.max) }
    }

    /// How fast requests are served now.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let service = Duration::from_nanos(self.service.load(Ordering::Relaxed));
        let seconds = service.as_secs_f64();
        let rate = if seconds > 0.0 { f64::from(self.in_flight()) / seconds } else { 0.0 };
        Pace { rate, service }
    }
}

impl Pace {
    /// Until `ahead` others have been served. Zero where nothing is known: then nobody is turned
    /// away for it.
    #[must_use]
    pub fn wait(&self, ahead: usize) -> Duration {
        if self.rate <= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(ahead as f64 / self.rate).unwrap_or(Duration::MAX)
    }

    /// What a client that is turned away is told to wait, in whole seconds (RFC 9110, section
    /// 10.2.3): until those who wait now have been served; 1 to 60.
    #[must_use]
    pub fn retry_after(&self, waiting: usize) -> u32 {
        let seconds = self.wait(waiting + 1).as_secs_f64().ceil();
        seconds.clamp(1.0, 60.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let bulkhead = Bulkhead::new(2);
        assert!(bulkhead.enter() && bulkhead.enter() && !bulkhead.enter());
        assert_eq!((bulkhead.in_flight(), bulkhead.free()), (2, 0));
        bulkhead.leave(None);
        assert!(bulkhead.enter());
    }

    #[test]
    fn workers_together_never_hold_more_than_its_bound() {
        let bulkhead = Bulkhead::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if bulkhead.enter() {
                            assert!(bulkhead.in_flight() <= 3);
                            bulkhead.leave(Some(ms(1)));
                        }
                    }
                });
            }
        });
        assert_eq!(bulkhead.in_flight(), 0);
    }

    #[test]
    fn leaving_once_too_often_does_no_harm() {
        let bulkhead = Bulkhead::new(u32::MAX);
        bulkhead.leave(None);
        assert_eq!((bulkhead.in_flight(), bulkhead.max()), (0, None));
    }

    #[test]
    fn the_pace_follows_from_what_is_under_way_and_what_each_takes() {
        let bulkhead = Bulkhead::new(8);
        assert_eq!(bulkhead.pace().wait(1_000), Duration::ZERO);
        for _ in 0..5 {
            assert!(bulkhead.enter());
        }
        bulkhead.leave(Some(ms(20)));
        let pace = bulkhead.pace();
        assert!((pace.rate - 200.0).abs() < 1.0, "{pace:?}");
        assert!((pace.wait(100).as_secs_f64() - 0.5).abs() < 0.01);
        assert_eq!((pace.retry_after(100), pace.retry_after(500)), (1, 3));
        assert_eq!(pace.retry_after(1_000_000), 60);
    }

    #[test]
    fn the_usual_time_forgets() {
        let bulkhead = Bulkhead::new(8);
        for took in [10; 50].into_iter().chain([30; 100]) {
            bulkhead.leave(Some(ms(took)));
        }
        assert!(bulkhead.pace().service > ms(29));
    }
}
