//! Golden requests by example, and what holds for every recorded one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::oip::answer::Response;
use crate::{Data, Datatype, Tensor};

fn file(outputs: &Value, tolerance: &Value) -> Result<Golden, Error> {
    let request =
        json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0.5]}]});
    let file = json!({
        "model": "m",
        "request": request,
        "expect": {"outputs": outputs},
        "tolerance": tolerance,
    });
    parse(file.to_string().as_bytes())
}

fn y(datatype: &str, data: &Value) -> Value {
    let len = data.as_array().map_or(0, Vec::len);
    json!([{"name": "y", "datatype": datatype, "shape": [len], "data": data}])
}

fn answer(data: Data) -> Response {
    let tensor = Tensor { name: "y".into(), shape: vec![data.len()], data };
    Response { outputs: vec![tensor], ..Response::default() }
}

/// What is said of an answer; empty where it is right.
fn said(golden: &Golden, data: Data) -> String {
    golden.compare(&answer(data)).err().map(|mismatch| mismatch.to_string()).unwrap_or_default()
}

#[test]
fn values_are_equal_or_within_their_tolerance() {
    let exact = file(&y("FP32", &json!([0.25, 0.5])), &json!({})).unwrap();
    assert_eq!(exact.model.as_deref(), Some("m"));
    assert_eq!(said(&exact, Data::Fp32(vec![0.25, 0.5])), "");
    let wrong = said(&exact, Data::Fp32(vec![0.25, 0.75]));
    assert_eq!(wrong, "output `y`[1] is 0.75, expected 0.5");

    let near = json!({"y": {"absolute": 0.125}});
    let near = file(&y("FP32", &json!([0.25, 0.5])), &near).unwrap();
    assert_eq!(said(&near, Data::Fp32(vec![0.375, 0.5])), "");
    let wrong = said(&near, Data::Fp32(vec![0.25, 0.75]));
    assert_eq!(wrong, "output `y`[1] is 0.75, expected 0.5 ± 0.125");

    let relative = json!({"*": {"relative": 0.5}});
    let relative = file(&y("FP64", &json!([100, 0])), &relative).unwrap();
    assert_eq!(said(&relative, Data::Fp64(vec![150.0, 0.0])), "");
    assert_ne!(said(&relative, Data::Fp64(vec![151.0, 0.0])), "");
    assert_ne!(said(&relative, Data::Fp64(vec![100.0, 0.1])), "", "a part of 0 is 0");
}

#[test]
fn nan_equals_nothing_unless_that_is_said() {
    let outputs = y("FP32", &json!(["NaN", "Infinity", 1.0]));
    let found = Data::Fp32(vec![f32::NAN, f32::INFINITY, 1.0]);
    let strict = file(&outputs, &json!({"y": {"absolute": 1e9}})).unwrap();
    assert_eq!(said(&strict, found.clone()), "output `y`[0] is NaN, expected NaN");
    let told = file(&outputs, &json!({"y": {"nan-equal": true}})).unwrap();
    assert_eq!(said(&told, found), "");
    assert_ne!(said(&told, Data::Fp32(vec![f32::NAN, f32::NEG_INFINITY, 1.0])), "");
    assert_ne!(said(&told, Data::Fp32(vec![1.0, f32::INFINITY, f32::NAN])), "");
}

#[test]
fn texts_booleans_and_large_integers_are_compared_as_they_are() {
    let large = i64::MAX;
    for (datatype, expected, right, wrong) in [
        ("BYTES", json!(["a"]), Data::Bytes(vec![b"a".to_vec()]), Data::Bytes(vec![b"b".to_vec()])),
        ("BOOL", json!([true]), Data::Bool(vec![true]), Data::Bool(vec![false])),
        ("INT64", json!([large]), Data::Int64(vec![large]), Data::Int64(vec![large - 1])),
        ("UINT8", json!([7]), Data::Uint8(vec![7]), Data::Uint8(vec![8])),
        ("FP16", json!([1.5]), Data::Fp16(vec![0x3e00]), Data::Fp16(vec![0x3e01])),
    ] {
        let golden = file(&y(datatype, &expected), &json!({})).unwrap();
        assert_eq!(said(&golden, right), "", "{datatype}");
        assert_ne!(said(&golden, wrong), "", "{datatype}");
    }
}

