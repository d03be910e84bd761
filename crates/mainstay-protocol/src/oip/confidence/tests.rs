//! Confidence by example.

use super::*;
use crate::Data;

fn answer(shape: &[usize], data: Data) -> Response {
    let tensor = Tensor { name: "p".into(), shape: shape.to_vec(), data };
    Response { outputs: vec![tensor], ..Response::default() }
}

fn rule(reduce: Reduce) -> Rule {
    Rule { output: "p".into(), at_least: 0.5, reduce }
}

#[test]
fn each_row_has_its_largest_value_or_its_margin() {
    let response = answer(&[2, 3], Data::Fp64(vec![0.125, 0.625, 0.25, 0.5, 0.0, 0.5]));
    assert_eq!(per_row(&response, &rule(Reduce::Max)), Ok(vec![0.625, 0.5]));
    assert_eq!(per_row(&response, &rule(Reduce::Margin)), Ok(vec![0.375, 0.0]));
    assert_eq!(whole(&response, &rule(Reduce::Max)), Ok(0.625));
    assert_eq!(whole(&response, &rule(Reduce::Margin)), Ok(0.125));
}

#[test]
fn every_numeric_datatype_can_tell() {
    for data in [
        Data::Fp32(vec![1.0, 3.0]),
        Data::Fp16(vec![0x3c00, 0x4200]),
        Data::Bf16(vec![0x3f80, 0x4040]),
        Data::Uint8(vec![1, 3]),
        Data::Uint16(vec![1, 3]),
        Data::Uint32(vec![1, 3]),
        Data::Uint64(vec![1, 3]),
        Data::Int8(vec![1, 3]),
        Data::Int16(vec![1, 3]),
        Data::Int32(vec![1, 3]),
        Data::Int64(vec![1, 3]),
    ] {
        let response = answer(&[1, 2], data);
        assert_eq!(per_row(&response, &rule(Reduce::Margin)), Ok(vec![2.0]), "{response:?}");
    }
}

#[test]
fn one_value_is_its_own_margin() {
    let response = answer(&[2], Data::Fp32(vec![0.25, 0.75]));
    assert_eq!(per_row(&response, &rule(Reduce::Margin)), Ok(vec![0.25, 0.75]));
}

#[test]
fn what_cannot_be_compared_is_no_low_confidence() {
    let missing = Err(Error::Missing { tensor: "p".into() });
    assert_eq!(per_row(&Response::default(), &rule(Reduce::Max)), missing);
    let label = answer(&[1], Data::Bytes(vec![b"a".to_vec()]));
    assert!(matches!(per_row(&label, &rule(Reduce::Max)), Err(Error::NotNumeric { .. })));
    for bad in [f32::NAN, f32::INFINITY] {
        let response = answer(&[2, 2], Data::Fp32(vec![0.5, 0.5, bad, 0.0]));
        let error = Error::NotFinite { tensor: "p".into(), row: 1 };
        assert_eq!(per_row(&response, &rule(Reduce::Max)), Err(error));
        assert!(whole(&response, &rule(Reduce::Max)).is_err());
    }
    let empty = answer(&[2, 0], Data::Fp32(vec![]));
    assert!(matches!(per_row(&empty, &rule(Reduce::Max)), Err(Error::NotFinite { row: 0, .. })));
    assert!(matches!(whole(&empty, &rule(Reduce::Max)), Err(Error::NotFinite { row: 0, .. })));
    assert_eq!(per_row(&answer(&[0, 2], Data::Fp32(vec![])), &rule(Reduce::Max)), Ok(vec![]));
}

#[test]
fn rows_that_are_void_have_no_confidence_and_spoil_no_others() {
    let response = answer(&[3], Data::Fp32(vec![0.75, f32::NAN, 0.25]));
    assert!(matches!(per_row(&response, &rule(Reduce::Max)), Err(Error::NotFinite { row: 1, .. })));
    let sound = per_sound_row(&response, &rule(Reduce::Max), &[1]);
    assert_eq!(sound, Ok(vec![0.75, f64::NEG_INFINITY, 0.25]));
}

#[test]
fn equal_is_enough() {
    assert!(rule(Reduce::Max).accepts(0.5));
    assert!(!rule(Reduce::Max).accepts(0.49));
}
