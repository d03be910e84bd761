//! Golden files: readable, of the right form, and in keeping with what the models declare.

use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::health;
use mainstay_protocol::oip::golden;

use super::check::{fitted, timeout_fits};
use super::pool::Pools;
use super::{Review, span_of};
use crate::code::Code;
use crate::config::{GoldenFile, GoldenProbe, Model, Source};
use crate::load::read_text;
use crate::raw::{Opt, RawGolden};
use crate::source::Span;
use crate::spanned::Spanned;
use crate::value::Short;

/// Between two rounds: a whole prediction costs more than a look at readiness.
const INTERVAL: Duration = Duration::from_secs(10);
/// For one answer: what a model of this kind hardly ever takes, even when it is busy.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Right or wrong answers in a row that decide: an answer does not go wrong by chance.
const IN_A_ROW: u8 = 2;

/// The golden requests of a pool; `place` is the pool's.
pub(super) fn probe(
    review: &mut Review,
    written: &Opt<Short<RawGolden>>,
    place: Span,
) -> Option<GoldenProbe> {
    let written = written.as_ref()?;
    let alone = RawGolden::default();
    let (raw, files) = match &written.value {
        Short::Text(path) => {
            let path = Spanned { value: path.clone(), span: written.span, damaged: false };
            (&alone, vec![path])
        }
        Short::Full(raw) => {
            let files = raw.files.as_ref().map(|files| files.value.clone()).unwrap_or_default();
            if files.is_empty() && !written.damaged {
                let help = "add `files: [FILE]`; `mainstay golden` records one";
                let message = "the golden probe has no files";
                review.fault(Code::Missing, written.span, message, help);
            }
            (raw, files)
        }
    };
    let health = rhythm(review, raw, place);
    let files: Vec<_> = files.iter().filter_map(|path| file(review, path)).collect();
    (!files.is_empty()).then_some(GoldenProbe { files, health })
}

fn rhythm(review: &mut Review, raw: &RawGolden, place: Span) -> health::Settings {
    let default = health::Settings::default();
    let interval = review.time(&raw.interval, INTERVAL);
    let timeout = review.time(&raw.timeout, TIMEOUT.min(interval.mul_f32(0.8)));
    let place = super::first_place(&[span_of(&raw.timeout), span_of(&raw.interval)], place);
    let intervals = [("interval", &raw.interval, interval)];
    timeout_fits(review, &raw.timeout, timeout, &intervals, place);
    health::Settings {
        interval,
        fast: fitted(default.fast, timeout, interval),
        down: fitted(default.down, timeout, interval),
        timeout,
        rise: review.number(&raw.rise, 1..=100, IN_A_ROW),
        fall: review.number(&raw.fall, 1..=100, IN_A_ROW),
        jitter: default.jitter,
    }
}

fn file(review: &mut Review, written: &Spanned<String>) -> Option<GoldenFile> {
    let path = review.path(written);
    let text = read_text(&path)
        .map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            let help = "`mainstay golden URL MODEL --input FILE` records one from a good server";
            review.fault(Code::Unreadable, written.span, message, help);
        })
        .ok()?;
    match golden::parse(text.as_bytes()) {
        Ok(golden) => Some(GoldenFile { path, golden: Arc::new(golden) }),
        Err(error) => {
            let message = format!("{} cannot be used: {error}", path.display());
            let help = "record it anew with `mainstay golden`, or mend the file";
            review.fault(Code::Golden, written.span, message, help);
            None
        }
    }
}

/// Each golden file must be for a model that its pool serves, and expect what that declares.
pub(super) fn fits(review: &mut Review, models: &[Model], pools: &Pools) {
    for (at, pool) in pools.built.iter().enumerate() {
        let place = pools.golden_places.get(at).copied().flatten().unwrap_or_default();
        let files = pool.probe.golden.iter().flat_map(|golden| &golden.files);
        for file in files {
            let asked: Vec<(&Model, &str)> = models
                .iter()
                .flat_map(|model| names_at(model, at).map(move |name| (model, name)))
                .filter(|(_, name)| is_for(file, name))
                .collect();
            if asked.is_empty() {
                let named = file.golden.model.as_deref().unwrap_or("none");
                let message = format!(
                    "{} is for the model {named:?}, which no chain asks of this pool",
                    file.path.display()
                );
                let help = "its `model` is the name upstream; a chain's step may rename it";
                review.warn(Code::Unused, place, message, help);
            }
            for (model, _) in asked.iter().filter(|(model, _)| !model.outputs.is_empty()) {
                if let Err(mismatch) = file.golden.fits(&model.outputs) {
                    let (path, name) = (file.path.display(), &model.name);
                    let message =
                        format!("{path} does not fit the outputs of {name:?}: {mismatch}");
                    let help = "record it anew, or mend `outputs:`";
                    review.fault(Code::Golden, place, message, help);
                }
            }
        }
    }
}

/// The names under which a model's chain asks this pool.
fn names_at(model: &Model, pool: usize) -> impl Iterator<Item = &str> {
    model.chain.iter().filter_map(move |step| match &step.source {
        Source::Pool { pool: at, model: name, .. } if *at == pool => {
            Some(name.as_deref().unwrap_or(&model.name))
        }
        _ => None,
    })
}

/// Whether a golden file is for the model of this name upstream; a route for any name takes the
/// file's own.
fn is_for(file: &GoldenFile, name: &str) -> bool {
    match &file.golden.model {
        Some(model) => model == name || name == "*",
        None => name != "*",
    }
}
