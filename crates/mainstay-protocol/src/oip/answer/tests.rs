//! Answers by example; round trips of random ones are in `tests/properties.rs`.

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::Data;

const MARK: Mark<'_> =
    Mark { served_by: "embedded:lite", reason: "every \"server\" is down", age: None };

fn probabilities(rows: &[[f32; 2]]) -> Response {
    let data = Data::Fp32(rows.concat());
    let tensor = Tensor { name: "p".into(), shape: vec![rows.len(), 2], data };
    Response { model_name: "m".into(), outputs: vec![tensor], ..Response::default() }
}

#[test]
fn an_answer_is_read_and_written_back() {
    let body = br#"{"model_name":"m","model_version":"1","id":"42","parameters":{"k":1},
        "outputs":[{"name":"y","shape":[1,3],"datatype":"FP32","data":[0.1,0.2,0.7],
                    "parameters":{"content_type":"np"}}]}"#;
    let response = parse(body, None).unwrap();
    assert_eq!(response.output("y").unwrap().data, Data::Fp32(vec![0.1, 0.2, 0.7]));
    assert_eq!(response.tensor_parameters["y"]["content_type"], "np");
    let text = render(&response, &[], false).unwrap();
    assert_eq!(text.json_len, None);
    assert_eq!(parse(&text.body, None), Ok(response.clone()));
    let binary = render(&response, &[], true).unwrap();
    assert_eq!(binary.body.len() - binary.json_len.unwrap(), 12);
    assert_eq!(parse(&binary.body, binary.json_len), Ok(response));
}

