//! One source of a pool, with what is known of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{Discover, Endpoint, Origin, Register};
use mainstay_policy::Moment;
use mainstay_policy::discovery::{Change, Leases, Lookups, Refused, Said};
use serde_json::json;
use tokio::task::AbortHandle;

use crate::pool::SourceReport;

/// So long an endpoint that was registered before the start may take to say so again.
const REGISTER_AGAIN: Duration = Duration::from_secs(15);

/// A server says that it is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beat {
    /// The pool that it belongs to.
    pub pool: String,
    /// Its name in the pool.
    pub name: String,
    /// Where it is: `http://ADDRESS:PORT`, with an IP address. Needed for the first beat.
    pub url: Option<String>,
    /// Its share relative to the others.
    pub weight: Option<f32>,
    /// Where it runs.
    pub region: Option<String>,
    /// As `region`.
    pub zone: Option<String>,
    /// How long its word holds.
    pub lifetime: Duration,
}

/// Why a server is not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unregistered {
    /// The pool takes nobody who is not in its file.
    Closed,
    /// Something about it cannot be, in one line.
    Refused(String),
}

/// One source.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) discover: Discover,
    pub(crate) name: String,
    follow: Follow,
    succeeded: u64,
    failed: u64,
    /// Who asks it; ends with the source.
    pub(crate) task: Option<AbortHandle>,
}

#[derive(Debug)]
enum Follow {
    Asked(Lookups<Endpoint>),
    Registered(Leases<Endpoint>, Register),
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Source {
    pub(crate) fn new(discover: Discover, last_known: Vec<Endpoint>, now: Moment) -> Self {
        let url = |endpoint: &Endpoint| Arc::<str>::from(endpoint.url.to_string());
        let follow = match &discover.origin {
            Origin::Register(register) => {
                let known = last_known.into_iter();
                let known = known.map(|e| (Arc::clone(&e.name), (url(&e), e))).collect();
                let leases = Leases::new(register.settings, known, REGISTER_AGAIN, now);
                Follow::Registered(leases, register.clone())
            }
            Origin::Dns(_) | Origin::File(_) => {
                let known = last_known.into_iter().map(|e| (url(&e), e)).collect();
                Follow::Asked(Lookups::new(discover.settings, known))
            }
        };
        let name = discover.to_string();
        Self { discover, name, follow, succeeded: 0, failed: 0, task: None }
    }

    /// Whether it was ever asked; who registers is not asked.
    pub(crate) const fn was_asked(&self) -> bool {
        matches!(self.follow, Follow::Registered(..)) || self.succeeded + self.failed > 0
    }

    pub(crate) const fn is_registered(&self) -> bool {
        matches!(self.follow, Follow::Registered(..))
    }

    /// Its endpoints, and whether each is leaving.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Endpoint, bool)> {
        let roster = match &self.follow {
            Follow::Asked(lookups) => lookups.roster(),
            Follow::Registered(leases, _) => leases.roster(),
        };
        roster.iter().map(|(_, endpoint, leaving)| (endpoint, leaving))
    }

    pub(crate) fn trouble(&self) -> Option<&str> {
        match &self.follow {
            Follow::Asked(lookups) => lookups.trouble(),
            Follow::Registered(leases, _) => leases.trouble(),
        }
    }

    /// Whether somebody is missing who is let go only when the next look confirms it.
    pub(crate) fn doubts(&self) -> bool {
        matches!(&self.follow, Follow::Asked(lookups) if lookups.doubts())
    }

