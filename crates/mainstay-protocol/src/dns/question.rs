//! Writing a question.

use super::{Kind, Name, UDP_SIZE};

/// Recursion desired.
const RECURSE: u16 = 0x0100;
/// The class of the Internet.
pub(super) const INTERNET: u16 = 1;
/// The pseudo record that says how large an answer may be (RFC 6891).
const OPT: u16 = 41;

/// A question, ready to be sent over UDP; over TCP its length goes before it, in two bytes.
#[must_use]
pub fn write_question(number: u16, name: &Name, kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.as_str().len() + 32);
    let word = |bytes: &mut Vec<u8>, word: u16| bytes.extend_from_slice(&word.to_be_bytes());
    // One question, no answers, no authorities, one addition.
    for value in [number, RECURSE, 1, 0, 0, 1] {
        word(&mut bytes, value);
    }
    name.write(&mut bytes);
    word(&mut bytes, kind.number());
    word(&mut bytes, INTERNET);
    bytes.push(0);
    for value in [OPT, UDP_SIZE, 0, 0, 0] {
        word(&mut bytes, value);
    }
    bytes
}
