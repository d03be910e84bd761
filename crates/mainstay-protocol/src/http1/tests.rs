//! Answers whole and cut at every place, and what must not be believed.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::*;

/// Status, names of the fields, body, whether the connection may be kept, how much is left.
type Read = (u16, Vec<String>, Vec<u8>, bool, usize);

/// An answer as a client reads it from a connection that brings it in these parts and then ends.
fn read(parts: &[&[u8]], bodiless: bool) -> Result<Read, Error> {
    let mut parts = parts.iter();
    let mut buffer = BytesMut::new();
    let mut head = loop {
        if let Some(head) = read_head(&mut buffer, bodiless)? {
            break head;
        }
        buffer.extend_from_slice(parts.next().ok_or(Error::Truncated)?);
    };
    let mut body = Vec::new();
    loop {
        match head.body.next(&mut buffer)? {
            Step::Part(part) => body.extend_from_slice(&part),
            Step::End => break,
            Step::More(_) => match parts.next() {
                Some(part) => buffer.extend_from_slice(part),
                None => head.body.end_of_input()?,
            },
        }
    }
    assert!(head.body.is_end());
    let names = head.headers.keys().map(|name| name.as_str().to_owned()).collect();
    Ok((head.status.as_u16(), names, body, head.keep_alive, buffer.len()))
}

fn whole(bytes: &str) -> Result<Read, Error> {
    read(&[bytes.as_bytes()], false)
}

fn body(bytes: &str) -> (String, bool) {
    let (_, _, body, keep_alive, _) = whole(bytes).unwrap();
    (String::from_utf8(body).unwrap(), keep_alive)
}

#[test]
fn a_length_ends_a_body_and_the_connection_is_kept() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhelloHTTP";
    let names = vec!["content-length".to_owned(), "x-a".to_owned()];
    assert_eq!(whole(answer), Ok((200, names, b"hello".to_vec(), true, 4)));
}

#[test]
fn chunks_are_joined_and_their_trailers_dropped() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
                  5;name=value\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n";
    assert_eq!(whole(answer), Ok((200, vec![], b"hello!".to_vec(), true, 0)));
}

#[test]
fn without_a_length_the_end_of_the_connection_ends_the_body() {
    assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nhello"), ("hello".to_owned(), false));
}

#[test]
fn connection_fields_decide_whether_it_is_kept() {
    let answer = |version, connection| {
        body(&format!(
            "HTTP/1.{version} 200 OK\r\nConnection: {connection}\r\nContent-Length: 0\r\n\r\n"
        ))
        .1
    };
    assert!(answer(1, "keep-alive"));
    assert!(!answer(1, "Close"));
    assert!(!answer(0, "x"));
    assert!(answer(0, "Keep-Alive"));
    assert!(!answer(1, "close, keep-alive"));
    assert!(!answer(1, "keep-alive\r\nConnection: close\r\nConnection: keep-alive"));
}

#[test]
fn a_connection_field_that_names_others_is_passed_on_to_whoever_drops_them() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: x-private\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(whole(answer).unwrap().1, ["connection", "content-length"]);
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    let length = "\r\nContent-Length: 5\r\n\r\n";
    for (status, kept) in [("204 No Content", false), ("304 Not Modified", true)] {
        assert_eq!(body(&format!("HTTP/1.1 {status}{length}")), (String::new(), kept));
    }
    assert!(body("HTTP/1.1 204 No Content\r\n\r\n").1);
    let to_head = read(&[format!("HTTP/1.1 200 OK{length}").as_bytes()], true).unwrap();
    assert_eq!((to_head.2.len(), to_head.3), (0, true));
}

#[test]
fn interim_answers_are_passed_over() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(body(answer).0, "ok");
}

