//! The connections of one worker, by endpoint.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use mainstay_policy::Moment;
use tokio::sync::{Notify, watch};

use super::super::exchange::Failure;
use super::line::{Line, Place};
use crate::snapshot::Upstream;
use crate::worker::Worker;

/// Connections of one worker to one endpoint. Each carries as many streams as its peer allows,
/// a hundred as a rule.
const MOST: usize = 8;

/// The connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    by_slot: RefCell<Vec<Rc<Berth>>>,
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
struct Berth {
    lines: RefCell<Vec<Line>>,
    /// How the connection that is being opened turns out.
    opening: RefCell<Option<watch::Receiver<Option<Failure>>>>,
    freed: Rc<Notify>,
    /// How long an idle one is kept; `None` where no endpoint has this number.
    keep_alive: RefCell<Option<Duration>>,
}

impl Lines {
    /// Connections to these endpoints are kept from now on; the others end with their streams.
    pub(crate) fn keep(&self, upstreams: &[Arc<Upstream>]) {
        let mut berths = self.by_slot.borrow_mut();
        let most = upstreams.iter().map(|upstream| upstream.slot.0 + 1).max().unwrap_or_default();
        berths.resize_with(most, Rc::default);
        berths.iter().for_each(|berth| *berth.keep_alive.borrow_mut() = None);
        for upstream in upstreams {
            *berths[upstream.slot.0].keep_alive.borrow_mut() = Some(upstream.keep_alive);
        }
        for berth in berths.iter().filter(|berth| berth.keep_alive.borrow().is_none()) {
            berth.lines.borrow_mut().clear();
        }
    }

    /// Looks after all of them.
    pub(crate) fn sweep(&self, now: Moment) {
        for berth in &*self.by_slot.borrow() {
            let limit = berth.keep_alive.borrow().unwrap_or_default();
            berth.lines.borrow_mut().retain(|line| line.tend(now, limit));
        }
    }

    fn berth(&self, upstream: &Upstream) -> Rc<Berth> {
        let mut berths = self.by_slot.borrow_mut();
        let at = upstream.slot.0;
        if berths.len() <= at {
            // An endpoint of a configuration that is gone; its connection ends with the request.
            berths.resize_with(at + 1, Rc::default);
        }
        Rc::clone(&berths[at])
    }
}

/// A place for a stream: on the connection that has the fewest, or on a new one, or on whichever
/// has room first. Nothing was sent when it fails, or is not waited for any longer.
pub(super) async fn checkout(
    worker: &Rc<Worker>,
    upstream: &Arc<Upstream>,
) -> Result<(SendRequest<Bytes>, Place), Failure> {
    let berth = worker.connections.lines.berth(upstream);
    loop {
        let freed = berth.freed.notified();
        if let Some(entered) = berth.enter() {
            return Ok(entered);
        }
        if berth.lines.borrow().len() < MOST {
            berth.open(worker, upstream).await?;
        } else {
            freed.await;
        }
    }
}

impl Berth {
    fn enter(&self) -> Option<(SendRequest<Bytes>, Place)> {
        let mut lines = self.lines.borrow_mut();
        lines.retain(|line| !line.is_closing());
        let free = lines.iter().filter(|line| line.has_room());
        free.min_by_key(|line| line.streams()).map(Line::enter)
    }

    /// Waits for the connection that is being opened, which is begun unless one is: many requests
    /// at once need no more than one.
    async fn open(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        upstream: &Arc<Upstream>,
    ) -> Result<(), Failure> {
        let known = self.opening.borrow().clone();
        let mut opening = known.unwrap_or_else(|| self.begin(worker, upstream));
        // Its sender is dropped when the connection is there.
        if opening.changed().await.is_err() {
            return Ok(());
        }
        let failed = *opening.borrow();
        failed.map_or(Ok(()), Err)
    }

    /// A task of its own: whoever asked may give up, others wait for it too.
    fn begin(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        upstream: &Arc<Upstream>,
    ) -> watch::Receiver<Option<Failure>> {
        let (told, opening) = watch::channel(None);
        *self.opening.borrow_mut() = Some(opening.clone());
        let (berth, worker, upstream) = (Rc::clone(self), Rc::clone(worker), Arc::clone(upstream));
        tokio::task::spawn_local(async move {
            let opened = Line::open(&worker, &upstream, Rc::clone(&berth.freed)).await;
            berth.opening.borrow_mut().take();
            match opened {
                Ok(line) => {
                    berth.lines.borrow_mut().push(line);
                    drop(told);
                }
                // Nobody may be waiting any longer.
                Err(failure) => drop(told.send(Some(failure))),
            }
        });
        opening
    }
}
