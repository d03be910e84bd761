//! Event streams: where a stream is cut must not change what it means.
//!
//! The first byte is the size of the chunks.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_protocol::sse::{Gate, Progress, first_event_end};

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let whole = Gate::new().push(stream);
    let mut gate = Gate::new();
    let mut last = Progress::Waiting;
    for chunk in stream.chunks(usize::from(size).max(1)) {
        last = gate.push(chunk);
    }
    assert_eq!(last, whole);
    if let Some(end) = first_event_end(stream) {
        assert!(end <= stream.len());
    }
}
