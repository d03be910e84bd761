//! Chains: each step says one thing, names what exists, and can be reached.

use std::collections::HashMap;
use std::sync::Arc;

use mainstay_protocol::Datatype;
use mainstay_protocol::oip::confidence;

use super::model::Outputs;
use super::pool::Pools;
use super::{Review, fallback, language, may_be_lost, prediction, tcp};
use crate::code::Code;
use crate::config::{Engine, Source, Step};
use crate::raw::{Opt, RawConfidence, RawEmbedded, RawEngine, RawModel, RawReduce, RawStep};
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::Spanned;
use crate::value::Short;
use crate::wording::suggestion;

/// Steps that a chain may have; each needs a share of the deadline.
const MAX_STEPS: usize = 16;

/// The chain of a model; faulty steps are left out.
pub(super) fn chain(
    review: &mut Review,
    model: &Spanned<String>,
    raw: &Spanned<RawModel>,
    outputs: &Outputs,
    pools: &Pools,
) -> Vec<Step> {
    let written = raw.chain.as_ref();
    let steps = written.map_or(&[][..], |chain| chain.value.as_slice());
    if steps.is_empty() && !may_be_lost(raw, &raw.chain) {
        let place = written.map_or(model.span, |chain| chain.span);
        let message = format!("model {:?} has no chain", model.value);
        review.fault(Code::Missing, place, message, "add `chain:` with at least `- pool: NAME`");
    }
    if let Some(beyond) = steps.get(MAX_STEPS) {
        let message = format!("a chain has at most {MAX_STEPS} steps");
        review.fault(Code::BadValue, beyond.span, message, "leave out the least useful ones");
    }
    reachable(review, steps);
    language::first_has_no_cause(review, steps);
    fallback::last_good_fits(review, steps);
    steps.iter().filter_map(|raw| step(review, raw, outputs, pools)).collect()
}

/// Nothing comes after a default prediction, which always answers; and the same pool a second
/// time has nothing to add, since its endpoints were all open to the first step.
fn reachable(review: &mut Review, steps: &[Spanned<RawStep>]) {
    if let Some(at) = steps.iter().position(|step| step.default.is_some())
        && let Some(beyond) = steps.get(at + 1)
    {
        let line = review.line(steps[at].span);
        let message =
            format!("this step is never reached: the default on line {line} always answers");
        let help = "make the default the last step, or take this step out";
        review.fault(Code::Unreachable, beyond.span, message, help);
    }
    let mut seen = HashMap::new();
    for step in steps {
        let Some(pool) = &step.pool else { continue };
        let text = |value: &Opt<String>| value.as_ref().map(|value| value.value.clone());
        let key = (pool.value.clone(), text(&step.model), text(&step.version));
        if let Some(first) = seen.insert(key, pool.span) {
            let line = review.line(first);
            let message = format!(
                "this step adds nothing: line {line} has already asked every endpoint of pool {:?}",
                pool.value
            );
            let help = "take it out, or give it another `model` or `version`";
            review.fault(Code::Unreachable, pool.span, message, help);
        }
    }
}

/// With `degrade: never` only the first step and its equivalents are used.
pub(super) fn only_equivalent(review: &mut Review, raw: &RawModel) {
    let steps = raw.chain.as_ref().map_or(&[][..], |chain| chain.value.as_slice());
    for step in steps.iter().skip(1) {
        if !step.equivalent.as_ref().is_some_and(|equivalent| equivalent.value) && !step.damaged {
            let message = "this step is never reached: the model has `degrade: never`";
            let help = "take it out, say `equivalent: true` if its answers are as good, or allow \
                        degraded answers";
            review.fault(Code::Unreachable, step.span, message, help);
        }
    }
}

fn step(
    review: &mut Review,
    raw: &Spanned<RawStep>,
    outputs: &Outputs,
    pools: &Pools,
) -> Option<Step> {
    let kinds = [
        raw.pool.is_some(),
        raw.embedded.is_some(),
        raw.last_good.is_some(),
        raw.default.is_some(),
    ];
    match kinds.iter().filter(|given| **given).count() {
        1 => {}
        0 if raw.damaged => return None,
        0 => {
            let help = "write `pool: NAME`, `embedded: FILE.onnx`, `last-good: 10m` or `default: \
                        {OUTPUT: VALUE}`";
            review.fault(Code::Missing, raw.span, "the step names no source", help);
            return None;
        }
        _ => {
            let help =
                "write one step for each: `- pool: ...`, `- embedded: ...`, `- default: ...`";
            review.fault(
                Code::Contradiction,
                raw.span,
                "the step names more than one source",
                help,
            );
            return None;
        }
    }
    keys_fit(review, raw);
    let confidence = rule(review, &raw.confidence, outputs);
    let source = source(review, raw, outputs, pools)?;
    Some(Step { source, confidence, causes: language::causes(review, raw) })
}

/// Keys that mean nothing to the step's kind.
fn keys_fit(review: &mut Review, raw: &RawStep) {
    let span = |value: &Opt<String>| value.as_ref().map(|value| value.span);
    let of_pools = [
        ("model", span(&raw.model)),
        ("version", span(&raw.version)),
        ("equivalent", raw.equivalent.as_ref().map(|value| value.span)),
    ];
    for (key, place) in of_pools {
        if let (Some(place), None) = (place, &raw.pool) {
            let message = format!("`{key}` means nothing to this kind of step");
            review.fault(Code::Contradiction, place, message, "take it out");
        }
    }
    if let Some(confidence) = &raw.confidence
        && (raw.default.is_some() || raw.last_good.is_some())
    {
        let message = "this kind of answer is taken as it is and has no confidence";
        review.fault(Code::Contradiction, confidence.span, message, "take `confidence` out");
    }
}

