//! What is seen of one endpoint.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{self as config, Check, EndpointUrl, Warm};
use mainstay_control::group::{Fitness, Loss, Prepared, Sight, Standby};
use mainstay_policy::breaker::Refusal;
use mainstay_policy::outlier::{Capacity, Counts};
use mainstay_policy::target::Target;
use mainstay_policy::{Moment, Place, Verdict};
use mainstay_probe::{GoldenProbe, ModelName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::prepare::asks_for_models;
use crate::observe::golden_of;
use crate::outliers::Rotations;

/// How long a connection may take that only asks whether anybody listens.
const ASKED: Duration = Duration::from_millis(250);
/// Between two such questions to one that refused.
const AGAIN: Duration = Duration::from_millis(250);
/// Readings of the counters, one a second: what the last ten seconds brought.
const READINGS: usize = 10;
/// Between two of them.
const READ_EVERY: Duration = Duration::from_secs(1);

/// One endpoint of a pool.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) place: Arc<Place>,
    pub(super) url: EndpointUrl,
    pub(super) standby: Standby,
    pub(super) targets: Vec<Arc<Target>>,
    /// What is loaded and asked before it is used.
    pub(super) models: Vec<(Option<ModelName>, Option<GoldenProbe>)>,
    pub(super) check: Check,
    pub(super) warm: Warm,
    /// Whether it was not here before.
    pub(super) is_new: bool,
    pub(super) suspicion: Suspicion,
    /// The number of the preparation or release that counts: what an earlier one still reports
    /// comes too late.
    pub(super) work: u64,
    pub(super) prepared: Prepared,
    /// Whether it was seen to be ready since it was made ready.
    seen_ready: bool,
    /// What is done to make it ready, in words.
    pub(super) stage: String,
    /// How long it last took to be made ready.
    pub(super) took: Option<Duration>,
    /// Whoever makes it ready or lets it go.
    pub(super) task: Option<JoinHandle<()>>,
    readings: VecDeque<Vec<Counts>>,
    read: Moment,
}

/// Whether anybody listens there at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Nothing speaks against it.
    #[default]
    None,
    /// An attempt failed, and it is being asked.
    Asked {
        /// When the attempt failed.
        since: Moment,
        /// Whether it refused before.
        refused: bool,
    },
    /// It refused when it was asked once more.
    Refused {
        /// When the first attempt failed.
        since: Moment,
        /// When it was asked last.
        at: Moment,
    },
}

impl Suspicion {
    pub(super) const fn answered(self, refused: bool, now: Moment) -> Self {
        match self {
            Self::Asked { since, .. } if refused => Self::Refused { since, at: now },
            _ => Self::None,
        }
    }

    const fn refused(self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Asked { refused: true, .. })
    }

    /// How long ago its first attempt failed.
    pub(super) const fn took(self, now: Moment) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Asked { since, .. } | Self::Refused { since, .. } => Some(now.since(since)),
        }
    }
}

impl Member {
    /// An endpoint with its targets; `None` without any.
    pub(super) fn new(
        pool: &config::Pool,
        endpoint: &config::Endpoint,
        targets: Vec<Arc<Target>>,
    ) -> Option<Self> {
        let place = Arc::clone(&targets.first()?.place);
        let models = targets.iter().map(|target| {
            let (name, version) = (&target.key.model, target.key.version.clone());
            let named = (&**name != "*").then(|| ModelName { name: Arc::clone(name), version });
            (named, golden_of(pool, name))
        });
        Some(Self {
            name: Arc::clone(&endpoint.name),
            place,
            url: endpoint.url.clone(),
            standby: endpoint.standby.unwrap_or_default(),
            models: models.collect(),
            targets,
            check: pool.probe.check.clone(),
            warm: pool.warm.clone(),
            is_new: true,
            suspicion: Suspicion::None,
            work: 0,
            prepared: Prepared::No,
            seen_ready: false,
            stage: String::new(),
            took: None,
            task: None,
            readings: VecDeque::new(),
            read: Moment::ZERO,
        })
    }

    /// The same one, going on from what it was before a reload.
    pub(super) fn after(mut self, before: Option<Self>) -> Self {
        self.is_new = before.is_none();
        match before {
            Some(before) if before.url == self.url => {
                self.work = before.work;
                self.suspicion = before.suspicion;
                self.prepared = before.prepared;
                self.seen_ready = before.seen_ready;
                self.stage = before.stage;
                self.task = before.task;
            }
            Some(before) => before.forget(),
            None => {}
        }
        self
    }

    /// It is not configured any more.
    pub(super) fn forget(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }

    /// Whether it is to be asked whether anybody listens there.
    pub(super) fn is_to_be_asked(&self, alarm: Option<Moment>, now: Moment) -> bool {
        match self.suspicion {
            Suspicion::None => alarm.is_some() && self.targets.iter().any(|t| t.stats.streak() > 0),
            Suspicion::Asked { .. } => false,
            Suspicion::Refused { at, .. } => now.since(at) >= AGAIN,
        }
    }

