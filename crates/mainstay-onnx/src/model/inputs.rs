//! Fitting a caller's tensors to what the model declares.
//!
//! Copies nothing that already fits: a call borrows the caller's tensors and owns only those that
//! had to be converted.

use std::borrow::Cow;

use mainstay_protocol::tensor::{Data, Datatype, Tensor, TensorSpec};

use crate::Error;
use crate::graph::Input;

/// The tensors in the model's order, each of the declared datatype and shape.
pub(super) fn fit<'a>(
    declared: &[Input],
    given: &'a [Tensor],
) -> Result<Vec<Cow<'a, Tensor>>, Error> {
    refuse_unknown(declared, given)?;
    let fitting: Vec<_> =
        declared.iter().map(|input| fit_one(input, given)).collect::<Result<_, _>>()?;
    check_labels(declared, &fitting)?;
    Ok(fitting)
}

fn bad(tensor: &str, problem: String) -> Error {
    Error::BadInput { tensor: tensor.to_owned(), problem }
}

fn refuse_unknown(declared: &[Input], given: &[Tensor]) -> Result<(), Error> {
    for (index, tensor) in given.iter().enumerate() {
        if !declared.iter().any(|input| input.spec.name == tensor.name) {
            let names: Vec<_> = declared.iter().map(|input| input.spec.name.as_str()).collect();
            let problem = format!("is unknown; the model takes {}", names.join(", "));
            return Err(bad(&tensor.name, problem));
        }
        if given[..index].iter().any(|earlier| earlier.name == tensor.name) {
            return Err(bad(&tensor.name, "is given twice".to_owned()));
        }
    }
    Ok(())
}

fn fit_one<'a>(input: &Input, given: &'a [Tensor]) -> Result<Cow<'a, Tensor>, Error> {
    let spec = &input.spec;
    let tensor = given
        .iter()
        .find(|tensor| tensor.name == spec.name)
        .ok_or_else(|| bad(&spec.name, "is missing".to_owned()))?;
    check_shape(spec, tensor).map_err(|problem| bad(&spec.name, problem))?;
    check_text(&tensor.data).map_err(|problem| bad(&spec.name, problem))?;
    if tensor.datatype() == spec.datatype {
        return Ok(Cow::Borrowed(tensor));
    }
    let data = convert(&tensor.data, spec.datatype).ok_or_else(|| {
        let problem =
            format!("has datatype {}; the model takes {}", tensor.datatype(), spec.datatype);
        bad(&spec.name, problem)
    })?;
    Ok(Cow::Owned(Tensor { name: tensor.name.clone(), shape: tensor.shape.clone(), data }))
}

fn check_shape(spec: &TensorSpec, tensor: &Tensor) -> Result<(), String> {
    let fits = tensor.shape.len() == spec.shape.len()
        && tensor.shape.iter().zip(&spec.shape).all(|(size, wanted)| match wanted {
            Some(wanted) => size == wanted,
            None => *size > 0,
        });
    if !fits {
        return Err(format!(
            "has shape {}; the model takes {}",
            shape_text(tensor.shape.iter().map(|size| Some(*size))),
            shape_text(spec.shape.iter().copied())
        ));
    }
    let elements = tensor.shape.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
    if elements != Some(tensor.data.len()) {
        let shape = shape_text(tensor.shape.iter().map(|size| Some(*size)));
        return Err(format!("has {} elements, which is not what {shape} holds", tensor.data.len()));
    }
    Ok(())
}

/// ONNX knows strings, the protocol bytes: what is no text cannot go in.
fn check_text(data: &Data) -> Result<(), String> {
    let Data::Bytes(values) = data else { return Ok(()) };
    match values.iter().position(|value| std::str::from_utf8(value).is_err()) {
        Some(index) => Err(format!("holds bytes that are not UTF-8 at element {index}")),
        None => Ok(()),
    }
}

/// A shape as metadata writes it: `[-1, 4]`.
fn shape_text(shape: impl Iterator<Item = Option<usize>>) -> String {
    let sizes: Vec<_> =
        shape.map(|size| size.map_or_else(|| "-1".to_owned(), |size| size.to_string())).collect();
    format!("[{}]", sizes.join(", "))
}

