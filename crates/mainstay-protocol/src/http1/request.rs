//! Writing the head of a request.

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The length of a request's body, as its head announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// There is none, and no field says so: what a GET looks like.
    None,
    /// In bytes.
    Known(u64),
    /// It comes in chunks.
    Chunked,
}

/// A field by its name, and what is sent instead of the client's own; nothing for `None`.
pub type Instead = (HeaderName, Option<HeaderValue>);

/// What the head of a request is made of.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// GET, POST and so on.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
    /// The value of Host.
    pub host: &'a HeaderValue,
    /// The client's fields. Its Host and Content-Length are left out; fields of its connection
    /// must have been taken out before.
    pub fields: &'a HeaderMap,
    /// Fields that are sent instead of the client's own of these names.
    pub instead: &'a [Option<Instead>],
    /// Of the body that follows.
    pub length: Length,
}

/// Appends the head to `out`, the empty line included.
pub fn write_head(head: &RequestHead<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(head.host.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in head.fields {
        let replaced = head.instead.iter().flatten().any(|(other, _)| other == name);
        if !replaced && name != HOST && name != CONTENT_LENGTH {
            write_field(name, value, out);
        }
    }
    for (name, value) in head.instead.iter().flatten() {
        if let Some(value) = value {
            write_field(name, value, out);
        }
    }
    match head.length {
        Length::None => {}
        Length::Known(bytes) => {
            out.extend_from_slice(b"content-length: ");
            write_number(bytes, out);
            out.extend_from_slice(b"\r\n");
        }
        Length::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
