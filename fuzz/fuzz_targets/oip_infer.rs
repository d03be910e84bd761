//! Requests and answers of the Open Inference Protocol, JSON and binary.
//!
//! The first two bytes are the length of the JSON head, little-endian; 0xffff is no header. What
//! is read is written and read again, and must not change (but for NaN, which equals nothing).

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstay_protocol::classify::{self, Flavour};
use mainstay_protocol::oip::answer::{self, Mark};
use mainstay_protocol::oip::{infer, metadata, repository};

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    let Some((json_len, body)) = data.split_first_chunk() else { return };
    let json_len = u16::from_le_bytes(*json_len);
    let json_len = (json_len != u16::MAX).then_some(usize::from(json_len));
    check_request(body, json_len);
    check_answer(body, json_len);
    let _ = metadata::parse_model(body);
    let _ = metadata::parse_server(body);
    let _ = repository::parse(body);
    let _ = classify::response(Flavour::Auto, 400, false, body);
}

fn check_request(body: &[u8], json_len: Option<usize>) {
    let rows = infer::rows_of(body, json_len);
    let Ok(request) = infer::parse(body, json_len) else { return };
    // Rows that need no data are not believed without reading; all others are counted alike.
    assert!(rows.is_err() || rows == Ok(request.rows()));
    let encoded = infer::render(&request);
    let again = infer::parse(&encoded.body, encoded.json_len);
    assert_eq!(format!("{:?}", again.as_ref()), format!("{:?}", Ok::<_, ()>(&request)));
    let _ = infer::select_rows(&request, &[0, 1]);
}

fn check_answer(body: &[u8], json_len: Option<usize>) {
    let mark = Mark { served_by: "fuzz", reason: "fuzz", age: Some(7) };
    let marked = answer::mark_degraded(&Bytes::copy_from_slice(body), json_len, &mark);
    let Ok(response) = answer::parse(body, json_len) else { return };
    let marked = marked.expect("what can be read can be marked");
    let read = answer::parse(&marked.body, marked.json_len).expect("a mark breaks nothing");
    assert_eq!(format!("{:?}", read.outputs), format!("{:?}", response.outputs));
    let binary = answer::render(&response, &[], true).expect("binary data carries every value");
    let again = answer::parse(&binary.body, binary.json_len);
    assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(response)));
}
