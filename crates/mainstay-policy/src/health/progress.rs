//! What real requests show of a target: whether they complete, and whether anything comes at all.
//!
//! Probes lie in both directions: a hung engine has a front that answers them, and a busy one
//! misses them. Requests do not lie. So each attempt leaves a few words here: that it was asked,
//! that something came of it (an answer, a part of one, an event of a stream), that it completed,
//! or that its time ran out without a byte. The control loop reads them and judges.
//!
//! Written on the way of every request, so there is no lock and no clock: a handful of relaxed
//! loads and stores. Two workers that write at once may set a moment back by the difference of
//! their clocks' readings, which is far below what silence is measured in.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::{Class, Moment};

/// Attempts in a row that were overtaken before these count as unanswered: one in twenty is
/// slower than its 95th percentile, where hedges begin, so five in a row are no chance.
const OVERTAKEN: u32 = 5;
/// After so long without any attempt under way, what was owed before says nothing any more.
const STALE: Duration = Duration::from_secs(5);

/// The progress of one target's requests, shared by all workers.
#[derive(Debug, Default)]
pub struct Progress {
    /// Requests that completed: a usable answer, or one that blames the client.
    completed: AtomicU64,
    /// Nanoseconds: when the last of them did; 0 before the first.
    last_completed: AtomicU64,
    /// Nanoseconds: when anything last came.
    last_progress: AtomicU64,
    /// Nanoseconds: the start of the first attempt since then.
    asked: AtomicU64,
    /// Attempts whose time ran out without a byte, since anything last came.
    unanswered: AtomicU32,
    /// Attempts that were called off since another server answered first, and to which nothing
    /// had come either.
    overtaken: AtomicU32,
    /// Nanoseconds: the end of the last attempt that is owed.
    lapsed: AtomicU64,
    /// Attempts that were refused or reset, since anything last came.
    refused: AtomicU32,
    /// Attempts under way that wait for their client and not for the target.
    excused: AtomicU32,
}

/// The same as it stood when it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests that completed so far.
    pub completed: u64,
    /// When the last of them did.
    pub last_completed: Option<Moment>,
    /// Attempts that wait for an answer now.
    pub waiting: u32,
    /// Attempts whose time ran out without a byte, since anything last came; and those that were
    /// overtaken, if they are many.
    pub unanswered: u32,
    /// Those that were overtaken, however few.
    pub overtaken: u32,
    /// Attempts that were refused or reset, since anything last came.
    pub refused: u32,
    /// Since when nothing has come though something was asked; `None` while nothing is owed.
    pub silent_since: Option<Moment>,
}

impl Progress {
    /// An attempt begins; `alone` says that no other is under way.
    #[inline]
    pub fn begin(&self, alone: bool, now: Moment) {
        let asked = self.asked.load(Relaxed);
        if asked <= self.last_progress.load(Relaxed) || (alone && self.owes_nothing(now)) {
            self.asked.store(now.as_nanos(), Relaxed);
        }
    }

    /// Whether a lone attempt begins anew. The ones before it were called off by their clients,
    /// which says nothing, unless nobody answered them; and that is forgotten after a while.
    fn owes_nothing(&self, now: Moment) -> bool {
        if self.unanswered.load(Relaxed) == 0 && self.overtaken.load(Relaxed) == 0 {
            return true;
        }
        let stale = now.since(Moment::from_nanos(self.lapsed.load(Relaxed))) > STALE;
        if stale {
            self.unanswered.store(0, Relaxed);
            self.overtaken.store(0, Relaxed);
        }
        stale
    }

    /// Something came: the head of an answer, a part of its body, an event of its stream.
    #[inline]
    pub fn advance(&self, now: Moment) {
        self.last_progress.store(now.as_nanos(), Relaxed);
        if self.unanswered.load(Relaxed) != 0 {
            self.unanswered.store(0, Relaxed);
        }
        if self.overtaken.load(Relaxed) != 0 {
            self.overtaken.store(0, Relaxed);
        }
        if self.refused.load(Relaxed) != 0 {
            self.refused.store(0, Relaxed);
        }
    }

    /// An attempt that began at `started` was called off, since another server answered first.
    pub fn overtaken(&self, started: Moment, now: Moment) {
        if self.last_progress.load(Relaxed) < started.as_nanos() {
            self.overtaken.fetch_add(1, Relaxed);
            self.lapsed.store(now.as_nanos(), Relaxed);
        }
    }

    /// An attempt that began at `started` ended like this.
    #[inline]
    pub fn finish(&self, started: Moment, result: Result<(), Class>, now: Moment) {
        match result {
            Ok(()) | Err(Class::ClientFault) => {
                self.completed.fetch_add(1, Relaxed);
                self.last_completed.store(now.as_nanos(), Relaxed);
                self.advance(now);
            }
            Err(Class::Timeout) => {
                if self.last_progress.load(Relaxed) < started.as_nanos() {
                    self.unanswered.fetch_add(1, Relaxed);
                    self.lapsed.store(now.as_nanos(), Relaxed);
                }
            }
            Err(Class::Unreachable) => {
                self.refused.fetch_add(1, Relaxed);
            }
            // Nobody was asked.
            Err(Class::Shortage) => {}
            // An answer, if not a good one: whoever gives it is not silent.
            Err(_) => self.advance(now),
        }
    }

    /// One attempt more waits for its client: to send its body, or to read the answer.
    #[inline]
    pub fn excuse(&self) {
        self.excused.fetch_add(1, Relaxed);
    }

    /// And one less.
    #[inline]
    pub fn expect(&self) {
        self.excused.fetch_sub(1, Relaxed);
    }