    /// Takes what a look brought; gives what changed, and when to look again.
    pub(crate) fn take(
        &mut self,
        said: Said<Endpoint>,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> (Vec<Change>, Moment) {
        let Follow::Asked(lookups) = &mut self.follow else { return (Vec::new(), Moment::MAX) };
        let before = lookups.succeeded();
        let changes = lookups.step(said, now, rng);
        if lookups.succeeded() == before {
            self.failed += 1;
        } else {
            self.succeeded += 1;
        }
        (changes, lookups.next_look())
    }

    /// A server registers, or renews its word.
    pub(crate) fn beat(
        &mut self,
        beat: &Beat,
        now: Moment,
    ) -> Result<Option<Change>, Unregistered> {
        let taken = self.register(beat, now);
        match &taken {
            Ok(_) => self.succeeded += 1,
            Err(_) => self.failed += 1,
        }
        taken
    }

    fn register(&mut self, beat: &Beat, now: Moment) -> Result<Option<Change>, Unregistered> {
        let Follow::Registered(leases, register) = &mut self.follow else {
            return Err(Unregistered::Closed);
        };
        let known = leases.roster().get(&beat.name);
        let endpoint = match (&beat.url, known) {
            (None, Some(known)) => known.clone(),
            (None, None) => return Err(refused("its first heartbeat must bring its \"url\"")),
            (Some(url), _) => described(beat, url)?.placed(&self.discover),
        };
        // A renewal as well: what is admitted may have become less since the first one.
        if let Some(why) = not_admitted(register, &endpoint) {
            return Err(refused(why));
        }
        let (name, url) = (Arc::clone(&endpoint.name), endpoint.url.to_string().into());
        leases
            .beat(&name, (&url, endpoint), beat.lifetime, now)
            .map_err(|why: Refused| refused(why.to_string()))
    }

    /// A server says that it goes.
    pub(crate) fn leave(&mut self, name: &str, now: Moment) -> Option<Change> {
        match &mut self.follow {
            Follow::Registered(leases, _) => leases.leave(name, now),
            Follow::Asked(_) => None,
        }
    }

    /// Lets go and removes whom it is time to; `answers` is asked by an endpoint's name.
    pub(crate) fn sweep(&mut self, now: Moment, answers: impl Fn(&str) -> bool) -> Vec<Change> {
        match &mut self.follow {
            Follow::Registered(leases, _) => leases.sweep(now, answers),
            Follow::Asked(lookups) => {
                let leaving = lookups.roster().iter().filter(|(.., leaving)| *leaving);
                let dead: BTreeSet<Arc<str>> = leaving
                    .filter(|(_, endpoint, _)| !answers(&endpoint.name))
                    .map(|(key, ..)| Arc::clone(key))
                    .collect();
                lookups.sweep(now, |key| !dead.contains(key))
            }
        }
    }

    pub(crate) fn report(&self, now: Moment) -> SourceReport {
        let of = |going: bool| {
            let members = self.members().filter(move |(_, leaving)| *leaving == going);
            members.map(|(endpoint, _)| Arc::clone(&endpoint.name)).collect()
        };
        let (restored, succeeded) = match &self.follow {
            Follow::Asked(lookups) => (lookups.is_restored(), lookups.succeeded()),
            Follow::Registered(..) => (false, None),
        };
        SourceReport {
            name: self.name.clone(),
            endpoints: of(false),
            leaving: of(true),
            restored,
            since_success: succeeded.map(|at| now.since(at)),
            trouble: self.trouble().map(ToOwned::to_owned),
            succeeded: self.succeeded,
            failed: self.failed,
        }
    }
}

fn refused(why: impl Into<String>) -> Unregistered {
    Unregistered::Refused(why.into())
}

/// Whether a source of this kind may name the endpoint; why not.
pub(crate) fn refusal(discover: &Discover, endpoint: &Endpoint) -> Option<String> {
    match &discover.origin {
        Origin::Register(register) => not_admitted(register, endpoint),
        Origin::Dns(_) | Origin::File(_) => None,
    }
}

fn not_admitted(register: &Register, endpoint: &Endpoint) -> Option<String> {
    let host = &endpoint.url.host;
    match host.parse() {
        Ok(address) if register.admits(address) => None,
        Ok(_) => Some(format!(
            "{host} is in none of the networks from which this pool takes endpoints \
             (discover: {{register: {{from: [...]}}}})"
        )),
        Err(_) => Some(format!(
            "{} names no IP address; names come from DNS, not from heartbeats",
            endpoint.url
        )),
    }
}

/// The endpoint that a beat describes, by the same checks as one that is written down.
fn described(beat: &Beat, url: &str) -> Result<Endpoint, Unregistered> {
    let mut written = json!({ "url": url, "name": beat.name });
    let more = [
        ("weight", beat.weight.map(|weight| json!(weight))),
        ("region", beat.region.as_ref().map(|region| json!(region))),
        ("zone", beat.zone.as_ref().map(|zone| json!(zone))),
    ];
    for (key, value) in more {
        if let Some(value) = value {
            written[key] = value;
        }
    }
    let list = Endpoint::list("heartbeat", &json!([written]).to_string()).map_err(|errors| {
        let first = errors.faults().first();
        refused(first.map(|fault| fault.message().to_owned()).unwrap_or_default())
    })?;
    list.into_iter().next().ok_or_else(|| refused("it describes no endpoint"))
}
