//! One call of gRPC, on a connection of its own, as every probe is.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay_config::EndpointUrl;
use mainstay_policy::health::Check;
use mainstay_protocol::grpc::{self, Code};
use mainstay_tls::client::Speak;
use tokio::task::JoinSet;

use super::{Found, connect};

/// How a call ended.
pub(super) struct Said {
    pub(super) code: Code,
    pub(super) message: String,
    /// The answer in its frame; empty for an error.
    pub(super) body: Bytes,
}

/// Makes a call whose message is `framed`, and reads at most `limit` bytes of the answer.
pub(super) async fn call(
    address: &EndpointUrl,
    path: &str,
    framed: Bytes,
    limit: usize,
) -> Result<Said, Found> {
    let failed = |error: &dyn std::fmt::Display| Found::new(Check::Failed, error.to_string());
    let scheme = if address.tls.is_some() { "https" } else { "http" };
    let uri = format!("{scheme}://{}{}{path}", address.authority(), address.prefix);
    let mut request = Request::post(uri).body(Full::new(framed)).map_err(|error| failed(&error))?;
    let media = HeaderValue::from_static(grpc::MEDIA_TYPE);
    request.headers_mut().insert(CONTENT_TYPE, media);
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    let stream = connect(address, Speak::Http2).await.map_err(|error| Found::unopened(&error))?;
    let opened = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| failed(&error))?;
    let mut task = JoinSet::new();
    task.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(failed(&format!("HTTP {}", head.status.as_u16())));
    }
    let body = Limited::new(body, limit).collect().await.map_err(|error| failed(&error))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = |from: &HeaderMap| {
        let code = Code::parse(from.get("grpc-status")?.as_bytes());
        let said = from.get("grpc-message");
        let said = said.map(|said| grpc::decode_message(said.as_bytes()).into_owned());
        Some((code, said.unwrap_or_default()))
    };
    let (code, message) = status(&trailers)
        .or_else(|| status(&head.headers))
        .ok_or_else(|| failed(&"an answer without a status"))?;
    Ok(Said { code, message, body: body.to_bytes() })
}
