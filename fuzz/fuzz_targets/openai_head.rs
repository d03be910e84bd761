//! Requests of the OpenAI API: what a full parser reads is read the same, and a renamed request
//! is the same but for the name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_protocol::openai::head::{Head, rename};
use mainstay_protocol::openai::members::Members;

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    for member in Members::of(data).map_while(Result::ok) {
        assert!(data.get(member.value).is_some_and(|value| !value.is_empty()));
    }
    let Ok(head) = Head::read(data) else { return };
    let renamed = rename(data, &head, "other \"name\"");
    let read = Head::read(&renamed).expect("what was read is read again");
    assert_eq!(&*read.model, "other \"name\"");
    assert_eq!((read.stream, read.max_tokens), (head.stream, head.max_tokens));
    let back = rename(&renamed, &read, &head.model);
    assert_eq!(Head::read(&back).map(|back| back.model), Ok(head.model));
}
