//! Failures whose blame is provisional, and the requests that were found to be poison.
//!
//! The policy says which failures are suspicious and when a request is condemned; here the
//! permits of suspicious attempts are kept until that is decided, which is at the end of the
//! request at the latest. Whatever ends it without a sentence, an answer from elsewhere, a
//! failure, a client that went away, blames the servers: a suspect that is dropped does so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_policy::poison::{self, Fingerprint, Others, Place, Settings, Standing, Table};
use mainstay_policy::target::Target;
use mainstay_policy::{Class, Moment, SentState};
use mainstay_telemetry::{Event, EventKind};
use tokio::task::JoinSet;

use crate::request::Ask;
use crate::shared::Shared;
use crate::snapshot::Upstream;
use crate::trial::Suspect;

/// The share of a request's remaining time that signs of life are looked for, one in so many: what
/// is found out must leave time to be answered elsewhere.
const LOOK_SHARE: u32 = 4;

/// What one model remembers of requests that fail wherever they go.
#[derive(Debug)]
pub(crate) struct PoisonTable {
    /// Taken only after a suspicious failure, and while someone is condemned.
    table: Mutex<Table>,
    /// Until when anyone is condemned, in nanoseconds: one look spares all others the hash.
    armed: AtomicU64,
}

impl PoisonTable {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { table: Mutex::new(Table::new(settings)), armed: AtomicU64::new(0) }
    }

    /// How much longer this request is refused; `None` if it is not.
    pub(crate) fn refuses(&self, ask: &Ask, now: Moment) -> Option<Duration> {
        if self.armed.load(Ordering::Relaxed) <= now.as_nanos() {
            return None;
        }
        let fingerprint = fingerprint(ask)?;
        self.lock().condemned(fingerprint, now).map(|until| until.since(now))
    }

    /// Its rules.
    pub(crate) fn settings(&self) -> Settings {
        *self.lock().settings()
    }

    /// How long a request is refused.
    pub(crate) fn remember(&self) -> Duration {
        self.lock().settings().remember
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The suspicious failures of one request.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    held: Vec<Suspect>,
    fingerprint: Option<Fingerprint>,
    shunned: bool,
}

/// A failed attempt.
pub(crate) struct Failed<'a> {
    pub(crate) upstream: &'a Upstream,
    pub(crate) target: &'a Target,
    pub(crate) class: Class,
    pub(crate) sent: SentState,
    /// What others met at the target lately.
    pub(crate) others: Others,
    pub(crate) now: Moment,
}

impl Suspects {
    /// Whether a failure is to be held back until it is known whose fault it is.
    pub(crate) fn may_be(ask: &Ask, failed: &Failed<'_>) -> bool {
        ask.route.poison.is_some()
            && ask.payload.is_kept()
            && poison::is_suspicious(failed.class, failed.sent, failed.others)
    }

    /// Holds a suspicious failure back. True where it shows the request to be poison: then
    /// nobody is blamed.
    pub(crate) fn hold(
        &mut self,
        (shared, ask): (&Shared, &Ask),
        failed: &Failed<'_>,
        suspect: Suspect,
    ) -> bool {
        self.held.push(suspect);
        let Some(poison) = &ask.route.poison else { return false };
        if self.fingerprint.is_none() {
            self.fingerprint = fingerprint(ask);
        }
        let Some(fingerprint) = self.fingerprint else { return false };
        let place = Place { endpoint: address(failed.upstream), target: failed.target.id };
        let lives = |target: u32, since| {
            let target = shared.registry.get(target);
            target.is_some_and(|target| target.progress.has_completed_since(since))
        };
        let seen = (place, failed.class);
        let standing = poison.lock().failed(fingerprint, seen, failed.now, lives);
        self.weigh((shared, ask), standing, failed.now)
    }