#[test]
fn the_least_answer_is_enough() {
    let response = parse(br#"{"outputs":[]}"#, None).unwrap();
    assert_eq!(response, Response::default());
    assert!(parse(br#"{"error":"no"}"#, None).is_err());
}

#[test]
fn only_what_is_wanted_is_written_in_its_order_and_form() {
    let mut response = probabilities(&[[0.5, 0.5]]);
    let label = Tensor { name: "l".into(), shape: vec![1], data: Data::Int64(vec![7]) };
    response.outputs.push(label);
    let wanted = |name: &str, binary| RequestedOutput {
        name: name.into(),
        binary,
        ..RequestedOutput::default()
    };
    let encoded = render(&response, &[wanted("l", true), wanted("p", false)], false).unwrap();
    let head = std::str::from_utf8(&encoded.body[..encoded.json_len.unwrap()]).unwrap();
    assert_eq!(
        head,
        r#"{"model_name":"m","outputs":[{"name":"l","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":8}},{"name":"p","datatype":"FP32","shape":[1,2],"data":[0.5,0.5]}]}"#
    );
    let missing = render(&response, &[wanted("q", false)], false);
    assert_eq!(missing, Err(Error::Missing { tensor: "q".into() }));
}

#[test]
fn a_hole_is_never_written_as_a_prediction() {
    for (index, data) in
        [Data::Fp32(vec![f32::NAN]), Data::Fp64(vec![f64::INFINITY]), Data::Bytes(vec![vec![0xff]])]
            .into_iter()
            .enumerate()
    {
        let tensor = Tensor { name: "y".into(), shape: vec![1], data };
        let response = Response { outputs: vec![tensor], ..Response::default() };
        let error = Error::NotJson { tensor: "y".into(), index: 0 };
        assert_eq!(render(&response, &[], false), Err(error), "{index}");
        assert!(render(&response, &[], true).is_ok());
    }
    let half = Tensor { name: "y".into(), shape: vec![1], data: Data::Fp16(vec![0]) };
    let response = Response { outputs: vec![half], ..Response::default() };
    assert!(matches!(render(&response, &[], false), Err(Error::BinaryOnly { .. })));
}

fn marked(head: &str) -> String {
    let body = Bytes::copy_from_slice(head.as_bytes());
    let encoded = mark_degraded(&body, None, &MARK).unwrap();
    assert_eq!(encoded.json_len, None);
    String::from_utf8(encoded.body.to_vec()).unwrap()
}

const MARKED: &str =
    r#""degraded":true,"served_by":"embedded:lite","reason":"every \"server\" is down"}"#;

#[test]
fn a_mark_leaves_every_other_byte_alone() {
    assert_eq!(
        marked(" {\n \"outputs\" : [ 1.50e0 ] , \"x\":{\"parameters\":1} }\n"),
        format!(
            " {{\"parameters\":{{{MARKED},\n \"outputs\" : [ 1.50e0 ] , \"x\":{{\"parameters\":1}} }}\n"
        )
    );
    assert_eq!(
        marked(r#"{"id":"a", "parameters" : {"b" : 1.0, "a":[ 2 ]} ,"outputs":[]}"#),
        format!(r#"{{"id":"a", "parameters" : {{"b":1.0,"a":[ 2 ],{MARKED} ,"outputs":[]}}"#)
    );
    assert_eq!(marked("{ }"), format!("{{\"parameters\":{{{MARKED} }}"));
}

#[test]
fn a_mark_replaces_an_older_one() {
    let head = r#"{"parameters":{"reason":"old","k":1,"degraded":false},"outputs":[]}"#;
    assert_eq!(marked(head), format!(r#"{{"parameters":{{"k":1,{MARKED},"outputs":[]}}"#));
    assert_eq!(
        marked(r#"{"parameters":null,"outputs":[]}"#),
        format!(r#"{{"parameters":{{{MARKED},"outputs":[]}}"#)
    );
}

#[test]
fn a_mark_leaves_binary_data_alone() {
    let response = probabilities(&[[0.5, 0.5]]);
    let before = render(&response, &[], true).unwrap();
    let after = mark_degraded(&before.body, before.json_len, &MARK).unwrap();
    let (old, new) = (before.json_len.unwrap(), after.json_len.unwrap());
    assert_eq!(before.body[old..], after.body[new..]);
    let read = parse(&after.body, after.json_len).unwrap();
    assert_eq!(read.outputs, response.outputs);
    assert_eq!(read.parameters["served_by"], "embedded:lite");
    let mut ours = response.parameters;
    MARK.write_to(&mut ours);
    assert_eq!(read.parameters, ours);
}

#[test]
fn what_cannot_be_marked_is_said() {
    for head in
        ["", "[]", "[1]", "[{}]", "null", "{", r#"{"parameters":[1]}"#, r#"{"parameters":1}"#]
    {
        let body = Bytes::copy_from_slice(head.as_bytes());
        assert!(mark_degraded(&body, None, &MARK).is_err(), "{head}");
    }
    let twice = Bytes::from_static(br#"{"parameters":{},"parameters":{}}"#);
    assert!(mark_degraded(&twice, None, &MARK).is_err());
    assert!(mark_degraded(&twice, Some(999), &MARK).is_err());
}

#[test]
fn rows_are_merged_into_their_places() {
    let mut into = probabilities(&[[0.1, 0.9], [0.5, 0.5], [0.2, 0.8]]);
    merge_rows(&mut into, probabilities(&[[0.0, 1.0], [1.0, 0.0]]), &[2, 1]).unwrap();
    assert_eq!(into, probabilities(&[[0.1, 0.9], [1.0, 0.0], [0.0, 1.0]]));
    let mut double = probabilities(&[[0.5, 0.25]]);
    double.outputs[0].data = Data::Fp64(vec![0.5, 0.25]);
    merge_rows(&mut into, double, &[0]).unwrap();
    assert_eq!(into, probabilities(&[[0.5, 0.25], [1.0, 0.0], [0.0, 1.0]]));
}

#[test]
fn rows_are_selected_from_every_output() {
    let mut response = probabilities(&[[0.1, 0.9], [0.5, 0.5], [0.2, 0.8]]);
    response.id = Some("7".into());
    let selected = select_rows(&response, &[2, 0]).unwrap();
    assert_eq!(selected.outputs, probabilities(&[[0.2, 0.8], [0.1, 0.9]]).outputs);
    assert_eq!(selected.id, response.id);
    assert_eq!(select_rows(&response, &[3]), Err(Error::NoRow { row: 3, rows: 3 }));
}

#[test]
fn rows_that_do_not_fit_are_not_merged() {
    let into = probabilities(&[[0.1, 0.9], [0.5, 0.5]]);
    let merge = |from: Response, rows: &[usize]| merge_rows(&mut into.clone(), from, rows);
    let one = probabilities(&[[0.0, 1.0]]);
    let rows = Error::Rows { tensor: "p".into(), expected: 2, found: 1 };
    assert_eq!(merge(one.clone(), &[0, 1]), Err(rows));
    assert_eq!(merge(one.clone(), &[2]), Err(Error::NoRow { row: 2, rows: 2 }));
    let mut wide = one.clone();
    wide.outputs[0].shape = vec![1, 1, 2];
    assert_eq!(merge(wide, &[0]), Err(Error::Unmergeable { tensor: "p".into() }));
    let mut whole = one.clone();
    whole.outputs[0].data = Data::Int8(vec![0, 1]);
    assert_eq!(merge(whole, &[0]), Err(Error::Unmergeable { tensor: "p".into() }));
    let mut other = one;
    other.outputs[0].name = "q".into();
    assert_eq!(merge(other, &[0]), Err(Error::Missing { tensor: "p".into() }));
}

#[test]
fn parameters_survive() {
    let mut response = probabilities(&[[0.5, 0.5]]);
    response.parameters = json!({"k": {"n": 1}}).as_object().unwrap().clone();
    let encoded = render(&response, &[], false).unwrap();
    assert_eq!(parse(&encoded.body, None), Ok(response));
}

#[test]
fn an_answer_is_given_again_under_another_id() {
    let body =
        br#"{"id":"old","model_name":"m","parameters":{"k":1,"age":7},"outputs":[1.50]}abcd"#;
    let mark = Mark { served_by: "last-good", reason: "no-endpoint", age: Some(12) };
    let json_len = Some(body.len() - 4);
    let again = give_again(body, json_len, Some("\"new\""), &mark).unwrap();
    let text = std::str::from_utf8(&again.body).unwrap();
    assert_eq!(
        text,
        r#"{"id":"new","parameters":{"k":1,"degraded":true,"served_by":"last-good","reason":"no-endpoint","age":12},"model_name":"m","outputs":[1.50]}abcd"#
    );
    assert_eq!(again.json_len, Some(text.len() - 4));
    let without = give_again(body, json_len, None, &mark).unwrap();
    assert!(!without.body.starts_with(b"{\"id\""));
}
