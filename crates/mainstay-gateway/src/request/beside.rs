//! A second attempt beside one that is late: the first usable answer wins, the other is cut off.
//!
//! A hedge that fails does not fail the request while the first attempt still runs, nor the other
//! way round. Whoever is cut off is blamed for nothing: its connection is closed, its permit goes
//! back, and the time that it had taken counts as the least that it would have taken.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use mainstay_policy::chain::{Choice, Climb};

use super::ask::Ask;
use super::attempt::{Attempted, Order, Running, Spoken, begin, converse, overtake, settle};
use super::climb::Progress;
use crate::flight::Flight;
use crate::snapshot::PoolSource;
use crate::timeouts::within;
use crate::upstream::{Failure, Sending};

/// A first attempt that is late.
pub(super) struct Late<'a, 't, F> {
    pub(super) running: Running<'a>,
    /// It goes on from where it is.
    pub(super) talk: Pin<&'t mut F>,
    pub(super) order: &'a Order<'a>,
    pub(super) pool: &'a PoolSource,
}

/// Lets the late attempt go on, with another one beside it if there may be one.
pub(super) async fn hedged<F: Future<Output = Result<Spoken, Failure>>>(
    flight: &mut Flight,
    ask: &Ask,
    climb: &mut Climb<'_>,
    progress: &mut Progress,
    late: Late<'_, '_, F>,
) -> (Choice, Attempted) {
    let worker = Rc::clone(&flight.worker);
    let Late { running, talk, order, pool } = late;
    let now = worker.clock.now();
    let left = (order.now + running.choice.limit).remaining(now);
    let sent = Sending::default();
    let choice = worker.hedge(climb, &running.choice, now);
    let begun = choice.and_then(|choice| {
        begin(flight, pool, (&choice, now), &sent).map(|running| (choice, running))
    });
    let Some((choice, hedge)) = begun else {
        let talked = within(&worker, now, left, talk).await;
        let choice = running.choice;
        return (choice, settle(flight, ask, progress, pool, (running, talked)));
    };
    let beside = Order { choice: &choice, now, ..*order };
    let second = pin!(converse(&worker, ask, &beside, (pool, hedge.member), &sent));
    let mut first = pin!(within(&worker, now, left, talk));
    let mut second = pin!(within(&worker, now, choice.limit, second));
    let mut open = [Some(running), Some(hedge)];
    loop {
        let (ended, talked) = either(&open, first.as_mut(), second.as_mut()).await;
        let Some(running) = open[ended].take() else { continue };
        let choice = running.choice;
        let attempted = settle(flight, ask, progress, pool, (running, talked));
        let other = &mut open[1 - ended];
        match attempted {
            Attempted::Failed(failure, said) if other.is_some() => {
                climb.failed(&choice, failure.class, failure.sent);
                let said = said.filter(|_| pool.protocol == ask.protocol);
                progress.last_error = said.or_else(|| progress.last_error.take());
            }
            attempted => {
                if let Some(other) = other.take() {
                    overtake(flight, climb, other);
                }
                return (choice, attempted);
            }
        }
    }
}

/// Waits for whichever of the open attempts ends first, and says which.
async fn either<T>(
    open: &[Option<Running<'_>>; 2],
    mut first: Pin<&mut impl Future<Output = T>>,
    mut second: Pin<&mut impl Future<Output = T>>,
) -> (usize, T) {
    std::future::poll_fn(|cx| {
        if open[0].is_some()
            && let Poll::Ready(ended) = first.as_mut().poll(cx)
        {
            return Poll::Ready((0, ended));
        }
        if open[1].is_some()
            && let Poll::Ready(ended) = second.as_mut().poll(cx)
        {
            return Poll::Ready((1, ended));
        }
        Poll::Pending
    })
    .await
}
