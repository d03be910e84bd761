//! Fills the page: what workers have counted, and what is true now.
//!
//! Series that could count are there from the start, at zero: a rate over a series that appears
//! with its first event misses just that event.

use std::ops::Deref;

use mainstay_policy::health::Check;
use mainstay_policy::limit::Priority;
use mainstay_policy::{Class, Guard, Standing, Verdict};

use super::Gauges;
use super::family::{self, Family};
use super::page::{Histogram, Page};
use crate::counters::{CLASSES, Counters, ENDS, GUARDS, Layout, REASONS, TOKENS};
use crate::event::EventKind;
use crate::histogram::{BOUNDED, Histograms, Snapshot, bound};
use crate::log;
use crate::names::Catalog;
use crate::record::{End, Reason};
use crate::tally::Tally;
use crate::telemetry::{Book, Telemetry};

/// Stands where no model was recognised.
const NO_MODEL: &str = "unknown";
/// Stands where no step answered.
const NO_STEP: &str = "none";
/// The class of a usable answer.
const OK: &str = "ok";

/// What has been counted, under the names of this moment.
struct Accounts<'a> {
    telemetry: &'a Telemetry,
    catalog: &'a Catalog,
    models: Vec<Model<'a>>,
}

/// A model with the places where it is counted; several where its chain has changed.
struct Model<'a> {
    name: &'a str,
    at: Vec<usize>,
    /// The steps of its chain with their cells, and a last one for "none answered".
    steps: Vec<(&'a str, Vec<usize>)>,
}

impl Deref for Accounts<'_> {
    type Target = Telemetry;

    fn deref(&self) -> &Telemetry {
        self.telemetry
    }
}

impl<'a> Accounts<'a> {
    fn new(telemetry: &'a Telemetry, catalog: &'a Catalog, layout: &Layout) -> Self {
        let models = catalog.models().map(|(shape, numbers)| {
            let cells = |step: &str| cells(catalog, layout, &numbers, step);
            // A pool may stand in a chain more than once.
            let first = |at: usize| !shape.steps[..at].contains(&shape.steps[at]);
            let steps = (0..shape.steps.len()).filter(|at| first(*at));
            let steps = steps.map(|at| &*shape.steps[at]).chain([NO_STEP]);
            Model {
                name: &shape.model,
                at: numbers.iter().map(|number| layout.model(*number)).collect(),
                steps: steps.map(|step| (step, cells(step))).collect(),
            }
        });
        let none = Model { name: NO_MODEL, at: vec![0], steps: vec![(NO_STEP, vec![0])] };
        Self { telemetry, catalog, models: models.chain([none]).collect() }
    }
}

/// The cells of a step in all chains that a model has had.
fn cells(catalog: &Catalog, layout: &Layout, numbers: &[u16], step: &str) -> Vec<usize> {
    let named = |number: u16, at: usize| {
        let at = u8::try_from(at).unwrap_or(u8::MAX);
        catalog.step(number, at).map_or(NO_STEP, |name| &**name) == step
    };
    let cells = numbers.iter().flat_map(|number| {
        let cells = layout.cells(layout.model(*number)).enumerate();
        cells.filter(move |(at, _)| named(*number, *at)).map(|(_, cell)| cell)
    });
    cells.collect()
}

