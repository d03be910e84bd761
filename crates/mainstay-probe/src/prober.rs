//! The loop of every probe: ask, count, tell, wait.
//!
//! One task for each subject, so that a probe that hangs delays no other. A dependency that
//! several servers declare is asked once for all of them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{Check, Dependency, EndpointUrl};
use mainstay_policy::Moment;
use mainstay_policy::health::{
    Change, Check as Answer, Settings, Streak, initial_spread, next_delay,
};
use mainstay_telemetry::Clock;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::check::golden::GoldenProbe;
use crate::check::{Found, ModelName, Probe, probe};

mod dependencies;
mod golden;

use dependencies::Dependencies;

/// The first probes are all made within this time: a gateway that has just started must know its
/// endpoints soon, and yet not ask them all in one instant.
const FIRST_WINDOW: Duration = Duration::from_millis(200);

/// With many endpoints the first probes are made at least so far apart, as far as their interval
/// has room for it: 2,000 a second.
const FIRST_APART: Duration = Duration::from_micros(500);

/// Probes under way at once; others wait for their turn before their time begins to run. Without a
/// bound a thousand servers that hang, or a moment in which the gateway itself stood still, would
/// bring more probes than it can carry: all would be late, each would be asked more often for that,
/// and every server would be held to be dead. With 512 at a time and ten thousand probes a second
/// none waits longer than 50 ms for the gateway itself.
const AT_ONCE: usize = 512;
static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// A probe that was given up so much later than its limit says nothing: the gateway itself stood
/// still, and an answer may have come in time.
const LATE: Duration = Duration::from_millis(50);

/// Who is probed, and how.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where.
    pub address: EndpointUrl,
    /// The model whose readiness is asked; `None` asks for the server's own.
    pub model: Option<ModelName>,
    /// What is asked; [`Check::Off`] is not probed.
    pub check: Check,
    /// How often, how long, how many.
    pub settings: Settings,
    /// Requests whose right answers are known.
    pub golden: Option<GoldenProbe>,
    /// What it needs to answer well.
    pub dependencies: Vec<Dependency>,
}

/// Who is told what the prober finds. Calls must return soon.
pub trait Observer: Send + Sync {
    /// A probe of `subject` ended, before any change that it causes.
    fn probed(&self, subject: usize, found: &Found, took: Duration);

    /// `subject` could not be probed for want of something of our own; its verdict stays.
    fn unasked(&self, subject: usize, found: &Found);

    /// The verdict on `subject` changed.
    fn changed(&self, subject: usize, change: &Change, now: Moment);

    /// A round of golden requests at `subject` ended, with the change that it causes: to wrong, or
    /// to ready where the answers are right (again).
    fn golden(&self, subject: usize, found: &Found, took: Duration, change: Option<&Change>);

    /// A dependency of `subject` became healthy or sick; `None` means the gateway's own.
    fn dependency(&self, subject: Option<usize>, name: &str, healthy: bool, why: &str);
}

/// Probes its subjects, and what they depend on, until it is dropped.
#[derive(Debug)]
pub struct Prober {
    subjects: Vec<Subject>,
    own: Vec<Dependency>,
    clock: Clock,
    seed: u64,
}

impl Prober {
    /// A prober of these subjects, and of the gateway's `own` dependencies.
    #[must_use]
    pub const fn new(
        subjects: Vec<Subject>,
        own: Vec<Dependency>,
        clock: Clock,
        seed: u64,
    ) -> Self {
        Self { subjects, own, clock, seed }
    }

    /// Probes until it is dropped.
    pub async fn run(self, observer: Arc<dyn Observer>) {
        let mut probing = Probing::new(observer, self.clock, self.seed);
        probing.set(self.subjects.into_iter().enumerate().collect(), &self.own);
        std::future::pending::<()>().await;
    }
}

/// Probes that change while they run; all end when it is dropped.
pub struct Probing {
    observer: Arc<dyn Observer>,
    clock: Clock,
    seed: u64,
    /// By subject.
    loops: HashMap<usize, Loops>,
    dependencies: Dependencies,
}

/// The loops of one subject.
struct Loops {
    /// Of what they ask, and how.
    fingerprint: u64,
    _tasks: Vec<Task>,
}

/// A task that ends when this is dropped.
pub(crate) struct Task(AbortHandle);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Probing {
    /// Probes of nobody.
    #[must_use]
    pub fn new(observer: Arc<dyn Observer>, clock: Clock, seed: u64) -> Self {
        let dependencies = Dependencies::default();
        Self { observer, clock, seed, loops: HashMap::new(), dependencies }
    }

