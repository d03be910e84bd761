//! Requests and answers by rows and by columns, as servers write them.

use super::{answer, request};
use crate::form::Context;
use crate::oip::answer::Response;
use crate::oip::infer::{Layout, Request};
use crate::{Data, Datatype, Error, Tensor, TensorSpec};

fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    let shape = shape.iter().map(|size| usize::try_from(*size).ok()).collect();
    TensorSpec { name: name.into(), datatype, shape }
}

fn tensor(name: &str, shape: &[usize], data: Data) -> Tensor {
    Tensor { name: name.into(), shape: shape.to_vec(), data }
}

fn features() -> [TensorSpec; 1] {
    [spec("x", Datatype::Fp32, &[-1, 2])]
}

fn named() -> [TensorSpec; 2] {
    [spec("x", Datatype::Fp32, &[-1, 2]), spec("who", Datatype::Bytes, &[-1])]
}

fn text(encoded: &crate::oip::Encoded) -> &str {
    str::from_utf8(&encoded.body).unwrap()
}

#[test]
fn rows_of_values_are_the_only_tensor() {
    let body = br#"{"signature_name":"serving_default","instances":[[1,2.5],[NaN,-Infinity]]}"#;
    let read = request::parse(body, &features()).unwrap();
    assert_eq!((read.layout, read.inputs[0].shape.as_slice()), (Layout::Rows, &[2, 2][..]));
    let Data::Fp32(values) = &read.inputs[0].data else { panic!() };
    assert_eq!(&values[..2], [1.0, 2.5]);
    assert!(values[2].is_nan() && values[3] == f32::NEG_INFINITY);
    assert_eq!(request::rows(body), Ok(2));
}

#[test]
fn rows_of_objects_name_their_tensors() {
    let body = br#"{"instances":[{"x":[1,2],"who":"a\"b"},{"who":{"b64":"/w=="},"x":[3,4]}]}"#;
    let read = request::parse(body, &named()).unwrap();
    assert_eq!(read.inputs[0], tensor("x", &[2, 2], Data::Fp32(vec![1.0, 2.0, 3.0, 4.0])));
    let who = Data::Bytes(vec![b"a\"b".to_vec(), vec![0xff]]);
    assert_eq!(read.inputs[1], tensor("who", &[2], who));
    let written = request::render(&read, Context { inputs: &named(), ..Context::default() });
    let expected =
        r#"{"instances":[{"x":[1.0,2.0],"who":"a\"b"},{"x":[3.0,4.0],"who":{"b64":"/w=="}}]}"#;
    assert_eq!(text(&written.unwrap()), expected);
}

