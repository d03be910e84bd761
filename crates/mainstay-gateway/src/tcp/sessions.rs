//! The connections of one worker, and what happens to those that are open.
//!
//! | a connection ends | when |
//! |---|---|
//! | idle | nothing moved on it for the idle limit |
//! | failover | its endpoint is lost, or was in use and is a spare now (unless they are kept); its writer is another one now |
//! | drained | its endpoint is drained, away or gone from the pool, or the gateway stops, and the drain limit is over |
//!
//! All by the worker's own sweep: a connection costs no timer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_config::OnFailover;
use mainstay_policy::role::Role;
use mainstay_policy::{Moment, Standing, Verdict};

use super::listener::{Behind, End, Listener};
use super::relay::Desk;
use super::session::{Session, Tied};
use crate::snapshot::View;
use crate::worker::Worker;

/// The connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: RefCell<HashMap<u64, Rc<Session>>>,
    next: Cell<u64>,
    desk: Desk,
}

impl Sessions {
    pub(super) const fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Counts a connection from now until the returned value is dropped.
    pub(crate) fn enter(&self, worker: &Rc<Worker>, listener: Arc<Listener>) -> Entered {
        let session = Rc::new(Session::new(listener, worker.clock.now()));
        let key = self.next.get();
        self.next.set(key + 1);
        self.open.borrow_mut().insert(key, Rc::clone(&session));
        Entered { worker: Rc::clone(worker), key, session }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Ends whatever is to end; `stopping`: the gateway takes no more connections.
    pub(crate) fn sweep(&self, view: &View, (now, stopping): (Moment, bool)) {
        for session in self.open.borrow().values() {
            session.tick(now);
            // Its own listener, as it is configured now.
            let listener = view.tcp_listener(&session.listener.settings.name);
            let listener = listener.map_or(&*session.listener, |listener| &**listener);
            if let Some(end) = fate(session, listener, (now, stopping)) {
                session.order(end);
            }
        }
    }
}

/// How a connection is to end now, if it is.
fn fate(session: &Session, listener: &Listener, (now, stopping): (Moment, bool)) -> Option<End> {
    if session.is_fenced() {
        return Some(End::Failover);
    }
    if now.since(session.last.get()) > listener.settings.idle_timeout {
        return Some(End::Idle);
    }
    let mut tied = session.tied.borrow_mut();
    if let Some(tied) = &mut *tied
        && listener.settings.on_failover == OnFailover::Close
        && (is_lost(tied) || has_another_role(tied, listener))
    {
        return Some(End::Failover);
    }
    let goes = stopping || tied.as_ref().is_some_and(|tied| goes(tied, listener));
    let leaving = goes.then(|| session.leaving.get().unwrap_or(now));
    session.leaving.set(leaving);
    let left = leaving.map(|since| (since + listener.settings.drain).remaining(now));
    (left == Some(Duration::ZERO)).then_some(End::Drained)
}

/// Whether an endpoint is lost that was there when the connection began, or has lost its post
/// since.
fn is_lost(tied: &mut Tied) -> bool {
    let health = &tied.target.health;
    let dead = matches!(health.verdict(), Verdict::Dead | Verdict::Wrong);
    if dead && health.since() > tied.since {
        return true;
    }
    match tied.target.place.standing() {
        Standing::Active => tied.was_active = true,
        Standing::Spare => return tied.was_active,
        Standing::Drained | Standing::Away => {}
    }
    false
}

/// Whether it was a replica, and is to be one, and is none any more.
fn has_another_role(tied: &Tied, listener: &Listener) -> bool {
    let wants = |pool: &Behind| pool.rules.replicas && pool.name == tied.target.key.pool;
    tied.target.place.role() == Some(Role::Primary) && listener.pools.iter().any(wants)
}

/// Whether an endpoint takes no new connections, so that those it has are to end by and by.
fn goes(tied: &Tied, listener: &Listener) -> bool {
    let out = matches!(tied.target.place.standing(), Standing::Drained | Standing::Away);
    let members = || listener.pools.iter().flat_map(|pool| &pool.members);
    out || tied.target.health.verdict() == Verdict::Draining
        || !members().any(|member| Arc::ptr_eq(&member.target, &tied.target))
}

/// A connection that counts; dropping it takes it out of every count, however its task ended.
pub(crate) struct Entered {
    worker: Rc<Worker>,
    key: u64,
    pub(super) session: Rc<Session>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.worker.sessions.open.borrow_mut().remove(&self.key);
        self.session.listener.account.leave();
        let pulse = &self.worker.shared.pulses[self.worker.index];
        pulse.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