#[test]
fn what_must_not_be_believed_is_refused() {
    let head = |fields: &str| whole(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello"));
    assert_eq!(head("Content-Length: 5\r\nContent-Length: 6"), Err(Error::Length));
    assert_eq!(head("Content-Length: 5, 6"), Err(Error::Length));
    assert_eq!(head("Content-Length: +5"), Err(Error::Length));
    assert_eq!(head("Content-Length: "), Err(Error::Length));
    assert_eq!(head("Content-Length: 99999999999999999999"), Err(Error::Length));
    assert_eq!(head("Transfer-Encoding: gzip"), Err(Error::TransferCoding));
    assert_eq!(head("Transfer-Encoding: gzip, chunked"), Err(Error::TransferCoding));
    assert_eq!(head("Transfer-Encoding: chunked"), Err(Error::Truncated));
    assert_eq!(whole("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Err(Error::Upgraded));
    assert_eq!(whole("SSH-2.0-OpenSSH\r\n\r\n"), Err(Error::Head));
    assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Le"), Err(Error::Truncated));
    assert_eq!(head("Content-Length: 6"), Err(Error::Truncated));
}

#[test]
fn equal_lengths_are_one_and_two_framings_end_the_connection() {
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(whole(twice).unwrap().1, ["content-length"]);
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n\
                2\r\nok\r\n0\r\n\r\n";
    assert_eq!(whole(both), Ok((200, vec![], b"ok".to_vec(), false, 0)));
}

#[test]
fn malformed_chunks_are_refused() {
    let chunks =
        |text: &str| whole(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{text}"));
    for text in ["x\r\n", "\r\n", "5\r\nhelloX\r\n", "5\nhello\r\n", "-1\r\n", "0x5\r\nhello\r\n"] {
        assert_eq!(chunks(text), Err(Error::Chunk), "{text:?}");
    }
    assert_eq!(chunks("11111111111111111\r\n"), Err(Error::Chunk));
    assert_eq!(chunks(&format!("5;{}\r\n", "x".repeat(5000))), Err(Error::Chunk));
    assert_eq!(chunks("5\r\nhello\r\n"), Err(Error::Truncated));
}

#[test]
fn a_head_has_bounds() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    assert_eq!(whole(&long), Err(Error::HeadTooLong));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(MAX_FIELDS + 1));
    assert_eq!(whole(&many), Err(Error::HeadTooLong));
    assert_eq!(whole(&"x".repeat(MAX_HEAD + 1)), Err(Error::Head));
}

#[test]
fn a_request_is_written_as_it_must_be_read() {
    let mut fields = HeaderMap::new();
    fields.insert("accept", HeaderValue::from_static("*/*"));
    fields.insert("host", HeaderValue::from_static("client.example"));
    fields.insert(CONTENT_LENGTH, HeaderValue::from_static("999"));
    fields.insert("x-a", HeaderValue::from_static("old"));
    fields.insert("x-b", HeaderValue::from_static("gone"));
    let instead = [
        None,
        Some((HeaderName::from_static("x-a"), Some(HeaderValue::from_static("new")))),
        Some((HeaderName::from_static("x-b"), None)),
    ];
    let head = RequestHead {
        method: &Method::POST,
        target: "/v2/models/m/infer?x=1",
        host: &HeaderValue::from_static("server:8000"),
        fields: &fields,
        instead: &instead,
        length: Length::Known(1024),
    };
    let mut out = Vec::new();
    write_head(&head, &mut out);
    let expected = "POST /v2/models/m/infer?x=1 HTTP/1.1\r\nhost: server:8000\r\naccept: */*\r\n\
                    x-a: new\r\ncontent-length: 1024\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn the_end_of_a_body_is_announced_where_there_is_one() {
    let end = |length| {
        let (fields, mut out) = (HeaderMap::new(), Vec::new());
        let host = &HeaderValue::from_static("s");
        let method = &Method::GET;
        let head = RequestHead { method, target: "/", host, fields: &fields, instead: &[], length };
        write_head(&head, &mut out);
        String::from_utf8(out).unwrap().split_once("host: s\r\n").unwrap().1.to_owned()
    };
    assert_eq!(end(Length::None), "\r\n");
    assert_eq!(end(Length::Known(0)), "content-length: 0\r\n\r\n");
    assert_eq!(end(Length::Known(u64::MAX)), format!("content-length: {}\r\n\r\n", u64::MAX));
    assert_eq!(end(Length::Chunked), "transfer-encoding: chunked\r\n\r\n");
}

proptest! {
    /// Where the network cuts an answer changes nothing.
    #[test]
    fn cuts_change_nothing(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        chunked in any::<bool>(),
        cut in 1usize..30,
    ) {
        let expected = chunks.concat();
        let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\n".to_vec();
        if chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", expected.len()).as_bytes());
            bytes.extend_from_slice(&expected);
        }
        let parts: Vec<&[u8]> = bytes.chunks(cut).collect();
        let answer = read(&parts, false).unwrap();
        prop_assert_eq!((answer.0, answer.2, answer.3, answer.4), (200, expected, true, 0));
    }

    /// Whatever comes, nothing panics and nothing is read twice.
    #[test]
    fn anything_may_come(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 1usize..20) {
        let parts: Vec<&[u8]> = bytes.chunks(cut).collect();
        if let Ok((.., body, _, left)) = read(&parts, false) {
            prop_assert!(body.len() + left <= bytes.len());
        }
    }
}

#[test]
fn parts_share_the_buffer_they_were_read_into() {
    let mut buffer = BytesMut::from(&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..]);
    let place = buffer.as_ptr() as usize;
    let length = buffer.len();
    let mut head = read_head(&mut buffer, false).unwrap().unwrap();
    let Ok(Step::Part(part)) = head.body.next(&mut buffer) else { panic!("no part") };
    assert_eq!(part.as_ptr() as usize, place + length - 5);
    assert_eq!(part, Bytes::from_static(b"hello"));
}
