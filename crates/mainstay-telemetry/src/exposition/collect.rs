//! Fills the page: what workers have counted, and what is true now.
//!
//! Series that could count are there from the start, at zero: a rate over a series that appears
//! with its first event misses just that event.

use mainstay_policy::health::Check;
use mainstay_policy::limit::Priority;
use mainstay_policy::{Class, Guard, Verdict};

use super::Gauges;
use super::family::{self, Family};
use super::page::{Histogram, Page};
use crate::counters::{CLASSES, Counters, ENDS, GUARDS, REASONS, Tally};
use crate::event::EventKind;
use crate::histogram::{BOUNDED, Histograms, Snapshot, bound};
use crate::log;
use crate::record::{End, Reason};
use crate::telemetry::Telemetry;

/// Stands where no model was recognised.
const NO_MODEL: &str = "unknown";
/// Stands where no step answered.
const NO_STEP: &str = "none";
/// The class of a usable answer.
const OK: &str = "ok";

/// The page of this moment.
pub(super) fn page(telemetry: &Telemetry, gauges: &Gauges) -> Page {
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
    attempts(&mut page, telemetry);
    attempt_durations(&mut page, telemetry);
    targets(&mut page, gauges);
    golden(&mut page, telemetry);
    events(&mut page, telemetry);
    page
}

fn gateway(page: &mut Page, gauges: &Gauges) {
    page.samples(&family::BUILD).info(&[&gauges.version]);
    page.samples(&family::UPTIME).gauge(&[], gauges.uptime.as_secs_f64());
    page.samples(&family::READY).flag(&[], gauges.ready);
}

fn requests(page: &mut Page, telemetry: &Telemetry) {
    let samples = page.samples(&family::REQUESTS);
    for_cells(telemetry, |model, step, cell| {
        for end in End::ALL {
            let count = telemetry.sum(|c| &c.requests, [cell * ENDS + end as usize]);
            samples.count(&[model, step, end.as_str()], count);
        }
    });
}

fn degraded(page: &mut Page, telemetry: &Telemetry) {
    let samples = page.samples(&family::DEGRADED);
    for_cells(telemetry, |model, step, cell| {
        for reason in Reason::ALL {
            let count = telemetry.sum(|c| &c.degraded, [cell * REASONS + reason as usize]);
            let possible = step != NO_STEP && reason != Reason::None;
            if possible || count > 0 {
                samples.count(&[model, step, reason.as_str()], count);
            }
        }
    });
}

fn guards(page: &mut Page, telemetry: &Telemetry) {
    let samples = page.samples(&family::GUARD_BROKEN);
    for model in 0..telemetry.names().models.len() {
        for (at, guard) in Guard::ALL.iter().enumerate() {
            let count = telemetry.sum(|c| &c.guards, [model * GUARDS + at]);
            samples.count(&[model_name(telemetry, model), guard.as_str()], count);
        }
    }
}

fn durations(page: &mut Page, telemetry: &Telemetry) {
    let samples = page.samples(&family::REQUEST_DURATION);
    for model in 0..telemetry.layout().models() {
        let total = summed(telemetry, |c| &c.durations, model);
        samples.histogram(&[model_name(telemetry, model)], shown(&total, 1));
    }
}

fn by_model(
    page: &mut Page,
    family: &'static Family,
    telemetry: &Telemetry,
    tally: fn(&Counters) -> &Tally,
) {
    let samples = page.samples(family);
    for model in 0..telemetry.layout().models() {
        samples.count(&[model_name(telemetry, model)], telemetry.sum(tally, [model]));
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

fn attempts(page: &mut Page, telemetry: &Telemetry) {
    let samples = page.samples(&family::ATTEMPTS);
    for (at, name) in telemetry.names().targets.iter().enumerate() {
        for class in 0..CLASSES {
            let count = telemetry.sum(|c| &c.attempts, [at * CLASSES + class]);
            let class = Class::from_code(class as u8).map_or(OK, Class::as_str);
            samples.count(&[&name.pool, &name.endpoint, &name.model, class], count);
        }
    }
}

/// One bucket for each octave: there are many more targets than models.
fn attempt_durations(page: &mut Page, telemetry: &Telemetry) {
    let samples = page.samples(&family::ATTEMPT_DURATION);
    for (at, name) in telemetry.names().targets.iter().enumerate() {
        let total = summed(telemetry, |c| &c.attempt_durations, at);
        samples.histogram(&[&name.pool, &name.endpoint, &name.model], shown(&total, 2));
    }
}

fn golden(page: &mut Page, telemetry: &Telemetry) {
    let samples = page.samples(&family::GOLDEN);
    for target in telemetry.names().golden.iter().copied() {
        let Some(name) = telemetry.names().target(target) else { continue };
        for result in Check::ALL {
            let labels: [&str; 4] = [&name.pool, &name.endpoint, &name.model, result.as_str()];
            samples.count(&labels, telemetry.golden_count(target, result));
        }
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

fn events(page: &mut Page, telemetry: &Telemetry) {
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

/// Calls `each` with the names of every (model, step) and the number of its cell.
fn for_cells<'a>(telemetry: &'a Telemetry, mut each: impl FnMut(&'a str, &'a str, usize)) {
    for model in 0..telemetry.layout().models() {
        let steps = telemetry.names().steps.get(model).map_or(&[][..], Vec::as_slice);
        let steps = steps.iter().map(|step| &**step).chain([NO_STEP]);
        for (step, cell) in steps.zip(telemetry.layout().cells(model)) {
            each(model_name(telemetry, model), step, cell);
        }
    }
}

fn model_name(telemetry: &Telemetry, model: usize) -> &str {
    telemetry.names().models.get(model).map_or(NO_MODEL, |name| &**name)
}

fn summed(
    telemetry: &Telemetry,
    histograms: fn(&Counters) -> &Histograms,
    series: usize,
) -> Snapshot {
    let mut total = Snapshot::default();
    telemetry.counters().for_each(|counters| histograms(counters).add_to(series, &mut total));
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
