//! The first layer: a table bounded in bytes whose oldest entries give way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Kept, Key};

/// What an entry takes beside its answer's bytes, about.
const ENTRY: usize = 256;

#[derive(Debug)]
pub(super) struct Memory {
    entries: HashMap<Key, (u64, Arc<Kept>), RandomState>,
    /// By serial number, the oldest first: exactly the entries.
    order: BTreeMap<u64, Key>,
    last: u64,
    bytes: usize,
    limit: usize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashMap::default(), order: BTreeMap::new(), last: 0, bytes: 0, limit }
    }

    pub(super) fn get(&self, key: Key) -> Option<Arc<Kept>> {
        self.entries.get(&key).map(|(_, kept)| Arc::clone(kept))
    }

    /// Puts an answer in as the latest, and lets go of the oldest until there is room.
    pub(super) fn put(&mut self, key: Key, kept: Arc<Kept>) {
        self.bytes += size(&kept);
        self.last += 1;
        self.order.insert(self.last, key);
        if let Some((serial, old)) = self.entries.insert(key, (self.last, kept)) {
            self.order.remove(&serial);
            self.bytes -= size(&old);
        }
        self.shrink();
    }

    /// Takes so many bytes from now on.
    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.bytes > self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            if let Some((_, gone)) = self.entries.remove(&oldest) {
                self.bytes -= size(&gone);
            }
        }
    }

    /// Entries, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

fn size(kept: &Kept) -> usize {
    kept.body.len() + ENTRY
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn kept(len: usize) -> Arc<Kept> {
        Arc::new(Kept { at: 0, written: 0, json_len: None, body: Bytes::from(vec![0; len]) })
    }

    #[test]
    fn the_oldest_gives_way_and_a_renewed_one_is_young() {
        let mut memory = Memory::new(3 * (100 + ENTRY));
        for key in 0..3 {
            memory.put(Key(key), kept(100));
        }
        memory.put(Key(0), kept(100));
        memory.put(Key(3), kept(100));
        assert!(memory.get(Key(1)).is_none());
        assert!([0, 2, 3].iter().all(|key| memory.get(Key(*key)).is_some()));
        assert_eq!(memory.size(), (3, 3 * (100 + ENTRY)));
    }

    #[test]
    fn what_is_too_large_for_all_of_it_leaves_nothing_behind() {
        let mut memory = Memory::new(1000);
        memory.put(Key(0), kept(100));
        memory.put(Key(1), kept(2000));
        assert_eq!((memory.size(), memory.order.len()), ((0, 0), 0));
    }
}
