//! Event streams: where a stream is cut must not change what it means, nor what of it passes.
//!
//! The first byte is the size of the chunks.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstay_protocol::openai::continuation::Told;
use mainstay_protocol::openai::path::Form;
use mainstay_protocol::openai::stream::{Passage, Trouble};
use mainstay_protocol::sse::{Gate, Progress, first_event_end};

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let chunk = usize::from(size).max(1);
    let whole = Gate::new().push(stream);
    let mut gate = Gate::new();
    let mut last = Progress::Waiting;
    for chunk in stream.chunks(chunk) {
        last = gate.push(chunk);
    }
    assert_eq!(last, whole);
    if let Some(end) = first_event_end(stream) {
        assert!(end <= stream.len());
    }
    for form in [Form::Chat, Form::Responses] {
        let (out, trouble, complete) = passed(form, stream, stream.len().max(1));
        assert_eq!(passed(form, stream, chunk), (out.clone(), trouble.clone(), complete));
        assert!(stream.starts_with(&out));
        assert!(trouble.is_some() || out.len() == stream.len());
    }
    let mut told = Told::default();
    told.hear(stream);
    let _ = told.adopt(&Bytes::copy_from_slice(stream));
}

/// What of a stream in chunks of this size passes, and how it ended.
fn passed(form: Form, stream: &[u8], size: usize) -> (Vec<u8>, Option<Trouble>, bool) {
    let mut passage = Passage::new(form);
    let (mut out, mut trouble) = (Vec::new(), None);
    for chunk in stream.chunks(size) {
        let passed = passage.push(Bytes::copy_from_slice(chunk));
        out.extend_from_slice(&passed.out);
        trouble = trouble.or(passed.trouble);
    }
    let last = passage.finish();
    out.extend_from_slice(&last.out);
    (out, trouble.or(last.trouble), passage.is_complete())
}
