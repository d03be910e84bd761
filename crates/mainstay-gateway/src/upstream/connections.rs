//! Idle connections of one worker, by endpoint.
//!
//! The one used last is used first, so that the others can grow old and be closed. Connections
//! belong to a worker: nothing is shared, where a general client pool was measured 10 % slower
//! for its locks and its key hashing.
//!
//! An idle connection is polled by nobody; that the server has closed it is seen by the next
//! sweep, or when it is taken.

use std::cell::{RefCell, RefMut};
use std::time::Duration;

use mainstay_policy::Moment;

use super::connection::Connection;
use crate::snapshot::Upstream;

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Moment,
}

/// The idle connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_endpoint: Vec<RefCell<Vec<Idle>>>,
    /// Where heads of requests are written.
    scratch: RefCell<Vec<u8>>,
}

impl Connections {
    /// Room for the connections to so many endpoints.
    pub(crate) fn new(endpoints: usize) -> Self {
        let by_endpoint = (0..endpoints).map(|_| RefCell::default()).collect();
        Self { by_endpoint, scratch: RefCell::default() }
    }

    /// The open connection that was used last, if there is one.
    pub(crate) fn take(&self, upstream: &Upstream, now: Moment) -> Option<Connection> {
        let mut idle = self.by_endpoint.get(upstream.index)?.borrow_mut();
        while let Some(Idle { connection, since }) = idle.pop() {
            if now.since(since) < upstream.keep_alive && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn put(&self, upstream: &Upstream, mut connection: Connection, now: Moment) {
        if !connection.is_reusable() || upstream.max_idle == 0 {
            return;
        }
        connection.reused = true;
        let Some(idle) = self.by_endpoint.get(upstream.index) else { return };
        let mut idle = idle.borrow_mut();
        if idle.len() >= upstream.max_idle {
            idle.remove(0);
        }
        idle.push(Idle { connection, since: now });
    }

    /// Closes what has been idle for too long, and what the server has closed.
    pub(crate) fn sweep(&self, keep_alive: impl Fn(usize) -> Duration, now: Moment) {
        for (endpoint, idle) in self.by_endpoint.iter().enumerate() {
            let limit = keep_alive(endpoint);
            idle.borrow_mut()
                .retain(|entry| now.since(entry.since) < limit && entry.connection.is_quiet());
        }
    }

    /// Room for the head of a request; empty.
    pub(super) fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        scratch
    }
}
