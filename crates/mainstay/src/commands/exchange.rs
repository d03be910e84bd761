//! One question to a model server, on a connection of its own, with a time limit.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mainstay_config::EndpointUrl;
use mainstay_tls::Stream;
use mainstay_tls::client::Speak;

/// No answer that a person asks for is longer.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// The server's whole answer, whatever its status.
pub(super) async fn exchange(
    url: &EndpointUrl,
    timeout: Duration,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Bytes>> {
    let path = request.uri().path().to_owned();
    let answer = tokio::time::timeout(timeout, ask(url, request)).await;
    answer.map_err(|_| anyhow!("no answer to {path} within {timeout:?}"))?.context(path)
}

async fn ask(url: &EndpointUrl, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
    let address = (&*url.host, url.port);
    let stream = Stream::open(address, url.tls.as_deref(), Speak::Http1).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await;
    connection.abort();
    let body = body.map_err(|error| anyhow!("its answer: {error}"))?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
