//! Answers of servers: where the network cuts one must not change what it means.
//!
//! The first byte is the size of the parts.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mainstay_protocol::http1::{Error, Step, read_head};

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    let Some((&size, answer)) = data.split_first() else { return };
    let whole = read(answer, answer.len().max(1));
    let cut = read(answer, usize::from(size).max(1));
    assert_eq!(whole, cut);
}

/// Status and body of an answer that comes in parts of this size before its connection ends.
fn read(answer: &[u8], size: usize) -> Result<(u16, Vec<u8>), Error> {
    let mut parts = answer.chunks(size);
    let mut buffer = BytesMut::new();
    let mut head = loop {
        if let Some(head) = read_head(&mut buffer, false)? {
            break head;
        }
        buffer.extend_from_slice(parts.next().ok_or(Error::Truncated)?);
    };
    let mut body = Vec::new();
    loop {
        match head.body.next(&mut buffer)? {
            Step::Part(part) => body.extend_from_slice(&part),
            Step::End => return Ok((head.status.as_u16(), body)),
            Step::More(_) => match parts.next() {
                Some(part) => buffer.extend_from_slice(part),
                None => head.body.end_of_input()?,
            },
        }
    }
}
