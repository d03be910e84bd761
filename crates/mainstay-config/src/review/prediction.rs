//! Default predictions: literals typed by the declared outputs, one row each.
//!
//! `[0.5, 0.5]` for an output of shape `[-1, 2]` is one row of two values, and so are
//! `[[0.5, 0.5]]`, and a bare value for a row of one. What cannot be made to fit is refused with
//! the shape that is expected.

use http::HeaderValue;
use mainstay_protocol::{Data, Datatype, Tensor, TensorSpec};

use super::Review;
use super::model::Outputs;
use crate::code::Code;
use crate::config::Fixed;
use crate::raw::Literal;
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::{Entries, Spanned};
use crate::wording::suggestion;

/// Values of one default output at most.
const MAX_VALUES: usize = 65_536;

/// The body of a default step in a protocol without tensors; `None` when something does not fit.
pub(super) fn body(review: &mut Review, written: &Spanned<Entries<Literal>>) -> Option<Fixed> {
    let entries = &written.value.0;
    let find = |wanted: &str| entries.iter().find(|(name, _)| name.value == wanted);
    let help = "write {json: VALUE}, or {body: TEXT, content-type: TYPE}";
    for (name, _) in entries {
        if !["json", "body", "content-type"].contains(&name.value.as_str()) {
            let message = format!("{:?} is no part of a body", shorten(name));
            review.fault(Code::DefaultMisfit, name.span, message, help);
        }
    }
    let (text, usual) = match (find("json"), find("body")) {
        (Some((_, json)), None) => (json.value.to_json().to_string(), "application/json"),
        (None, Some((_, body))) => match &body.value {
            Literal::Text(text) => (text.clone(), "text/plain"),
            _ => {
                review.fault(Code::DefaultMisfit, body.span, "the body is a text", help);
                return None;
            }
        },
        _ if written.damaged => return None,
        _ => {
            let message = "the protocol of this chain has no tensors: the default is a body";
            review.fault(Code::DefaultMisfit, written.span, message, help);
            return None;
        }
    };
    let kind = match find("content-type") {
        None => HeaderValue::from_static(usual),
        Some((_, kind)) => content_type(review, kind)?,
    };
    Some(Fixed { body: text.into(), content_type: kind })
}

fn content_type(review: &mut Review, written: &Spanned<Literal>) -> Option<HeaderValue> {
    let found = match &written.value {
        Literal::Text(text) if text.contains('/') => HeaderValue::from_str(text).ok(),
        _ => None,
    };
    if found.is_none() {
        let help = "write for example application/json";
        review.fault(Code::DefaultMisfit, written.span, "this is no media type", help);
    }
    found
}

/// The outputs of a default step; `None` when something does not fit.
pub(super) fn tensors(
    review: &mut Review,
    written: &Spanned<Entries<Literal>>,
    outputs: &Outputs,
) -> Option<Vec<Tensor>> {
    if outputs.specs.is_empty() {
        if outputs.complete {
            let help = "declare `outputs:` with datatype and shape, as the model's metadata does";
            let message = "a default prediction needs the model's outputs to be declared";
            review.fault(Code::DefaultMisfit, written.span, message, help);
        }
        return None;
    }
    let entries = &written.value.0;
    unknown_outputs(review, entries, outputs);
    let mut tensors = Vec::with_capacity(outputs.specs.len());
    for spec in &outputs.specs {
        match entries.iter().find(|(name, _)| name.value == spec.name) {
            Some((_, value)) => tensors.extend(tensor(review, spec, value)),
            None if written.damaged => {}
            None => missing_output(review, &spec.name, written.span),
        }
    }
    Some(tensors)
}

fn missing_output(review: &mut Review, name: &str, place: Span) {
    let message = format!("the default says nothing of output {name:?}");
    let help = "clients may read any declared output: give each a value";
    review.fault(Code::DefaultMisfit, place, message, help);
}

fn unknown_outputs(
    review: &mut Review,
    entries: &[(Spanned<String>, Spanned<Literal>)],
    outputs: &Outputs,
) {
    for (name, _) in entries {
        if outputs.complete && !outputs.specs.iter().any(|spec| spec.name == name.value) {
            let names = outputs.specs.iter().map(|spec| spec.name.as_str());
            let message = format!("the model declares no output {:?}", name.value);
            let help = suggestion(name, names, "the outputs are");
            review.fault(Code::DefaultMisfit, name.span, message, help);
        }
    }
}