/// The page of this moment.
pub(super) fn page(telemetry: &Telemetry, gauges: &Gauges) -> Page {
    let Book { catalog, layout } = telemetry.book();
    let telemetry = &Accounts::new(telemetry, &catalog, &layout);
    let mut page = Page::default();
    gateway(&mut page, gauges);
    requests(&mut page, telemetry);
    durations(&mut page, telemetry);
    degraded(&mut page, telemetry);
    by_model(&mut page, &family::ROWS_MOVED, telemetry, |c| &c.rows_moved);
    guards(&mut page, telemetry);
    by_model(&mut page, &family::RETRIES, telemetry, |c| &c.retries);
    by_model(&mut page, &family::HEDGES, telemetry, |c| &c.hedges);
    by_model(&mut page, &family::HEDGES_WON, telemetry, |c| &c.hedges_won);
    by_model(&mut page, &family::POISONED, telemetry, |c| &c.poisoned);
    by_model(&mut page, &family::REPLAYED, telemetry, |c| &c.replayed);
    by_model(&mut page, &family::FORWARDED, telemetry, |c| &c.forwarded);
    by_model(&mut page, &family::SENT, telemetry, |c| &c.sent);
    models(&mut page, gauges);
    queues(&mut page, gauges);
    localities(&mut page, gauges);
    callers(&mut page, gauges);
    certificates(&mut page, gauges);
    sequences(&mut page, gauges);
    attempts(&mut page, telemetry);
    attempt_durations(&mut page, telemetry);
    tokens(&mut page, telemetry);
    by_target(&mut page, &family::FIRST_TOKEN, telemetry, |c| &c.first_tokens);
    by_target(&mut page, &family::TOKEN_GAP, telemetry, |c| &c.token_gaps);
    targets(&mut page, gauges);
    processes(&mut page, gauges);
    replicas(&mut page, gauges);
    groups(&mut page, gauges);
    tcp(&mut page, gauges);
    golden(&mut page, telemetry);
    sources(&mut page, gauges);
    rehearsals(&mut page, gauges);
    last_good(&mut page, gauges);
    events(&mut page, telemetry);
    page
}

fn gateway(page: &mut Page, gauges: &Gauges) {
    page.samples(&family::BUILD).info(&[&gauges.version]);
    page.samples(&family::UPTIME).gauge(&[], gauges.uptime.as_secs_f64());
    page.samples(&family::READY).flag(&[], gauges.ready);
}

fn sources(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::DISCOVERY_ENDPOINTS);
    for source in &gauges.sources {
        for (state, count) in ["present", "leaving"].iter().zip(source.endpoints) {
            samples.gauge(&[&source.pool, &source.source, state], count as f64);
        }
    }
    let samples = page.samples(&family::DISCOVERY_FINE);
    for source in &gauges.sources {
        samples.flag(&[&source.pool, &source.source], source.fine);
    }
    let samples = page.samples(&family::DISCOVERY_AGE);
    for source in &gauges.sources {
        if let Some(age) = source.age {
            samples.gauge(&[&source.pool, &source.source], age.as_secs_f64());
        }
    }
    let samples = page.samples(&family::DISCOVERY_LOOKS);
    for source in &gauges.sources {
        for (result, count) in ["usable", "failed"].iter().zip(source.looks) {
            samples.count(&[&source.pool, &source.source, result], count);
        }
    }
}

fn requests(page: &mut Page, telemetry: &Accounts<'_>) {
    let samples = page.samples(&family::REQUESTS);
    for_cells(telemetry, |model, step, cells| {
        for end in End::ALL {
            let at = cells.iter().map(|cell| cell * ENDS + end as usize);
            let count = telemetry.sum(|c| &c.requests, at);
            samples.count(&[model, step, end.as_str()], count);
        }
    });
}

fn degraded(page: &mut Page, telemetry: &Accounts<'_>) {
    let samples = page.samples(&family::DEGRADED);
    for_cells(telemetry, |model, step, cells| {
        for reason in Reason::ALL {
            let at = cells.iter().map(|cell| cell * REASONS + reason as usize);
            let count = telemetry.sum(|c| &c.degraded, at);
            let possible = step != NO_STEP && reason != Reason::None;
            if possible || count > 0 {
                samples.count(&[model, step, reason.as_str()], count);
            }
        }
    });
}

fn guards(page: &mut Page, telemetry: &Accounts<'_>) {
    let samples = page.samples(&family::GUARD_BROKEN);
    for model in telemetry.models.iter().filter(|model| model.at != [0]) {
        for (at, guard) in Guard::ALL.iter().enumerate() {
            let at = model.at.iter().map(|model| model * GUARDS + at);
            let count = telemetry.sum(|c| &c.guards, at);
            samples.count(&[model.name, guard.as_str()], count);
        }
    }
}

fn durations(page: &mut Page, telemetry: &Accounts<'_>) {
    let samples = page.samples(&family::REQUEST_DURATION);
    for model in &telemetry.models {
        let total = summed(telemetry, |c| &c.durations, &model.at);
        samples.histogram(&[model.name], shown(&total, 1));
    }
}

