//! Who waits for room, in which order, and who is turned away.
//!
//! Bounded. The highest priority is served first, and of one priority the earliest deadline. When
//! the queue is full a newcomer takes the place of someone of a lower priority, the one with the
//! latest deadline; only where there is none, the newcomer is turned away. So nobody is ever
//! turned away while someone of a lower priority keeps a place.
//!
//! Pure data: the value of an entry is whatever wakes its owner.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Moment;

use super::{Pace, Priority};

/// A place in the queue: the order of keys is the order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Before everything of a lower one.
    pub priority: Priority,
    /// When the answer must be there.
    pub deadline: Moment,
    /// Of equals the one that came first.
    pub number: u64,
}

/// Why someone is not allowed to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Requests of this priority and below fill their share of the queue; a higher one would
    /// still find a place.
    OverShare,
    /// Every place is taken by a priority no lower.
    Full,
    /// At the pace of service the turn would come too late for the deadline.
    TooLate,
}

/// Those who wait.
#[derive(Debug)]
pub struct Queue<T> {
    size: usize,
    waiting: BTreeMap<Key, T>,
    /// By priority.
    counts: [usize; Priority::ALL.len()],
    next: u64,
}

impl<T> Queue<T> {
    /// An empty queue with `size` places.
    #[must_use]
    pub const fn new(size: usize) -> Self {
        Self { size, waiting: BTreeMap::new(), counts: [0; Priority::ALL.len()], next: 0 }
    }

    /// Another number of places from now on; nobody who waits is sent away.
    pub const fn resize(&mut self, size: usize) {
        self.size = size;
    }

