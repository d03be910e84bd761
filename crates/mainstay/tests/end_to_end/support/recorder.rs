//! A server that keeps every byte it gets, connection by connection, and answers what it can read.
//!
//! What it kept is read by a parser that is as strict as RFC 9112 allows: whatever it accepts has
//! one meaning only, to any server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it says to everything.
const ANSWER: &str = "{\"model_name\":\"m\",\"outputs\":[{\"name\":\"y\",\"shape\":[1,1],\
    \"datatype\":\"FP32\",\"data\":[0.5]}]}";

/// The server.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    /// By connection.
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

/// A request that can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clear {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Clear {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let kept: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let all = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                let at = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                tokio::spawn(converse(stream, at, Arc::clone(&all)));
            }
        });
        Self { address, kept, task }
    }

    /// Everything that came so far, and forgets it.
    pub(crate) fn take(&self) -> Vec<Clear> {
        let mut all = self.kept.lock().unwrap();
        let requests = all.iter().flat_map(|bytes| {
            let (requests, rest) = read(bytes).unwrap_or_else(|why| {
                panic!("{why}: {:?}", String::from_utf8_lossy(bytes));
            });
            assert!(rest.is_empty(), "half a request: {:?}", String::from_utf8_lossy(rest));
            requests
        });
        let requests = requests.collect();
        all.iter_mut().for_each(Vec::clear);
        requests
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: TcpStream, at: usize, all: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut unread = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = stream.read(&mut chunk).await else { return };
        all.lock().unwrap()[at].extend_from_slice(&chunk[..count]);
        unread.extend_from_slice(&chunk[..count]);
        while let Ok((requests, rest)) = read(&unread)
            && !requests.is_empty()
        {
            unread = rest.to_vec();
            for request in requests {
                let body = if request.line.starts_with("HEAD") { "" } else { ANSWER };
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    ANSWER.len()
                );
                if stream.write_all((head + body).as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The whole requests of these bytes, and what is left.
fn read(mut bytes: &[u8]) -> Result<(Vec<Clear>, &[u8]), String> {
    let mut requests = Vec::new();
    loop {
        let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok((requests, bytes)) };
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head is no text")?;
        let (request, length) = parse(head)?;
        let rest = &bytes[end + 4..];
        let (body, rest) = match length {
            Some(length) if rest.len() < length => return Ok((requests, bytes)),
            Some(length) => (rest[..length].to_vec(), &rest[length..]),
            None => match chunks(rest)? {
                Some(found) => found,
                None => return Ok((requests, bytes)),
            },
        };
        requests.push(Clear { body, ..request });
        bytes = rest;
    }
}

/// A head, and the length of its body; `None` for chunks.
fn parse(head: &str) -> Result<(Clear, Option<usize>), String> {
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let parts: Vec<_> = line.split(' ').collect();
    let is_line = parts.len() == 3 && parts[1].starts_with('/') && parts[2] == "HTTP/1.1";
    if !is_line || line.contains(['\r', '\n', '\t', '\0']) {
        return Err(format!("no request line: {line:?}"));
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("no header: {line:?}"))?;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            return Err(format!("no name of a header: {name:?}"));
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(format!("no value of a header: {value:?}"));
        }
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let all = |wanted: &str| -> Vec<&str> {
        headers.iter().filter(|(name, _)| name == wanted).map(|it| it.1.as_str()).collect()
    };
    if all("host").len() != 1 {
        return Err("not exactly one host".to_owned());
    }
    let length = match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        ([], []) => Some(0),
        ([length], []) if length.bytes().all(|b| b.is_ascii_digit()) => {
            Some(length.parse().map_err(|_| format!("no length: {length:?}"))?)
        }
        ([], ["chunked"]) => None,
        other => return Err(format!("more than one length: {other:?}")),
    };
    Ok((Clear { line: line.to_owned(), headers: headers.clone(), body: Vec::new() }, length))
}

/// A body in chunks without extensions and trailers, and what follows it; `None` if more comes.
#[expect(clippy::type_complexity, reason = "named by its documentation")]
fn chunks(mut bytes: &[u8]) -> Result<Option<(Vec<u8>, &[u8])>, String> {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[..end]).map_err(|_| "no chunk")?;
        if size.is_empty() || !size.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!("no size of a chunk: {size:?}"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "no size")?;
        let rest = &bytes[end + 2..];
        if rest.len() < size + 2 {
            return Ok(None);
        }
        if &rest[size..size + 2] != b"\r\n" {
            return Err("a chunk has no end".to_owned());
        }
        body.extend_from_slice(&rest[..size]);
        bytes = &rest[size + 2..];
        if size == 0 {
            return Ok(Some((body, bytes)));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
