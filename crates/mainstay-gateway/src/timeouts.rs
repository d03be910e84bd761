//! Time limits of a worker's waits, kept by the worker itself.
//!
//! A timer of the runtime is exact to a millisecond, and costs every request a place in a wheel
//! and a lock on it, though hardly any ever fires. Here a wait costs a slot in a list that one
//! task looks through every few milliseconds; a limit fires up to half a tick early or late.
//! Limits so short that this would matter still get a timer of the runtime.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay_policy::Moment;
use tokio::sync::Notify;

use crate::worker::Worker;

/// How often the list is looked through while anyone waits.
const TICK: Duration = Duration::from_millis(4);

/// Limits below this get an exact timer: half a tick is then no more than a tenth of them.
const EXACT: Duration = Duration::from_millis(20);

/// Ticks without anyone waiting after which the task goes to sleep: a second.
const QUIET: u32 = 250;

/// The waits of one worker that have a limit.
#[derive(Debug, Default)]
pub(crate) struct Timeouts {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    asleep: Cell<bool>,
    woken: Notify,
}

#[derive(Debug)]
enum Slot {
    Free,
    Waiting(Moment, Waker),
    Fired,
}

/// Awaits `future` until `deadline`; `None` if that comes first.
///
/// It stays where its caller pinned it: taken by value it would be copied, and the caller's own
/// future be twice as large.
pub(crate) async fn within<T>(
    worker: &Worker,
    now: Moment,
    limit: Duration,
    future: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    if limit < EXACT {
        return tokio::time::timeout(limit, future).await.ok();
    }
    in_list(worker, now + limit, future).await
}

/// The same, with a limit that never comes early and up to two ticks late, however short it is.
/// For limits that most futures meet: it costs no timer of the runtime.
pub(crate) async fn after_all<T>(
    worker: &Worker,
    now: Moment,
    limit: Duration,
    future: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    in_list(worker, now + limit + TICK / 2, future).await
}

/// Awaits `future` with a place in the worker's list; `None` once that has fired.
async fn in_list<T>(
    worker: &Worker,
    deadline: Moment,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let mut place = Place { timeouts: &worker.timeouts, deadline, slot: None };
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if place.has_fired(cx) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// The place of one wait in the list, given back when the wait is over.
struct Place<'t> {
    timeouts: &'t Timeouts,
    deadline: Moment,
    slot: Option<usize>,
}

impl Place<'_> {
    /// Whether the limit has passed; if not, whoever polls is woken when it does.
    fn has_fired(&mut self, cx: &Context<'_>) -> bool {
        let Some(slot) = self.slot else {
            self.slot = Some(self.timeouts.take(self.deadline, cx.waker()));
            return false;
        };
        match &mut self.timeouts.slots.borrow_mut()[slot] {
            Slot::Fired => true,
            Slot::Waiting(_, waker) => {
                waker.clone_from(cx.waker());
                false
            }
            Slot::Free => false,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.timeouts.slots.borrow_mut()[slot] = Slot::Free;
            self.timeouts.free.borrow_mut().push(slot);
        }
    }
}

impl Timeouts {
    fn take(&self, deadline: Moment, waker: &Waker) -> usize {
        if self.asleep.replace(false) {
            self.woken.notify_one();
        }
        let waiting = Slot::Waiting(deadline, waker.clone());
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = self.free.borrow_mut().pop() {
            slots[slot] = waiting;
            return slot;
        }
        slots.push(waiting);
        slots.len() - 1
    }

    /// Wakes everyone whose limit passes within half a tick of `now`; whether anyone waits on.
    fn fire(&self, now: Moment) -> bool {
        let mut anyone = false;
        for slot in self.slots.borrow_mut().iter_mut() {
            if let Slot::Waiting(deadline, _) = slot {
                anyone = true;
                if *deadline <= now + TICK / 2
                    && let Slot::Waiting(_, waker) = std::mem::replace(slot, Slot::Fired)
                {
                    waker.wake();
                }
            }
        }
        anyone
    }
}

/// Looks through the worker's list for as long as the worker lives.
pub(crate) async fn run(worker: &Worker) {
    let timeouts = &worker.timeouts;
    let mut quiet = 0;
    loop {
        quiet = if timeouts.fire(worker.clock.now()) { 0 } else { quiet + 1 };
        if quiet > QUIET {
            timeouts.asleep.set(true);
            timeouts.woken.notified().await;
            quiet = 0;
        }
        tokio::time::sleep(TICK).await;
    }
}
