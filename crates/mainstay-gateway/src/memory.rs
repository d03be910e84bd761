//! The memory that kept request bodies may take, over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A counted limit, in bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    used: AtomicUsize,
    limit: usize,
}

impl Memory {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit }
    }

    /// Sets `bytes` aside until the reservation is dropped; `None` beyond the limit.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let reservation = Reservation { memory: Arc::clone(self), bytes };
        (before.saturating_add(bytes) <= self.limit).then_some(reservation)
    }
}

/// Bytes set aside.
#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let memory = Arc::new(Memory::new(100));
        let first = memory.reserve(80);
        assert!(first.is_some());
        assert!(memory.reserve(30).is_none(), "beyond the limit");
        drop(first);
        assert!(memory.reserve(100).is_some(), "a refused reservation leaves nothing behind");
    }
}
