//! Reads the pages on which servers show their own counters.
//!
//! One task for each page, so that one that hangs delays no other; a page is read once for all
//! models of its server. Which series mean what is data in `mainstay_policy::health::counters`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::EndpointUrl;
use mainstay_policy::health::counters::{Kind, Reading};
use mainstay_policy::health::initial_spread;
use mainstay_protocol::prometheus;

use crate::check::{ModelName, read_page};
use crate::prober::Task;

/// The longest that one reading may take, if the interval is not shorter.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A page, and who stands on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// Where the page is, with its own port.
    pub address: EndpointUrl,
    /// Its whole path.
    pub path: String,
    /// Whose names it uses.
    pub kind: Kind,
    /// Between two readings.
    pub interval: Duration,
    /// The subjects, each with its model; `None` for any model.
    pub readers: Vec<(usize, Option<ModelName>)>,
}

/// Who is told what stands on the pages. Calls must return soon.
pub trait Tally: Send + Sync {
    /// A page was read: what it says of this subject, or why it could not be read.
    fn read(&self, subject: usize, reading: Result<Reading, &str>);
}

/// Reads pages until it is dropped.
pub async fn scrape(pages: Vec<Page>, tally: Arc<dyn Tally>) {
    let mut scraping = Scraping::new(tally);
    scraping.set(pages);
    // With nothing to read it still lasts until it is dropped.
    std::future::pending::<()>().await;
}

/// Readings that change while they run; all end when it is dropped.
pub struct Scraping {
    tally: Arc<dyn Tally>,
    loops: HashMap<Page, Task>,
}

impl Scraping {
    /// Readings of nothing.
    #[must_use]
    pub fn new(tally: Arc<dyn Tally>) -> Self {
        Self { tally, loops: HashMap::new() }
    }

    /// From now on these pages are read. Those that were read before, for the same readers, are
    /// read on without a break. Needs a runtime.
    pub fn set(&mut self, pages: Vec<Page>) {
        let mut before = std::mem::take(&mut self.loops);
        let count = pages.len();
        for (index, page) in pages.into_iter().enumerate() {
            let task = before.remove(&page).unwrap_or_else(|| {
                let first = initial_spread(index, count, page.interval);
                Task::spawn(watch(page.clone(), first, Arc::clone(&self.tally)))
            });
            self.loops.insert(page, task);
        }
    }
}

async fn watch(page: Page, first: Duration, tally: Arc<dyn Tally>) {
    tokio::time::sleep(first).await;
    let mut tick = tokio::time::interval(page.interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let limit = TIMEOUT.min(page.interval);
        let read = tokio::time::timeout(limit, read_page(&page.address, &page.path)).await;
        let text = read.unwrap_or_else(|_| Err(format!("no page within {limit:?}")));
        for (subject, model) in &page.readers {
            match &text {
                Ok(text) => tally.read(*subject, reading(text, page.kind, model.as_ref())),
                Err(why) => tally.read(*subject, Err(why)),
            }
        }
    }
}

fn reading(page: &str, kind: Kind, model: Option<&ModelName>) -> Result<Reading, &'static str> {
    let name = model.map_or("*", |model| &*model.name);
    let version = model.and_then(|model| model.version.as_deref());
    let mut reading = Reading::default();
    for sample in prometheus::samples(page) {
        let label = |name: &str| sample.label(name);
        kind.mapping().add(&mut reading, (name, version), (sample.name, sample.value), label);
    }
    if reading.found { Ok(reading) } else { Err("the page has nothing on this model") }
}
