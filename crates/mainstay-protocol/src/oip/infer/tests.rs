//! Requests by example; round trips of random ones are in `tests/properties.rs`.

use super::*;
use crate::{Data, Datatype};

/// A request with one input of this datatype, shape and data.
fn one(datatype: &str, shape: &str, data: &str) -> Result<Tensor, Error> {
    let input = format!(r#"{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}"#);
    let mut request = parse(format!(r#"{{"inputs":[{input}]}}"#).as_bytes(), None)?;
    Ok(request.inputs.remove(0))
}

fn data(datatype: &str, shape: &str, text: &str) -> Data {
    one(datatype, shape, text).unwrap().data
}

#[test]
fn the_specifications_example_is_read() {
    let body = br#"{"id":"42","parameters":{"priority":1,"binary_data_output":true},
        "inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4],
                   "parameters":{"content_type":"np"}}],
        "outputs":[{"name":"y"},{"name":"z","parameters":{"binary_data":false,"classification":2}}]}"#;
    let request = parse(body, None).unwrap();
    assert_eq!(request.id.as_deref(), Some("42"));
    assert_eq!(request.parameters, *json!({"priority": 1}).as_object().unwrap());
    assert_eq!(request.inputs[0].shape, [1, 4]);
    assert_eq!(request.inputs[0].data, Data::Fp32(vec![1.0, 2.0, 3.0, 4.0]));
    assert_eq!(request.tensor_parameters["x"]["content_type"], "np");
    assert!(request.binary_output && !request.binary_input);
    assert!(request.outputs[0].binary && !request.outputs[1].binary);
    assert_eq!(request.outputs[1].parameters["classification"], 2);
    assert_eq!(parse(&render(&request).body, None), Ok(request));
}

#[test]
fn members_may_come_in_any_order_and_unknown_ones_are_passed_over() {
    let body = br#"{"new":[{}],"inputs":[{"data":[[true],[false]],"hint":null,"shape":[2,1],
        "datatype":"BOOL","name":"b\u0061"}]}"#;
    let request = parse(body, None).unwrap();
    assert_eq!(request.inputs[0].name, "ba");
    assert_eq!(request.inputs[0].data, Data::Bool(vec![true, false]));
}

#[test]
fn data_may_be_flat_or_nested_as_the_shape() {
    let six = Data::Int64(vec![1, 2, 3, 4, 5, 6]);
    assert_eq!(data("INT64", "[2,3]", "[1,2,3,4,5,6]"), six);
    assert_eq!(data("INT64", "[2,3]", "[[1,2,3],\n [4 , 5,6]]"), six);
    assert_eq!(data("INT64", "[1,2,3]", "[[[1,2,3],[4,5,6]]]"), six);
    assert_eq!(data("INT64", "[]", "[7]"), Data::Int64(vec![7]));
    assert_eq!(data("INT64", "[0,3]", "[]"), Data::Int64(vec![]));
    assert_eq!(data("INT64", "[2,0]", "[[],[]]"), Data::Int64(vec![]));
    for (shape, text) in [
        ("[2,3]", "[[1,2],[3,4],[5,6]]"),
        ("[2,3]", "[[1,2,3],4,5,6]"),
        ("[2,3]", "[1,2,3,[4,5,6]]"),
        ("[2,3]", "[[[1,2,3],[4,5,6]]]"),
        ("[2,3]", "[[1,2,3,4],[5,6]]"),
        ("[1,2,3]", "[[1,2,3],[4,5,6]]"),
        ("[6]", "[[1,2,3,4,5,6]]"),
        ("[1]", "1"),
    ] {
        let error = one("INT64", shape, text).unwrap_err();
        assert_eq!(error, Error::Nesting { tensor: "x".into() }, "{shape} {text}");
    }
}

#[test]
fn the_data_must_be_as_long_as_the_shape_says() {
    let length = |found| Error::Length { tensor: "x".into(), expected: 4, found };
    assert_eq!(one("FP32", "[1,4]", "[1,2,3]"), Err(length(3)));
    assert_eq!(one("FP32", "[1,4]", "[1,2,3,4,5]"), Err(length(5)));
    assert_eq!(one("FP32", "[1,4]", "[]"), Err(length(0)));
}

