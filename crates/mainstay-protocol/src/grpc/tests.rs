//! Messages of gRPC, read and written, and those that lie about their length.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use prost::Message;
use serde_json::json;

use super::proto::inference::model_infer_request::InferInputTensor;
use super::proto::inference::{InferTensorContents, ModelInferRequest, ModelInferResponse};
use super::*;
use crate::oip::answer::{Mark, Response};
use crate::oip::infer::{Request, RequestedOutput};
use crate::{Data, Error, Tensor};

fn tensor(name: &str, data: Data) -> Tensor {
    Tensor { name: name.into(), shape: vec![data.len()], data }
}

/// One tensor of every datatype.
fn every() -> Vec<Tensor> {
    vec![
        tensor("bool", Data::Bool(vec![true, false])),
        tensor("u8", Data::Uint8(vec![0, 255])),
        tensor("u16", Data::Uint16(vec![1, u16::MAX])),
        tensor("u32", Data::Uint32(vec![1, u32::MAX])),
        tensor("u64", Data::Uint64(vec![1, u64::MAX])),
        tensor("i8", Data::Int8(vec![-128, 127])),
        tensor("i16", Data::Int16(vec![i16::MIN, 7])),
        tensor("i32", Data::Int32(vec![i32::MIN, 7])),
        tensor("i64", Data::Int64(vec![i64::MIN, 7])),
        tensor("f32", Data::Fp32(vec![0.1, f32::INFINITY])),
        tensor("f64", Data::Fp64(vec![0.1, f64::MIN_POSITIVE])),
        tensor("bytes", Data::Bytes(vec![b"a".to_vec(), vec![0, 255]])),
    ]
}

fn halves() -> Vec<Tensor> {
    vec![
        tensor("f16", Data::Fp16(vec![0x3c00, 0x7e00])),
        tensor("bf16", Data::Bf16(vec![0x3f80, 1])),
    ]
}

#[test]
fn a_request_comes_back_with_raw_tensors_of_every_datatype() {
    let parameters =
        json!({"priority": 3, "text": "a", "flag": true, "share": 0.5, "huge": u64::MAX});
    let request = Request {
        id: Some("42".into()),
        parameters: parameters.as_object().unwrap().clone(),
        inputs: [every(), halves()].concat(),
        outputs: vec![RequestedOutput { name: "y".into(), binary: true, ..Default::default() }],
        binary_output: true,
        ..Request::default()
    };
    let sent = infer::write_request(&request, "fraud").unwrap();
    assert_eq!(infer::read_request(&sent.body), Ok(request));
    assert_eq!(called(&sent.body).unwrap().model, "fraud");
}

#[test]
fn an_answer_comes_back_in_the_form_that_the_request_had() {
    let response = Response { model_name: "m".into(), outputs: every(), ..Response::default() };
    for raw in [false, true] {
        let request = Request { binary_output: raw, ..Request::default() };
        let sent = infer::write_answer(&response, &request).unwrap();
        assert_eq!(infer::read_answer(&sent.body), Ok(response.clone()));
        let message = ModelInferResponse::decode(sole(&sent.body).unwrap().1).unwrap();
        assert_eq!(!message.raw_output_contents.is_empty(), raw);
    }
    let response = Response { outputs: halves(), ..response };
    let sent = infer::write_answer(&response, &Request::default()).unwrap();
    assert_eq!(infer::read_answer(&sent.body), Ok(response));
}

fn typed(datatype: &str, shape: Vec<i64>, contents: InferTensorContents) -> Bytes {
    let (name, datatype, contents) = ("x".to_owned(), datatype.to_owned(), Some(contents));
    let input = InferInputTensor { name, datatype, shape, contents, ..Default::default() };
    let message =
        ModelInferRequest { model_name: "m".into(), inputs: vec![input], ..Default::default() };
    frame(&message.encode_to_vec())
}

#[test]
fn contents_must_fit_their_datatype_and_shape() {
    let ints =
        |values: &[i32]| InferTensorContents { int_contents: values.into(), ..Default::default() };
    let read = |datatype, shape: &[i64], contents| {
        infer::read_request(&typed(datatype, shape.to_vec(), contents))
    };
    assert_eq!(read("INT8", &[2], ints(&[-1, 7])).unwrap().inputs[0].data, Data::Int8(vec![-1, 7]));
    assert!(matches!(read("INT8", &[1], ints(&[128])), Err(Error::Value { index: 0, .. })));
    assert!(matches!(read("INT32", &[3], ints(&[1])), Err(Error::Length { expected: 3, .. })));
    assert!(matches!(read("FP16", &[1], ints(&[1])), Err(Error::BinaryOnly { .. })));
    assert!(matches!(read("INT32", &[-1], ints(&[1])), Err(Error::Shape { .. })));
    assert!(matches!(read("FP99", &[1], ints(&[1])), Err(Error::Datatype { .. })));
    assert_eq!(infer::read_request(&frame(&[])), Err(Error::NoInputs));
}