    /// From now on these subjects are probed, each with a number that stands for nobody else, and
    /// the gateway's `own` dependencies. Whoever is asked the same as before goes on without a
    /// break. Needs a runtime.
    pub fn set(&mut self, subjects: Vec<(usize, Subject)>, own: &[Dependency]) {
        let mut before = std::mem::take(&mut self.loops);
        let depending = subjects.iter().flat_map(|(number, subject)| {
            subject.dependencies.iter().map(move |dependency| (Some(*number), dependency))
        });
        let own = own.iter().map(|dependency| (None, dependency));
        let asked = depending.chain(own).collect();
        self.dependencies.set(asked, &self.observer, (self.clock, self.seed));
        let mut new = Vec::new();
        for (number, subject) in subjects {
            let fingerprint = fingerprint(&subject);
            match before.remove(&number).filter(|known| known.fingerprint == fingerprint) {
                Some(known) => drop(self.loops.insert(number, known)),
                None => new.push((number, fingerprint, subject)),
            }
        }
        let count = new.len();
        for (at, (number, fingerprint, subject)) in new.into_iter().enumerate() {
            let tasks = self.start((at, count), number, subject);
            self.loops.insert(number, Loops { fingerprint, _tasks: tasks });
        }
    }

    /// Starts the loops of one subject, the `place.0`th of `place.1` that start together.
    fn start(&self, place: (usize, usize), number: usize, subject: Subject) -> Vec<Task> {
        let mut tasks = Vec::new();
        if let Some(probe) = subject.golden.clone() {
            let rng = fastrand::Rng::with_seed(self.seed.rotate_left(17) ^ number as u64);
            let rhythm = Rhythm::new(place, &probe.settings, self.clock, rng);
            let (address, model) = (subject.address.clone(), subject.model.clone());
            let asked = golden::Asked { index: number, address, model, probe };
            tasks.push(Task::spawn(golden::watch(asked, rhythm, Arc::clone(&self.observer))));
        }
        if !matches!(subject.check, Check::Off) {
            let rng = fastrand::Rng::with_seed(self.seed.wrapping_add(number as u64));
            let rhythm = Rhythm::new(place, &subject.settings, self.clock, rng);
            let observer = Arc::clone(&self.observer);
            tasks.push(Task::spawn(watch_subject(number, subject, rhythm, observer)));
        }
        tasks
    }
}

/// What is asked of a subject, and how; its dependencies are asked apart.
fn fingerprint(subject: &Subject) -> u64 {
    let Subject { address, model, check, settings, golden, .. } = subject;
    let mut hasher = DefaultHasher::new();
    format!("{address} {model:?} {settings:?} {golden:?}").hash(&mut hasher);
    hash_check(check, &mut hasher);
    hasher.finish()
}

/// Headers go by their value: secret ones all look the same when they are shown.
fn hash_check(check: &Check, hasher: &mut impl Hasher) {
    format!("{check:?}").hash(hasher);
    match check {
        Check::Http(check) => {
            check.headers.iter().for_each(|(_, value)| value.as_bytes().hash(hasher));
        }
        Check::Redis { login: Some(login), .. } => login.password.expose().hash(hasher),
        _ => {}
    }
}

/// When one loop asks.
struct Rhythm {
    first: Duration,
    clock: Clock,
    rng: fastrand::Rng,
    settings: Settings,
}

impl Rhythm {
    /// The rhythm of the `place.0`th of `place.1` loops.
    fn new(place: (usize, usize), settings: &Settings, clock: Clock, rng: fastrand::Rng) -> Self {
        let many = FIRST_APART * u32::try_from(place.1).unwrap_or(u32::MAX);
        let window = FIRST_WINDOW.max(many).min(settings.interval);
        let first = initial_spread(place.0, place.1, window);
        Self { first, clock, rng, settings: settings.clone() }
    }

    /// Asks once and counts the result.
    async fn round(&self, asked: &Probe, streak: Streak) -> Round {
        // It is never closed.
        let _place = PLACES.acquire().await;
        let started = self.clock.now();
        let found = probe(asked).await;
        let took = self.clock.now().since(started);
        let late = found.check == Answer::TimedOut && took > asked.timeout + LATE;
        let counts = !late && !found.unasked;
        let (streak, change) = match counts {
            true => streak.step(found.check, &self.settings),
            false => (streak, None),
        };
        Round { found, took, streak, change, counts }
    }

    /// Waits for the next probe. The delay counts from the start of the last one: a server that
    /// lets every probe run into its timeout is found out about as soon as one that refuses.
    async fn pause(&mut self, round: &Round) {
        let delay = next_delay(round.streak, &self.settings, &mut self.rng);
        tokio::time::sleep(delay.saturating_sub(round.took)).await;
    }
}

/// One probe and what it amounts to.
struct Round {
    found: Found,
    took: Duration,
    streak: Streak,
    change: Option<Change>,
    /// Whether it says anything.
    counts: bool,
}

async fn watch_subject(
    index: usize,
    subject: Subject,
    mut rhythm: Rhythm,
    observer: Arc<dyn Observer>,
) {
    let asked = Probe {
        address: Some(subject.address),
        model: subject.model,
        check: subject.check,
        timeout: subject.settings.timeout,
    };
    let mut streak = Streak::default();
    tokio::time::sleep(rhythm.first).await;
    loop {
        let round = rhythm.round(&asked, streak).await;
        streak = round.streak;
        if round.found.unasked {
            observer.unasked(index, &round.found);
        } else if round.counts {
            observer.probed(index, &round.found, round.took);
        }
        if let Some(change) = &round.change {
            observer.changed(index, change, rhythm.clock.now());
        }
        rhythm.pause(&round).await;
    }
}