#[test]
fn outputs_must_be_there_with_their_datatype_and_shape() {
    let golden = file(&y("FP32", &json!([0.5])), &json!({})).unwrap();
    assert_eq!(said(&golden, Data::Fp64(vec![0.5])), "output `y` is FP64, expected FP32");
    assert_eq!(said(&golden, Data::Fp32(vec![0.5; 2])), "output `y` has shape [2], expected [1]");
    let empty = golden.compare(&Response::default()).unwrap_err();
    assert_eq!(empty.to_string(), "output `y` is missing");
}

#[test]
fn a_file_is_held_against_the_declared_outputs() {
    let golden = file(&y("FP32", &json!([0.5])), &json!({})).unwrap();
    let spec = |name: &str, datatype, shape: &[Option<usize>]| {
        [TensorSpec { name: name.into(), datatype, shape: shape.to_vec() }]
    };
    assert_eq!(golden.fits(&spec("y", Datatype::Fp32, &[None])), Ok(()));
    assert!(golden.fits(&spec("z", Datatype::Fp32, &[None])).is_err());
    assert!(golden.fits(&spec("y", Datatype::Fp64, &[None])).is_err());
    assert!(golden.fits(&spec("y", Datatype::Fp32, &[Some(2)])).is_err());
}

#[test]
fn files_that_no_answer_could_meet_are_refused() {
    let good = y("FP32", &json!([0.5]));
    assert!(file(&good, &json!({"z": {"absolute": 1}})).is_err(), "unknown output");
    assert!(file(&good, &json!({"y": {"absolute": -1}})).is_err(), "below zero");
    assert!(file(&good, &json!({"y": {"absolut": 1}})).is_err(), "unknown key");
    assert!(file(&json!([]), &json!({})).is_err(), "nothing expected");
    assert!(file(&y("FP33", &json!([0.5])), &json!({})).is_err(), "unknown datatype");
    assert!(file(&y("INT8", &json!(["NaN"])), &json!({})).is_err(), "no number");
    for text in ["", "[]", "{}", r#"{"request": {}, "expect": {"outputs": []}}"#] {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn what_was_recorded_is_right_when_it_is_said_again(
        values in prop::collection::vec(any::<f32>(), 0..9),
        integers in prop::collection::vec(any::<i64>(), 0..9),
        texts in prop::collection::vec("[a-z\"\\\\ ]{0,5}", 0..9),
        bits in prop::collection::vec(any::<u16>(), 0..9),
    ) {
        let tensor = |name: &str, data: Data| {
            Tensor { name: name.into(), shape: vec![data.len()], data }
        };
        let response = Response {
            outputs: vec![
                tensor("floats", Data::Fp32(values)),
                tensor("integers", Data::Int64(integers)),
                tensor("texts", Data::Bytes(texts.into_iter().map(String::into_bytes).collect())),
                tensor("halves", Data::Fp16(bits)),
            ],
            ..Response::default()
        };
        let request = br#"{"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[1]}]}"#;
        let exact = Tolerance { nan_equal: true, ..Tolerance::default() };
        let text = render("a \"model\"", request, &response, exact).unwrap();
        let golden = parse(text.as_bytes()).unwrap();
        prop_assert_eq!(golden.model.as_deref(), Some("a \"model\""));
        prop_assert_eq!(&golden.request[..], &request[..]);
        prop_assert_eq!(golden.compare(&response), Ok(()));
    }

    #[test]
    fn no_text_makes_reading_panic(text in ".{0,200}") {
        let _ = parse(text.as_bytes());
    }
}