    /// Connects; whether that is refused.
    pub(super) fn ask(&mut self, alarm: Moment) -> impl Future<Output = bool> + Send + use<> {
        let refused = self.suspicion.refused();
        let since = match self.suspicion {
            Suspicion::Refused { since, .. } | Suspicion::Asked { since, .. } => since,
            Suspicion::None => alarm,
        };
        self.suspicion = Suspicion::Asked { since, refused };
        let (host, port) = (Arc::clone(&self.url.host), self.url.port);
        async move {
            let connecting = TcpStream::connect((&*host, port));
            let connected = tokio::time::timeout(ASKED, connecting).await;
            matches!(connected, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
        }
    }

    /// What it did under another standing says nothing of it now.
    pub(super) fn begin_anew(&mut self) {
        self.readings.clear();
    }

    /// What is seen of it; `compares` looks at its latest answers as well.
    pub(super) fn see(&mut self, rotations: &Rotations, compares: bool, now: Moment) -> Sight {
        let recent = if compares { self.recent(now) } else { Counts::default() };
        let (load, capacity) = self.rates(rotations);
        let fitness = self.fitness(now);
        self.miss_models(fitness);
        Sight {
            fitness,
            prepared: self.prepared,
            load,
            capacity: capacity.map(|capacity| capacity.rate),
            measured: capacity.is_some_and(|capacity| capacity.measured),
            full: self.targets.iter().any(|target| target.limiter.is_full()),
            judged: recent.judged(),
            failed: recent.failed,
            median: recent.latencies.median(),
        }
    }

    /// Whether it is warm, has all its models, and nobody here has loaded them.
    pub(super) fn is_found_loaded(&self) -> bool {
        self.standby == Standby::Warm
            && self.work == 0
            && self.prepared == Prepared::No
            && asks_for_models(&self.check, &self.models)
            && self.targets.iter().all(|target| target.health.verdict() == Verdict::Ready)
    }

    /// A warm one that was ready and has lost its models, as by a restart, is to be loaded anew.
    fn miss_models(&mut self, fitness: Fitness) {
        if self.standby != Standby::Warm || self.prepared != Prepared::Yes {
            self.seen_ready = false;
            return;
        }
        match fitness {
            Fitness::Ready => self.seen_ready = true,
            Fitness::Lost(Loss::Loading) if self.seen_ready => {
                (self.prepared, self.stage) = (Prepared::No, String::new());
                self.seen_ready = false;
            }
            _ => {}
        }
    }

    /// It serves all models of its pool, or some, or none.
    fn fitness(&self, now: Moment) -> Fitness {
        if self.suspicion.refused() {
            return Fitness::Lost(Loss::Refuses);
        }
        let lost = self.targets.iter().filter_map(|target| loss(target, now));
        let (count, worst) =
            lost.fold((0, None), |(count, worst), loss| (count + 1, worst.max(Some(loss))));
        let unknown = |target: &Arc<Target>| target.health.verdict() == Verdict::Unknown;
        match worst {
            Some(worst) if count == self.targets.len() => Fitness::Lost(worst),
            Some(_) => Fitness::Partly,
            None if self.targets.iter().any(unknown) => Fitness::Unknown,
            None => Fitness::Ready,
        }
    }

    fn recent(&mut self, now: Moment) -> Counts {
        let read: Vec<_> = self.targets.iter().map(|target| target.stats.read()).collect();
        let first = self.readings.front().unwrap_or(&read);
        let mut sum = Counts::default();
        for (now, before) in read.iter().zip(first) {
            sum.add(&now.since(before));
        }
        if self.readings.is_empty() || now.since(self.read) >= READ_EVERY {
            self.read = now;
            self.readings.push_back(read);
            if self.readings.len() > READINGS {
                self.readings.pop_front();
            }
        }
        sum
    }

    /// Requests a second, and how many it is taken to bear: where it serves several models, the
    /// busiest says how much more of the same mixture would be too much.
    fn rates(&self, rotations: &Rotations) -> (f64, Option<Capacity>) {
        let states: Vec<_> =
            self.targets.iter().filter_map(|target| rotations.rates(target.id)).collect();
        let load: f64 = states.iter().map(|(load, _)| load).sum();
        let capable = || states.iter().filter(|(_, capacity)| capacity.rate > 0.0);
        let use_of = |(load, capacity): &(f64, Capacity)| load / capacity.rate;
        let busiest = capable().max_by(|one, other| use_of(one).total_cmp(&use_of(other)));
        let capacity = match busiest {
            Some(busiest) if use_of(busiest) > 0.0 => {
                Some(Capacity { rate: load / use_of(busiest), ..busiest.1 })
            }
            _ => capable()
                .map(|(_, capacity)| *capacity)
                .min_by(|one, other| one.rate.total_cmp(&other.rate)),
        };
        (load, capacity)
    }
}

fn loss(target: &Target, now: Moment) -> Option<Loss> {
    let verdict = target.health.verdict();
    let broken = || {
        matches!(target.breaker.would_admit(now), Err(Refusal::Open { .. } | Refusal::ForcedOpen))
    };
    Loss::of(verdict).or_else(|| broken().then_some(Loss::Broken))
}
