//! Guards: about outputs that exist, of values that they can have, and kept by the default.

use mainstay_protocol::oip::answer::Response;
use mainstay_protocol::oip::guard::{Allowed, Asked, Finding, OutputGuard, constant};
use mainstay_protocol::{Datatype, Tensor, TensorSpec};

use super::Review;
use super::model::Outputs;
use crate::code::Code;
use crate::config::{Guards, Source, Step};
use crate::raw::{
    Literal, Opt, RawConstant, RawGuards, RawModel, RawOutputGuard, RawShape, RawThen,
};

use crate::spanned::Spanned;
use crate::value::Short;
use crate::wording::suggestion;

/// Allowed values of one output at most: each answer is compared with all of them.
const MAX_ALLOWED: usize = 1000;
/// The longest row of equal answers that can be asked for.
const MAX_ANSWERS: u32 = 1_000_000;

/// The guards of a model.
pub(super) fn guards(review: &mut Review, raw: &Opt<RawGuards>, outputs: &Outputs) -> Guards {
    let Some(raw) = raw else { return Guards::default() };
    let mut guards = Guards::default();
    guards.each.finite = raw.finite.as_ref().is_some_and(|finite| finite.value);
    guards.each.shape = shape(review, raw, outputs);
    let entries = raw.outputs.as_ref().map_or(&[][..], |outputs| &outputs.value.0);
    guards.each.outputs =
        entries.iter().map(|(name, raw)| output(review, name, raw, outputs)).collect();
    guards.constant = raw.constant.as_ref().and_then(|raw| row(review, raw, outputs));
    guards
}

fn shape(review: &mut Review, raw: &RawGuards, outputs: &Outputs) -> bool {
    let Some(shape) = raw.shape.as_ref() else { return false };
    let declared = matches!(shape.value, RawShape::Declared);
    if declared && outputs.specs.is_empty() && outputs.complete {
        let message = "the shape guard needs the model's outputs to be declared";
        let help = "declare `outputs:` with datatype and shape, as the model's metadata does";
        review.fault(Code::Missing, shape.span, message, help);
    }
    declared
}

fn output(
    review: &mut Review,
    name: &Spanned<String>,
    raw: &Spanned<RawOutputGuard>,
    outputs: &Outputs,
) -> OutputGuard {
    let spec = declared(review, name, outputs);
    if raw.range.is_none() && raw.allowed.is_none() && !raw.damaged {
        let message = format!("nothing is said of output {:?}", name.value);
        let help = "write {range: [0, 1]} or {allowed: [a, b]}";
        review.fault(Code::Missing, name.span, message, help);
    }
    OutputGuard {
        output: name.value.clone(),
        range: raw.range.as_ref().and_then(|range| ends(review, range, spec)),
        allowed: raw.allowed.as_ref().and_then(|values| allowed(review, values, spec)),
    }
}

/// The declaration of an output that a guard speaks of.
fn declared<'o>(
    review: &mut Review,
    name: &Spanned<String>,
    outputs: &'o Outputs,
) -> Option<&'o TensorSpec> {
    let found = outputs.specs.iter().find(|spec| spec.name == name.value);
    if found.is_none() && outputs.complete && !outputs.specs.is_empty() {
        let names = outputs.specs.iter().map(|spec| spec.name.as_str());
        let help = suggestion(name, names, "the outputs are");
        let message =
            format!("a guard speaks of {:?}, which `outputs` does not declare", name.value);
        review.fault(Code::UnknownName, name.span, message, help);
    }
    found
}

fn ends(
    review: &mut Review,
    range: &Spanned<Vec<f64>>,
    spec: Option<&TensorSpec>,
) -> Option<(f64, f64)> {
    if let Some(spec) = spec.filter(|spec| holds_no_numbers(spec.datatype)) {
        let message = format!("output {:?} is {}, which no range holds", spec.name, spec.datatype);
        let help = "use `allowed`, or take the range out";
        review.fault(Code::Contradiction, range.span, message, help);
    }
    match range.value.as_slice() {
        [least, most] if least <= most => Some((*least, *most)),
        _ => {
            let message = "a range has two ends, the smaller one first";
            let help = "write for example [0, 1]; -.inf and .inf leave an end open";
            review.fault(Code::BadValue, range.span, message, help);
            None
        }
    }
}

const fn holds_no_numbers(datatype: Datatype) -> bool {
    matches!(datatype, Datatype::Bytes | Datatype::Bool)
}