#[test]
fn the_last_name_counts_as_it_does_for_servers() {
    let one = ModelInferRequest {
        model_name: "a".into(),
        model_version: "1".into(),
        ..Default::default()
    };
    let other = ModelInferRequest { model_name: "b".into(), id: "7".into(), ..Default::default() };
    let both = [one.encode_to_vec(), other.encode_to_vec()].concat();
    assert_eq!(named(&both), Ok(Named { name: "b", version: "1", id: "7" }));
    assert_eq!(ModelInferRequest::decode(&both[..]).unwrap().model_name, "b");
    for broken in [&[0x0a][..], &[0x0a, 5, b'a'], &[0x08, 1], &[0x0b], &[0x00, 0], &[0xff; 12]] {
        assert!(named(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn a_request_is_renamed_and_is_the_same_otherwise() {
    let request = Request { inputs: every(), ..Request::default() };
    let sent = infer::write_request(&request, "fraud").unwrap();
    let other = renamed(sole(&sent.body).unwrap().1, "fraud-v2", "3").unwrap();
    let message = ModelInferRequest::decode(&other[..]).unwrap();
    assert_eq!((&*message.model_name, &*message.model_version), ("fraud-v2", "3"));
    assert_eq!(infer::read_request(&frame(&other)).unwrap().inputs, every());
}

#[test]
fn more_tensors_than_any_model_has_are_refused_before_they_are_made() {
    let many = frame(&[0x2a, 0].repeat(5000));
    assert!(matches!(infer::read_request(&many), Err(Error::TooLarge { .. })));
}

#[test]
fn texts_that_would_fill_the_memory_are_refused_before_they_are_made() {
    let bytes_contents = vec![Bytes::new(); 300_000];
    let body =
        typed("BYTES", vec![300_000], InferTensorContents { bytes_contents, ..Default::default() });
    assert!(matches!(infer::read_request(&body), Err(Error::TooLarge { .. })));
}

#[test]
fn a_compressed_request_is_read_if_it_is_gzip() {
    let sent =
        infer::write_request(&Request { inputs: every(), ..Request::default() }, "m").unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(sole(&sent.body).unwrap().1).unwrap();
    let packed = encoder.finish().unwrap();
    let mut body = frame(&packed).to_vec();
    body[0] = 1;
    assert_eq!(called(&body).unwrap().model, "m");
    assert_eq!(infer::read_request(&body).unwrap().inputs, every());
    body[5] = 0;
    assert_eq!(infer::read_request(&body), Err(Error::Compressed));
    let said = Mark { served_by: "a", reason: "b", age: None };
    assert!(mark(&body, &said).is_err());
}

#[test]
fn a_mark_is_added_and_replaces_one_of_its_names() {
    let response = Response {
        model_name: "m".into(),
        parameters: json!({"degraded": false, "kept": 1}).as_object().unwrap().clone(),
        outputs: every(),
        ..Response::default()
    };
    let sent = infer::write_answer(&response, &Request::default()).unwrap();
    let said = Mark { served_by: "embedded:lite", reason: "attempts-failed", age: Some(3) };
    let marked = infer::read_answer(&mark(&sent.body, &said).unwrap().body).unwrap();
    let expected = json!({
        "degraded": true, "kept": 1, "served_by": "embedded:lite", "reason": "attempts-failed",
        "age": 3
    });
    assert_eq!(&marked.parameters, expected.as_object().unwrap());
    assert_eq!(marked.outputs, every());
}

#[test]
fn texts_and_limits_are_written_as_they_are_read() {
    let text = "tensor \"x\": 50 % \u{1f980}\n";
    let sent = encode_message(text);
    assert!(sent.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{sent}");
    assert_eq!(decode_message(sent.as_bytes()), text);
    let limits = [("150m", 150_000_000), ("1S", 1_000_000_000), ("7u", 7_000), ("9n", 9)];
    for (value, nanos) in limits {
        assert_eq!(parse_timeout(value.as_bytes()), Some(Duration::from_nanos(nanos)), "{value}");
    }
    for none in ["", "S", "1", "123456789S", "-1S", "1x", "1.5S"] {
        assert_eq!(parse_timeout(none.as_bytes()), None, "{none}");
    }
    assert_eq!(format_timeout(150), "150m");
    assert_eq!(Code::parse(b"14"), Code::Unavailable);
    assert_eq!(Code::parse(b"99"), Code::Unknown);
    for (code, name, http) in Code::ALL {
        assert_eq!((code.as_str(), code.http()), (name, http));
        assert_eq!(Code::parse(code.number().to_string().as_bytes()), code);
    }
}

#[test]
fn a_media_type_is_grpcs_or_not() {
    for ours in ["application/grpc", "application/grpc+proto", "application/grpc;x=1"] {
        assert!(is_grpc(ours.as_bytes()), "{ours}");
    }
    for none in ["application/grpc-web", "application/json", "", "application/grp"] {
        assert!(!is_grpc(none.as_bytes()), "{none}");
    }
}

#[test]
fn services_are_described() {
    use super::proto::reflection::server_reflection_request::MessageRequest;
    use super::proto::reflection::server_reflection_response::MessageResponse;
    use super::proto::reflection::{ServerReflectionRequest, ServerReflectionResponse};
    let ask = |asked| {
        let question =
            ServerReflectionRequest { message_request: Some(asked), ..Default::default() };
        let answer = reflect(&frame(&question.encode_to_vec())).unwrap();
        ServerReflectionResponse::decode(sole(&answer).unwrap().1).unwrap().message_response
    };
    let symbols = [
        "inference.GRPCInferenceService.ModelInfer",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    for symbol in symbols {
        let found = ask(MessageRequest::FileContainingSymbol(symbol.into()));
        assert!(matches!(found, Some(MessageResponse::FileDescriptorResponse(_))), "{symbol}");
    }
    assert!(matches!(
        ask(MessageRequest::FileByFilename("none.proto".into())),
        Some(MessageResponse::ErrorResponse(_))
    ));
    assert!(matches!(
        ask(MessageRequest::ListServices(String::new())),
        Some(MessageResponse::ListServicesResponse(list)) if list.service.len() == 4
    ));
}

proptest! {
    #[test]
    fn frames_are_found_however_a_stream_is_cut(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
        cuts in proptest::collection::vec(1_usize..9, 1..40),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
        let (mut frames, mut parts, mut rest) = (Frames::default(), VecDeque::new(), &stream[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, tail) = rest.split_at((*cut).min(rest.len()));
            frames.push(part);
            parts.push_back(Bytes::copy_from_slice(part));
            rest = tail;
        }
        prop_assert!(frames.is_whole());
        prop_assert_eq!(frames.complete(), messages.len() as u64);
        let taken: Vec<_> = std::iter::from_fn(|| take(&mut parts)).collect();
        let expected: Vec<_> = messages.iter().map(|message| frame(message)).collect();
        prop_assert_eq!(taken, expected);
        prop_assert!(parts.is_empty());
    }

    #[test]
    fn a_name_is_what_a_decoder_finds(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let (Ok(named), Ok(decoded)) = (named(&bytes), ModelInferRequest::decode(&bytes[..])) {
            prop_assert_eq!(named.name, decoded.model_name);
            prop_assert_eq!(named.version, decoded.model_version);
        }
        let _read = infer::read_request(&frame(&bytes));
        let _answer = infer::read_answer(&frame(&bytes));
        let _asked = (health::service(&bytes), reflect(&bytes));
    }
}

#[test]
fn a_sequence_is_read_and_begun_anew() {
    let parameters = json!({"sequence_id": 7, "sequence_end": true});
    let parameters = parameters.as_object().unwrap().clone();
    let request = Request { inputs: every(), parameters, ..Request::default() };
    let sent = infer::write_request(&request, "m").unwrap();
    let said = sequence(&sent.body).unwrap();
    assert_eq!((&*said.id, said.start, said.end), ("7", false, true));
    let again = restarted(&sent.body).unwrap();
    assert!(sequence(&again.body).unwrap().start);
    assert_eq!(infer::read_request(&again.body).unwrap().inputs, every());
    assert_eq!(sequence(&frame(&[])), None);
}

#[test]
fn an_answer_is_given_again_under_the_other_requests_id() {
    let request = |id: &str| Request { id: Some(id.into()), inputs: every(), ..Request::default() };
    let bodies = ["a", "b"].map(|id| infer::write_request(&request(id), "m").unwrap().body);
    let identities = bodies.each_ref().map(|body| {
        let mut all = Vec::new();
        identity(body, |part| all.extend_from_slice(part)).unwrap();
        all
    });
    assert_eq!(identities[0], identities[1]);
    let response = Response { id: Some("a".into()), outputs: every(), ..Response::default() };
    let kept = infer::write_answer(&response, &request("a")).unwrap();
    let said = Mark { served_by: "last-good", reason: "attempts-failed", age: Some(9) };
    let again =
        infer::read_answer(&give_again(&kept.body, &bodies[1], &said).unwrap().body).unwrap();
    assert_eq!((again.id.as_deref(), &again.parameters["age"]), (Some("b"), &json!(9)));
    assert_eq!(again.outputs, every());
}

#[test]
fn parameters_that_come_as_a_number_are_refused() {
    // Field 4 as four bytes; a reader that takes them for a length finds another id behind it.
    let message = [0x25, 0x0a, 0x0a, 0x01, 0x2b, 0x1a, 0x01, b'Q'];
    assert!(named(&message).is_err());
}
