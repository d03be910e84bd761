//! From a request to its answer.
//!
//! | answer | when |
//! |---|---|
//! | 400 | the request is at fault; the model is not ready (Triton's way) |
//! | 404 | no such model, version or path |
//! | 405 | another method is needed |
//! | 413, 415 | a body that is too long, or compressed |
//! | 500 | the model failed |
//! | 503 with `Retry-After` | the executor's queue is full |
//!
//! Errors have the protocol's body, `{"error":"…"}`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use mainstay_onnx::Executor;
use mainstay_protocol::oip::answer;
use mainstay_protocol::oip::path::{self, Call};
use mainstay_protocol::oip::repository::State;
use mainstay_protocol::oip::{JSON_LENGTH_HEADER, infer, metadata, repository};

use crate::VERSION;
use crate::repository::Repository;

mod reply;
pub(crate) mod rpc;
mod v1;

use reply::{Refusal, ok, ok_encoded, refuse};

/// What the server says of itself.
const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_repository"];

/// Everything that an answer needs.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) repository: Repository,
    pub(crate) executor: Executor,
    /// The longest request body, in bytes.
    pub(crate) body_limit: usize,
}

type Answer = Result<Response<Full<Bytes>>, Refusal>;

impl Service {
    /// Answers one request.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        if head.uri.path().starts_with("/v1/") {
            return self.answer_v1(&head, body).await.unwrap_or_else(refuse);
        }
        let answer = match path::recognise(head.uri.path()) {
            None => Err(Refusal::not_found("no such path; paths begin with /v2, or with /v1")),
            Some(call) if !allows(&call, &head.method) => Err(Refusal::method(&method(&call))),
            Some(Call::Infer { model, version }) => {
                self.infer(&model, version.as_deref(), &head.headers, body).await
            }
            Some(Call::RepositoryLoad { model }) => self.load(model.into_owned()).await,
            Some(Call::RepositoryIndex) => self.index(&head.headers, body).await,
            Some(call) => self.describe(&call),
        };
        answer.unwrap_or_else(refuse)
    }

    /// The calls that need no body and do not wait.
    fn describe(&self, call: &Call<'_>) -> Answer {
        match call {
            Call::ServerLive => Ok(ok(metadata::live(true))),
            Call::ServerReady => self.server_ready(),
            Call::ServerMetadata => Ok(ok(metadata::render_server(&metadata_of_server()))),
            Call::ModelReady { model, version } => {
                self.repository.ready(model, version.as_deref())?;
                Ok(ok(metadata::model_ready(model, true)))
            }
            Call::ModelMetadata { model, version } => {
                self.model_metadata(model, version.as_deref())
            }
            Call::RepositoryUnload { model } => {
                self.repository.unload(model)?;
                Ok(ok(Bytes::new()))
            }
            Call::Other { tail, .. } => {
                Err(Refusal::not_found(&format!("models have no {tail:?} here")))
            }
            Call::Infer { .. } | Call::RepositoryIndex | Call::RepositoryLoad { .. } => {
                Err(Refusal::not_found("the call needs its body"))
            }
        }
    }

    fn server_ready(&self) -> Answer {
        if self.repository.all_ready() {
            return Ok(ok(metadata::ready(true)));
        }
        let failed = self.repository.failed();
        let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
        Err(Refusal::not_ready(&format!("not every model is loaded: {}", names.join(", "))))
    }

    fn model_metadata(&self, name: &str, version: Option<&str>) -> Answer {
        let model = self.repository.ready(name, version)?;
        Ok(ok(metadata::render_model(&metadata::Model {
            name: name.to_owned(),
            versions: vec![VERSION.to_owned()],
            platform: "onnx".to_owned(),
            inputs: model.inputs().to_vec(),
            outputs: model.outputs().to_vec(),
        })))
    }

    async fn infer(
        &self,
        name: &str,
        version: Option<&str>,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Answer {
        let model = self.repository.ready(name, version)?;
        let json_len = json_length(headers)?;
        let body = self.read(headers, body).await?;
        let request = infer::parse(&body, json_len)?;
        drop(body);
        let outputs = self.executor.run(model, request.inputs).await?;
        let response = answer::Response {
            model_name: name.to_owned(),
            model_version: Some(VERSION.to_owned()),
            id: request.id,
            outputs,
            ..answer::Response::default()
        };
        let encoded = answer::render(&response, &request.outputs, request.binary_output);
        Ok(ok_encoded(encoded.map_err(Refusal::of_output)?))
    }

    /// Loading blocks, so it has a thread of its own.
    async fn load(self: Arc<Self>, model: String) -> Answer {
        let loading = tokio::task::spawn_blocking(move || self.repository.load(&model));
        loading.await.map_err(|_| Refusal::broken("loading was cut short"))??;
        Ok(ok(Bytes::new()))
    }

    /// The index; a body `{"ready":true}` leaves out what is not ready.
    async fn index(&self, headers: &HeaderMap, body: Incoming) -> Answer {
        let body = self.read(headers, body).await?;
        let asked: serde_json::Value = match body.is_empty() {
            true => serde_json::Value::Null,
            false => serde_json::from_slice(&body).map_err(mainstay_protocol::Error::from)?,
        };
        let mut entries = self.repository.index();
        if asked["ready"] == true {
            entries.retain(|entry| entry.state == Some(State::Ready));
        }
        Ok(ok(repository::render(&entries)))
    }

    /// The whole body, up to the limit.
    async fn read(&self, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
        if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Refusal::compressed());
        }
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let announced = announced.and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|length| length > self.body_limit) {
            return Err(Refusal::too_long(self.body_limit));
        }
        match Limited::new(body, self.body_limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_long(self.body_limit)),
            Err(error) => Err(Refusal::bad(&format!("the body could not be read: {error}"))),
        }
    }
}

/// The method that a call needs.
fn method(call: &Call<'_>) -> Method {
    match call {
        Call::Infer { .. }
        | Call::RepositoryIndex
        | Call::RepositoryLoad { .. }
        | Call::RepositoryUnload { .. } => Method::POST,
        Call::ServerLive
        | Call::ServerReady
        | Call::ServerMetadata
        | Call::ModelReady { .. }
        | Call::ModelMetadata { .. }
        | Call::Other { .. } => Method::GET,
    }
}

/// Whether the method is the call's; HEAD asks as GET does, and nothing is known of the rest.
fn allows(call: &Call<'_>, given: &Method) -> bool {
    let needed = method(call);
    matches!(call, Call::Other { .. })
        || *given == needed
        || (needed == Method::GET && *given == Method::HEAD)
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(JSON_LENGTH_HEADER) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|length| length.trim().parse().ok());
    length.map(Some).ok_or_else(|| Refusal::bad("Inference-Header-Content-Length is no length"))
}

fn metadata_of_server() -> metadata::Server {
    metadata::Server {
        name: "mainstay".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}
