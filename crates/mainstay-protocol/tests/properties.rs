//! Properties over random messages: what is written is read back the same, no cut of a stream
//! changes what it means, and no bytes from outside make a reader panic.
//!
//! A failing case is printed by proptest and kept beside this file.

use bytes::Bytes;
use mainstay_protocol::classify::{self, Flavour};
use mainstay_protocol::oip::answer::{self, Mark, Response};
use mainstay_protocol::oip::infer::{self, Request, RequestedOutput};
use mainstay_protocol::oip::{metadata, path, repository};
use mainstay_protocol::sse::{Gate, Progress, first_event_end};
use mainstay_protocol::{Data, Tensor};
use proptest::collection::vec;
use proptest::prelude::*;

/// A vector of a range of lengths from any of the elements' strategies.
fn many<T: std::fmt::Debug, S: Strategy<Value = T>>(
    element: S,
    len: usize,
) -> impl Strategy<Value = Vec<T>> {
    vec(element, len)
}

/// Data of `len` elements that JSON can carry.
fn json_data(len: usize) -> BoxedStrategy<Data> {
    prop_oneof![
        many(any::<bool>(), len).prop_map(Data::Bool),
        many(any::<u8>(), len).prop_map(Data::Uint8),
        many(any::<u16>(), len).prop_map(Data::Uint16),
        many(any::<u32>(), len).prop_map(Data::Uint32),
        many(any::<u64>(), len).prop_map(Data::Uint64),
        many(any::<i8>(), len).prop_map(Data::Int8),
        many(any::<i16>(), len).prop_map(Data::Int16),
        many(any::<i32>(), len).prop_map(Data::Int32),
        many(any::<i64>(), len).prop_map(Data::Int64),
        many(any::<f32>().prop_filter("finite", |v| v.is_finite()), len).prop_map(Data::Fp32),
        many(any::<f64>().prop_filter("finite", |v| v.is_finite()), len).prop_map(Data::Fp64),
        many(any::<String>().prop_map(String::into_bytes), len).prop_map(Data::Bytes),
    ]
    .boxed()
}

/// Data of `len` elements, also such that only binary data can carry.
fn any_data(len: usize) -> BoxedStrategy<Data> {
    prop_oneof![
        12 => json_data(len),
        1 => many(any::<u16>(), len).prop_map(Data::Fp16),
        1 => many(any::<u16>(), len).prop_map(Data::Bf16),
        1 => many(vec(any::<u8>(), 0..9), len).prop_map(Data::Bytes),
    ]
    .boxed()
}

/// Tensors with distinct names; all have `rows` rows.
fn tensors(rows: usize, data: fn(usize) -> BoxedStrategy<Data>) -> BoxedStrategy<Vec<Tensor>> {
    let tensor = (any::<String>(), vec(0..4_usize, 0..3)).prop_flat_map(move |(name, inner)| {
        let shape = [&[rows], inner.as_slice()].concat();
        data(shape.iter().product()).prop_map(move |data| Tensor {
            name: name.clone(),
            shape: shape.clone(),
            data,
        })
    });
    vec(tensor, 1..4).prop_map(distinct).boxed()
}

fn distinct(mut tensors: Vec<Tensor>) -> Vec<Tensor> {
    for (index, tensor) in tensors.iter_mut().enumerate() {
        tensor.name.push_str(&index.to_string());
    }
    tensors
}

fn requests(data: fn(usize) -> BoxedStrategy<Data>) -> impl Strategy<Value = Request> {
    let outputs = vec(("[a-z]{1,4}", any::<bool>()), 0..3);
    (0..5_usize)
        .prop_flat_map(move |rows| tensors(rows, data))
        .prop_flat_map(move |inputs| {
            (Just(inputs), any::<Option<String>>(), outputs.clone(), any::<[bool; 2]>())
        })
        .prop_map(|(inputs, id, outputs, [binary_output, binary_input])| Request {
            id,
            inputs,
            outputs: outputs
                .into_iter()
                .map(|(name, binary)| RequestedOutput { name, binary, ..Default::default() })
                .collect(),
            binary_output,
            binary_input,
            ..Request::default()
        })
}

/// JSON-like text: far likelier than random bytes to reach the inner parts of a reader.
fn almost_json() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just(
            "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,2],\"data\":"
                .to_owned()
        ),
        Just("{\"outputs\":[".to_owned()),
        Just("\"parameters\":".to_owned()),
        Just("\"binary_data_size\":".to_owned()),
        Just("\"shape\":[".to_owned()),
        Just("\"datatype\":\"BYTES\"".to_owned()),
        "[\\[\\]{},:\"0-9.eE+\\\\ -]{1,3}",
        "(null|true|NaN|-1|18446744073709551616|\"\\\\u12)",
        any::<String>(),
    ];
    vec(word, 0..20).prop_map(|words| words.concat())
}

fn head_as_json(body: &[u8], json_len: Option<usize>) -> Option<serde_json::Value> {
    serde_json::from_slice(body.get(..json_len.unwrap_or(body.len()))?).ok()
}

fn read_everything(body: &[u8], json_len: Option<usize>) {
    let _ = infer::parse(body, json_len);
    let _ = infer::rows_of(body, json_len);
    let _ = answer::parse(body, json_len);
    let _ = metadata::parse_model(body);
    let _ = metadata::parse_server(body);
    let _ = repository::parse(body);
    let mark = Mark { served_by: "a", reason: "b", age: None };
    // What a mark does not look into it passes on as it came, so only JSON stays JSON.
    let marked = answer::mark_degraded(&Bytes::copy_from_slice(body), json_len, &mark);
    if let (Ok(marked), Some(_)) = (marked, head_as_json(body, json_len)) {
        let head = head_as_json(&marked.body, marked.json_len);
        assert_eq!(head.and_then(|head| head["parameters"]["degraded"].as_bool()), Some(true));
    }
    for (flavour, _) in Flavour::NAMES {
        for status in [400, 404, 500, 503] {
            let _ = classify::response(flavour, status, false, body);
        }
    }
}

