//! The same answers over gRPC.
//!
//! | status | when |
//! |---|---|
//! | INVALID_ARGUMENT | the request is at fault |
//! | NOT_FOUND | no such model or version |
//! | UNAVAILABLE | the model is not ready |
//! | RESOURCE_EXHAUSTED | the executor's queue is full, or the message is too long |
//! | INTERNAL | the model failed |
//! | UNIMPLEMENTED | anything else |

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mainstay_protocol::Error;
use mainstay_protocol::grpc::{self, Call, Code, health};
use mainstay_protocol::oip::answer;
use mainstay_protocol::oip::metadata::Model;
use mainstay_protocol::oip::repository::State;
use tokio::sync::mpsc;

use super::reply::Refusal;
use super::{Service, metadata_of_server};
use crate::VERSION;

/// Messages of a stream that may wait for their client.
const WAITING: usize = 16;

/// The frames of an answer, as somebody makes them.
#[derive(Debug)]
pub(crate) struct Frames(mpsc::Receiver<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

impl Service {
    /// Answers one call; of a stream, one message after the other.
    pub(crate) fn answer_rpc(self: Arc<Self>, request: Request<Incoming>) -> Response<Frames> {
        let (sender, frames) = mpsc::channel(WAITING);
        let (head, body) = request.into_parts();
        let call = grpc::recognise(head.uri.path());
        tokio::spawn(async move {
            let (code, text) = match call {
                None => (Code::Unimplemented, "no such call".to_owned()),
                Some(call) => match self.converse(call, body, &sender).await {
                    Ok(()) => (Code::Ok, String::new()),
                    Err(refusal) => refusal.status(),
                },
            };
            // The client may have left.
            drop(sender.send(Frame::trailers(trailers(code, &text))).await);
        });
        let mut response = Response::new(Frames(frames));
        let media = HeaderValue::from_static(grpc::MEDIA_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, media);
        response
    }

    async fn converse(
        self: Arc<Self>,
        call: Call,
        mut body: Incoming,
        answers: &mpsc::Sender<Frame<Bytes>>,
    ) -> Result<(), Refusal> {
        let mut parts = VecDeque::new();
        let mut size = 0;
        let mut any = false;
        loop {
            while let Some(message) = grpc::take(&mut parts) {
                size -= message.len();
                any = true;
                let answer = Arc::clone(&self).one(call, &message).await;
                let answer = match answer {
                    Err(refusal) if call == Call::StreamInfer => {
                        grpc::stream_error(&refusal.status().1)
                    }
                    answer => answer?,
                };
                if answers.send(Frame::data(answer)).await.is_err() {
                    return Ok(());
                }
            }
            match body.frame().await {
                None if any => return Ok(()),
                None => return Err(Error::Frame.into()),
                Some(Err(error)) => {
                    return Err(Refusal::bad(&format!("the body could not be read: {error}")));
                }
                Some(Ok(frame)) => {
                    let part = frame.into_data().unwrap_or_default();
                    size += part.len();
                    parts.push_back(part);
                    if size > self.body_limit {
                        return Err(Refusal::too_long(self.body_limit));
                    }
                }
            }
        }
    }

    /// The answer to one message, in its frame.
    async fn one(self: Arc<Self>, call: Call, message: &[u8]) -> Result<Bytes, Refusal> {
        match call {
            Call::ServerLive => Ok(grpc::server_live(true)),
            Call::ServerReady => Ok(grpc::server_ready(self.repository.all_ready())),
            Call::ServerMetadata => Ok(grpc::server_metadata(&metadata_of_server())),
            Call::RepositoryIndex => {
                let mut entries = self.repository.index();
                if grpc::wants_ready(message)? {
                    entries.retain(|entry| entry.state == Some(State::Ready));
                }
                Ok(grpc::index(&entries))
            }
            Call::HealthCheck => {
                let service = health::service(message)?;
                let serves = match service.as_str() {
                    "" | health::INFERENCE => self.repository.all_ready(),
                    model => self.repository.ready(model, None).is_ok(),
                };
                Ok(health::answer(Some(serves)))
            }
            Call::ModelReady => {
                let (name, version) = called(message)?;
                Ok(grpc::model_ready(self.repository.ready(&name, version.as_deref()).is_ok()))
            }
            Call::ModelMetadata => self.describe_rpc(message),
            Call::Infer => Ok(self.infer_rpc(message).await?.body),
            Call::StreamInfer => Ok(grpc::stream_answer(&self.infer_rpc(message).await?.body)?),
            _ => Err(Refusal::unimplemented()),
        }
    }

    fn describe_rpc(&self, message: &[u8]) -> Result<Bytes, Refusal> {
        let (name, version) = called(message)?;
        let model = self.repository.ready(&name, version.as_deref())?;
        Ok(grpc::model_metadata(&Model {
            name,
            versions: vec![VERSION.to_owned()],
            platform: "onnx".to_owned(),
            inputs: model.inputs().to_vec(),
            outputs: model.outputs().to_vec(),
        }))
    }

    async fn infer_rpc(&self, message: &[u8]) -> Result<mainstay_protocol::oip::Encoded, Refusal> {
        let (name, version) = called(message)?;
        let model = self.repository.ready(&name, version.as_deref())?;
        let mut request = grpc::infer::read_request(message)?;
        let inputs = std::mem::take(&mut request.inputs);
        let outputs = self.executor.run(model, inputs).await?;
        let response = answer::Response {
            model_name: name,
            model_version: Some(VERSION.to_owned()),
            id: request.id.clone(),
            outputs,
            ..answer::Response::default()
        };
        grpc::infer::write_answer(&response, &request).map_err(Refusal::of_output)
    }
}

/// The model and the version that a message names.
fn called(message: &[u8]) -> Result<(String, Option<String>), Refusal> {
    let called = grpc::called(message).ok_or_else(|| Refusal::bad("no model is named"))?;
    Ok((called.model.into_owned(), called.version.map(std::borrow::Cow::into_owned)))
}

fn trailers(code: Code, text: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let number = HeaderValue::from(u16::from(code.number()));
    trailers.insert(HeaderName::from_static("grpc-status"), number);
    if let Ok(text) = HeaderValue::from_str(&grpc::encode_message(text)) {
        trailers.insert(HeaderName::from_static("grpc-message"), text);
    }
    trailers
}
