//! Requests that mean harm, on raw sockets against the real program, with a server behind it that
//! keeps every byte that reaches it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::gateway::{Gateway, config};
use crate::support::http::Request;
use crate::support::recorder::Recorder;
use crate::support::{LIMIT, SLACK};

const BODY: &str = r#"{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1.0]}]}"#;

async fn guarded(more: impl FnOnce(&mut serde_json::Value)) -> (Gateway, Recorder) {
    let recorder = Recorder::start().await;
    let pools = json!({"p": {
        "endpoints": [{"url": format!("http://{}", recorder.address)}], "probe": {"check": "off"},
    }});
    let mut config = config(&pools, &json!({"m": {"chain": [{"pool": "p"}]}}));
    more(&mut config);
    (Gateway::start(config).await, recorder)
}

/// A good request, the last on its connection.
fn last() -> String {
    format!(
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: gw\r\nx-last: 1\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}

/// Sends these bytes and reads until the gateway closes; the statuses that came.
async fn statuses(address: SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (mut read, mut write) = stream.split();
        // A gateway that has refused reads no more.
        let _ = write.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = timeout(LIMIT, talk).await.expect("the connection is closed");
    let heads = answer.match_indices("HTTP/1.1 ").filter_map(|(at, _)| answer.get(at + 9..at + 12));
    heads.filter_map(|status| status.parse().ok()).collect()
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is refused, and its connection closed: what follows it is never read.
    Refused,
    /// It has one meaning, in which it reaches the server; what follows it is read as well.
    Clear,
    /// The same, and its connection is closed: what follows it is never read.
    Last,
}

use Fate::{Clear, Last, Refused};

/// With `{B}` for the body, `{L}` for its length in decimal and `{X}` in hexadecimal digits.
const VECTORS: &[(&str, Fate, &str)] = &[
    ("as it should be", Clear, "host: gw\r\ncontent-length: {L}\r\n\r\n{B}"),
    (
        "CL.TE",
        Last,
        "host: gw\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "TE.CL",
        Last,
        "host: gw\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "TE of another name",
        Refused,
        "host: gw\r\ntransfer-encoding: xchunked\r\ncontent-length: {L}\r\n\r\n{B}",
    ),
    (
        "TE that ends otherwise",
        Refused,
        "host: gw\r\ntransfer-encoding: chunked, identity\r\n\r\n{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "TE twice, the last unknown",
        Refused,
        "host: gw\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "TE with a blank before the colon",
        Refused,
        "host: gw\r\ntransfer-encoding : chunked\r\n\r\n{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "TE with a vertical tab",
        Refused,
        "host: gw\r\ntransfer-encoding:\u{b}chunked\r\n\r\n{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "TE folded",
        Refused,
        "host: gw\r\nx: y\r\n transfer-encoding: chunked\r\n\r\n{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "a value folded",
        Refused,
        "host: gw\r\ntransfer-encoding:\r\n chunked\r\n\r\n{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "TE with quotes",
        Refused,
        "host: gw\r\ntransfer-encoding: \"chunked\"\r\n\r\n{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "CL twice, the same",
        Clear,
        "host: gw\r\ncontent-length: {L}\r\ncontent-length: {L}\r\n\r\n{B}",
    ),
    (
        "CL twice, another",
        Refused,
        "host: gw\r\ncontent-length: {L}\r\ncontent-length: 5\r\n\r\n{B}",
    ),
    ("CL as a list", Refused, "host: gw\r\ncontent-length: {L}, {L}\r\n\r\n{B}"),
    ("CL with a plus", Refused, "host: gw\r\ncontent-length: +{L}\r\n\r\n{B}"),
    ("CL with a minus", Refused, "host: gw\r\ncontent-length: -{L}\r\n\r\n{B}"),
    ("CL in hexadecimal", Refused, "host: gw\r\ncontent-length: 0x{X}\r\n\r\n{B}"),
    ("CL with a blank inside", Refused, "host: gw\r\ncontent-length: {L} {L}\r\n\r\n{B}"),
    ("CL with blanks around", Clear, "host: gw\r\ncontent-length:   {L}  \r\n\r\n{B}"),
    (
        "CL beyond any number",
        Refused,
        "host: gw\r\ncontent-length: 99999999999999999999\r\n\r\n{B}",
    ),
    ("CL with a blank before the colon", Refused, "host: gw\r\ncontent-length : {L}\r\n\r\n{B}"),
    ("CL with nothing", Refused, "host: gw\r\ncontent-length:\r\n\r\n{B}"),
    ("lines that end in LF", Clear, "host: gw\ncontent-length: {L}\n\n{B}"),
    (
        "a bare CR in a value",
        Refused,
        "host: gw\r\nx: a\rcontent-length: 5\r\ncontent-length: {L}\r\n\r\n{B}",
    ),
    ("a zero byte in a value", Refused, "host: gw\r\nx: a\0b\r\ncontent-length: {L}\r\n\r\n{B}"),
    ("a zero byte in a name", Refused, "host: gw\r\nx\0: a\r\ncontent-length: {L}\r\n\r\n{B}"),
    ("a blank in a name", Refused, "host: gw\r\nx y: a\r\ncontent-length: {L}\r\n\r\n{B}"),
    (
        "a chunk with an extension",
        Clear,
        "host: gw\r\ntransfer-encoding: chunked\r\n\r\n{X};a=b\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "an extension with LF",
        Refused,
        "host: gw\r\ntransfer-encoding: chunked\r\n\r\n{X};a\nb\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "a chunk's line with LF",
        Refused,
        "host: gw\r\ntransfer-encoding: chunked\r\n\r\n{X}\n{B}\r\n0\r\n\r\n",
    ),
    (
        "a chunk without its end",
        Refused,
        "host: gw\r\ntransfer-encoding: chunked\r\n\r\n{X}\r\n{B}0\r\n\r\n",
    ),
    (
        "a chunk beyond any number",
        Refused,
        "host: gw\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "a chunk with a sign",
        Refused,
        "host: gw\r\ntransfer-encoding: chunked\r\n\r\n+{X}\r\n{B}\r\n0\r\n\r\n",
    ),
    (
        "trailers that would be headers",
        Clear,
        "host: gw\r\ntransfer-encoding: chunked\r\n\r\n{X}\r\n{B}\r\n0\r\ncontent-length: 5\r\nx-mainstay-caller: root\r\n\r\n",
    ),
    (
        "an upgrade to HTTP/2",
        Clear,
        "host: gw\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\ncontent-length: {L}\r\n\r\n{B}",
    ),
    (
        "headers that Connection names",
        Clear,
        "host: gw\r\nconnection: content-length, x-mainstay-caller\r\nx-mainstay-caller: root\r\ncontent-length: {L}\r\n\r\n{B}",
    ),
    ("another host", Clear, "host: internal:22\r\ncontent-length: {L}\r\n\r\n{B}"),
];

#[tokio::test]
async fn no_request_is_read_in_two_ways() {
    let (gateway, recorder) = guarded(|_| {}).await;
    let mut wrong = Vec::new();
    for (name, fate, rest) in VECTORS {
        let rest = rest
            .replace("{B}", BODY)
            .replace("{L}", &BODY.len().to_string())
            .replace("{X}", &format!("{:x}", BODY.len()));
        let text = format!("POST /v2/models/m/infer HTTP/1.1\r\n{rest}{}", last());
        wrong.extend(check(&gateway, &recorder, (name, *fate), text.as_bytes()).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn no_request_line_is_read_in_two_ways() {
    let (gateway, recorder) = guarded(|_| {}).await;
    let rest = format!("host: gw\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    let chunked = format!(
        "host: gw\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{BODY}\r\n0\r\n\r\n",
        BODY.len()
    );
    let mut wrong = Vec::new();
    for (line, fate, rest) in [
        ("POST http://internal/v2/models/m/infer HTTP/1.1\r\n", Clear, &rest),
        ("\r\n\r\nPOST /v2/models/m/infer HTTP/1.1\r\n", Clear, &rest),
        ("POST /v2/models/m/infer HTTP/1.1 x\r\n", Refused, &rest),
        ("POST\t/v2/models/m/infer\tHTTP/1.1\r\n", Refused, &rest),
        ("POST /v2/models/m/infer\r\n", Refused, &rest),
        ("POST /v2/models/m/infer HTTP/2.0\r\n", Refused, &rest),
        ("P\0ST /v2/models/m/infer HTTP/1.1\r\n", Refused, &rest),
        ("POST /v2/models/m/infer HTTP/1.0\r\n", Refused, &chunked),
    ] {
        let text = format!("{line}{rest}{}", last());
        wrong.extend(check(&gateway, &recorder, (line, fate), text.as_bytes()).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Says what is not as it should be.
async fn check(
    gateway: &Gateway,
    recorder: &Recorder,
    (name, fate): (&str, Fate),
    bytes: &[u8],
) -> Option<String> {
    let said = statuses(gateway.http, bytes).await;
    // The recorder's own parser fails on whatever could be read in two ways.
    let reached = recorder.take();
    let good = said.iter().filter(|status| **status == 200).count();
    let fine = match fate {
        Refused => reached.is_empty() && matches!(said.as_slice(), [400..=499] | []),
        Last => said == [200] && reached.len() == 1,
        Clear => said == [200, 200] && reached.len() == 2 && reached[1].header("x-last").is_some(),
    };
    let honest = good == reached.len();
    let own = reached.iter().all(|request| {
        request.header("host") == Some(&recorder.address.to_string())
            && request.header("x-mainstay-caller").is_none()
            && request.header("upgrade").is_none()
            && request.line == "POST /v2/models/m/infer HTTP/1.1"
            && request.body == BODY.as_bytes()
    });
    (!(fine && honest && own)).then(|| format!("{name}: {said:?}, {reached:?}"))
}

#[tokio::test]
async fn floods_of_headers_are_bounded() {
    let (gateway, recorder) = guarded(|_| {}).await;
    let many: String = (0..500).map(|at| format!("x-{at}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(64 * 1024));
    for headers in [many, large] {
        let text = format!("POST /v2/models/m/infer HTTP/1.1\r\nhost: gw\r\n{headers}\r\n");
        let said = statuses(gateway.http, text.as_bytes()).await;
        assert!(matches!(said.as_slice(), [431] | []), "{said:?}");
    }
    assert!(recorder.take().is_empty());
    assert_eq!(gateway.ask(&Request::post("/v2/models/m/infer", BODY)).await.status(), 200);
}

#[tokio::test]
async fn a_head_that_dribbles_has_its_time() {
    let (gateway, _recorder) =
        guarded(|config| config["limits"] = json!({"header-timeout": "1s"})).await;
    let began = Instant::now();
    let mut stream = TcpStream::connect(gateway.http).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut end = [0; 64];
    let mut dribble = tokio::time::interval(Duration::from_millis(50));
    write.write_all(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: gw\r\n").await.unwrap();
    let closed = async {
        loop {
            tokio::select! {
                read = read.read(&mut end) => return matches!(read, Ok(0) | Err(_)),
                _ = dribble.tick() => drop(write.write_all(b"x: y\r\n").await),
            }
        }
    };
    assert!(timeout(LIMIT, closed).await.expect("it is closed"));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3) + 4 * SLACK, "after {took:?}");
}

/// Frames of HTTP/2, by hand.
mod h2 {
    pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    pub(super) fn settings() -> Vec<u8> {
        frame(4, 0, 0, &[])
    }

    /// A literal field, never indexed and without Huffman codes (RFC 7541, section 6.2.3).
    pub(super) fn field(name: &str, value: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        [&[0x10, length(name.as_bytes())], name.as_bytes(), &[length(value)], value].concat()
    }

    pub(super) fn request(more: &[(&str, &[u8])]) -> Vec<u8> {
        let path = b"/v2/models/m/infer".as_slice();
        let mut block = Vec::new();
        let mut pseudo: Vec<(&str, &[u8])> = vec![
            (":method", b"POST"),
            (":scheme", b"http"),
            (":path", path),
            (":authority", b"gw"),
        ];
        for (name, value) in more.iter().filter(|(name, _)| name.starts_with(':')) {
            pseudo.retain(|(known, _)| known != name);
            pseudo.push((name, value));
        }
        pseudo.extend(more.iter().filter(|(name, _)| !name.starts_with(':')));
        pseudo.iter().for_each(|(name, value)| block.extend(field(name, value)));
        block
    }
}

/// Sends frames and reads until the gateway closes, or has said how a stream ended.
async fn h2_says(address: SocketAddr, frames: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = [h2::PREFACE, &h2::settings()].concat();
    bytes.extend_from_slice(frames);
    // It may have closed already.
    let _ = stream.write_all(&bytes).await;
    let mut said = Vec::new();
    loop {
        let mut head = [0; 9];
        let read = timeout(LIMIT, stream.read_exact(&mut head)).await.expect("it says something");
        if read.is_err() {
            return said;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if timeout(LIMIT, stream.read_exact(&mut payload)).await.expect("in time").is_err() {
            return said;
        }
        let (kind, number) = (head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        said.push((kind, number, payload));
        // The end of the stream's answer, its reset, or the connection's end.
        let ended = (matches!(kind, 0 | 1) && head[4] & 1 == 1) || matches!(kind, 3 | 7);
        if ended {
            return said;
        }
    }
}

#[tokio::test]
async fn http_2_smuggles_nothing_into_http_1() {
    let (gateway, recorder) = guarded(|_| {}).await;
    let vectors: &[&[(&str, &[u8])]] = &[
        &[("x", b"a\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1")],
        &[("x", b"a\nb: c")],
        &[("x", b"a\0b")],
        &[("x\r\ny", b"a")],
        &[("x y", b"a")],
        &[("X-Upper", b"a")],
        &[("transfer-encoding", b"chunked")],
        &[("connection", b"close")],
        &[("content-length", b"5")],
        &[(":path", b"/v2/models/m/infer HTTP/1.1\r\nx: y")],
        &[(":path", b"/v2/models/m/infer x")],
        &[(":method", b"POST / HTTP/1.1\r\nx: y")],
        &[(":other", b"x")],
    ];
    for vector in vectors {
        let head = h2::frame(1, 4, 1, &h2::request(vector));
        let body = h2::frame(0, 1, 1, BODY.as_bytes());
        let said = h2_says(gateway.http, &[head, body].concat()).await;
        let reached = recorder.take();
        assert!(reached.is_empty(), "{vector:?} reached a server: {reached:?}");
        let (kind, ..) = said.last().expect("it is refused");
        assert!(matches!(kind, 0 | 1 | 3 | 7), "{vector:?}: {said:?}");
    }
    let head = h2::frame(1, 4, 1, &h2::request(&[("x", b"y")]));
    let body = h2::frame(0, 1, 1, BODY.as_bytes());
    h2_says(gateway.http, &[head, body].concat()).await;
    assert_eq!(recorder.take().len(), 1, "a good one comes through");
}

#[tokio::test]
async fn a_rapid_reset_ends_its_connection_and_nothing_else() {
    let (gateway, recorder) = guarded(|_| {}).await;
    let mut frames = Vec::new();
    for at in 0..5000 {
        let stream = 2 * at + 1;
        frames.extend(h2::frame(1, 4, stream, &h2::request(&[])));
        frames.extend(h2::frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let flood = tokio::spawn(async move {
        let said = h2_says(gateway.http, &frames).await;
        (gateway, said)
    });
    let (gateway, said) = timeout(LIMIT, flood).await.expect("in time").unwrap();
    let ended = said.iter().any(|(kind, ..)| *kind == 7) || said.is_empty();
    assert!(ended, "the connection is told to go away: {said:?}");
    assert!(recorder.take().len() < 500, "few of them reach a server");
    assert_eq!(gateway.ask(&Request::post("/v2/models/m/infer", BODY)).await.status(), 200);
}

#[tokio::test]
async fn a_flood_of_continuations_ends_its_connection() {
    let (gateway, recorder) = guarded(|_| {}).await;
    let mut frames = h2::frame(1, 0, 1, &h2::request(&[]));
    for at in 0..20_000_u32 {
        let field = h2::field("x", format!("{at:0>100}").as_bytes());
        frames.extend(h2::frame(9, 0, 1, &field));
    }
    let said = h2_says(gateway.http, &frames).await;
    let ended = said.iter().any(|(kind, ..)| *kind == 7) || !said.iter().any(|it| it.0 == 0);
    assert!(ended, "{said:?}");
    assert!(recorder.take().is_empty());
    assert_eq!(gateway.ask(&Request::post("/v2/models/m/infer", BODY)).await.status(), 200);
}

#[tokio::test]
async fn nothing_is_inflated() {
    let (gateway, recorder) = guarded(|_| {}).await;
    // A gzip member of stored blocks is as good as any: it must arrive as it was sent.
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    gzip.extend_from_slice(&[0x4b, 0x4c, 0x04, 0x02, 0x00]);
    gzip.extend([0; 8]);
    let request = Request::post("/v2/models/m/infer", gzip.clone())
        .header("content-encoding", "gzip")
        .header("accept-encoding", "gzip");
    assert_eq!(gateway.ask(&request).await.status(), 200);
    let reached = recorder.take();
    assert_eq!(reached[0].body, gzip);
    assert_eq!(reached[0].header("content-encoding"), Some("gzip"));
    assert_eq!(reached[0].header("accept-encoding"), Some("gzip"));
}
