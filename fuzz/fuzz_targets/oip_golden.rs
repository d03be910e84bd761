//! Golden files: read without a panic, and what was recorded from an answer accepts that answer.
//!
//! The first two bytes are the length of the JSON head of an answer, little-endian; 0xffff is no
//! header.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_protocol::oip::answer;
use mainstay_protocol::oip::golden::{self, Tolerance};
use mainstay_protocol::oip::guard::{Asked, Guards, constant};

const REQUEST: &[u8] = br#"{"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[1]}]}"#;

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    if let Ok(golden) = golden::parse(data) {
        assert!(golden.outputs().next().is_some());
    }
    let Some((json_len, body)) = data.split_first_chunk() else { return };
    let json_len = u16::from_le_bytes(*json_len);
    let json_len = (json_len != u16::MAX).then_some(usize::from(json_len));
    let Ok(response) = answer::parse(body, json_len) else { return };
    let guards = Guards { finite: true, shape: true, ..Guards::default() };
    for rows in [None, Some(0), Some(1), Some(2)] {
        let _ = guards.check(&response, Asked { rows, ..Asked::default() });
        let _ = constant::fingerprint(&response, &[], rows);
    }
    let exact = Tolerance { nan_equal: true, ..Tolerance::default() };
    let Ok(text) = golden::render("m", REQUEST, &response, exact) else { return };
    if response.outputs.is_empty() {
        return;
    }
    let golden = golden::parse(text.as_bytes()).expect("what was recorded can be read");
    assert_eq!(golden.compare(&response), Ok(()));
}
