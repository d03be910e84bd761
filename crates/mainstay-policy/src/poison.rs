//! Requests that fail wherever they go while others do not: refused, and nobody is blamed.
//!
//! One client with a request that crashes its server, and that is repeated, takes down a whole
//! pool and opens every breaker. A deployment that fails every request looks the same from one
//! request's side. What tells them apart is what *other* requests meet on the same servers:
//!
//! | this request fails on | others there | so it is | blamed |
//! |---|---|---|---|
//! | one endpoint, and succeeds on another | any | the endpoint | the endpoint |
//! | k endpoints in the same way, and they live | mostly succeed | the request: poison | nobody |
//! | k endpoints, by breaking their connections | are not seen since | unknown | the endpoints |
//! | any number | fail too, or there are none | the endpoints: a bad deployment | the endpoints |
//!
//! So a failure that may be the request's own fault is *suspicious*: its blame is provisional
//! until the request ends or is found to be poison. All others are blamed at once:
//! - what never left us was refused by the server, whatever the request was;
//! - a timeout proves nothing about a request. A full server and a client in a hurry make them,
//!   and a 422 would call that the client's fault;
//! - where others do not succeed there is nobody to compare with.
//!
//! A server that a request crashes and a server that was killed under it look alike, and whole
//! zones are lost at once. So where connections broke, a sentence waits for a sign of life: others
//! have succeeded there *since*, or it takes connections. Until then the request is shunned: no
//! further server is asked if a source inside the gateway can answer instead.
//!
//! A deployment that was well a moment ago and goes bad everywhere at once has a good record on
//! every endpoint. Its other requests tell: where different requests fail one after the other,
//! with no success between them, the endpoint is at fault. In the first instant of such a run that
//! may be chance, and an answer is no sign of life there; after it nothing is suspicious any more.
//!
//! A request is known by a fingerprint of its model and body, made when it fails. Suspects are
//! remembered across requests, so that poison is also found where each request has one attempt.
//! A fingerprint that is condemned is refused before any attempt until its time is over.

use std::time::Duration;

use crate::{Class, Moment, SentState};

#[cfg(test)]
mod tests;

/// The most endpoints on which a request may have to fail: more would be a whole pool.
pub const MOST_ENDPOINTS: u8 = 4;

/// Fingerprints that one model remembers; beyond it the oldest suspects give way. 256 take 16 KiB
/// and are looked through in less than a microsecond.
const ROOM: usize = 256;

/// So many successes of others weigh up one of their failures: an endpoint with a third of its
/// requests failing is no witness against one of them.
const WITNESSES: u32 = 3;

/// How long a run of failures of different requests may be chance. What a process had in flight
/// when it died fails within milliseconds.
const INSTANT: Duration = Duration::from_millis(100);

/// Endpoints whose runs of failures are known; more than most models have.
const RUNS: usize = 128;

/// When a request is taken to be poison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Distinct endpoints on which it must have failed in the same way; 2 to [`MOST_ENDPOINTS`].
    pub endpoints: u8,
    /// How long a suspect is remembered, and how long a condemned request is refused.
    pub remember: Duration,
}

impl Default for Settings {
    /// Two endpoints: the first failure may be chance, and each further one costs a server. A
    /// minute: clients repeat for about so long, and whatever was wrong may be mended by then.
    fn default() -> Self {
        Self { endpoints: 2, remember: Duration::from_secs(60) }
    }
}

/// Which request it is: 128 bits of a hash over model and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u128);

/// What other requests met lately at the endpoint on which this one failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// All that ended there.
    pub calls: u32,
    /// Those that failed, by the endpoint's fault as far as is known.
    pub failures: u32,
}

impl Others {
    /// Whether they speak for the endpoint.
    #[must_use]
    pub const fn mostly_succeed(self) -> bool {
        let successes = self.calls.saturating_sub(self.failures);
        successes > 0 && successes >= self.failures.saturating_mul(WITNESSES)
    }
}

