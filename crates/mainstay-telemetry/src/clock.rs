//! The one place that reads the machine's clocks.
//!
//! Everything else is handed a [`Moment`]. All shells of a process share one `Clock`, so that
//! their moments can be compared.

use std::time::{Duration, Instant, SystemTime};

use mainstay_policy::Moment;

/// A monotonic clock with a process-wide origin, and the wall time of that origin for display.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall_origin: SystemTime,
}

impl Clock {
    /// A clock whose origin lies one second before now, so that moments shortly before the
    /// start can be named without reaching below zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the clocks")]
    pub fn start() -> Self {
        let lead = Duration::from_secs(1);
        let (now, wall) = (Instant::now(), SystemTime::now());
        Self {
            origin: now.checked_sub(lead).unwrap_or(now),
            wall_origin: wall.checked_sub(lead).unwrap_or(wall),
        }
    }

    /// Monotonic time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the clocks")]
    pub fn now(&self) -> Moment {
        let since = Instant::now().saturating_duration_since(self.origin);
        Moment::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The wall time at `moment`, for people to read; it does not follow later clock changes.
    #[must_use]
    pub fn wall(&self, moment: Moment) -> SystemTime {
        self.wall_origin + Duration::from_nanos(moment.as_nanos())
    }

    /// `moment` as an instant of the runtime's clock, to sleep until it.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.origin + Duration::from_nanos(moment.as_nanos())
    }
}
