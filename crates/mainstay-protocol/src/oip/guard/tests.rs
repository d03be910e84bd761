//! Guards by example, and a property: what is sound is what no element contradicts.

use proptest::prelude::*;

use super::*;

fn tensor(name: &str, shape: &[usize], data: Data) -> Tensor {
    Tensor { name: name.into(), shape: shape.to_vec(), data }
}

fn answer(outputs: Vec<Tensor>) -> Response {
    Response { outputs, ..Response::default() }
}

fn spec(name: &str, datatype: Datatype, shape: &[Option<usize>]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype, shape: shape.to_vec() }
}

fn guards(outputs: Vec<OutputGuard>) -> Guards {
    Guards { finite: true, shape: true, outputs }
}

fn score_in(least: f64, most: f64) -> OutputGuard {
    OutputGuard { output: "score".into(), range: Some((least, most)), allowed: None }
}

/// The guard that a whole answer breaks, and what is said of it.
fn whole(finding: Finding) -> (Guard, String) {
    match finding {
        Finding::Whole(broken) => (broken.guard, broken.to_string()),
        other => panic!("not as a whole: {other:?}"),
    }
}

#[test]
fn datatype_shape_and_presence_are_as_declared() {
    let specs = [spec("score", Datatype::Fp32, &[None, Some(2)])];
    let asked = |rows| Asked { specs: &specs, rows, wanted: &[] };
    let check = |tensor: Tensor, rows| guards(vec![]).check(&answer(vec![tensor]), asked(rows));
    let two = || Data::Fp32(vec![0.25, 0.75]);
    assert_eq!(check(tensor("score", &[1, 2], two()), Some(1)), Finding::Sound);
    assert_eq!(check(tensor("score", &[1, 2], two()), None), Finding::Sound);
    for (tensor, guard, said) in [
        (tensor("other", &[1, 2], two()), Guard::Present, "`score` is missing"),
        (
            tensor("score", &[1, 2], Data::Fp64(vec![0.0; 2])),
            Guard::Datatype,
            "is FP64, declared is FP32",
        ),
        (tensor("score", &[2], two()), Guard::Shape, "has shape [2], declared is [-1, 2]"),
        (tensor("score", &[2, 1], two()), Guard::Shape, "has shape [2, 1]"),
        (
            tensor("score", &[2, 2], Data::Fp32(vec![0.0; 4])),
            Guard::Shape,
            "has 2 rows, 1 were asked for",
        ),
    ] {
        let (found, detail) = whole(check(tensor, Some(1)));
        assert_eq!(found, guard, "{detail}");
        assert!(detail.contains(said), "{detail}");
    }
}

#[test]
fn what_the_client_left_out_or_transformed_is_not_judged() {
    let specs = [spec("score", Datatype::Fp32, &[None]), spec("label", Datatype::Int64, &[None])];
    let response = answer(vec![tensor("label", &[1], Data::Bytes(vec![b"0.9:3".to_vec()]))]);
    let classes = serde_json::Map::from_iter([("classification".to_owned(), 1.into())]);
    let wanted =
        [RequestedOutput { name: "label".into(), parameters: classes, ..Default::default() }];
    let asked = Asked { specs: &specs, rows: Some(1), wanted: &wanted };
    assert_eq!(guards(vec![score_in(0.0, 1.0)]).check(&response, asked), Finding::Sound);
    let (guard, _) = whole(guards(vec![]).check(&response, Asked { wanted: &[], ..asked }));
    assert_eq!(guard, Guard::Present);
}

#[test]
fn a_value_that_is_not_finite_breaks_its_row() {
    for data in [
        Data::Fp32(vec![1.0, f32::NAN, 1.0, f32::INFINITY, f32::NAN, 1.0]),
        Data::Fp64(vec![1.0, f64::NAN, 1.0, f64::NEG_INFINITY, f64::NAN, 1.0]),
        Data::Fp16(vec![0x3c00, 0x7e00, 0x3c00, 0x7c00, 0x7e00, 0x3c00]),
        Data::Bf16(vec![0x3f80, 0x7fc0, 0x3f80, 0x7f80, 0x7fc0, 0x3f80]),
    ] {
        let response = answer(vec![tensor("y", &[6], data)]);
        let asked = Asked { rows: Some(6), ..Asked::default() };
        let found = guards(vec![]).check(&response, asked);
        let Finding::Rows { rows, first } = found else { panic!("{found:?}") };
        assert_eq!(rows, [1, 3, 4]);
        assert_eq!(first.to_string(), "output `y`[1] is NaN");
        assert_eq!(whole(guards(vec![]).check(&response, Asked::default())).0, Guard::Finite);
        let lax = Guards { finite: false, ..guards(vec![]) };
        assert_eq!(lax.check(&response, asked), Finding::Sound);
    }
}

