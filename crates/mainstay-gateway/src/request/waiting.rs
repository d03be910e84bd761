//! Waiting for somebody to come back to a pool that has nobody left: a bounded number of
//! requests, each for a bounded time, as the model's last resort says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mainstay_policy::chain::Climb;

/// The requests of one model that wait, and how many may.
#[derive(Debug)]
pub(crate) struct Waiting {
    count: AtomicUsize,
    most: usize,
}

/// A place in the queue, given back when it is dropped.
struct Place<'w>(&'w Waiting);

impl Waiting {
    pub(crate) const fn new(most: usize) -> Self {
        Self { count: AtomicUsize::new(0), most }
    }

    /// Waits for as long as the climb says, or tells it that there is no room to wait.
    pub(super) async fn wait(&self, climb: &mut Climb<'_>, pause: Duration) {
        let Some(_place) = self.enter() else {
            climb.wait_no_longer();
            return;
        };
        tokio::time::sleep(pause).await;
    }

    fn enter(&self) -> Option<Place<'_>> {
        let more = |count| (count < self.most).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}
