//! What probes find, noted on the board.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{Config, Pool};
use mainstay_policy::Moment;
use mainstay_policy::health::Change;
use mainstay_policy::health::counters::Reading;
use mainstay_probe::{Found, GoldenProbe, ModelName, Observer, Page, Subject, Tally};
use mainstay_protocol::oip::golden::Golden;
use mainstay_telemetry::{Event, EventKind};

use super::Board;
use crate::build::Watched;
use crate::shared::Shared;

/// Everything that observes, ready to run.
#[derive(Debug)]
pub(crate) struct Prober {
    prober: mainstay_probe::Prober,
    pages: Vec<Page>,
    witness: Arc<Witness>,
}

/// Who is told.
#[derive(Debug)]
struct Witness {
    shared: Arc<Shared>,
    board: Arc<Board>,
}

impl Prober {
    pub(crate) fn new(
        config: &Config,
        shared: Arc<Shared>,
        watched: Vec<Watched>,
        seed: u64,
    ) -> Self {
        let subjects = watched.iter().map(|watched| subject(config, watched)).collect();
        let pages = pages(config, &watched);
        let clock = shared.clock;
        let own = config.dependencies.clone();
        let board = Board::new(config, Arc::clone(&shared), watched);
        let witness = Arc::new(Witness { shared, board });
        Self { prober: mainstay_probe::Prober::new(subjects, own, clock, seed), pages, witness }
    }

    /// Where what is found is kept.
    pub(crate) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.witness.board)
    }

    /// Observes until it is dropped.
    pub(crate) async fn run(self) {
        let board = self.board();
        let tally = Arc::clone(&self.witness);
        let pages = mainstay_probe::scrape(self.pages, tally);
        tokio::join!(self.prober.run(self.witness), pages, board.run());
    }
}

/// The pages of counters that are read: one for each endpoint of a pool that asks for them.
fn pages(config: &Config, watched: &[Watched]) -> Vec<Page> {
    let mut pages: BTreeMap<(usize, usize), Page> = BTreeMap::new();
    for (subject, watched) in watched.iter().enumerate() {
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
        page.readers.push((subject, model(watched)));
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
        golden: golden(pool, &watched.target.key.model),
        dependencies: endpoint.dependencies.clone(),
    }
}

/// The golden requests for a model of this name at a pool; a route for any name takes them all.
fn golden(pool: &Pool, model: &str) -> Option<GoldenProbe> {
    let probe = pool.probe.golden.as_ref()?;
    let is_for = |golden: &Golden| match &golden.model {
        Some(named) => named == model || model == "*",
        None => model != "*",
    };
    let questions: Vec<_> = probe.files.iter().map(|file| Arc::clone(&file.golden)).collect();
    let questions: Vec<_> = questions.into_iter().filter(|golden| is_for(golden)).collect();
    let settings = probe.health.clone();
    (!questions.is_empty()).then_some(GoldenProbe { questions, flavour: pool.flavour, settings })
}

impl Observer for Witness {
    fn probed(&self, subject: usize, found: &Found, took: Duration) {
        let result = found.check.as_str();
        let line =
            format!("probe {result} in {:.1} ms: {}", took.as_secs_f64() * 1e3, found.detail);
        self.board.probed(subject, found.check, took, line);
    }

    fn changed(&self, subject: usize, change: &Change, _now: Moment) {
        self.board.probes_changed(subject, change);
        self.board.look();
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