/// Whether a failure may be the request's own fault, so that its blame is provisional.
#[must_use]
pub const fn is_suspicious(class: Class, sent: SentState, others: Others) -> bool {
    let telling = match class {
        Class::ServerFault
        | Class::FatalAccelerator
        | Class::Unreachable
        | Class::Truncated
        | Class::BadAnswer => true,
        Class::ClientFault
        | Class::NotReady
        | Class::Capacity
        | Class::Timeout
        | Class::Poison
        | Class::Overtaken
        | Class::Shortage
        | Class::ContextLength
        | Class::ContentPolicy
        | Class::Credentials => false,
    };
    telling && !matches!(sent, SentState::NotSent) && others.mostly_succeed()
}

/// Where a request stands after a suspicious failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The endpoint is at fault: others fail there, and nobody succeeds.
    Cleared,
    /// It may go on.
    Suspect,
    /// It may have brought down as many endpoints as condemn, which nothing proves yet: better
    /// that it meets no other one.
    Shunned,
    /// It is poison.
    Condemned {
        /// Until when it is refused.
        until: Moment,
    },
}

/// The suspects and the condemned of one model.
#[derive(Debug)]
pub struct Table {
    settings: Settings,
    entries: Vec<Entry>,
    runs: Vec<Run>,
}

/// Suspicious failures at one endpoint, with no success between them.
#[derive(Clone, Copy, Debug)]
struct Run {
    endpoint: u64,
    began: Moment,
    fingerprint: Fingerprint,
    /// Whether different requests failed in it.
    mixed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    fingerprint: Fingerprint,
    class: Class,
    seen: [Seen; MOST_ENDPOINTS as usize],
    count: u8,
    condemned: bool,
    until: Moment,
}

/// Where a request failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which endpoint; one behind two pools is one.
    pub endpoint: u64,
    /// The [number](crate::target::Target::id) of the target there.
    pub target: u32,
}

/// An endpoint on which a request failed.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    place: Place,
    at: Moment,
    /// Whether it is known to have lived on.
    lives: bool,
}

/// Whether a failure of this class is an answer, and so a sign of life.
const fn shows_life(class: Class) -> bool {
    matches!(class, Class::ServerFault | Class::BadAnswer)
}

impl Entry {
    fn seen_mut(&mut self) -> &mut [Seen] {
        &mut self.seen[..usize::from(self.count)]
    }

    fn judge(&mut self, settings: &Settings) -> Standing {
        let enough = settings.endpoints.clamp(2, MOST_ENDPOINTS);
        let proven = self.seen_mut().iter().filter(|seen| seen.lives).count();
        if proven >= usize::from(enough) {
            self.condemned = true;
            return Standing::Condemned { until: self.until };
        }
        if self.count >= enough { Standing::Shunned } else { Standing::Suspect }
    }

