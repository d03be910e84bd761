//! HTTP/1.1 as far as a server of tests has to read it, and who is asked for what.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The longest body that is read; more is a fault of the test.
const BODY_LIMIT: usize = 256 * 1024 * 1024;
/// The longest head.
const HEAD_LIMIT: usize = 1024 * 1024;

/// What a path asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Liveness or readiness.
    Probe,
    /// An inference.
    Infer,
    /// Metadata and all else.
    Other,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The model that the body names.
    named: Option<String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn kind(&self) -> Kind {
        let path = self.path.split('?').next().unwrap_or_default();
        let v1_status =
            self.method == "GET" && self.v1_call().is_some_and(|(_, verb)| verb.is_empty());
        let asks = ["/ping", "/health"].contains(&path) || v1_status;
        if path.ends_with("/ready") || path.ends_with("/live") || asks {
            Kind::Probe
        } else if self.method == "POST"
            && (path.starts_with("/v2/models/") || !path.starts_with("/v2"))
        {
            Kind::Infer
        } else {
            Kind::Other
        }
    }

    pub(crate) fn model(&self) -> Option<&str> {
        if self.named.is_some() {
            return self.named.as_deref();
        }
        if let Some((model, _)) = self.v1_call() {
            return Some(model);
        }
        let below = ["/v2/models/", "/predictions/"];
        let rest = below.iter().find_map(|prefix| self.path.strip_prefix(prefix))?;
        rest.split(['/', '?']).next().filter(|name| !name.is_empty())
    }

    /// The model of a call of the V1 protocol, and what is asked of it, with its colon.
    pub(crate) fn v1_call(&self) -> Option<(&str, &str)> {
        let rest = self.path.strip_prefix("/v1/models/")?.split('?').next()?;
        let model = rest.split(['/', ':']).next().filter(|name| !name.is_empty())?;
        Some((model, rest.find(':').map_or("", |at| &rest[at..])))
    }

    /// Whether the client closes after the answer.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Reads one request; an error at the end of the connection as well.
pub(crate) async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Request> {
    let first = line(stream).await?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let line = line(stream).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        length += line.len();
        if length > HEAD_LIMIT {
            return Err(io::Error::other("the head is too long"));
        }
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new(), named: None };
    if request.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    request.body = body(stream, &request).await?;
    if request.path.starts_with("/v1/") {
        let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        request.named = asked["model"].as_str().map(str::to_owned);
    }
    Ok(request)
}

async fn body(stream: &mut BufReader<TcpStream>, request: &Request) -> io::Result<Vec<u8>> {
    if request.header("transfer-encoding").is_some() {
        return chunks(stream).await;
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; limited(length.unwrap_or_default())?];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn chunks(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream).await?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; limited(size + body.len())? - body.len()];
        stream.read_exact(&mut chunk).await?;
        line(stream).await?;
        if size == 0 {
            return Ok(body);
        }
        body.extend(chunk);
    }
}

fn limited(length: usize) -> io::Result<usize> {
    if length > BODY_LIMIT {
        return Err(io::Error::other("the body is too long"));
    }
    Ok(length)
}

async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// A head that announces so many bytes.
pub(crate) fn head(status: u16, length: usize, more: &str) -> String {
    format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\n{more}\
         content-length: {length}\r\n\r\n",
        reason(status)
    )
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        529 => "Overloaded",
        _ => "Whatever",
    }
}

/// Writes a whole answer.
pub(crate) async fn reply(
    stream: &mut BufReader<TcpStream>,
    status: u16,
    more: &str,
    body: &str,
) -> io::Result<()> {
    let text = head(status, body.len(), more) + body;
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str) -> Request {
        let (method, path) = (method.to_owned(), path.to_owned());
        Request { method, path, headers: Vec::new(), body: Vec::new(), named: None }
    }

    #[test]
    fn paths_say_what_is_asked() {
        let probe = request("GET", "/v2/models/fraud/ready");
        assert_eq!((probe.kind(), probe.model()), (Kind::Probe, Some("fraud")));
        let server = request("GET", "/v2/health/live");
        assert_eq!((server.kind(), server.model()), (Kind::Probe, None));
        let infer = request("POST", "/v2/models/fraud/versions/2/infer");
        assert_eq!((infer.kind(), infer.model()), (Kind::Infer, Some("fraud")));
        assert_eq!(request("GET", "/v2/models/fraud").kind(), Kind::Other);
        let v1 = request("POST", "/v1/models/fraud/versions/2:predict");
        assert_eq!((v1.kind(), v1.v1_call()), (Kind::Infer, Some(("fraud", ":predict"))));
        let status = request("GET", "/v1/models/fraud");
        assert_eq!((status.kind(), status.model()), (Kind::Probe, Some("fraud")));
        let torch = request("POST", "/predictions/fraud/1.0");
        assert_eq!((torch.kind(), torch.model()), (Kind::Infer, Some("fraud")));
        assert_eq!(request("POST", "/invocations").kind(), Kind::Infer);
        assert_eq!(request("GET", "/ping").kind(), Kind::Probe);
    }
}
