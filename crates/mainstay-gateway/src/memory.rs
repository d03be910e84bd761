//! The memory that kept request bodies may take, over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A counted limit, in bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl Memory {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }
    }

    /// Another limit from now on; what is set aside stays.
    pub(crate) fn resize(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Sets `bytes` aside until the reservation is dropped; `None` beyond the limit.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let mut reservation = Reservation { memory: Arc::clone(self), bytes: 0 };
        reservation.grow(bytes).then_some(reservation)
    }
}

impl Reservation {
    /// Sets so many more bytes aside; `false` beyond the limit.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let before = self.memory.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.memory.limit.load(Ordering::Relaxed)
    }

    /// The bytes that are set aside.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
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
        let mut all = memory.reserve(90).expect("a refused reservation leaves nothing behind");
        assert!(all.grow(10));
        assert!(!all.grow(1), "beyond the limit");
    }
}