fn source(review: &mut Review, raw: &RawStep, outputs: &Outputs, pools: &Pools) -> Option<Source> {
    if let Some(name) = &raw.pool {
        let text = |value: &Opt<String>| value.as_ref().map(|value| Arc::from(value.as_str()));
        Some(Source::Pool {
            pool: find_pool(review, name, pools)
                .filter(|at| tcp::serves_models(review, name, *at, pools))?,
            model: text(&raw.model),
            version: text(&raw.version),
            equivalent: raw.equivalent.as_ref().is_some_and(|equivalent| equivalent.value),
        })
    } else if let Some(embedded) = &raw.embedded {
        embedded_source(review, embedded)
    } else if let Some(last_good) = &raw.last_good {
        Some(Source::LastGood(fallback::last_good(review, last_good)))
    } else {
        let default = raw.default.as_ref()?;
        if outputs.plain {
            return prediction::body(review, default).map(Source::Fixed);
        }
        Some(Source::Default { outputs: prediction::tensors(review, default, outputs)? })
    }
}

pub(super) fn find_pool(
    review: &mut Review,
    name: &Spanned<String>,
    pools: &Pools,
) -> Option<usize> {
    let found = pools.built.iter().position(|pool| *pool.name == **name);
    let lost = !pools.complete || review.pool_names.contains(&name.value);
    if found.is_none() && !lost {
        let names = pools.built.iter().map(|pool| &*pool.name);
        let help = suggestion(name, names, "the pools are");
        let message = format!("there is no pool {:?}", shorten(name));
        review.fault(Code::UnknownName, name.span, message, help);
    }
    found
}

fn embedded_source(review: &mut Review, written: &Spanned<Short<RawEmbedded>>) -> Option<Source> {
    let (path, engine) = match &written.value {
        Short::Text(text) => {
            let path = Spanned { value: text.clone(), span: written.span, damaged: false };
            (path, Engine::Tract)
        }
        Short::Full(raw) => {
            let Some(path) = &raw.path else {
                if !written.damaged {
                    let help = "add `path: FILE.onnx`";
                    review.fault(
                        Code::Missing,
                        written.span,
                        "the embedded model has no path",
                        help,
                    );
                }
                return None;
            };
            (path.clone(), engine(&raw.engine))
        }
    };
    let file = review.path(&path);
    if !file.is_file() {
        let message = format!("there is no file {}; the step would be skipped", file.display());
        let help = "paths are relative to the file that names them";
        review.warn(Code::Unreadable, path.span, message, help);
    }
    Some(Source::Embedded { path: file, engine })
}

fn engine(raw: &Opt<RawEngine>) -> Engine {
    match raw.as_ref().map(|engine| engine.value).unwrap_or_default() {
        RawEngine::Tract => Engine::Tract,
        RawEngine::OnnxRuntime => Engine::OnnxRuntime,
    }
}

/// Where a step asks for onnxruntime, if it does.
pub(super) fn onnxruntime(step: &RawStep) -> Option<Span> {
    let Short::Full(raw) = &step.embedded.as_ref()?.value else { return None };
    let engine = raw.engine.as_ref()?;
    matches!(engine.value, RawEngine::OnnxRuntime).then_some(engine.span)
}

fn rule(
    review: &mut Review,
    raw: &Opt<RawConfidence>,
    outputs: &Outputs,
) -> Option<confidence::Rule> {
    let raw = raw.as_ref()?;
    let (Some(output), Some(at_least)) = (&raw.output, &raw.at_least) else {
        if !raw.damaged {
            let help = "write for example {output: probabilities, at-least: 0.3}";
            let message = "a confidence rule needs `output` and `at-least`";
            review.fault(Code::Missing, raw.span, message, help);
        }
        return None;
    };
    if !at_least.is_finite() {
        review.fault(Code::BadValue, at_least.span, "at-least must be a finite number", "");
    }
    output_fits(review, output, outputs);
    let reduce = raw.reduce.as_ref().map_or(confidence::Reduce::Max, |reduce| match reduce.value {
        RawReduce::Max => confidence::Reduce::Max,
        RawReduce::Margin => confidence::Reduce::Margin,
    });
    Some(confidence::Rule { output: output.value.clone(), at_least: at_least.value, reduce })
}

/// A confidence rule looks at a declared output that holds numbers.
fn output_fits(review: &mut Review, output: &Spanned<String>, outputs: &Outputs) {
    match outputs.specs.iter().find(|spec| spec.name == **output) {
        Some(spec) if !is_comparable(spec.datatype) => {
            let message = format!(
                "output {:?} holds {}, which has no confidence",
                output.value, spec.datatype
            );
            let help = "name an output of numbers, FP32 or FP64 as a rule";
            review.fault(Code::Contradiction, output.span, message, help);
        }
        None if outputs.complete => {
            let names = outputs.specs.iter().map(|spec| spec.name.as_str());
            let help = match outputs.specs.as_slice() {
                [] => format!(
                    "declare it: `outputs: {{{}: {{datatype: FP32, shape: [-1, 2]}}}}`",
                    output.value
                ),
                _ => suggestion(output, names, "the outputs are"),
            };
            let message =
                format!("confidence looks at {:?}, which `outputs` does not declare", output.value);
            review.fault(Code::UnknownName, output.span, message, help);
        }
        Some(_) | None => {}
    }
}

/// Whether an answer in JSON or in binary form can be compared with a number.
const fn is_comparable(datatype: Datatype) -> bool {
    !matches!(datatype, Datatype::Bool | Datatype::Bytes | Datatype::Fp16 | Datatype::Bf16)
}