fn tensor(review: &mut Review, spec: &TensorSpec, value: &Spanned<Literal>) -> Option<Tensor> {
    let fitted = shape_of(&value.value)
        .and_then(|written| one_row(&spec.shape, &written))
        .ok_or_else(|| shape_misfit(spec, &value.value))
        .and_then(|shape| {
            let mut values = Vec::new();
            flatten(&value.value, &mut values);
            Ok((shape, typed(spec, &values)?))
        });
    match fitted {
        Ok((shape, data)) => Some(Tensor { name: spec.name.clone(), shape, data }),
        Err((message, help)) => {
            review.fault(Code::DefaultMisfit, value.span, message, help);
            None
        }
    }
}

/// The dimensions of nested lists; `None` when they are ragged, empty or too many.
fn shape_of(value: &Literal) -> Option<Vec<usize>> {
    let Literal::List(items) = value else { return Some(Vec::new()) };
    let first = shape_of(items.first()?)?;
    if items.iter().skip(1).any(|item| shape_of(item).as_ref() != Some(&first)) {
        return None;
    }
    let shape: Vec<usize> = std::iter::once(items.len()).chain(first).collect();
    (count(&shape) <= MAX_VALUES).then_some(shape)
}

/// The shape of one row that values of the written shape make, or `None`.
fn one_row(declared: &[Option<usize>], written: &[usize]) -> Option<Vec<usize>> {
    let row = match declared {
        [None, row @ ..] => row,
        whole => return fill(whole, written),
    };
    let full = |row: Vec<usize>| std::iter::once(1).chain(row).collect::<Vec<usize>>();
    fill(row, written)
        .or_else(|| match written {
            [1, rest @ ..] => fill(row, rest),
            _ => None,
        })
        .map(full)
}

/// The declared dimensions with the unknown ones taken from the written shape. A flat list (or a
/// bare value) also fills dimensions that are all known.
fn fill(declared: &[Option<usize>], written: &[usize]) -> Option<Vec<usize>> {
    let fits =
        |(declared, written): (&Option<usize>, &usize)| declared.is_none_or(|d| d == *written);
    if declared.len() == written.len() && declared.iter().zip(written).all(fits) {
        return Some(written.to_vec());
    }
    let known: Vec<usize> = declared.iter().copied().collect::<Option<_>>()?;
    let flat = written.len() <= 1;
    (flat && count(&known) == count(written)).then_some(known)
}

/// The number of elements; absurd shapes come out as the largest number there is.
fn count(shape: &[usize]) -> usize {
    shape.iter().fold(1, |count, size| count.saturating_mul(*size))
}

fn shape_misfit(spec: &TensorSpec, value: &Literal) -> (String, String) {
    let size = |size: &Option<usize>| size.map_or_else(|| "-1".to_owned(), |size| size.to_string());
    let declared: Vec<String> = spec.shape.iter().map(size).collect();
    let found = shape_of(value).map_or_else(
        || "lists that are empty or of unequal length".to_owned(),
        |shape| match shape.as_slice() {
            [] => "a single value".to_owned(),
            shape => format!("values of shape {shape:?}"),
        },
    );
    let message = format!(
        "output {:?} has shape [{}]; one row of it cannot be made of {found}",
        spec.name,
        declared.join(", ")
    );
    (message, "give one row: for shape [-1, 2] write for example [0.5, 0.5]".to_owned())
}

fn flatten<'a>(value: &'a Literal, into: &mut Vec<&'a Literal>) {
    match value {
        Literal::List(items) => items.iter().for_each(|item| flatten(item, into)),
        scalar => into.push(scalar),
    }
}

/// The values as the declared datatype.
fn typed(spec: &TensorSpec, values: &[&Literal]) -> Result<Data, (String, String)> {
    match spec.datatype {
        Datatype::Bool => each(spec, values, boolean).map(Data::Bool),
        Datatype::Uint8 => each(spec, values, integer).map(Data::Uint8),
        Datatype::Uint16 => each(spec, values, integer).map(Data::Uint16),
        Datatype::Uint32 => each(spec, values, integer).map(Data::Uint32),
        Datatype::Uint64 => each(spec, values, integer).map(Data::Uint64),
        Datatype::Int8 => each(spec, values, integer).map(Data::Int8),
        Datatype::Int16 => each(spec, values, integer).map(Data::Int16),
        Datatype::Int32 => each(spec, values, integer).map(Data::Int32),
        Datatype::Int64 => each(spec, values, integer).map(Data::Int64),
        Datatype::Fp32 => each(spec, values, single).map(Data::Fp32),
        Datatype::Fp64 => each(spec, values, double).map(Data::Fp64),
        Datatype::Bytes => each(spec, values, text).map(Data::Bytes),
        Datatype::Fp16 | Datatype::Bf16 => Err((
            format!("output {:?} is {}, which no default can hold", spec.name, spec.datatype),
            "leave the default out, or have the model give FP32".to_owned(),
        )),
    }
}