proptest! {
    #[test]
    fn requests_come_back_the_same(request in requests(any_data)) {
        let encoded = infer::render(&request);
        let read = infer::parse(&encoded.body, encoded.json_len).unwrap();
        prop_assert_eq!(&read.inputs, &request.inputs);
        prop_assert_eq!(&read.outputs, &request.outputs);
        prop_assert_eq!((read.id, read.binary_output), (request.id.clone(), request.binary_output));
    }

    #[test]
    fn json_requests_come_back_the_same(mut request in requests(json_data)) {
        request.binary_input = false;
        let encoded = infer::render(&request);
        prop_assert_eq!(encoded.json_len, None);
        prop_assert_eq!(infer::parse(&encoded.body, None), Ok(request.clone()));
        let rows = infer::rows_of(&encoded.body, None);
        prop_assert_eq!(rows, Ok(request.rows()));
    }

    #[test]
    fn answers_come_back_the_same(outputs in tensors(2, any_data), name in any::<String>()) {
        let response = Response { model_name: name, outputs, ..Response::default() };
        let binary = answer::render(&response, &[], true).unwrap();
        prop_assert_eq!(answer::parse(&binary.body, binary.json_len), Ok(response.clone()));
        if let Ok(text) = answer::render(&response, &[], false) {
            prop_assert_eq!(answer::parse(&text.body, None), Ok(response));
        }
    }

    #[test]
    fn a_mark_changes_nothing_else(outputs in tensors(2, any_data), served_by in any::<String>()) {
        let response = Response { outputs, ..Response::default() };
        let before = answer::render(&response, &[], true).unwrap();
        let mark = Mark { served_by: &served_by, reason: "\u{0}\"", age: None };
        let after = answer::mark_degraded(&before.body, before.json_len, &mark).unwrap();
        let read = answer::parse(&after.body, after.json_len).unwrap();
        prop_assert_eq!(read.outputs, response.outputs);
        prop_assert_eq!(read.parameters["served_by"].as_str(), Some(served_by.as_str()));
    }

    #[test]
    fn rows_taken_apart_and_merged_are_the_batch(
        request in requests(any_data),
        picks in vec(any::<bool>(), 5),
    ) {
        let (ours, theirs): (Vec<usize>, Vec<usize>) =
            (0..request.rows()).partition(|row| picks[*row]);
        let answered = |rows: &[usize]| Response {
            outputs: infer::select_rows(&request, rows).unwrap().inputs,
            ..Response::default()
        };
        let all: Vec<usize> = (0..request.rows()).rev().collect();
        let mut merged = answered(&all);
        answer::merge_rows(&mut merged, answered(&ours), &ours).unwrap();
        answer::merge_rows(&mut merged, answered(&theirs), &theirs).unwrap();
        prop_assert_eq!(merged.outputs, request.inputs);
    }

    #[test]
    fn nobody_panics_on_bytes(body in vec(any::<u8>(), 0..200), json_len in 0..250_usize) {
        read_everything(&body, None);
        read_everything(&body, Some(json_len));
        let _ = first_event_end(&body);
    }

    #[test]
    fn nobody_panics_on_almost_json(body in almost_json(), json_len in 0..250_usize) {
        read_everything(body.as_bytes(), None);
        read_everything(body.as_bytes(), Some(json_len));
    }

    #[test]
    fn nobody_panics_on_a_damaged_request(
        request in requests(any_data),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let encoded = infer::render(&request);
        let mut body = encoded.body.to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        read_everything(&body, encoded.json_len);
        read_everything(&body[..at], encoded.json_len);
    }

    #[test]
    fn paths_lead_back_to_their_names(
        model in any::<String>(),
        version in any::<Option<String>>(),
    ) {
        let dots = |name: &str| name.split(['/', '\\']).any(|part| matches!(part, "." | ".."));
        let named = |name: &str| !name.is_empty() && !dots(name);
        prop_assume!(named(&model) && version.as_deref().is_none_or(named));
        let built = path::model_path("", &model, version.as_deref(), "infer");
        let call = path::recognise(&built).unwrap();
        let is_infer = matches!(call, path::Call::Infer { .. });
        prop_assert!(is_infer);
        prop_assert_eq!((call.model(), call.version()), (Some(model.as_str()), version.as_deref()));
    }

    #[test]
    fn recognising_never_panics(tail in "(/|%|%2e|\\.|v2|models|versions|infer|[a-z0-9]|\\PC){0,12}") {
        let _ = path::recognise(&tail);
        let _ = path::recognise(&format!("/v2/models/{tail}"));
    }

    #[test]
    fn no_cut_changes_a_stream(
        lines in vec("(|: k|data: x|data:|event: error|event: x|data: \\{\"error\":1\\}|\\PC{0,5})(\n|\r\n|\r)", 0..20),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let stream = lines.concat().into_bytes();
        let whole = Gate::new().push(&stream);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut gate = Gate::new();
        let mut last = Progress::Waiting;
        for pair in cuts.windows(2) {
            last = gate.push(&stream[pair[0]..pair[1]]);
        }
        prop_assert_eq!(last, whole);
    }
}
