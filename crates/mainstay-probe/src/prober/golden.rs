//! The loop of one subject's golden requests.

use std::sync::Arc;

use mainstay_config::EndpointUrl;
use mainstay_policy::health::{Check, Streak};

use super::{Observer, Rhythm, Round};
use crate::check::ModelName;
use crate::check::golden::{GoldenProbe, round};

/// Who is asked what.
pub(super) struct Asked {
    pub(super) index: usize,
    pub(super) address: EndpointUrl,
    pub(super) model: Option<ModelName>,
    pub(super) probe: GoldenProbe,
}

/// Asks for as long as it is polled. Only right and wrong answers count; a round without an
/// answer leaves the row as it was.
pub(super) async fn watch(asked: Asked, mut rhythm: Rhythm, observer: Arc<dyn Observer>) {
    let mut streak = Streak::default();
    tokio::time::sleep(rhythm.first).await;
    loop {
        let started = rhythm.clock.now();
        let found = round(&asked.address, asked.model.as_ref(), &asked.probe).await;
        let took = rhythm.clock.now().since(started);
        let (next, change) = match found.check {
            Check::Passed | Check::Wrong => streak.step(found.check, &rhythm.settings),
            _ => (streak, None),
        };
        streak = next;
        observer.golden(asked.index, &found, took, change.as_ref());
        rhythm.pause(&Round { found, took, streak, change, counts: true }).await;
    }
}