#[test]
fn shapes_that_no_data_can_have_are_refused_before_memory_is_taken() {
    for shape in ["[-1,4]", "[4294967296,4294967296,4]", "[0,9223372036854775807,3]"] {
        assert!(matches!(one("FP32", shape, "[]"), Err(Error::Shape { .. })), "{shape}");
    }
    assert!(matches!(one("FP32", "[99999999999]", "[1]"), Err(Error::Length { .. })));
    assert!(matches!(one("FP32", "[1.5]", "[1]"), Err(Error::Malformed(_))));
    assert!(matches!(one("FP32", "[18446744073709551616]", "[1]"), Err(Error::Malformed(_))));
}

#[test]
fn depth_costs_no_stack() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(one("FP32", "[1]", &deep(1_000_000)).is_err());
    let shape = format!("[{}]", vec!["1"; 100_000].join(","));
    let nested = format!("{}5{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(data("INT8", &shape, &nested), Data::Int8(vec![5]));
    let parameters = format!(r#"{{"parameters":{{"a":{}}},"inputs":[]}}"#, deep(1_000_000));
    assert!(matches!(parse(parameters.as_bytes(), None), Err(Error::Malformed(_))));
}

#[test]
fn every_datatype_takes_its_range_and_no_more() {
    assert_eq!(data("UINT8", "[2]", "[0,255]"), Data::Uint8(vec![0, 255]));
    assert_eq!(data("INT8", "[2]", "[-128,127]"), Data::Int8(vec![-128, 127]));
    assert_eq!(data("UINT64", "[1]", "[18446744073709551615]"), Data::Uint64(vec![u64::MAX]));
    assert_eq!(data("INT64", "[1]", "[-9223372036854775808]"), Data::Int64(vec![i64::MIN]));
    assert_eq!(data("INT32", "[3]", "[3.0,-2e2,-0.0]"), Data::Int32(vec![3, -200, 0]));
    assert_eq!(data("FP32", "[2]", "[0.1,3.4028235e38]"), Data::Fp32(vec![0.1, f32::MAX]));
    assert_eq!(data("FP64", "[1]", "[1e308]"), Data::Fp64(vec![1e308]));
    assert_eq!(data("BOOL", "[4]", "[true,false,1,0]"), Data::Bool(vec![true, false, true, false]));
    for (datatype, value) in [
        ("UINT8", "256"),
        ("UINT8", "-1"),
        ("INT8", "128"),
        ("INT32", "3.5"),
        ("INT64", "1e300"),
        ("UINT64", "18446744073709551616"),
        ("FP32", "1e39"),
        ("FP64", "-1e999"),
        ("FP32", "null"),
        ("FP32", "true"),
        ("FP32", "\"NaN\""),
        ("INT32", "{}"),
        ("BOOL", "2"),
        ("BYTES", "5"),
    ] {
        let error = one(datatype, "[2]", &format!("[{}, {value}]", ok_value(datatype)));
        assert!(
            matches!(error, Err(Error::Value { index: 1, .. })),
            "{datatype} {value}: {error:?}"
        );
    }
}

fn ok_value(datatype: &str) -> &'static str {
    if datatype == "BYTES" { "\"\"" } else { "0" }
}

#[test]
fn nan_is_no_json() {
    for value in ["NaN", "Infinity", "-Infinity", "nan", "+1", "01", ".5"] {
        assert!(matches!(one("FP32", "[1]", &format!("[{value}]")), Err(Error::Malformed(_))));
    }
}

#[test]
fn a_wrong_value_is_named_and_cut() {
    let long = format!("\"{}\"", "9".repeat(100));
    let error = one("FP32", "[1]", &format!("[{long}]")).unwrap_err().to_string();
    assert_eq!(error, format!("tensor \"x\": element 0 (\"{}…) is not a FP32", "9".repeat(39)));
}