    /// Each endpoint counts once, by its first failure.
    fn note(&mut self, seen: Seen) {
        let count = usize::from(self.count);
        let known = self.seen[..count].iter().any(|it| it.place.endpoint == seen.place.endpoint);
        if !known && count < self.seen.len() {
            self.seen[count] = seen;
            self.count += 1;
        }
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings, entries: Vec::new(), runs: Vec::new() }
    }

    /// Its rules.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The request failed [suspiciously](is_suspicious) in this way at this place. `lives` tells
    /// whether others have succeeded at a target since a moment.
    pub fn failed(
        &mut self,
        fingerprint: Fingerprint,
        (place, class): (Place, Class),
        now: Moment,
        lives: impl Fn(u32, Moment) -> bool,
    ) -> Standing {
        let run = self.run(fingerprint, place, now, &lives);
        if run.mixed && now.since(run.began) > INSTANT {
            return Standing::Cleared;
        }
        self.entries.retain(|entry| entry.until > now);
        let until = now + self.settings.remember;
        let at = self.position(fingerprint).unwrap_or_else(|| self.admit(fingerprint, class));
        let entry = &mut self.entries[at];
        if entry.condemned {
            return Standing::Condemned { until: entry.until };
        }
        if entry.class != class {
            // It fails in another way now: what was seen before says nothing about this.
            (entry.class, entry.count) = (class, 0);
        }
        entry.until = until;
        entry.note(Seen { place, at: now, lives: shows_life(class) });
        let runs = &self.runs;
        for seen in entry.seen_mut() {
            // Where others fail too, an answer is no sign of life, but for a success.
            let doubted = is_mixed(runs, seen.place.endpoint);
            seen.lives = (seen.lives && !doubted) || lives(seen.place.target, seen.at);
        }
        entry.judge(&self.settings)
    }

    /// The targets of which no sign of life is known since the request failed there.
    #[must_use]
    pub fn unproven(&self, fingerprint: Fingerprint) -> Vec<u32> {
        let entry = self.position(fingerprint).map(|at| &self.entries[at]);
        let seen = entry.map_or(&[][..], |entry| &entry.seen[..usize::from(entry.count)]);
        let open = |seen: &&Seen| !seen.lives && !is_mixed(&self.runs, seen.place.endpoint);
        seen.iter().filter(open).map(|seen| seen.place.target).collect()
    }

    /// These targets live; where the request stands now.
    pub fn prove(&mut self, fingerprint: Fingerprint, living: &[u32]) -> Standing {
        let Some(at) = self.position(fingerprint) else { return Standing::Suspect };
        let entry = &mut self.entries[at];
        for seen in entry.seen_mut().iter_mut() {
            seen.lives |= living.contains(&seen.place.target);
        }
        entry.judge(&self.settings)
    }

    /// A server answered it: whatever it met before was not its fault.
    pub fn succeeded(&mut self, fingerprint: Fingerprint) {
        self.entries.retain(|entry| entry.fingerprint != fingerprint || entry.condemned);
    }

    /// Whether it is refused, and until when.
    #[must_use]
    pub fn condemned(&self, fingerprint: Fingerprint, now: Moment) -> Option<Moment> {
        let entry = &self.entries[self.position(fingerprint)?];
        (entry.condemned && entry.until > now).then_some(entry.until)
    }

    /// How many fingerprints it holds, those whose time is over among them until the next
    /// failure.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn position(&self, fingerprint: Fingerprint) -> Option<usize> {
        self.entries.iter().position(|entry| entry.fingerprint == fingerprint)
    }

    /// The run of failures that one at this place belongs to.
    fn run(
        &mut self,
        fingerprint: Fingerprint,
        place: Place,
        now: Moment,
        lives: impl Fn(u32, Moment) -> bool,
    ) -> Run {
        let new = Run { endpoint: place.endpoint, began: now, fingerprint, mixed: false };
        let Some(run) = self.runs.iter_mut().find(|run| run.endpoint == place.endpoint) else {
            if self.runs.len() >= RUNS {
                let oldest = (0..self.runs.len()).min_by_key(|at| self.runs[*at].began);
                oldest.map(|at| self.runs.swap_remove(at));
            }
            self.runs.push(new);
            return new;
        };
        if lives(place.target, run.began) {
            *run = new;
        }
        run.mixed |= run.fingerprint != fingerprint;
        *run
    }

    /// Makes room and begins an entry. Suspects give way before the condemned, the oldest first.
    fn admit(&mut self, fingerprint: Fingerprint, class: Class) -> usize {
        if self.entries.len() >= ROOM {
            let oldest = (0..self.entries.len())
                .min_by_key(|at| (self.entries[*at].condemned, self.entries[*at].until));
            oldest.map(|at| self.entries.swap_remove(at));
        }
        self.entries.push(Entry {
            fingerprint,
            class,
            seen: [Seen::default(); MOST_ENDPOINTS as usize],
            count: 0,
            condemned: false,
            until: Moment::MAX,
        });
        self.entries.len() - 1
    }
}

/// Whether different requests fail at this endpoint, with no success between them.
fn is_mixed(runs: &[Run], endpoint: u64) -> bool {
    runs.iter().any(|run| run.endpoint == endpoint && run.mixed)
}
