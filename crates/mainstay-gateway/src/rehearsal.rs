//! Trying fallbacks out before they are needed: shadow requests to standbys and later steps.
//!
//! A sample of the live requests, after their clients have their answers, is sent to one endpoint
//! of each later step and to one standby of each pool; where nothing comes for a while, the pool's
//! golden requests are. What comes back is held against what the source in use said, and kept as
//! a proof of each (step, endpoint); policy says who is asked and what is an alert.
//!
//! All of it happens on the control runtime, on connections of its own. Nobody who is full, paused
//! or behind an open breaker is asked, nothing that a rehearsal finds reaches a breaker, a verdict
//! or a budget, and a server can tell it by the header `x-mainstay-shadow: 1`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use mainstay_config as config;
use mainstay_policy::Moment;
use mainstay_policy::rehearsal::{self, Change, Found, Proof, Sampler, State, choose};
use mainstay_policy::standing::Standing;
use mainstay_protocol::Protocol;
use mainstay_protocol::oip::golden::Golden;
use mainstay_telemetry::{Event, EventKind};

use crate::aftermath::{Asked, Heard};
use crate::build::step_name;
use crate::shared::Shared;
use crate::snapshot::{Member, Route, Source, Step};

mod shadow;

/// Between two looks at what nobody has proven for too long.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The rehearsals of one model.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    rule: config::Rehearsal,
    sampler: Sampler,
    under_way: AtomicU32,
    /// Who may be rehearsed, by step.
    stages: Vec<Stage>,
    /// Aligned with the stages.
    proofs: Mutex<Vec<Proof>>,
}

/// A step, or one endpoint of a step that is a pool.
#[derive(Debug)]
struct Stage {
    step: usize,
    /// The place of the endpoint among the pool's members.
    member: Option<usize>,
    /// The endpoint's name.
    endpoint: Option<Arc<str>>,
    /// The endpoint's target.
    target: Option<u32>,
    /// `model/step` or `model/step/endpoint`, as events name it.
    subject: String,
    /// Asked when no sample comes, with the right answer where it is known for this very stage.
    golden: Option<(Arc<Golden>, bool)>,
}

/// What is known of one stage, for status and metrics.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) step: usize,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) proof: Proof,
}

/// A request to be sent in the shadow.
#[derive(Debug)]
struct Sample {
    asked: Asked,
    /// What the source in use said.
    answer: Option<(Bytes, Option<usize>)>,
    /// What must be said, where that is known.
    expected: Option<Arc<Golden>>,
}