fn by_model(
    page: &mut Page,
    family: &'static Family,
    telemetry: &Accounts<'_>,
    tally: fn(&Counters) -> &Tally,
) {
    let samples = page.samples(family);
    for model in &telemetry.models {
        samples.count(&[model.name], telemetry.sum(tally, model.at.iter().copied()));
    }
}

fn models(page: &mut Page, gauges: &Gauges) {
    page.samples(&family::AMPLIFICATION).gauge(&[], gauges.amplification);
    page.samples(&family::AMPLIFICATION_CAP).gauge(&[], gauges.amplification_cap);
    let samples = page.samples(&family::STEP_AVAILABLE);
    for model in &gauges.models {
        for (step, available) in &model.steps {
            samples.flag(&[&model.name, step], *available);
        }
    }
}

fn queues(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::QUEUED);
    for model in &gauges.models {
        samples.gauge(&[&model.name], model.queued.into());
    }
    let samples = page.samples(&family::SHED);
    for model in &gauges.models {
        for (priority, count) in Priority::ALL.into_iter().zip(model.shed) {
            samples.count(&[&model.name, priority.as_str()], count);
        }
    }
}

fn localities(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::LOCALITY_SHARE);
    for locality in &gauges.localities {
        samples.gauge(&[&locality.pool, &locality.model, &locality.distance], locality.share);
    }
}

fn callers(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::CALLER_REQUESTS);
    for caller in &gauges.callers {
        samples.count(&[&caller.name], caller.asked);
    }
    let samples = page.samples(&family::CALLER_REFUSED);
    for caller in &gauges.callers {
        for (reason, refused) in ["model", "rate", "concurrency"].into_iter().zip(caller.refused) {
            samples.count(&[&caller.name, reason], refused);
        }
    }
    let samples = page.samples(&family::STRANGERS);
    if let Some(strangers) = gauges.strangers {
        samples.count(&[], strangers);
    }
}

fn certificates(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::CERTIFICATE_EXPIRY);
    for (certificate, expires) in &gauges.certificates {
        samples.gauge(&[certificate], *expires as f64);
    }
}

fn sequences(page: &mut Page, gauges: &Gauges) {
    let all = gauges.models.iter().filter_map(|model| Some((&model.name, model.sequences?)));
    let known: Vec<_> = all.collect();
    let samples = page.samples(&family::SEQUENCES);
    for (model, (now, _)) in &known {
        samples.gauge(&[model], *now as f64);
    }
    let samples = page.samples(&family::SEQUENCES_LOST);
    for (model, (_, lost)) in &known {
        samples.count(&[model], *lost);
    }
}

fn attempts(page: &mut Page, telemetry: &Accounts<'_>) {
    let samples = page.samples(&family::ATTEMPTS);
    for (at, name) in telemetry.catalog.targets() {
        for class in 0..CLASSES {
            let count = telemetry.sum(|c| &c.attempts, [at * CLASSES + class]);
            let class = Class::from_code(class as u8).map_or(OK, Class::as_str);
            samples.count(&[&name.pool, &name.endpoint, &name.model, class], count);
        }
    }
}

/// One bucket for each octave: there are many more targets than models.
fn attempt_durations(page: &mut Page, telemetry: &Accounts<'_>) {
    let samples = page.samples(&family::ATTEMPT_DURATION);
    for (at, name) in telemetry.catalog.targets() {
        let total = summed(telemetry, |c| &c.attempt_durations, &[at]);
        samples.histogram(&[&name.pool, &name.endpoint, &name.model], shown(&total, 2));
    }
}

/// Of language models alone: what never counted a token is left out.
fn tokens(page: &mut Page, telemetry: &Accounts<'_>) {
    let samples = page.samples(&family::TOKENS);
    for model in &telemetry.models {
        let sums = [0, 1].map(|of| {
            let places = model.at.iter().map(|at| at * TOKENS.len() + of);
            telemetry.sum(|c| &c.tokens, places)
        });
        if sums != [0, 0] {
            for (of, sum) in TOKENS.iter().zip(sums) {
                samples.count(&[model.name, of], sum);
            }
        }
    }
}