#[test]
fn strings_are_taken_with_their_escapes() {
    let text = r#"["a", "", "q\"[,]\\", "\u00e9\n", "𝄞\ud834\udd1e"]"#;
    let values = ["a", "", "q\"[,]\\", "é\n", "𝄞𝄞"].map(|value| value.as_bytes().to_vec());
    assert_eq!(data("BYTES", "[5]", text), Data::Bytes(values.to_vec()));
    assert!(matches!(one("BYTES", "[1]", r#"["\ud834"]"#), Err(Error::Value { .. })));
}

#[test]
fn half_floats_are_binary_only() {
    let error = one("FP16", "[1]", "[1]").unwrap_err();
    assert_eq!(error, Error::BinaryOnly { tensor: "x".into(), datatype: Datatype::Fp16 });
}

#[test]
fn what_is_not_the_protocol_is_refused() {
    let malformed = |body: &str| matches!(parse(body.as_bytes(), None), Err(Error::Malformed(_)));
    assert!(malformed(""));
    assert!(malformed("{"));
    assert!(malformed("[1]"));
    assert!(malformed(r#"{"inputs":[]} x"#));
    assert!(malformed(r#"{"inputs":[{"name":"x","shape":[1],"data":[1]}]}"#));
    assert_eq!(parse(br#"{"inputs":[]}"#, None), Err(Error::NoInputs));
    assert!(matches!(one("FLOAT", "[1]", "[1]"), Err(Error::Datatype { .. })));
    let twice = r#"{"name":"x","datatype":"FP32","shape":[1],"data":[1]}"#;
    assert_eq!(
        parse(format!(r#"{{"inputs":[{twice},{twice}]}}"#).as_bytes(), None),
        Err(Error::Duplicate { tensor: "x".into() })
    );
    assert!(matches!(
        parse(br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1]}]}"#, None),
        Err(Error::NoData { .. })
    ));
}

/// A binary body: the head with its tail, and the head's length.
fn binary(head: &str, tail: &[u8]) -> (Vec<u8>, Option<usize>) {
    ([head.as_bytes(), tail].concat(), Some(head.len()))
}

const TWO_BINARY: &str = r#"{"inputs":[
    {"name":"a","datatype":"INT16","shape":[2],"parameters":{"binary_data_size":4}},
    {"name":"j","datatype":"INT8","shape":[1],"data":[5]},
    {"name":"s","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":11}}]}"#;

#[test]
fn binary_data_is_taken_in_order() {
    let tail = [1, 0, 255, 255, 3, 0, 0, 0, b'a', 0, b'b', 0, 0, 0, 0];
    let (body, json_len) = binary(TWO_BINARY, &tail);
    let request = parse(&body, json_len).unwrap();
    assert_eq!(request.inputs[0].data, Data::Int16(vec![1, -1]));
    assert_eq!(request.inputs[1].data, Data::Int8(vec![5]));
    assert_eq!(request.inputs[2].data, Data::Bytes(vec![b"a\0b".to_vec(), vec![]]));
    assert!(request.binary_input && request.tensor_parameters.is_empty());
    let again = render(&request);
    assert_eq!(parse(&again.body, again.json_len), Ok(request));
}

#[test]
fn binary_data_must_fit() {
    let tail = [1, 0, 255, 255, 3, 0, 0, 0, b'a', 0, b'b', 0, 0, 0, 0];
    let (body, json_len) = binary(TWO_BINARY, &tail);
    assert!(matches!(parse(&body[..body.len() - 1], json_len), Err(Error::Binary { .. })));
    assert_eq!(parse(&[body.as_slice(), &[0]].concat(), json_len), Err(Error::Trailing(1)));
    assert!(matches!(parse(TWO_BINARY.as_bytes(), None), Err(Error::Binary { .. })));
    let (body, json_len) = binary(&TWO_BINARY.replace("[2]", "[3]"), &tail);
    assert!(matches!(parse(&body, json_len), Err(Error::Binary { found: 4, .. })));
    let mut long = tail;
    long[4] = 200;
    let (body, json_len) = binary(TWO_BINARY, &long);
    assert!(matches!(parse(&body, json_len), Err(Error::Binary { found: 11, .. })));
}

#[test]
fn the_heads_length_must_be_in_the_body() {
    assert_eq!(parse(b"{}", Some(3)), Err(Error::HeaderLength { json_len: 3, body: 2 }));
    assert_eq!(parse(b"\0\0\0\0", Some(0)), Err(Error::RawBody));
    let both = r#"{"inputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[1],
        "parameters":{"binary_data_size":1}}]}"#;
    let (body, json_len) = binary(both, &[1]);
    assert!(matches!(parse(&body, json_len), Err(Error::NoData { .. })));
    let (body, json_len) = binary(&TWO_BINARY.replace(":4}", ":-4}"), &[]);
    assert!(matches!(parse(&body, json_len), Err(Error::NoData { .. })));
}

#[test]
fn claimed_sizes_take_no_memory() {
    for shape in ["[4000000000000]", "[0,4000000000000]"] {
        let head = format!(
            r#"{{"inputs":[{{"name":"s","datatype":"BYTES","shape":{shape},"parameters":{{"binary_data_size":4}}}}]}}"#
        );
        let (body, json_len) = binary(&head, &[0; 4]);
        assert!(matches!(parse(&body, json_len), Err(Error::Binary { .. })), "{shape}");
    }
}

#[test]
fn values_without_json_make_their_input_binary() {
    let nan = Tensor { name: "x".into(), shape: vec![1], data: Data::Fp32(vec![f32::NAN]) };
    let flag = Tensor { name: "b".into(), shape: vec![1], data: Data::Bool(vec![true]) };
    let request = Request { inputs: vec![nan, flag], ..Request::default() };
    let encoded = render(&request);
    let read = parse(&encoded.body, encoded.json_len).unwrap();
    assert!(matches!(&read.inputs[0].data, Data::Fp32(values) if values[0].is_nan()));
    assert_eq!(read.inputs[1], request.inputs[1]);
    assert_eq!(encoded.body.len() - encoded.json_len.unwrap(), 4);
}

#[test]
fn rows_are_selected_from_every_input() {
    let body = br#"{"id":"7","inputs":[
        {"name":"x","datatype":"FP32","shape":[3,2],"data":[1,2,3,4,5,6]},
        {"name":"s","datatype":"BYTES","shape":[3],"data":["a","b","c"]}],
        "outputs":[{"name":"y"}]}"#;
    let request = parse(body, None).unwrap();
    assert_eq!(request.rows(), 3);
    let some = select_rows(&request, &[2, 0]).unwrap();
    assert_eq!(some.inputs[0].shape, [2, 2]);
    assert_eq!(some.inputs[0].data, Data::Fp32(vec![5.0, 6.0, 1.0, 2.0]));
    assert_eq!(some.inputs[1].data, Data::Bytes(vec![b"c".to_vec(), b"a".to_vec()]));
    assert_eq!((some.id, some.outputs), (request.id.clone(), request.outputs.clone()));
    assert_eq!(select_rows(&request, &[3]), Err(Error::NoRow { row: 3, rows: 3 }));
    assert_eq!(select_rows(&request, &[]).unwrap().inputs[0].shape, [0, 2]);
}

