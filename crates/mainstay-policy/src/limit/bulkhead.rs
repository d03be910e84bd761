//! A bound on the requests of one model, and how fast they are served.
//!
//! Named after the walls that keep one flooded compartment from sinking the ship (Nygard,
//! "Release It!"). One word for what is under way, one for the usual time that a request stays.
//! Together they say the rate of service without counting anything (Little's law: what is under
//! way is the rate times the time each stays). A third for the usual time until an answer begins,
//! which is what deadlines bound: a streamed answer stays much longer than that.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Each request moves the usual time by one part in so many.
const BLEND: u64 = 16;

/// Requests of one model under way, bounded, shared by all workers.
#[derive(Debug)]
pub struct Bulkhead {
    max: AtomicU32,
    in_flight: AtomicU32,
    /// Nanoseconds until an answer usually begins; 0 before the first.
    answer: AtomicU64,
    /// Nanoseconds that a request usually stays; 0 before the first.
    whole: AtomicU64,
}

/// What a request took, from when it had its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    /// Until its answer was committed to.
    pub answer: Duration,
    /// Until the answer's last byte.
    pub whole: Duration,
}

/// How fast requests are served now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Requests a second; 0 where nothing is known.
    pub rate: f64,
    /// What one takes once it is its turn, until its answer is committed to.
    pub service: Duration,
}

impl Bulkhead {
    /// Room for `max` requests; `u32::MAX` is no bound.
    #[must_use]
    pub const fn new(max: u32) -> Self {
        let (answer, whole) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { max: AtomicU32::new(max), in_flight: AtomicU32::new(0), answer, whole }
    }

    /// Another bound from now on; what is under way stays.
    pub fn resize(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    #[inline]
    fn bound(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }

    /// Takes a place, if there is one. Each place taken must be [left](Self::leave).
    #[inline]
    pub fn enter(&self) -> bool {
        let max = self.bound();
        if max == u32::MAX {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        let another = |count: u32| (count < max).then_some(count + 1);
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::Relaxed, another).is_ok()
    }

    /// Gives a place back. `took` is for a request that was answered by a server as it should
    /// be: others say nothing of the time that one takes.
    #[inline]
    pub fn leave(&self, took: Option<Took>) {
        if let Some(took) = took {
            blend(&self.answer, took.answer);
            blend(&self.whole, took.whole);
        }
        let one_less = |count: u32| count.checked_sub(1);
        let _ = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::Relaxed, one_less);
    }

    /// Places left.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.bound().saturating_sub(self.in_flight())
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// The bound; `None` where there is none.
    #[must_use]
    pub fn max(&self) -> Option<u32> {
        let max = self.bound();
        (max != u32::MAX).then_some(max)
    }

    /// How fast requests are served now.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let service = Duration::from_nanos(self.answer.load(Ordering::Relaxed));
        let seconds = Duration::from_nanos(self.whole.load(Ordering::Relaxed)).as_secs_f64();
        let rate = if seconds > 0.0 { f64::from(self.in_flight()) / seconds } else { 0.0 };
        Pace { rate, service }
    }
}

/// Moves a usual time by what one request took.
fn blend(usual: &AtomicU64, took: Duration) {
    let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / 2).max(1);
    let before = usual.load(Ordering::Relaxed);
    // Two workers at once may lose one of many observations, which does no harm.
    let next = if before == 0 { took } else { before - before / BLEND + took / BLEND };
    usual.store(next.max(1), Ordering::Relaxed);
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

    const fn whole(millis: u64) -> Took {
        Took { answer: ms(millis), whole: ms(millis) }
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
                            bulkhead.leave(Some(whole(1)));
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
        bulkhead.leave(Some(whole(20)));
        let pace = bulkhead.pace();
        assert!((pace.rate - 200.0).abs() < 1.0, "{pace:?}");
        assert!((pace.wait(100).as_secs_f64() - 0.5).abs() < 0.01);
        assert_eq!((pace.retry_after(100), pace.retry_after(500)), (1, 3));
        assert_eq!(pace.retry_after(1_000_000), 60);
    }

    #[test]
    fn a_streams_length_slows_the_pace_and_not_the_answer() {
        let bulkhead = Bulkhead::new(8);
        for _ in 0..4 {
            assert!(bulkhead.enter());
        }
        bulkhead.leave(Some(Took { answer: ms(200), whole: ms(30_000) }));
        let pace = bulkhead.pace();
        assert_eq!(pace.service, ms(200));
        assert!((pace.rate - 0.1).abs() < 0.001, "{pace:?}");
    }

    #[test]
    fn the_usual_time_forgets() {
        let bulkhead = Bulkhead::new(8);
        for took in [10; 50].into_iter().chain([30; 100]) {
            bulkhead.leave(Some(whole(took)));
        }
        assert!(bulkhead.pace().service > ms(29));
    }
}
