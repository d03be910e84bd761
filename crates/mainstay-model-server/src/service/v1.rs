//! The same models by the V1 protocol of `TensorFlow` Serving and KServe.

use http::request::Parts;
use http::{HeaderMap, Method};
use hyper::body::Incoming;
use mainstay_onnx::Model;
use mainstay_protocol::form::{self, Context};
use mainstay_protocol::oip::answer::Response;
use mainstay_protocol::oip::metadata;
use mainstay_protocol::v1::path::{self, Verb};
use mainstay_protocol::v1::status;
use mainstay_protocol::{Called, Protocol};

use super::reply::{Refusal, ok, ok_encoded};
use super::{Answer, Service};
use crate::VERSION;

/// What the model's messages do not say of its tensors.
fn context<'a>(name: &'a str, model: &'a Model) -> Context<'a> {
    Context { model: name, inputs: model.inputs(), outputs: model.outputs() }
}

impl Service {
    /// Answers a request whose path begins as this protocol's do.
    pub(super) async fn answer_v1(&self, head: &Parts, body: Incoming) -> Answer {
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        if head.uri.path() == "/v1/models" {
            let names: Vec<String> =
                self.repository.index().into_iter().map(|it| it.name).collect();
            return Ok(ok(status::list(names.iter().map(String::as_str))));
        }
        let Some((called, verb)) = path::recognise(head.uri.path()) else {
            return Err(Refusal::not_found("no such path; the V1 protocol asks /v1/models/NAME"));
        };
        match verb {
            Verb::Predict if head.method == Method::POST => {
                self.predict(&called, &head.headers, body).await
            }
            Verb::Predict => Err(Refusal::method(&Method::POST)),
            Verb::Status | Verb::Metadata if !reads => Err(Refusal::method(&Method::GET)),
            Verb::Status => {
                self.repository.ready(&called.model, called.version.as_deref())?;
                Ok(ok(status::render(&called.model, Some(VERSION), true)))
            }
            Verb::Metadata => self.describe_v1(&called),
            Verb::Other => Err(Refusal::not_found("models can predict here, and nothing else")),
        }
    }

    fn describe_v1(&self, called: &Called<'_>) -> Answer {
        let model = self.repository.ready(&called.model, called.version.as_deref())?;
        let model = metadata::Model {
            name: called.model.to_string(),
            versions: vec![VERSION.to_owned()],
            platform: "onnx".to_owned(),
            inputs: model.inputs().to_vec(),
            outputs: model.outputs().to_vec(),
        };
        Ok(ok(form::write_metadata(Protocol::V1, &model)))
    }

    async fn predict(&self, called: &Called<'_>, headers: &HeaderMap, body: Incoming) -> Answer {
        let model = self.repository.ready(&called.model, called.version.as_deref())?;
        let body = self.read(headers, body).await?;
        let context = context(&called.model, &model);
        let mut request = form::read_request(Protocol::V1, (&body, None), context)?;
        drop(body);
        let inputs = std::mem::take(&mut request.inputs);
        let outputs = self.executor.run(std::sync::Arc::clone(&model), inputs).await?;
        let response = Response { outputs, ..Response::default() };
        let encoded = form::write_answer(Protocol::V1, &response, &request, context);
        Ok(ok_encoded(encoded.map_err(Refusal::of_output)?))
    }
}
