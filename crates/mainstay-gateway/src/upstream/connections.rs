//! Idle connections of one worker, by endpoint.
//!
//! The one used last is used first, so that the others can grow old and be closed. Connections
//! belong to a worker: nothing is shared, where a general client pool was measured 10 % slower
//! for its locks and its key hashing.
//!
//! An idle connection is polled by nobody; that the server has closed it is seen by the next
//! sweep, or when it is taken.

use std::cell::{RefCell, RefMut};
use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::Moment;

use super::connection::Connection;
use super::http2::Lines;
use crate::snapshot::Upstream;

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Moment,
}

/// The idle connections to one endpoint.
#[derive(Debug, Default)]
struct Berth {
    idle: Vec<Idle>,
    /// How long they are kept; `None` where no endpoint has this number.
    keep_alive: Option<Duration>,
}

/// The idle connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_slot: RefCell<Vec<Berth>>,
    /// Those of HTTP/2.
    pub(super) lines: Lines,
    /// Where heads of requests are written.
    scratch: RefCell<Vec<u8>>,
}

impl Connections {
    /// Connections to these endpoints are kept from now on, and those to others closed.
    pub(crate) fn keep(&self, upstreams: &[Arc<Upstream>]) {
        self.lines.keep(upstreams);
        let mut berths = self.by_slot.borrow_mut();
        let most = upstreams.iter().map(|upstream| upstream.slot.0 + 1).max().unwrap_or_default();
        berths.resize_with(most, Berth::default);
        berths.iter_mut().for_each(|berth| berth.keep_alive = None);
        for upstream in upstreams {
            berths[upstream.slot.0].keep_alive = Some(upstream.keep_alive);
        }
        for berth in berths.iter_mut().filter(|berth| berth.keep_alive.is_none()) {
            berth.idle = Vec::new();
        }
    }

    /// The open connection that was used last, if there is one.
    pub(crate) fn take(&self, upstream: &Upstream, now: Moment) -> Option<Connection> {
        let mut berths = self.by_slot.borrow_mut();
        let idle = &mut berths.get_mut(upstream.slot.0)?.idle;
        while let Some(Idle { mut connection, since }) = idle.pop() {
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
        let mut berths = self.by_slot.borrow_mut();
        let Some(berth) = berths.get_mut(upstream.slot.0) else { return };
        if berth.keep_alive.is_none() {
            // The endpoint went away while it answered.
            return;
        }
        if berth.idle.len() >= upstream.max_idle {
            berth.idle.remove(0);
        }
        berth.idle.push(Idle { connection, since: now });
    }

    /// Closes what has been idle for too long, and what the server has closed.
    pub(crate) fn sweep(&self, now: Moment) {
        self.lines.sweep(now);
        for Berth { idle, keep_alive } in &mut *self.by_slot.borrow_mut() {
            let limit = keep_alive.unwrap_or_default();
            idle.retain_mut(|entry| now.since(entry.since) < limit && entry.connection.is_quiet());
        }
    }

    /// Room for the head of a request; empty.
    pub(super) fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        scratch
    }
}