/// Dimensions of one label must have one size: usually, all inputs the same number of rows.
fn check_labels(declared: &[Input], tensors: &[Cow<'_, Tensor>]) -> Result<(), Error> {
    let mut seen: Vec<(&str, usize, &str)> = Vec::new();
    for (input, tensor) in declared.iter().zip(tensors) {
        for (label, size) in input.labels.iter().zip(&tensor.shape) {
            if label.is_empty() {
                continue;
            }
            match seen.iter().find(|(known, ..)| known == label) {
                Some((_, other, name)) if other != size => {
                    let problem = format!("has size {size} for {label}; {name:?} has {other}");
                    return Err(bad(&tensor.name, problem));
                }
                Some(_) => {}
                None => seen.push((label, *size, &tensor.name)),
            }
        }
    }
    Ok(())
}

/// Every element converted by `From`, which loses nothing.
fn widen<A: Copy, B: From<A>>(values: &[A]) -> Vec<B> {
    values.iter().map(|value| B::from(*value)).collect()
}

/// The data as `wanted`, or `None` where values could be lost.
#[expect(clippy::cast_possible_truncation, reason = "FP64 to FP32 is rounding, as intended")]
fn convert(data: &Data, wanted: Datatype) -> Option<Data> {
    Some(match (data, wanted) {
        (Data::Fp64(values), Datatype::Fp32) => {
            Data::Fp32(values.iter().map(|value| *value as f32).collect())
        }
        (Data::Fp32(values), Datatype::Fp64) => Data::Fp64(widen(values)),
        (Data::Int8(values), Datatype::Fp32) => Data::Fp32(widen(values)),
        (Data::Int16(values), Datatype::Fp32) => Data::Fp32(widen(values)),
        (Data::Uint8(values), Datatype::Fp32) => Data::Fp32(widen(values)),
        (Data::Uint16(values), Datatype::Fp32) => Data::Fp32(widen(values)),
        (Data::Int32(values), Datatype::Fp64) => Data::Fp64(widen(values)),
        (Data::Uint32(values), Datatype::Fp64) => Data::Fp64(widen(values)),
        (Data::Int8(values), Datatype::Int32) => Data::Int32(widen(values)),
        (Data::Int16(values), Datatype::Int32) => Data::Int32(widen(values)),
        (Data::Uint8(values), Datatype::Int32) => Data::Int32(widen(values)),
        (Data::Uint16(values), Datatype::Int32) => Data::Int32(widen(values)),
        (Data::Int8(values), Datatype::Int64) => Data::Int64(widen(values)),
        (Data::Int16(values), Datatype::Int64) => Data::Int64(widen(values)),
        (Data::Int32(values), Datatype::Int64) => Data::Int64(widen(values)),
        (Data::Uint8(values), Datatype::Int64) => Data::Int64(widen(values)),
        (Data::Uint16(values), Datatype::Int64) => Data::Int64(widen(values)),
        (Data::Uint32(values), Datatype::Int64) => Data::Int64(widen(values)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(name: &str, label: &str) -> Input {
        let spec =
            TensorSpec { name: name.into(), datatype: Datatype::Fp32, shape: vec![None, Some(2)] };
        Input { spec, labels: vec![label.into(), String::new()] }
    }

    fn tensor(name: &str, shape: &[usize], data: Data) -> Tensor {
        Tensor { name: name.into(), shape: shape.into(), data }
    }

    fn problem(declared: &[Input], given: &[Tensor]) -> String {
        fit(declared, given).expect_err("a refusal").to_string()
    }

    #[test]
    fn fitting_tensors_are_borrowed_in_the_models_order() {
        let declared = [matrix("a", "batch"), matrix("b", "batch")];
        let given = [
            tensor("b", &[1, 2], Data::Fp32(vec![3.0, 4.0])),
            tensor("a", &[1, 2], Data::Fp32(vec![1.0, 2.0])),
        ];
        let fitting = fit(&declared, &given).unwrap();
        assert_eq!(fitting[0].name, "a");
        assert!(fitting.iter().all(|tensor| matches!(tensor, Cow::Borrowed(_))));
    }

    #[test]
    fn doubles_and_small_integers_become_floats() {
        let declared = [matrix("x", "batch")];
        for data in [Data::Fp64(vec![1.0, 2.0]), Data::Uint8(vec![1, 2])] {
            let given = [tensor("x", &[1, 2], data)];
            let fitting = fit(&declared, &given).unwrap();
            assert_eq!(fitting[0].data, Data::Fp32(vec![1.0, 2.0]));
        }
    }

    #[test]
    fn refusals_name_the_input_and_what_the_model_takes() {
        let x = [matrix("x", "batch")];
        let floats = |shape: &[usize], count| tensor("x", shape, Data::Fp32(vec![0.0; count]));
        assert_eq!(problem(&x, &[]), r#"input "x" is missing"#);
        assert_eq!(
            problem(&x, &[tensor("y", &[1, 2], Data::Fp32(vec![0.0; 2]))]),
            r#"input "y" is unknown; the model takes x"#
        );
        assert_eq!(
            problem(&x, &[floats(&[1, 3], 3)]),
            r#"input "x" has shape [1, 3]; the model takes [-1, 2]"#
        );
        assert_eq!(
            problem(&x, &[floats(&[0, 2], 0)]),
            r#"input "x" has shape [0, 2]; the model takes [-1, 2]"#
        );
        assert_eq!(
            problem(&x, &[floats(&[2, 2], 3)]),
            r#"input "x" has 3 elements, which is not what [2, 2] holds"#
        );
        assert_eq!(
            problem(&x, &[tensor("x", &[1, 2], Data::Int64(vec![0; 2]))]),
            r#"input "x" has datatype INT64; the model takes FP32"#
        );
        assert_eq!(
            problem(&x, &[floats(&[1, 2], 2), floats(&[1, 2], 2)]),
            r#"input "x" is given twice"#
        );
    }

    #[test]
    fn inputs_of_one_batch_must_agree() {
        let declared = [matrix("a", "batch"), matrix("b", "batch")];
        let given = [
            tensor("a", &[1, 2], Data::Fp32(vec![0.0; 2])),
            tensor("b", &[2, 2], Data::Fp32(vec![0.0; 4])),
        ];
        assert_eq!(problem(&declared, &given), r#"input "b" has size 2 for batch; "a" has 1"#);
        let apart = [matrix("a", "rows"), matrix("b", "others")];
        assert!(fit(&apart, &given).is_ok());
    }
}