#[test]
fn an_input_that_is_no_batch_cannot_be_divided() {
    let body = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2]},
        {"name":"k","datatype":"INT8","shape":[1],"data":[1]}]}"#;
    let request = parse(body, None).unwrap();
    let error = select_rows(&request, &[0]);
    assert_eq!(error, Err(Error::Rows { tensor: "k".into(), expected: 2, found: 1 }));
    let scalar = Tensor { name: "x".into(), shape: vec![], data: Data::Int8(vec![1]) };
    let request = Request { inputs: vec![scalar], ..Request::default() };
    assert!(select_rows(&request, &[0]).is_err());
}

#[test]
fn rows_are_counted_without_the_data() {
    let rows = |body: &str| rows_of(body.as_bytes(), None);
    assert_eq!(rows(r#"{"inputs":[{"name":"x","shape":[3,2],"data":[not read"#), Ok(3));
    assert_eq!(rows(r#"{"id":"a","inputs":[{"data":[[1]],"shape":[1,1]}]}"#), Ok(1));
    assert_eq!(rows(r#"{"inputs":[{"shape":[]}]}"#), Ok(1));
    assert_eq!(rows(r#"{"inputs":[{"shape":[0,4]}]}"#), Ok(0));
    assert_eq!(rows(r#"{"inputs":[]}"#), Err(Error::NoInputs));
    assert_eq!(rows("{}"), Err(Error::NoInputs));
    assert!(matches!(rows(r#"{"inputs":[{"name":"x"}]}"#), Err(Error::Malformed(_))));
    assert!(matches!(rows(r#"{"inputs":[{"shape":[-1]}]}"#), Err(Error::Shape { .. })));
    assert!(matches!(rows(r#"{"inputs":[{"shape":"#), Err(Error::Malformed(_))));
    assert!(matches!(rows(r#"{"inputs":[{"shape":[4000000000,0]}]}"#), Err(Error::Rows { .. })));
    let (body, json_len) = binary(r#"{"inputs":[{"shape":[2]}]}"#, &[0; 8]);
    assert_eq!(rows_of(&body, json_len), Ok(2));
}