fn allowed(
    review: &mut Review,
    values: &Spanned<Vec<Literal>>,
    spec: Option<&TensorSpec>,
) -> Option<Allowed> {
    let place = values.span;
    if values.is_empty() || values.len() > MAX_ALLOWED {
        let message = format!("expected 1 to {MAX_ALLOWED} allowed values, found {}", values.len());
        review.fault(Code::BadValue, place, message, "leave `allowed` out to take any value");
        return None;
    }
    let texts: Option<Vec<_>> = values.iter().map(text).collect();
    let numbers: Option<Vec<_>> = values.iter().map(number).collect();
    let allowed = texts.map(Allowed::Texts).or_else(|| numbers.map(Allowed::Numbers));
    let fits = match (&allowed, spec) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(allowed), Some(spec)) => {
            matches!(allowed, Allowed::Texts(_)) == (spec.datatype == Datatype::Bytes)
        }
    };
    if !fits {
        let of = spec.map_or_else(String::new, |spec| {
            format!("; output {:?} is {}", spec.name, spec.datatype)
        });
        let message = format!("the allowed values are not of one kind that the output has{of}");
        let help = "write texts for BYTES, in quotes where they look like numbers, else numbers";
        review.fault(Code::Contradiction, place, message, help);
        return None;
    }
    allowed
}

fn text(value: &Literal) -> Option<Vec<u8>> {
    match value {
        Literal::Text(text) => Some(text.clone().into_bytes()),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "compared as FP64, as the answers are")]
fn number(value: &Literal) -> Option<f64> {
    match value {
        Literal::Integer(value) => Some(*value as f64),
        Literal::Float(value) => Some(*value).filter(|value| value.is_finite()),
        Literal::Bool(value) => Some(f64::from(u8::from(*value))),
        Literal::Text(_) | Literal::List(_) | Literal::Map(_) | Literal::Null => None,
    }
}

/// When a row of equal answers is an alarm.
fn row(
    review: &mut Review,
    written: &Spanned<Short<RawConstant>>,
    outputs: &Outputs,
) -> Option<constant::Settings> {
    let raw = match &written.value {
        Short::Text(text) if text == "off" => return None,
        Short::Text(_) => {
            let help = "write `off`, or for example {answers: 100, for: 1m, then: alarm}";
            review.fault(Code::BadValue, written.span, "this is no window", help);
            return None;
        }
        Short::Full(raw) => raw,
    };
    let names = raw.outputs.as_ref().map_or(&[][..], |names| names.value.as_slice());
    for name in names {
        declared(review, name, outputs);
    }
    let default = constant::Settings::default();
    Some(constant::Settings {
        outputs: names.iter().map(|name| name.value.clone()).collect(),
        answers: review.number(&raw.answers, 2..=MAX_ANSWERS, default.answers),
        lasting: raw.r#for.as_ref().map_or(default.lasting, |length| length.value.0),
        then: match raw.then.as_ref().map(|then| then.value) {
            Some(RawThen::Reject) => constant::Then::Reject,
            Some(RawThen::Alarm) | None => constant::Then::Alarm,
        },
    })
}

/// A default prediction that breaks a guard would be refused each time it is needed.
pub(super) fn default_keeps(
    review: &mut Review,
    raw: &RawModel,
    (guards, outputs): (&Guards, &Outputs),
    chain: &[Step],
) {
    let default = chain.iter().find_map(|step| match &step.source {
        Source::Default { outputs } => Some(outputs),
        Source::Pool { .. } | Source::Embedded { .. } | Source::LastGood(_) | Source::Fixed(_) => {
            None
        }
    });
    let Some(tensors) = default else { return };
    let steps = raw.chain.as_ref().map_or(&[][..], |chain| chain.value.as_slice());
    let place = steps.iter().find_map(|step| step.default.as_ref()).map(|default| default.span);
    if let Some(said) = broken(guards, outputs, tensors) {
        let message = format!("the default prediction breaks a guard: {said}");
        let help = "choose a value that the guards let pass, or widen the guard";
        review.fault(Code::DefaultMisfit, place.unwrap_or_default(), message, help);
    }
}

/// What a default prediction breaks, if it breaks something.
fn broken(guards: &Guards, outputs: &Outputs, tensors: &[Tensor]) -> Option<String> {
    let response = Response { outputs: tensors.to_vec(), ..Response::default() };
    let rows = outputs.batch.then_some(1);
    let asked = Asked { specs: &outputs.specs, rows, ..Asked::default() };
    match guards.each.check(&response, asked) {
        Finding::Sound => None,
        Finding::Rows { first, .. } => Some(first.to_string()),
        Finding::Whole(broken) => Some(broken.to_string()),
    }
}