    /// A number for a newcomer, so that equals are served in the order in which they came.
    pub const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether `key` may wait; `Some` is who has to leave for it.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self, key: Key, now: Moment, pace: Pace) -> Result<Option<Key>, Refusal> {
        let leaver = self.place_for(key.priority)?;
        let turn = now + pace.wait(self.ahead_of(key));
        if pace.service > Duration::ZERO && turn + pace.service > key.deadline {
            return Err(Refusal::TooLate);
        }
        Ok(leaver)
    }

    /// Who has to leave so that one more of this priority can wait.
    fn place_for(&self, priority: Priority) -> Result<Option<Key>, Refusal> {
        let not_above: usize = self.counts[priority as usize..].iter().sum();
        let refusal = if self.len() >= self.size {
            Refusal::Full
        } else if not_above >= priority.share_of(self.size) {
            Refusal::OverShare
        } else {
            return Ok(None);
        };
        let last = self.waiting.last_key_value().map(|(key, _)| *key);
        last.filter(|last| last.priority > priority).map(Some).ok_or(refusal)
    }

    /// How many would be served before `key`.
    #[must_use]
    pub fn ahead_of(&self, key: Key) -> usize {
        let last_of_its_own = self.counts[..=key.priority as usize].iter().sum();
        let mut later = self.waiting.range(key..).map(|(other, _)| other);
        // Mostly nobody of its own priority stands behind a newcomer.
        if later.next().is_none_or(|other| other.priority > key.priority) {
            return last_of_its_own;
        }
        self.waiting.range(..key).count()
    }

    /// Puts someone in line who was [judged](Self::judge) fit; the caller removes who has to
    /// leave.
    pub fn join(&mut self, key: Key, value: T) {
        if self.waiting.insert(key, value).is_none() {
            self.counts[key.priority as usize] += 1;
        }
    }

    /// The next to be served of those that the room `fits`, and whether that still makes sense:
    /// whose remaining time is less than a request takes can only be told so.
    pub fn next(
        &mut self,
        now: Moment,
        service: Duration,
        fits: impl Fn(&T) -> bool,
    ) -> Option<(Key, T, bool)> {
        let key = *self.waiting.iter().find(|(_, value)| fits(value))?.0;
        let value = self.leave(key)?;
        Some((key, value, now + service <= key.deadline))
    }

    /// Takes someone out of the line.
    pub fn leave(&mut self, key: Key) -> Option<T> {
        let value = self.waiting.remove(&key)?;
        self.counts[key.priority as usize] -= 1;
        Some(value)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment::from_millis(1_000);
    const UNKNOWN: Pace = Pace { rate: 0.0, service: Duration::ZERO };

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn key(queue: &mut Queue<()>, priority: Priority, deadline: u64) -> Key {
        Key { priority, deadline: NOW + ms(deadline), number: queue.number() }
    }

    /// Joins if it may; who had to leave.
    fn arrive(
        queue: &mut Queue<()>,
        priority: Priority,
        deadline: u64,
    ) -> Result<Option<Priority>, Refusal> {
        let key = key(queue, priority, deadline);
        let leaver = queue.judge(key, NOW, UNKNOWN)?;
        if let Some(leaver) = leaver {
            queue.leave(leaver);
        }
        queue.join(key, ());
        Ok(leaver.map(|leaver| leaver.priority))
    }

    #[test]
    fn the_highest_priority_first_then_the_earliest_deadline_then_who_came_first() {
        use Priority::{High, Low, Normal};
        let mut queue = Queue::new(10);
        let wishes = [(Low, 100), (Normal, 300), (Normal, 200), (High, 900), (Normal, 200)];
        for (priority, deadline) in wishes {
            assert_eq!(arrive(&mut queue, priority, deadline), Ok(None));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.next(NOW, ms(0), |()| true))
            .map(|(key, (), _)| (key.priority, key.deadline.since(NOW).as_millis(), key.number))
            .collect();
        let expected =
            [(High, 900, 4), (Normal, 200, 3), (Normal, 200, 5), (Normal, 300, 2), (Low, 100, 1)];
        assert_eq!(order, expected);
    }

    #[test]
    fn lesser_work_fills_its_share_only() {
        let mut queue = Queue::new(10);
        for _ in 0..5 {
            assert_eq!(arrive(&mut queue, Priority::Low, 100), Ok(None));
        }
        assert_eq!(arrive(&mut queue, Priority::Low, 100), Err(Refusal::OverShare));
        for _ in 0..3 {
            assert_eq!(arrive(&mut queue, Priority::Normal, 100), Ok(None));
        }
        // Over the share of ordinary requests, but not while lesser work waits.
        assert_eq!(arrive(&mut queue, Priority::Normal, 100), Ok(Some(Priority::Low)));
        assert_eq!(queue.len(), 8);
    }

    #[test]
    fn a_full_queue_takes_a_higher_priority_and_drops_the_lowest_with_the_latest_deadline() {
        let mut queue = Queue::new(2);
        assert_eq!(arrive(&mut queue, Priority::High, 100), Ok(None));
        assert_eq!(arrive(&mut queue, Priority::High, 900), Ok(None));
        assert_eq!(arrive(&mut queue, Priority::High, 50), Err(Refusal::Full));
        assert_eq!(arrive(&mut queue, Priority::Critical, 900), Ok(Some(Priority::High)));
        assert_eq!(queue.next(NOW, ms(0), |()| true).unwrap().0.priority, Priority::Critical);
        assert_eq!(queue.next(NOW, ms(0), |()| true).unwrap().0.deadline, NOW + ms(100));
    }

    #[test]
    fn whose_turn_would_come_too_late_is_told_at_once() {
        let mut queue = Queue::new(100);
        for _ in 0..20 {
            arrive(&mut queue, Priority::High, 5_000).unwrap();
        }
        // 20 ahead at 100 a second, and 50 ms for itself.
        let pace = Pace { rate: 100.0, service: ms(50) };
        let late = key(&mut queue, Priority::High, 5_001);
        assert_eq!(queue.judge(Key { deadline: NOW + ms(249), ..late }, NOW, pace), Ok(None));
        assert_eq!(
            queue.judge(
                Key { priority: Priority::Normal, deadline: NOW + ms(249), ..late },
                NOW,
                pace
            ),
            Err(Refusal::TooLate)
        );
        assert_eq!(
            queue.judge(
                Key { priority: Priority::Normal, deadline: NOW + ms(251), ..late },
                NOW,
                pace
            ),
            Ok(None)
        );
        let first = Key { priority: Priority::Critical, deadline: NOW + ms(49), ..late };
        assert_eq!(queue.judge(first, NOW, pace), Err(Refusal::TooLate));
    }

    #[test]
    fn who_can_no_longer_make_it_is_told_when_called() {
        let mut queue = Queue::new(2);
        arrive(&mut queue, Priority::Normal, 100).unwrap();
        arrive(&mut queue, Priority::Normal, 300).unwrap();
        let sensible = |called: Option<(Key, (), bool)>| called.map(|(_, (), sensible)| sensible);
        assert_eq!(sensible(queue.next(NOW + ms(60), ms(50), |()| true)), Some(false));
        assert_eq!(sensible(queue.next(NOW + ms(60), ms(50), |()| true)), Some(true));
        assert_eq!(sensible(queue.next(NOW + ms(60), ms(50), |()| true)), None);
    }

    #[test]
    fn whom_the_room_does_not_fit_is_passed_over_and_keeps_its_place() {
        let mut queue = Queue::new(3);
        for (at, deadline) in [100, 200, 300].into_iter().enumerate() {
            let number = queue.number();
            let key = Key { priority: Priority::Normal, deadline: NOW + ms(deadline), number };
            queue.join(key, at);
        }
        let mut next = |fits: fn(&usize) -> bool| queue.next(NOW, ms(0), fits).map(|it| it.1);
        assert_eq!(next(|at| *at > 0), Some(1));
        assert_eq!(next(|at| *at > 5), None);
        assert_eq!((next(|_| true), next(|_| true), next(|_| true)), (Some(0), Some(2), None));
    }

    #[test]
    fn without_places_nobody_waits() {
        let mut queue = Queue::new(0);
        for priority in Priority::ALL {
            assert_eq!(arrive(&mut queue, priority, 100), Err(Refusal::Full));
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Arrive(u8, u64),
        Serve,
        GiveUp(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => (0u8..4, 0u64..2_000).prop_map(|(priority, deadline)| Step::Arrive(priority, deadline)),
            2 => Just(Step::Serve),
            1 => (0usize..20).prop_map(Step::GiveUp),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_never_turns_away_above_who_keeps_a_place(
            size in 0usize..24,
            steps in steps(),
            rate in prop_oneof![Just(0.0), 1.0..1_000.0],
        ) {
            let mut queue = Queue::new(size);
            let mut model: Vec<Key> = Vec::new();
            let pace = Pace { rate, service: ms(20) };
            for step in steps {
                match step {
                    Step::Arrive(code, deadline) => {
                        let priority = Priority::from_code(code).unwrap();
                        let key = key(&mut queue, priority, deadline);
                        let ahead = model.iter().filter(|other| **other < key).count();
                        prop_assert_eq!(queue.ahead_of(key), ahead);
                        match queue.judge(key, NOW, pace) {
                            Ok(leaver) => {
                                if let Some(leaver) = leaver {
                                    prop_assert!(leaver.priority > priority);
                                    prop_assert_eq!(model.iter().max(), Some(&leaver));
                                    prop_assert!(queue.leave(leaver).is_some());
                                    model.retain(|other| *other != leaver);
                                }
                                queue.join(key, ());
                                model.push(key);
                            }
                            Err(Refusal::Full | Refusal::OverShare) => {
                                prop_assert!(model.iter().all(|other| other.priority <= priority));
                            }
                            Err(Refusal::TooLate) => {
                                prop_assert!(NOW + pace.wait(ahead) + pace.service > key.deadline);
                            }
                        }
                    }
                    Step::Serve => {
                        let served = queue.next(NOW, ms(20), |()| true);
                        let expected = model.iter().min().copied();
                        prop_assert_eq!(served.as_ref().map(|(key, (), _)| *key), expected);
                        model.retain(|other| Some(*other) != expected);
                    }
                    Step::GiveUp(at) => {
                        if let Some(key) = model.get(at).copied() {
                            prop_assert!(queue.leave(key).is_some());
                            prop_assert!(queue.leave(key).is_none());
                            model.remove(at);
                        }
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert!(queue.len() <= size);
            }
        }
    }
}