/// Of streams alone: a target that never streamed is left out.
fn by_target(
    page: &mut Page,
    family: &'static Family,
    telemetry: &Accounts<'_>,
    of: fn(&Counters) -> &Histograms,
) {
    let samples = page.samples(family);
    for (at, name) in telemetry.catalog.targets() {
        let total = summed(telemetry, of, &[at]);
        if total != Snapshot::default() {
            samples.histogram(&[&name.pool, &name.endpoint, &name.model], shown(&total, 2));
        }
    }
}

fn golden(page: &mut Page, telemetry: &Accounts<'_>) {
    let samples = page.samples(&family::GOLDEN);
    for (target, name) in telemetry.catalog.golden() {
        for result in Check::ALL {
            let labels: [&str; 4] = [&name.pool, &name.endpoint, &name.model, result.as_str()];
            samples.count(&labels, telemetry.golden_count(target, result));
        }
    }
}

fn rehearsals(page: &mut Page, gauges: &Gauges) {
    let each = || {
        let of = |model: &'_ super::ModelGauges| model.rehearsals.len();
        gauges.models.iter().filter(move |model| of(model) > 0).flat_map(|model| {
            model.rehearsals.iter().map(move |it| (it, [&*model.name, &*it.step, &*it.endpoint]))
        })
    };
    let samples = page.samples(&family::REHEARSALS);
    for (it, [model, step, endpoint]) in each() {
        samples.count(&[model, step, endpoint, "answered"], it.answered);
        samples.count(&[model, step, endpoint, "failed"], it.failed);
    }
    let mut gauge = |family, value: fn(&super::RehearsalGauges) -> Option<f64>| {
        let samples = page.samples(family);
        for (it, labels) in each() {
            if let Some(value) = value(it) {
                samples.gauge(&labels, value);
            }
        }
    };
    gauge(&family::REHEARSAL_AGE, |it| it.age);
    gauge(&family::REHEARSAL_LATENCY, |it| (it.latency > 0.0).then_some(it.latency));
    gauge(&family::REHEARSAL_AGREEMENT, |it| it.agreement);
    gauge(&family::REHEARSAL_ALERT, |it| Some(f64::from(u8::from(it.alert))));
}

fn last_good(page: &mut Page, gauges: &Gauges) {
    let Some(of) = gauges.last_good else { return };
    page.samples(&family::LAST_GOOD_ENTRIES).gauge(&[], of.entries as f64);
    let samples = page.samples(&family::LAST_GOOD_BYTES);
    samples.gauge(&["memory"], of.memory_bytes as f64);
    samples.gauge(&["disk"], of.disk_bytes as f64);
    let samples = page.samples(&family::LAST_GOOD);
    let counts = [("stored", of.stored), ("hit", of.hits), ("miss", of.misses), ("lost", of.lost)];
    for (result, count) in counts {
        samples.count(&[result], count);
    }
}

fn targets(page: &mut Page, gauges: &Gauges) {
    let mut each = |family, value: fn(&super::TargetGauges) -> f64| {
        let samples = page.samples(family);
        for target in &gauges.targets {
            let name = &target.name;
            samples.gauge(&[&name.pool, &name.endpoint, &name.model], value(target));
        }
    };
    each(&family::BREAKER_STATE, |target| target.breaker.into());
    each(&family::DEPENDENCIES_HEALTHY, |target| target.deep.into());
    each(&family::IN_FLIGHT, |target| target.in_flight.into());
    each(&family::LATENCY, |target| target.latency.as_secs_f64());
    each(&family::EJECTED, |target| target.ejected.into());
    each(&family::SHARE, |target| target.share);
    limits(page, gauges);
    verdicts(page, gauges);
}

fn processes(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::PROCESS_RUNNING);
    for process in &gauges.processes {
        samples.flag(&[&process.pool, &process.endpoint], process.running);
    }
    let samples = page.samples(&family::PROCESS_FAILURES);
    for process in &gauges.processes {
        samples.count(&[&process.pool, &process.endpoint], process.failures);
    }
}

fn replicas(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::WANTED_REPLICAS);
    for (pool, wanted) in &gauges.wanted_replicas {
        samples.gauge(&[pool], (*wanted).into());
    }
}

fn limits(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::LIMIT);
    for target in &gauges.targets {
        if let Some(limit) = target.limit {
            let name = &target.name;
            samples.gauge(&[&name.pool, &name.endpoint, &name.model], limit.into());
        }
    }
}