fn each<T>(
    spec: &TensorSpec,
    values: &[&Literal],
    convert: fn(&Literal) -> Option<T>,
) -> Result<Vec<T>, (String, String)> {
    let convert = |value: &&Literal| {
        convert(value).ok_or_else(|| {
            let message =
                format!("output {:?} is {}, and {} is not", spec.name, spec.datatype, shown(value));
            let help = match spec.datatype {
                Datatype::Bytes => "put it in quotes to make it a text",
                Datatype::Bool => "write true or false",
                _ => "write a number within the range of the datatype, without quotes",
            };
            (message, help.to_owned())
        })
    };
    values.iter().map(convert).collect()
}

fn shown(value: &Literal) -> String {
    match value {
        Literal::Bool(value) => value.to_string(),
        Literal::Integer(value) => value.to_string(),
        Literal::Float(value) => value.to_string(),
        Literal::Text(text) => format!("the text {:?}", shorten(text)),
        Literal::List(_) => "a list".to_owned(),
        Literal::Map(_) => "a mapping".to_owned(),
        Literal::Null => "nothing".to_owned(),
    }
}

const fn boolean(value: &Literal) -> Option<bool> {
    match value {
        Literal::Bool(value) => Some(*value),
        _ => None,
    }
}

fn integer<T: TryFrom<i128>>(value: &Literal) -> Option<T> {
    match value {
        Literal::Integer(value) => T::try_from(*value).ok(),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a default prediction written as a whole number")]
fn double(value: &Literal) -> Option<f64> {
    match value {
        Literal::Float(value) if value.is_finite() => Some(*value),
        Literal::Integer(value) => Some(*value as f64),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "FP32 is what the model declares")]
fn single(value: &Literal) -> Option<f32> {
    double(value).map(|value| value as f32).filter(|value| value.is_finite())
}

fn text(value: &Literal) -> Option<Vec<u8>> {
    match value {
        Literal::Text(text) => Some(text.clone().into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: Vec<Literal>) -> Literal {
        Literal::List(items)
    }

    #[test]
    fn one_row_is_made_of_what_fits() {
        let rows = |declared: &[Option<usize>], written: &[usize]| one_row(declared, written);
        assert_eq!(rows(&[None, Some(2)], &[2]), Some(vec![1, 2]));
        assert_eq!(rows(&[None, Some(2)], &[1, 2]), Some(vec![1, 2]));
        assert_eq!(rows(&[None], &[]), Some(vec![1]));
        assert_eq!(rows(&[None], &[1]), Some(vec![1]));
        assert_eq!(rows(&[None, Some(1)], &[]), Some(vec![1, 1]));
        assert_eq!(rows(&[None, None], &[5]), Some(vec![1, 5]));
        assert_eq!(rows(&[Some(2)], &[2]), Some(vec![2]));
        assert_eq!(rows(&[None, Some(2), Some(3)], &[6]), Some(vec![1, 2, 3]));
        assert_eq!(rows(&[None, Some(2)], &[3]), None);
        assert_eq!(rows(&[None, Some(2)], &[2, 2]), None);
        assert_eq!(rows(&[None], &[2]), None);
    }

    #[test]
    fn ragged_and_empty_lists_have_no_shape() {
        let one = || Literal::Integer(1);
        assert_eq!(shape_of(&list(vec![list(vec![one()]), list(vec![one()])])), Some(vec![2, 1]));
        assert_eq!(shape_of(&list(vec![list(vec![one()]), one()])), None);
        assert_eq!(shape_of(&list(vec![])), None);
    }

    #[test]
    fn numbers_stay_in_their_range() {
        assert_eq!(integer::<u8>(&Literal::Integer(256)), None);
        assert_eq!(integer::<i8>(&Literal::Integer(-128)), Some(-128));
        assert_eq!(single(&Literal::Float(1e300)), None);
        assert_eq!(single(&Literal::Integer(1)), Some(1.0));
        assert_eq!(text(&Literal::Integer(1)), None);
    }
}