/// A shadow request under way.
struct Place(Arc<Route>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(rehearsal) = &self.0.rehearsal {
            rehearsal.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Rehearsal {
    /// The rehearsals of a model with these steps, where it asks for some.
    pub(crate) fn new(
        model: &config::Model,
        pools: &[config::Pool],
        steps: &[Step],
        now: Moment,
    ) -> Option<Self> {
        let rule = model.rehearsal?;
        let stages: Vec<Stage> = steps
            .iter()
            .enumerate()
            .flat_map(|(at, step)| stages(&model.name, (at, step), pools))
            .collect();
        let proofs = Mutex::new(vec![Proof::new(now); stages.len()]);
        Some(Self {
            rule,
            sampler: Sampler::default(),
            under_way: AtomicU32::new(0),
            stages,
            proofs,
        })
    }

    /// Whether the request that was answered at `now` is a sample. One addition.
    pub(crate) fn takes(&self, now: Moment) -> bool {
        self.sampler.takes(&self.rule.settings, now)
    }

    /// Takes over what was known of the same stages.
    pub(crate) fn adopt(&self, before: &Self) {
        let known = before.lock();
        let mut proofs = self.lock();
        for (stage, proof) in self.stages.iter().zip(proofs.iter_mut()) {
            // Another server under the same name has proven nothing.
            let is_same =
                |old: &Stage| (&old.subject, old.target) == (&stage.subject, stage.target);
            let same = before.stages.iter().position(is_same);
            if let Some(at) = same {
                proof.clone_from(&known[at]);
            }
        }
    }

    /// What is known of every stage that is counted on now.
    pub(crate) fn shown(&self, route: &Route) -> Vec<Shown> {
        let proofs = self.lock();
        let stages = self.stages.iter().zip(proofs.iter());
        stages
            .filter(|(stage, _)| stage.group(route).is_some())
            .map(|(stage, proof)| Shown {
                step: stage.step,
                endpoint: stage.endpoint.clone(),
                proof: proof.clone(),
            })
            .collect()
    }

    /// A place for one more shadow request, if there is one.
    fn enter(&self, route: &Arc<Route>) -> Option<Place> {
        let most = self.rule.settings.concurrent;
        let more = |now: u32| (now < most).then_some(now + 1);
        let entered = self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered.is_ok().then(|| Place(Arc::clone(route)))
    }

    /// The stages to send a sample to; from now on they count as asked.
    fn chosen(&self, route: &Route, answered_by: Option<usize>, now: Moment) -> Vec<usize> {
        let mut proofs = self.lock();
        let mut listed: Vec<(usize, rehearsal::Stage)> = self
            .stages
            .iter()
            .enumerate()
            .filter(|(at, _)| Some(*at) != answered_by)
            .filter_map(|(at, stage)| {
                let group = stage.group(route)?;
                let free = stage.is_free(route, now);
                Some((at, rehearsal::Stage { group, asked: proofs[at].asked, free }))
            })
            .collect();
        listed.sort_by_key(|(_, stage)| stage.group);
        let seen: Vec<rehearsal::Stage> = listed.iter().map(|(_, stage)| *stage).collect();
        let chosen: Vec<usize> = choose(&seen).map(|index| listed[index].0).collect();
        chosen.iter().for_each(|at| proofs[*at].asked = Some(now));
        chosen
    }

    /// Takes in what a rehearsal found, and tells of the change that it makes.
    fn note(&self, shared: &Shared, at: usize, found: Found) {
        let now = shared.clock.now();
        let step = |proof: Proof| proof.step(found, now, &self.rule.settings);
        self.turn(shared, at, step);
    }

    fn turn(
        &self,
        shared: &Shared,
        at: usize,
        turn: impl FnOnce(Proof) -> (Proof, Option<Change>),
    ) {
        let mut proofs = self.lock();
        let (proof, change) = turn(proofs[at].clone());
        proofs[at] = proof;
        drop(proofs);
        // Right from the beginning is no news.
        let news = change.filter(|it| (it.from, it.to) != (State::Unproven, State::Proven));
        if let Some(change) = news {
            shared.telemetry.event(Event {
                kind: EventKind::Rehearsal,
                subject: self.stages[at].subject.clone(),
                from: change.from.as_str().to_owned(),
                to: change.to.as_str().to_owned(),
                cause: change.cause.to_string(),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Proof>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stages of one step.
fn stages(model: &Arc<str>, (at, step): (usize, &Step), pools: &[config::Pool]) -> Vec<Stage> {
    let name = step_name(step);
    match &step.source {
        Source::Pool(pool) => {
            let declared = pools.iter().find(|declared| declared.name == pool.name);
            let asked = pool.model.as_ref().unwrap_or(model);
            let golden = declared.and_then(|pool| golden(pool, asked)).map(|it| (it, true));
            let members = pool.members.iter().enumerate();
            members
                .map(|(index, member)| {
                    let endpoint = Arc::clone(&member.target.key.endpoint);
                    Stage {
                        step: at,
                        member: Some(index),
                        subject: format!("{model}/{name}/{endpoint}"),
                        endpoint: Some(endpoint),
                        target: Some(member.target.id),
                        golden: golden.clone(),
                    }
                })
                .collect()
        }
        Source::LastGood | Source::Fixed(_) => Vec::new(),
        Source::Embedded(_) | Source::Default(_) => {
            // Any question of the model's will do; the right answer is another source's.
            let golden = pools.iter().find_map(|pool| golden(pool, model)).map(|it| (it, false));
            let subject = format!("{model}/{name}");
            vec![Stage { step: at, member: None, endpoint: None, target: None, subject, golden }]
        }
    }
}

/// A golden request for a model of this name at a pool.
fn golden(pool: &config::Pool, model: &str) -> Option<Arc<Golden>> {
    let files = &pool.probe.golden.as_ref()?.files;
    let named = |golden: &Golden| golden.model.as_deref().is_none_or(|named| named == model);
    files.iter().map(|file| &file.golden).find(|golden| named(golden)).cloned()
}

impl Stage {
    fn member<'r>(&self, route: &'r Route) -> Option<&'r Member> {
        match &route.steps[self.step].source {
            Source::Pool(pool) => pool.members.get(self.member?),
            Source::Embedded(_) | Source::LastGood | Source::Default(_) | Source::Fixed(_) => None,
        }
    }

    /// Those that are asked in turn; `None` where requests come anyway, or never will.
    fn group(&self, route: &Route) -> Option<usize> {
        let standing = match self.member {
            Some(_) => self.member(route)?.target.place.standing(),
            None => Standing::Active,
        };
        match standing {
            Standing::Active => (self.step > 0).then_some(2 * self.step),
            Standing::Spare => Some(2 * self.step + 1),
            Standing::Drained | Standing::Away => None,
        }
    }

    /// Whether a shadow request may be sent there now.
    fn is_free(&self, route: &Route, now: Moment) -> bool {
        let Some(member) = self.member(route) else { return true };
        let target = &member.target;
        target.health.verdict().takes_traffic()
            && !target.health.is_ejected()
            && !target.limiter.is_full()
            && target.pause.until(now).is_none()
            && target.breaker.would_admit(now).is_ok()
    }
}

/// Rehearses with a request that was answered.
pub(crate) fn rehearse(shared: &Arc<Shared>, heard: Heard) {
    let route = Arc::clone(&heard.asked.route);
    let Some(rehearsal) = &route.rehearsal else { return };
    let now = shared.clock.now();
    let answered_by = rehearsal.stages.iter().position(|stage| {
        let target = stage.member(&route).map(|member| member.target.id);
        stage.step == heard.step && target == heard.target
    });
    if let Some(at) = answered_by {
        // What answers live requests is proven by them.
        rehearsal.note(shared, at, Found::Good { latency: heard.took, agreement: None });
    }
    let chosen = rehearsal.chosen(&route, answered_by, now);
    let sample = Arc::new(Sample::of(heard));
    for at in chosen {
        let Some(place) = rehearsal.enter(&route) else { return };
        start(shared, Arc::clone(&sample), at, place);
    }
}

fn start(shared: &Arc<Shared>, sample: Arc<Sample>, at: usize, place: Place) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let _place = place;
        let Some(rehearsal) = &sample.asked.route.rehearsal else { return };
        let found = shadow::ask(&shared, &sample, &rehearsal.stages[at], &rehearsal.rule).await;
        if let Some(found) = found {
            rehearsal.note(&shared, at, found);
        }
    });
}

/// Looks at the time of every proof, and asks golden requests of those that nobody asked for long.
pub(crate) fn look(shared: &Arc<Shared>, route: &Arc<Route>) {
    let Some(rehearsal) = &route.rehearsal else { return };
    let now = shared.clock.now();
    let settings = &rehearsal.rule.settings;
    for (at, stage) in rehearsal.stages.iter().enumerate() {
        if stage.group(route).is_none() {
            rehearsal.turn(shared, at, |proof| (proof.away(now), None));
            continue;
        }
        rehearsal.turn(shared, at, |proof| proof.look(now, settings));
        let idle = rehearsal.lock()[at].is_idle(now, settings);
        let Some((golden, judged)) = stage.golden.as_ref().filter(|_| idle) else { continue };
        let place = stage.is_free(route, now).then(|| rehearsal.enter(route)).flatten();
        let Some(place) = place else { continue };
        rehearsal.lock()[at].asked = Some(now);
        let sample = Sample::golden(route, golden, *judged);
        start(shared, Arc::new(sample), at, place);
    }
}

impl Sample {
    fn of(heard: Heard) -> Self {
        let Heard { asked, answer, good, .. } = heard;
        Self { asked, answer: answer.filter(|_| good), expected: None }
    }

    fn golden(route: &Arc<Route>, golden: &Arc<Golden>, judged: bool) -> Self {
        let name = golden.model.as_deref().filter(|_| &*route.name == "*").unwrap_or(&route.name);
        let path = mainstay_protocol::oip::path::model_path("", name, None, "infer");
        let asked = Asked {
            protocol: Protocol::Oip,
            route: Arc::clone(route),
            uri: Uri::try_from(path).unwrap_or_default(),
            headers: shadow::json_headers(),
            body: golden.request.clone(),
            json_len: None,
            reservation: None,
        };
        Self { asked, answer: None, expected: judged.then(|| Arc::clone(golden)) }
    }
}
