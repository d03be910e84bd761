//! Checks over HTTP/1.1.
//!
//! Every probe opens a connection of its own: it asks whether a *new* request would be served,
//! and a listener that no longer accepts is just what a kept connection would hide.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mainstay_config::{EndpointUrl, HttpCheck};
use mainstay_policy::health::Check;
use mainstay_protocol::oip::path;

use super::{Found, ModelName, connect};

/// The most of an answer that is read, in bytes: a health page is small.
const BODY_LIMIT: usize = 64 * 1024;

/// `GET /v2/models/NAME/ready`, or the server's own readiness.
///
/// Triton and `MLServer` say "not ready" with 400, others with 503; a model that the server does
/// not know is not ready there either.
pub(super) async fn oip_ready(address: &EndpointUrl, model: Option<&ModelName>) -> Found {
    let path = match model {
        Some(model) => {
            path::model_path(&address.prefix, &model.name, model.version.as_deref(), "ready")
        }
        None => format!("{}/v2/health/ready", address.prefix),
    };
    let question =
        Question { method: Method::GET, path, headers: HeaderMap::new(), body: Bytes::new() };
    match exchange(address, None, question).await {
        Ok(response) => {
            let status = response.status().as_u16();
            let check = match status {
                200 => Check::Passed,
                400 | 404 | 503 => Check::NotReady,
                _ => Check::Failed,
            };
            Found::new(check, format!("HTTP {status}"))
        }
        Err(found) => found,
    }
}

/// Any request whose status and body must match.
pub(super) async fn matches(address: &EndpointUrl, check: &HttpCheck) -> Found {
    let question = Question {
        method: check.method.clone(),
        path: check.path.clone(),
        headers: check.headers.clone(),
        body: check.body.clone().unwrap_or_default().into(),
    };
    let response = match exchange(address, check.port, question).await {
        Ok(response) => response,
        Err(found) => return found,
    };
    let status = response.status().as_u16();
    if !check.status.iter().any(|range| range.contains(&status)) {
        let result = if status == 503 { Check::NotReady } else { Check::Failed };
        return Found::new(result, format!("HTTP {status}"));
    }
    match &check.contains {
        None => Found::new(Check::Passed, format!("HTTP {status}")),
        Some(wanted) => contains(response, wanted).await,
    }
}

async fn contains(response: Response<Incoming>, wanted: &str) -> Found {
    match Limited::new(response.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => {
            if String::from_utf8_lossy(&body.to_bytes()).contains(wanted) {
                Found::new(Check::Passed, "the body matches")
            } else {
                Found::new(Check::Failed, "the body does not hold the expected text")
            }
        }
        Err(error) => Found::new(Check::Failed, format!("the body cannot be read: {error}")),
    }
}

struct Question {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// Asks on a new connection; the answer's head.
async fn exchange(
    address: &EndpointUrl,
    port: Option<u16>,
    question: Question,
) -> Result<Response<Incoming>, Found> {
    let failed = |error: &dyn std::fmt::Display| Found::new(Check::Failed, error.to_string());
    let stream = connect(address, port).await.map_err(|error| Found::unreachable(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let task = tokio::spawn(connection);
    let mut request = Request::new(Full::new(question.body));
    *request.method_mut() = question.method;
    *request.uri_mut() = question.path.parse().map_err(|error| failed(&error))?;
    *request.headers_mut() = question.headers;
    if !request.headers().contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&address.authority())
    {
        request.headers_mut().insert(HOST, host);
    }
    let answer = sender.send_request(request).await.map_err(|error| failed(&error));
    if answer.is_err() {
        task.abort();
    }
    answer
}
