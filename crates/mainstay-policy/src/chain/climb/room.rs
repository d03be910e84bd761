//! Room for one more: what a climb does where servers that could answer are full.
//!
//! A full server is passed over like any other that cannot be asked, as long as another pool of
//! the chain has room. Only before a source inside the gateway answers in its place, or before
//! nobody does, the request waits: an answer of full quality is worth a short wait, and how
//! short it is, is for the queue to say.

use super::super::Reason;
use super::super::plan::Step;
use super::{Choice, Climb};
use crate::Moment;

/// Others may be faster to a place so many times, until it is taken for lost.
const PATIENCE: u8 = 16;

/// Whether servers may be asked, and what for the request would wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// The request has a place among those of its model.
    entered: bool,
    /// How often it may still wait, of which the last time is to be told that it may not: none
    /// after a wait in vain.
    patience: u8,
    /// The first step at which someone was full.
    full: Option<usize>,
}

impl Room {
    pub(super) const OPEN: Self = Self { entered: true, patience: PATIENCE, full: None };
}

impl Climb<'_> {
    /// There is no place for the request among those of its model: no server is asked before it
    /// has waited for one.
    pub const fn hold_back(&mut self) {
        self.room.entered = false;
    }

    /// It waited, and there is room: the climb goes on where it was full.
    pub fn room(&mut self) {
        self.room.entered = true;
        self.room.patience = self.room.patience.saturating_sub(1);
        if let Some(step) = self.room.full.take() {
            self.step = step;
            self.tried_count = 0;
        }
        if self.reason == Reason::AtLimit {
            self.reason = Reason::None;
        }
    }

    /// Whether it may join the queue. Who was called so often, and never found a place, is to be
    /// turned away instead.
    #[must_use]
    pub const fn is_patient(&self) -> bool {
        self.room.patience > 1
    }

    /// Whether it was called from the queue.
    pub(super) const fn has_waited(&self) -> bool {
        self.room.patience < PATIENCE
    }

    /// It may not wait, or waited in vain: the climb goes on with what needs no room.
    pub const fn no_room(&mut self) {
        self.room.patience = 0;
    }

    /// Whether to wait now.
    pub(super) fn waits(&self, now: Moment) -> bool {
        self.room.patience > 0
            && self.room.full.is_some()
            && !self.last_resort
            && !self.content
            && self.pools_closed.is_none()
            && !self.deadline.remaining(now).is_zero()
    }

    /// Whether a server may be asked at all.
    pub(super) fn has_entered(&mut self) -> Result<(), Reason> {
        if self.room.entered {
            return Ok(());
        }
        self.room.full.get_or_insert(self.step);
        Err(Reason::AtLimit)
    }

    /// Why nobody of the step could be asked; `full`: somebody had no room.
    pub(super) fn nobody(&mut self, full: bool) -> Reason {
        if !full {
            return self.nobody_left();
        }
        self.room.full.get_or_insert(self.step);
        if self.total > 0 { self.nobody_left() } else { Reason::AtLimit }
    }

    /// Notes whether the member that refused an attempt in the last moment was full.
    pub(super) fn note_full(&mut self, choice: &Choice) {
        let Some(Step::Pool(pool)) = self.plan.steps().get(choice.step) else { return };
        if pool.members.get(choice.member).is_some_and(|member| member.target.limiter.is_full()) {
            self.room.full.get_or_insert(choice.step);
        }
    }

    /// Whether nobody could be asked but for want of room.
    pub(super) const fn is_held_back(&self) -> bool {
        !self.room.entered
    }
}
