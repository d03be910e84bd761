//! Numbers for the endpoints that workers keep connections to.
//!
//! An endpoint that a reload keeps also keeps its number, and with it every worker's idle
//! connections. The number of one that is gone is given to another only when nothing holds it any
//! more: no request of an older configuration can take the one for the other.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One number, for as long as somebody holds it.
#[derive(Debug)]
pub(crate) struct Slot(pub(crate) usize);

/// All numbers.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    all: Vec<Weak<Slot>>,
    free: Vec<usize>,
}

impl Slots {
    /// Looks for numbers that nobody holds any more.
    pub(crate) fn sweep(&self) {
        let known = &mut *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |at: &usize| known.all[*at].strong_count() == 0;
        known.free = (0..known.all.len()).rev().filter(free).collect();
    }

    /// A number of one's own.
    pub(crate) fn take(&self) -> Arc<Slot> {
        let known = &mut *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = known.free.pop().unwrap_or_else(|| {
            known.all.push(Weak::new());
            known.all.len() - 1
        });
        let slot = Arc::new(Slot(at));
        known.all[at] = Arc::downgrade(&slot);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_only_when_nobody_holds_it() {
        let slots = Slots::default();
        let (first, second) = (slots.take(), slots.take());
        assert_eq!((first.0, second.0), (0, 1));
        drop(first);
        assert_eq!(slots.take().0, 2, "before a sweep nothing is free");
        slots.sweep();
        assert_eq!(slots.take().0, 0);
        slots.sweep();
        assert_eq!((second.0, slots.take().0), (1, 0), "the last two were dropped at once");
    }
}
