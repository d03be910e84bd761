//! What probes find, noted on the board.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{Config, Pool};
use mainstay_policy::Moment;
use mainstay_policy::health::Change;
use mainstay_policy::health::counters::Reading;
use mainstay_probe::{
    Found, GoldenProbe, ModelName, Observer, Page, Probing, Scraping, Subject, Tally,
};
use mainstay_protocol::oip::golden::Golden;
use mainstay_telemetry::{Event, EventKind};

use super::Board;
use crate::build::Watched;
use crate::shared::Shared;

/// Everything that observes.
pub(crate) struct Prober {
    probing: Probing,
    scraping: Scraping,
    witness: Arc<Witness>,
}

/// Who is told.
#[derive(Debug)]
struct Witness {
    shared: Arc<Shared>,
    board: Arc<Board>,
}

impl Prober {
    /// An observer of nobody.
    pub(crate) fn new(shared: Arc<Shared>, seed: u64) -> Self {
        let clock = shared.clock;
        let board = Board::new(Arc::clone(&shared));
        let witness = Arc::new(Witness { shared, board });
        let probing = Probing::new(Arc::<Witness>::clone(&witness), clock, seed);
        let scraping = Scraping::new(Arc::<Witness>::clone(&witness));
        Self { probing, scraping, witness }
    }

    /// Where what is found is kept.
    pub(crate) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.witness.board)
    }

    /// From now on these are observed; whoever was before, and is observed in the same way, goes
    /// on without a break. Needs a runtime.
    pub(crate) fn watch(&mut self, config: &Config, watched: &[Watched]) {
        let numbers = self.witness.board.watch(config, watched);
        let subjects = numbers.iter().zip(watched);
        let subjects = subjects.map(|(number, watched)| (*number, subject(config, watched)));
        self.probing.set(subjects.collect(), &config.dependencies);
        self.scraping.set(pages(config, &numbers, watched));
    }
}

/// The pages of counters that are read: one for each endpoint of a pool that asks for them.
fn pages(config: &Config, numbers: &[usize], watched: &[Watched]) -> Vec<Page> {
    let mut pages: BTreeMap<(usize, usize), Page> = BTreeMap::new();
    for (subject, watched) in numbers.iter().zip(watched) {
        let pool = &config.pools[watched.pool];
        let Some(counters) = &pool.counters else { continue };
        let page = pages.entry((watched.pool, watched.endpoint)).or_insert_with(|| {
            let mut address = pool.endpoints[watched.endpoint].url.clone();
            address.port = counters.port.unwrap_or(address.port);
            Page {
                address,
                path: counters.path.clone(),
                kind: counters.kind,
                interval: counters.interval,
                readers: Vec::new(),
            }
        });
        page.readers.push((*subject, model(watched)));
    }
    pages.into_values().collect()
}

/// The model of a target; `None` where it takes any.
fn model(watched: &Watched) -> Option<ModelName> {
    let key = &watched.target.key;
    (&*key.model != "*")
        .then(|| ModelName { name: Arc::clone(&key.model), version: key.version.clone() })
}

fn subject(config: &Config, watched: &Watched) -> Subject {
    let pool = &config.pools[watched.pool];
    let endpoint = &pool.endpoints[watched.endpoint];
    Subject {
        address: endpoint.url.clone(),
        model: model(watched),
        check: pool.probe.check.clone(),
        settings: pool.probe.health.clone(),
        golden: golden_of(pool, &watched.target.key.model),
        dependencies: endpoint.dependencies.clone(),
    }
}

/// The golden requests for a model of this name at a pool; a route for any name takes them all.
pub(crate) fn golden_of(pool: &Pool, model: &str) -> Option<GoldenProbe> {
    let probe = pool.probe.golden.as_ref()?;
    let is_for = |golden: &Golden| match &golden.model {
        Some(named) => named == model || model == "*",
        None => model != "*",
    };
    let questions: Vec<_> = probe.files.iter().map(|file| Arc::clone(&file.golden)).collect();
    let questions: Vec<_> = questions.into_iter().filter(|golden| is_for(golden)).collect();
    let settings = probe.health.clone();
    (!questions.is_empty()).then_some(GoldenProbe {
        questions,
        protocol: pool.protocol,
        flavour: pool.flavour,
        settings,
    })
}

impl Observer for Witness {
    fn probed(&self, subject: usize, found: &Found, took: Duration) {
        let result = found.check.as_str();
        let line =
            format!("probe {result} in {:.1} ms: {}", took.as_secs_f64() * 1e3, found.detail);
        let target = self.board.probed(subject, found.check, took, line);
        if let Some(target) = target {
            self.shared.claims.note(&target, found.claim);
        }
    }

    fn unasked(&self, _subject: usize, found: &Found) {
        self.shared.short_of(&found.detail, "an endpoint for its probe");
    }

    fn changed(&self, subject: usize, change: &Change, _now: Moment) {
        self.board.probes_changed(subject, change);
        self.board.look_at(subject);
    }

    fn golden(&self, subject: usize, found: &Found, took: Duration, change: Option<&Change>) {
        let line = format!("{} ({:.1} ms)", found.detail, took.as_secs_f64() * 1e3);
        self.board.asked_golden(subject, (found.check, line), change);
    }

    fn dependency(&self, subject: Option<usize>, name: &str, healthy: bool, why: &str) {
        let target = self.board.depends(subject, name, healthy, why);
        let whose = target.map_or_else(|| "gateway".to_owned(), |target| target.key.to_string());
        let word = |healthy: bool| if healthy { "healthy" } else { "sick" }.to_owned();
        self.shared.telemetry.event(Event {
            kind: EventKind::Dependency,
            subject: format!("{whose} needs {name}"),
            from: word(!healthy),
            to: word(healthy),
            cause: why.to_owned(),
        });
    }
}

impl Tally for Witness {
    fn read(&self, subject: usize, reading: Result<Reading, &str>) {
        self.board.counted(subject, reading);
    }
}