    /// Looks for signs of life where a shunned request failed: a killed server refuses
    /// connections. True where they show it to be poison.
    pub(crate) async fn look_for_life(
        &mut self,
        (shared, ask): (&Shared, &Ask),
        now: Moment,
    ) -> bool {
        let Some((fingerprint, poison)) = self.fingerprint.zip(ask.route.poison.as_ref()) else {
            return false;
        };
        let unproven = poison.lock().unproven(fingerprint);
        let living = living(ask, &unproven, ask.deadline.remaining(now) / LOOK_SHARE).await;
        let standing = poison.lock().prove(fingerprint, &living);
        self.weigh((shared, ask), standing, now)
    }

    /// Acts on where the request stands; true where nobody is blamed because it is poison.
    fn weigh(&mut self, (shared, ask): (&Shared, &Ask), standing: Standing, now: Moment) -> bool {
        self.shunned = standing == Standing::Shunned;
        if standing == Standing::Cleared {
            // Dropped, it blames the target at once.
            self.held.pop();
        }
        let Standing::Condemned { until } = standing else { return false };
        let (Some(fingerprint), Some(poison)) = (self.fingerprint, &ask.route.poison) else {
            return false;
        };
        poison.armed.fetch_max(until.as_nanos(), Ordering::Relaxed);
        self.held.drain(..).for_each(Suspect::acquit);
        tell(shared, ask, fingerprint, until.since(now));
        true
    }

    /// Whether no other server should meet the request, if it can be helped.
    pub(crate) const fn is_shunned(&self) -> bool {
        self.shunned
    }

    /// A server answered: whoever failed is to blame, and the request is no suspect any more.
    pub(crate) fn answered(&mut self, ask: &Ask) {
        if let (Some(fingerprint), Some(poison)) = (self.fingerprint.take(), &ask.route.poison) {
            poison.lock().succeeded(fingerprint);
        }
        self.held.clear();
        self.shunned = false;
    }
}

/// Those of these targets at which somebody listens. All are tried at once: hosts that are gone
/// answer nothing, and one after the other would cost the whole of the request's time.
async fn living(ask: &Ask, targets: &[u32], limit: Duration) -> Vec<u32> {
    let mut looks = JoinSet::new();
    for member in ask.route.members().filter(|it| targets.contains(&it.target.id)) {
        let (target, upstream) = (member.target.id, Arc::clone(&member.upstream));
        looks.spawn(async move { upstream.takes_connections(limit).await.then_some(target) });
    }
    let mut living = Vec::new();
    while let Some(found) = looks.join_next().await {
        living.extend(found.ok().flatten());
    }
    living
}

fn tell(shared: &Shared, ask: &Ask, fingerprint: Fingerprint, refused: Duration) {
    shared.telemetry.event(Event {
        kind: EventKind::Poison,
        subject: format!("{} request {:08x}", ask.route.name, fingerprint.0 >> 96),
        from: "suspect".to_owned(),
        to: "poison".to_owned(),
        cause: format!(
            "it failed in one way on endpoint after endpoint that serve others; refused for {} s, \
             nobody blamed",
            refused.as_secs()
        ),
    });
}

/// 128 bits of what is asked: model, path and body. `None` where the body was not kept.
pub(crate) fn fingerprint(ask: &Ask) -> Option<Fingerprint> {
    let body = ask.body()?;
    let mut hasher = blake3::Hasher::new();
    for part in [ask.route.name.as_bytes(), ask.uri.to_string().as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(&(ask.json_len.map_or(u64::MAX, |len| len as u64)).to_le_bytes());
    hasher.update(body);
    Some(Fingerprint(first_128(&hasher.finalize())))
}

/// The first 128 bits of a hash.
pub(crate) fn first_128(hash: &blake3::Hash) -> u128 {
    let (first, _) = hash.as_bytes().split_at(16);
    first.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// A server behind two pools is one endpoint.
fn address(upstream: &Upstream) -> u64 {
    let hash = blake3::hash(upstream.authority.as_bytes());
    (first_128(&hash) >> 64) as u64
}
