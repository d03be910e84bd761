//! Calls that the gateway answers for itself, and the beginning of streams.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Response, StatusCode};
use http_body::Frame;
use hyper::body::Incoming;
use mainstay_policy::Moment;
use mainstay_protocol::grpc::{self, Call, Code, health};
use mainstay_protocol::oip::Encoded;
use mainstay_protocol::oip::repository::State;
use tokio::sync::mpsc;

use super::super::admit::admit;
use super::super::ask::{Ask, Payload};
use super::super::fault::Fault;
use super::super::recognise::Rpc;
use super::super::{own, reply};
use super::{put_status, stream};
use crate::client::AnswerBody;
use crate::flight::Flight;
use crate::upstream::{Messages, Room};
use crate::worker::Worker;

/// How often somebody who watches is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The longest question of reflection, in bytes.
const QUESTION: usize = 64 * 1024;

/// What a call came to.
pub(in crate::request) enum Answered {
    /// The gateway answered for itself.
    Own(Response<AnswerBody>),
    /// A model is asked, by a stream.
    Ask(Box<Ask>, Moment),
}

/// Answers a call, or begins a stream.
pub(in crate::request) async fn answer(
    flight: &mut Flight,
    rpc: Rpc,
    body: Incoming,
) -> Result<Answered, Fault> {
    let worker = Rc::clone(&flight.worker);
    if rpc.call == Call::StreamInfer {
        let (ask, now) = stream::begin(flight, rpc, body).await?;
        return Ok(Answered::Ask(Box::new(ask), now));
    }
    if rpc.call == Call::Reflection {
        let memory = std::sync::Arc::clone(&worker.shared.memory);
        let questions = Messages::new(body, Room { memory, longest: QUESTION, kept: 0 });
        let (sender, frames) = mpsc::channel(1);
        tokio::task::spawn_local(reflect(questions, sender));
        return Ok(Answered::Own(Response::new(AnswerBody::frames(frames))));
    }
    let admitted = admit((&worker, flight.started()), body).await?;
    let limit = worker.view().limits.replay;
    let Payload::Kept(asked) = admitted.payload else { return Err(Fault::too_large(limit)) };
    let broken = |error: mainstay_protocol::Error| Fault::broken(&error);
    let body = match rpc.call {
        Call::ServerLive => grpc::server_live(true),
        Call::ServerReady => grpc::server_ready(own::is_ready(&worker)),
        Call::ServerMetadata => grpc::server_metadata(&own::server()),
        Call::RepositoryIndex => {
            let mut entries = own::models(&worker, rpc.parts());
            if grpc::wants_ready(&asked).map_err(broken)? {
                entries.retain(|entry| entry.state == Some(State::Ready));
            }
            grpc::index(&entries)
        }
        Call::ModelReady => {
            let called = grpc::called(&asked)
                .ok_or_else(|| Fault::broken(&"the message does not say which model is asked"))?;
            let route = own::visible(&worker, rpc.parts(), &called.model)?;
            grpc::model_ready(own::route_available(&route, worker.clock.now()))
        }
        Call::HealthCheck => {
            let service = health::service(&asked).map_err(broken)?;
            let serves = serves(&worker, &service);
            health::answer(Some(serves.ok_or_else(|| Fault::no_such_service(&service))?))
        }
        Call::HealthWatch => {
            let service = health::service(&asked).map_err(broken)?;
            let (sender, frames) = mpsc::channel(1);
            tokio::task::spawn_local(watch(Rc::clone(&worker), service, sender));
            return Ok(Answered::Own(Response::new(AnswerBody::frames(frames))));
        }
        _ => return Err(Fault::no_such_call("")),
    };
    Ok(Answered::Own(reply::own(StatusCode::OK, Encoded { body, json_len: None })))
}

/// Whether a service is healthy: the gateway, or a model by its name. `None` where there is none
/// of this name.
fn serves(worker: &Worker, service: &str) -> Option<bool> {
    if service.is_empty() || service == health::INFERENCE {
        return Some(own::is_ready(worker));
    }
    let view = worker.view();
    let route = view.route(service)?;
    Some(!worker.shared.is_draining() && own::route_available(&route, worker.clock.now()))
}

/// Tells of a service's health now, and of every change, until the gateway leaves.
async fn watch(worker: Rc<Worker>, service: String, sender: mpsc::Sender<Frame<Bytes>>) {
    let mut told = None;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = sender.closed() => return,
        }
        let now = serves(&worker, &service);
        if told != Some(now) {
            told = Some(now);
            if sender.send(Frame::data(health::answer(now))).await.is_err() {
                return;
            }
        }
        if worker.shared.is_draining() || worker.parting.get() {
            let _left = sender.send(end(Code::Unavailable, "the gateway leaves")).await;
            return;
        }
    }
}

/// Answers questions of reflection until the client has no more.
async fn reflect(questions: Rc<Messages>, sender: mpsc::Sender<Frame<Bytes>>) {
    loop {
        let question = tokio::select! {
            question = questions.next() => question,
            () = sender.closed() => return,
        };
        let frame = match question {
            None => end(Code::Ok, ""),
            Some(Err(error)) => end(Code::InvalidArgument, &error.to_string()),
            Some(Ok(asked)) => match grpc::reflect(&asked) {
                Ok(said) => Frame::data(said),
                Err(error) => end(Code::InvalidArgument, &error.to_string()),
            },
        };
        let over = frame.is_trailers();
        if sender.send(frame).await.is_err() || over {
            return;
        }
    }
}

/// The end of a stream.
fn end(code: Code, text: &str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    put_status(&mut trailers, code, text);
    Frame::trailers(trailers)
}