#[test]
fn ends_of_a_range_belong_to_it_with_room_for_rounding() {
    let check = |value: f32| {
        let response = answer(vec![tensor("score", &[1], Data::Fp32(vec![value]))]);
        guards(vec![score_in(0.0, 1.0)]).check(&response, Asked::default())
    };
    for sound in [0.0, 1.0, 0.5, 1.000_000_2] {
        assert_eq!(check(sound), Finding::Sound, "{sound}");
    }
    let (guard, said) = whole(check(1.001));
    assert_eq!(guard, Guard::Range);
    assert!(said.contains("outside 0 to 1"), "{said}");
    assert_eq!(whole(check(-0.5)).0, Guard::Range);
    let text = answer(vec![tensor("score", &[1], Data::Bytes(vec![b"1".to_vec()]))]);
    let found = guards(vec![score_in(0.0, 1.0)]).check(&text, Asked::default());
    assert_eq!(whole(found).0, Guard::Datatype);
}

#[test]
fn only_allowed_values_pass() {
    let texts = Allowed::Texts(vec![b"ok".to_vec(), b"fraud".to_vec()]);
    let numbers = Allowed::Numbers(vec![0.0, 0.1]);
    let text = |text: &str| Data::Bytes(vec![text.as_bytes().to_vec()]);
    for (data, allowed, broken) in [
        (text("ok"), &texts, None),
        (text("OK"), &texts, Some(Guard::Allowed)),
        (Data::Int64(vec![0]), &numbers, None),
        (Data::Int64(vec![2]), &numbers, Some(Guard::Allowed)),
        (Data::Fp32(vec![0.1]), &numbers, None),
        (Data::Fp32(vec![f32::NAN]), &numbers, Some(Guard::Allowed)),
        (Data::Bool(vec![false]), &numbers, None),
        (Data::Bool(vec![true]), &numbers, Some(Guard::Allowed)),
        (Data::Int64(vec![0]), &texts, Some(Guard::Datatype)),
        (text("0"), &numbers, Some(Guard::Datatype)),
    ] {
        let allowed = Some(allowed.clone());
        let guards = Guards {
            outputs: vec![OutputGuard { output: "label".into(), range: None, allowed }],
            ..Guards::default()
        };
        let response = answer(vec![tensor("label", &[1], data)]);
        match (guards.check(&response, Asked::default()), broken) {
            (Finding::Sound, None) => {}
            (Finding::Whole(found), Some(guard)) => assert_eq!(found.guard, guard, "{found}"),
            (found, wanted) => panic!("{response:?}: {found:?}, not {wanted:?}"),
        }
    }
}

proptest! {
    #[test]
    fn broken_rows_are_those_with_an_element_out_of_range(
        rows in 0_usize..12,
        width in 1_usize..4,
        values in prop::collection::vec(
            prop_oneof![4 => 0.0..=1.0_f64, 1 => -9.0..9.0_f64, 1 => Just(f64::NAN)], 48),
    ) {
        let values = values[..rows * width].to_vec();
        let bad = |value: &f64| !(-1e-9..=1.0 + 1e-9).contains(value);
        let expected: Vec<usize> =
            (0..rows).filter(|row| values[row * width..(row + 1) * width].iter().any(bad)).collect();
        let response = answer(vec![tensor("score", &[rows, width], Data::Fp64(values))]);
        let asked = Asked { rows: Some(rows), ..Asked::default() };
        match guards(vec![score_in(0.0, 1.0)]).check(&response, asked) {
            Finding::Sound => prop_assert!(expected.is_empty()),
            Finding::Rows { rows, .. } => prop_assert_eq!(rows, expected),
            Finding::Whole(broken) => prop_assert!(false, "{}", broken),
        }
    }

    #[test]
    fn no_shape_makes_a_check_panic(
        shape in prop::collection::vec(0_usize..4, 0..4),
        rows in prop::option::of(0_usize..5),
        len in 0_usize..30,
    ) {
        let response = answer(vec![tensor("score", &shape, Data::Fp32(vec![0.5; len]))]);
        let asked = Asked { rows, ..Asked::default() };
        let found = guards(vec![score_in(0.0, 1.0)]).check(&response, asked);
        let _ = constant::fingerprint(&response, &[], rows);
        let in_rows = matches!(found, Finding::Rows { .. });
        prop_assert!(!in_rows);
    }
}