fn verdicts(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::VERDICT);
    for target in &gauges.targets {
        let name = &target.name;
        for verdict in Verdict::ALL {
            let labels: [&str; 4] = [&name.pool, &name.endpoint, &name.model, verdict.as_str()];
            samples.flag(&labels, verdict == target.verdict);
        }
    }
}

fn groups(page: &mut Page, gauges: &Gauges) {
    let mut each = |family, value: fn(&super::GroupGauges) -> usize| {
        let samples = page.samples(family);
        for group in &gauges.groups {
            samples.gauge(&[&group.pool], value(group) as f64);
        }
    };
    each(&family::GROUP_WANTED, |group| group.wanted);
    each(&family::GROUP_IN_USE, |group| group.in_use);
    each(&family::GROUP_TOLERATES, |group| group.tolerates);
    let samples = page.samples(&family::GROUP_STANDING);
    for group in &gauges.groups {
        for (endpoint, stands) in &group.members {
            for standing in Standing::ALL {
                let labels: [&str; 3] = [&group.pool, endpoint, standing.as_str()];
                samples.flag(&labels, standing == *stands);
            }
        }
    }
    let samples = page.samples(&family::GROUP_WAITING);
    for group in &gauges.groups {
        samples.gauge(&[&group.pool, "operator"], u8::from(group.proposed).into());
        samples.gauge(&[&group.pool, "failback"], group.failbacks as f64);
    }
}

fn tcp(page: &mut Page, gauges: &Gauges) {
    let samples = page.samples(&family::TCP_OPEN);
    for listener in &gauges.tcp {
        samples.gauge(&[&listener.listener], listener.open.into());
    }
    let samples = page.samples(&family::TCP_ACCEPTED);
    for listener in &gauges.tcp {
        samples.count(&[&listener.listener], listener.accepted);
    }
    let samples = page.samples(&family::TCP_ENDED);
    for listener in &gauges.tcp {
        for (end, count) in &listener.ends {
            samples.count(&[&listener.listener, end], *count);
        }
    }
    let samples = page.samples(&family::TCP_RETRIES);
    for listener in &gauges.tcp {
        samples.count(&[&listener.listener], listener.retried);
    }
    let samples = page.samples(&family::TCP_BYTES);
    for listener in &gauges.tcp {
        for (direction, bytes) in ["from-clients", "to-clients"].iter().zip(listener.bytes) {
            samples.count(&[&listener.listener, direction], bytes);
        }
    }
}

fn events(page: &mut Page, telemetry: &Accounts<'_>) {
    let samples = page.samples(&family::EVENTS);
    for kind in EventKind::ALL {
        samples.count(&[kind.as_str()], telemetry.event_count(kind));
    }
    let samples = page.samples(&family::EJECTIONS);
    for (cause, count) in telemetry.ejections() {
        samples.count(&[cause], count);
    }
    page.samples(&family::LOG_LINES_LOST).count(&[], log::lines_lost());
}

/// Calls `each` with the names of every (model, step) and the numbers of its cells.
fn for_cells<'a>(telemetry: &'a Accounts<'_>, mut each: impl FnMut(&'a str, &'a str, &'a [usize])) {
    for model in &telemetry.models {
        for (step, cells) in &model.steps {
            each(model.name, step, cells);
        }
    }
}

fn summed(
    telemetry: &Telemetry,
    histograms: fn(&Counters) -> &Histograms,
    series: &[usize],
) -> Snapshot {
    let mut total = Snapshot::default();
    for counters in telemetry.counters() {
        series.iter().for_each(|series| histograms(counters).add_to(*series, &mut total));
    }
    total
}

/// A histogram with every `step`th of the bounds.
fn shown(total: &Snapshot, step: usize) -> Histogram {
    let mut buckets = Vec::new();
    let mut count = 0;
    for (at, bucket) in total.buckets.iter().enumerate() {
        count += bucket;
        if at == BOUNDED {
            buckets.push((f64::INFINITY, count));
        } else if at % step == 0 {
            buckets.push((bound(at).as_secs_f64(), std::mem::take(&mut count)));
        }
    }
    Histogram { buckets, sum: total.sum }
}
