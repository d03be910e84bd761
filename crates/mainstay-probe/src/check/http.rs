//! Checks over HTTP/1.1.
//!
//! Every probe opens a connection of its own, as HAProxy's do: it asks whether a *new* request
//! would be served, and a listener that no longer accepts is just what a kept connection would
//! hide. Redirections are not followed: an answer that sends elsewhere is not this server's.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mainstay_config::{EndpointUrl, HttpCheck};
use mainstay_policy::health::Check;
use mainstay_protocol::oip::path;
use mainstay_protocol::{Called, v1};
use mainstay_tls::client::Speak;
use tokio::task::JoinSet;

use super::{Found, ModelName, at, connect};

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
    match exchange(address, get(path)).await {
        Ok(answer) => {
            let status = answer.response.status().as_u16();
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

/// `GET /v1/models/NAME`: some version is AVAILABLE, or KServe's `ready` is true. Without a model
/// the list of models, which `TensorFlow` Serving does not have: there any answer will do.
pub(super) async fn v1_ready(address: &EndpointUrl, model: Option<&ModelName>) -> Found {
    let path = match model {
        Some(model) => v1::path::model_path(
            &address.prefix,
            &Called {
                model: Cow::Borrowed(&model.name),
                version: model.version.as_deref().map(Cow::Borrowed),
                tail: "",
            },
        ),
        None => format!("{}/v1/models", address.prefix),
    };
    let answer = match exchange(address, get(path)).await {
        Ok(answer) => answer,
        Err(found) => return found,
    };
    let (status, text) = answer.text(BODY_LIMIT).await;
    match (status.as_u16(), v1::status::is_ready(text.as_bytes())) {
        (200, Some(true)) => Found::new(Check::Passed, "HTTP 200, ready"),
        (200, Some(false)) => Found::new(Check::NotReady, "HTTP 200, not ready"),
        (200, None) if model.is_some() => Found::new(Check::Failed, "HTTP 200, and no word of it"),
        (200, None) => Found::new(Check::Passed, "HTTP 200"),
        (404, _) if model.is_none() => Found::new(Check::Passed, "HTTP 404"),
        (status @ (400 | 404 | 503), _) => Found::new(Check::NotReady, format!("HTTP {status}")),
        (status, _) => Found::new(Check::Failed, format!("HTTP {status}")),
    }
}

/// `GET /ping`, as `TorchServe` and MLflow have it.
pub(super) async fn ping(address: &EndpointUrl) -> Found {
    match exchange(address, get(format!("{}/ping", address.prefix))).await {
        Ok(answer) => {
            let status = answer.response.status().as_u16();
            let check = match status {
                200 => Check::Passed,
                503 => Check::NotReady,
                _ => Check::Failed,
            };
            Found::new(check, format!("HTTP {status}"))
        }
        Err(found) => found,
    }
}

fn get(path: String) -> Question {
    Question { method: Method::GET, path, headers: HeaderMap::new(), body: Bytes::new() }
}

/// Any request whose status and body must match. A 503 that does not match says "not ready".
pub(super) async fn matches(address: &EndpointUrl, check: &HttpCheck) -> Found {
    let question = Question {
        method: check.method.clone(),
        path: check.path.clone(),
        headers: check.headers.clone(),
        body: check.body.clone().unwrap_or_default().into(),
    };
    let answer = match exchange(&at(address, check.port), question).await {
        Ok(answer) => answer,
        Err(found) => return found,
    };
    let status = answer.response.status().as_u16();
    if !check.status.iter().any(|range| range.contains(&status)) {
        let result = if status == 503 { Check::NotReady } else { Check::Failed };
        return Found::new(result, format!("HTTP {status}"));
    }
    match &check.contains {
        None => Found::new(Check::Passed, format!("HTTP {status}")),
        Some(wanted) => contains(answer, wanted.as_bytes()).await,
    }
}

async fn contains(mut answer: Answer, wanted: &[u8]) -> Found {
    match holds(answer.response.body_mut(), wanted).await {
        Ok(true) => Found::new(Check::Passed, "the body matches"),
        Ok(false) => Found::new(Check::Failed, "the body does not hold the expected text"),
        Err(error) => Found::new(Check::Failed, format!("the body cannot be read: {error}")),
    }
}

/// Whether the text stands in the first [`BODY_LIMIT`] bytes. Stops when it was found, so that
/// the body may go on for ever.
async fn holds(body: &mut Incoming, wanted: &[u8]) -> hyper::Result<bool> {
    let mut start = Vec::new();
    while start.len() < BODY_LIMIT {
        let Some(frame) = body.frame().await else { return Ok(false) };
        let Ok(data) = frame?.into_data() else { continue };
        let room = BODY_LIMIT - start.len();
        start.extend_from_slice(&data[..data.len().min(room)]);
        if wanted.is_empty() || start.windows(wanted.len()).any(|part| part == wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The most of a page of counters that is read, in bytes: a server with hundreds of models and
/// histograms for each shows a few of these.
const PAGE_LIMIT: usize = 4 * 1024 * 1024;

/// The text at `path`, or why there is none.
pub(crate) async fn read_page(address: &EndpointUrl, path: &str) -> Result<String, String> {
    let question = Question {
        method: Method::GET,
        path: path.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let answer = exchange(address, question).await.map_err(|found| found.detail)?;
    let status = answer.response.status();
    if !status.is_success() {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    let Answer { response, _connection } = answer;
    let body = Limited::new(response.into_body(), PAGE_LIMIT).collect().await;
    let bytes = body.map_err(|error| format!("the page cannot be read: {error}"))?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Question {
    /// The request, with what every request carries unless the check says otherwise.
    fn request(self, address: &EndpointUrl) -> http::Result<Request<Full<Bytes>>> {
        let mut request =
            Request::builder().method(self.method).uri(self.path).body(Full::new(self.body))?;
        let host = HeaderValue::try_from(address.authority())?;
        let headers = request.headers_mut();
        *headers = self.headers;
        headers.entry(HOST).or_insert(host);
        headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
        Ok(request)
    }
}

/// The head of an answer, with its body still to come.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// The connection, which ends with the answer: a probe leaves nothing behind.
    _connection: JoinSet<hyper::Result<()>>,
}

impl Answer {
    /// The status, and the beginning of the body as a text.
    pub(super) async fn text(self, limit: usize) -> (StatusCode, String) {
        let Self { response, _connection } = self;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await;
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Asks on a new connection.
pub(super) async fn exchange(address: &EndpointUrl, question: Question) -> Result<Answer, Found> {
    let failed = |error: &dyn std::fmt::Display| Found::new(Check::Failed, error.to_string());
    let request = question.request(address).map_err(|error| failed(&error))?;
    let stream = connect(address, Speak::Http1).await.map_err(|error| Found::unopened(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let mut task = JoinSet::new();
    task.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    Ok(Answer { response, _connection: task })
}