    /// Forgets what is owed: the target came back, and what it did before says nothing of it now.
    pub fn forget(&self) {
        self.asked.store(0, Relaxed);
        self.unanswered.store(0, Relaxed);
        self.overtaken.store(0, Relaxed);
        self.refused.store(0, Relaxed);
    }

    /// Whether a request has completed since `moment`.
    #[must_use]
    pub fn has_completed_since(&self, moment: Moment) -> bool {
        self.last_completed.load(Relaxed) > moment.as_nanos()
    }

    /// What it shows now; `in_flight` are the attempts under way.
    #[must_use]
    pub fn read(&self, in_flight: u32) -> Traffic {
        let waiting = in_flight.saturating_sub(self.excused.load(Relaxed));
        let overtaken = self.overtaken.load(Relaxed);
        let many = if overtaken >= OVERTAKEN { overtaken } else { 0 };
        let unanswered = self.unanswered.load(Relaxed) + many;
        let (asked, last) = (self.asked.load(Relaxed), self.last_progress.load(Relaxed));
        let silent_since = match (asked > last, waiting + unanswered) {
            (_, 0) => None,
            (true, _) => Some(asked),
            (false, _) => (waiting > 0).then_some(last),
        };
        let last_completed = self.last_completed.load(Relaxed);
        Traffic {
            completed: self.completed.load(Relaxed),
            last_completed: (last_completed > 0).then_some(Moment::from_nanos(last_completed)),
            waiting,
            unanswered,
            overtaken,
            refused: self.refused.load(Relaxed),
            silent_since: silent_since.map(Moment::from_nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn nothing_is_owed_while_nothing_was_asked() {
        let progress = Progress::default();
        assert_eq!(progress.read(0), Traffic::default());
        progress.begin(true, at(10));
        progress.finish(at(10), Ok(()), at(15));
        let seen = progress.read(0);
        assert_eq!((seen.completed, seen.last_completed), (1, Some(at(15))));
        assert_eq!(seen.silent_since, None);
    }

    #[test]
    fn silence_counts_from_the_first_attempt_that_nothing_came_of() {
        let progress = Progress::default();
        progress.begin(true, at(10));
        progress.begin(false, at(20));
        assert_eq!(progress.read(2).silent_since, Some(at(10)));
        progress.advance(at(30));
        assert_eq!(progress.read(2).silent_since, Some(at(30)), "a byte came, and two wait on");
        progress.begin(false, at(40));
        assert_eq!(progress.read(3).silent_since, Some(at(40)), "as good: nearly the same time");
    }

    #[test]
    fn attempts_that_ran_out_of_time_stay_owed_until_something_comes() {
        let progress = Progress::default();
        progress.begin(true, at(10));
        progress.finish(at(10), Err(Class::Timeout), at(310));
        progress.begin(true, at(320));
        let seen = progress.read(1);
        assert_eq!((seen.unanswered, seen.silent_since), (1, Some(at(10))));
        progress.finish(at(320), Err(Class::ServerFault), at(330));
        assert_eq!(progress.read(0).unanswered, 0, "an error is an answer");
        assert_eq!(progress.read(0).completed, 0, "and no completion");
    }

    #[test]
    fn one_that_ran_out_of_time_beside_others_that_did_not_is_no_silence() {
        let progress = Progress::default();
        progress.begin(true, at(10));
        progress.begin(false, at(12));
        progress.finish(at(12), Ok(()), at(100));
        progress.finish(at(10), Err(Class::Timeout), at(300));
        assert_eq!(progress.read(0).unanswered, 0);
    }

    #[test]
    fn one_that_was_overtaken_is_chance_and_many_in_a_row_are_not() {
        let progress = Progress::default();
        for n in 0..4 {
            progress.begin(true, at(10 + n * 100));
            progress.overtaken(at(10 + n * 100), at(40 + n * 100));
        }
        assert_eq!((progress.read(0).unanswered, progress.read(0).overtaken), (0, 4));
        progress.begin(true, at(500));
        progress.overtaken(at(500), at(530));
        let seen = progress.read(0);
        assert_eq!((seen.unanswered, seen.silent_since), (5, Some(at(10))));
        progress.begin(true, at(600));
        progress.finish(at(600), Ok(()), at(605));
        assert_eq!(progress.read(0).overtaken, 0);
    }

    #[test]
    fn a_debt_of_long_ago_is_forgotten() {
        let progress = Progress::default();
        progress.begin(true, at(10));
        progress.finish(at(10), Err(Class::Timeout), at(310));
        progress.begin(true, at(60_000));
        let seen = progress.read(1);
        assert_eq!((seen.unanswered, seen.silent_since), (0, Some(at(60_000))));
    }

    #[test]
    fn attempts_that_were_called_off_say_nothing() {
        let progress = Progress::default();
        progress.begin(true, at(10));
        // Dropped: its client went away.
        assert_eq!(progress.read(0).silent_since, None);
        progress.begin(true, at(5_000));
        assert_eq!(progress.read(1).silent_since, Some(at(5_000)));
    }

    #[test]
    fn who_waits_for_its_client_does_not_wait_for_the_target() {
        let progress = Progress::default();
        progress.begin(true, at(10));
        progress.excuse();
        assert_eq!(progress.read(1).silent_since, None);
        progress.expect();
        assert_eq!(progress.read(1).silent_since, Some(at(10)));
    }

    #[test]
    fn a_target_that_came_back_owes_nothing() {
        let progress = Progress::default();
        progress.begin(true, at(10));
        progress.finish(at(10), Err(Class::Timeout), at(310));
        progress.finish(at(10), Err(Class::Unreachable), at(311));
        progress.forget();
        assert_eq!(progress.read(0), Traffic::default());
    }
}