#[test]
fn columns_are_whole_tensors() {
    let body = br#"{"inputs":{"who":["a"],"x":[[1,2]]}}"#;
    let read = request::parse(body, &named()).unwrap();
    assert_eq!((read.layout, read.inputs.len(), request::rows(body)), (Layout::Columns, 2, Ok(1)));
    let only = request::parse(br#"{"inputs":[[1,2]]}"#, &features()).unwrap();
    assert_eq!(only.inputs[0].shape, [1, 2]);
    let scalar = [spec("k", Datatype::Int64, &[])];
    let read = request::parse(br#"{"inputs":9007199254740993}"#, &scalar).unwrap();
    assert_eq!(read.inputs[0], tensor("k", &[], Data::Int64(vec![9_007_199_254_740_993])));
}

#[test]
fn what_does_not_fit_is_refused() {
    for body in [
        "{}",
        "[]",
        r#"{"instances":[[1,2]],"inputs":[[1,2]]}"#,
        r#"{"instances":[]}"#,
        r#"{"instances":{}}"#,
        r#"{"instances":[1,2]}"#,
        r#"{"instances":[[1,2,3]]}"#,
        r#"{"instances":[[1,2],[3]]}"#,
        r#"{"instances":[[1,[2]]]}"#,
        r#"{"instances":[[1,"2"]]}"#,
        r#"{"instances":[[1,null]]}"#,
        r#"{"instances":[[1,2],{"x":[1,2]}]}"#,
        r#"{"instances":[{"y":[1,2]}]}"#,
        r#"{"instances":[{"x":[1,2],"x":[1,2]}]}"#,
        r#"{"instances":[{"x":[1,2]},{}]}"#,
        r#"{"instances":[[1,2]],"parameters":{}}"#,
        r#"{"signature_name":1,"instances":[[1,2]]}"#,
    ] {
        assert!(request::parse(body.as_bytes(), &features()).is_err(), "{body}");
    }
    assert!(request::parse(br#"{"instances":[[1,2]]}"#, &named()).is_err());
    let error = request::parse(br#"{"instances":[[1,2]]}"#, &[]).unwrap_err();
    assert_eq!(error, Error::Undeclared("inputs"));
}

#[test]
fn some_rows_keep_all_else_as_it_came() {
    let body = br#"{"signature_name":"s" , "instances": [ {"a": 1.50}, NaN ,[3]], "x":1}"#;
    let some = request::select_rows(body, &[2, 0]).unwrap();
    assert_eq!(text(&some), r#"{"signature_name":"s","instances":[[3],{"a": 1.50}],"x":1}"#);
    assert!(request::select_rows(body, &[3]).is_err());
    assert!(request::select_rows(br#"{"inputs":[1]}"#, &[0]).is_err());
}

#[test]
fn answers_of_tensorflow_serving_are_read() {
    let outputs = [spec("p", Datatype::Fp32, &[-1, 2]), spec("img_bytes", Datatype::Bytes, &[-1])];
    let context = Context { model: "m", outputs: &outputs, ..Context::default() };
    let body = br#"{
    "predictions": [
        {
            "p": [0.25, NaN],
            "img_bytes": {"b64": "AQI="}
        }
    ]
}"#;
    let read = answer::parse(body, context).unwrap();
    assert_eq!(read.outputs[1], tensor("img_bytes", &[1], Data::Bytes(vec![vec![1, 2]])));
    let request = Request { layout: Layout::Rows, ..Request::default() };
    let written = answer::render(&read, &request).unwrap();
    let expected = r#"{"predictions":[{"p":[0.25,NaN],"img_bytes":{"b64":"AQI="}}]}"#;
    assert_eq!(text(&written), expected);
    assert!(answer::parse(br#"{"predictions":[{"q":1}]}"#, context).is_err());
    assert!(answer::parse(br#"{"error":"x"}"#, context).is_err());
    assert!(answer::parse(body, Context::default()).is_err());
}

#[test]
fn one_output_stands_alone() {
    let response = Response {
        outputs: vec![tensor("y", &[2], Data::Int32(vec![1, 2]))],
        ..Response::default()
    };
    let columns = Request { layout: Layout::Columns, ..Request::default() };
    assert_eq!(text(&answer::render(&response, &columns).unwrap()), r#"{"outputs":[1,2]}"#);
    let rows = Request { layout: Layout::Rows, ..Request::default() };
    assert_eq!(text(&answer::render(&response, &rows).unwrap()), r#"{"predictions":[1,2]}"#);
    let none =
        Response { outputs: vec![tensor("y", &[0], Data::Int32(vec![]))], ..Response::default() };
    assert_eq!(text(&answer::render(&none, &rows).unwrap()), r#"{"predictions":[]}"#);
}

#[test]
fn what_this_protocol_cannot_say_is_not_said() {
    let sound = Request {
        inputs: vec![tensor("x", &[1, 2], Data::Fp32(vec![1.0, 2.0]))],
        ..Request::default()
    };
    let specs = features();
    let context = Context { inputs: &specs, ..Context::default() };
    let refused = |change: fn(&mut Request)| {
        let mut request = sound.clone();
        change(&mut request);
        request::render(&request, context).unwrap_err().is_untranslatable()
    };
    assert_eq!(text(&request::render(&sound, context).unwrap()), r#"{"instances":[[1.0,2.0]]}"#);
    assert!(refused(|it| it.inputs[0].data = Data::Fp64(vec![1.0, 2.0])));
    assert!(refused(|it| it.inputs[0].name = "z".into()));
    assert!(refused(|it| it.inputs[0].shape = vec![2]));
    assert!(refused(|it| {
        it.parameters.insert("sequence_id".into(), 1.into());
    }));
    assert!(refused(|it| {
        it.tensor_parameters.insert("x".into(), serde_json::Map::new());
    }));
}

#[test]
fn another_function_is_not_the_usual_one() {
    let mut asked = Request { layout: Layout::Rows, ..Request::default() };
    asked.parameters.insert(request::SIGNATURE.into(), "serving_default".into());
    assert!(request::leave(&asked).unwrap().parameters.is_empty());
    asked.parameters.insert(request::SIGNATURE.into(), "other".into());
    assert!(request::leave(&asked).is_err());
}
