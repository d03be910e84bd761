//! The way of a request: recognise, admit, climb the chain, commit or move on, mark, account.

mod admission;
mod admit;
mod affinity;
mod ask;
mod assembly;
mod attempt;
mod beside;
mod climb;
mod cors;
mod exhausted;
mod fault;
mod guard;
mod headers;
mod hold;
mod judge;
mod local;
mod named;
mod once;
mod own;
mod recognise;
mod reply;
mod resume;
mod retry_after;
mod rpc;
mod sequence;
mod talk;
mod waiting;

use std::pin::pin;
use std::rc::Rc;

use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use mainstay_protocol::Protocol;
use mainstay_telemetry::record::{End, Reason};

use crate::client::AnswerBody;
use crate::flight::Flight;
use crate::worker::Worker;
use admit::Admitted;
use fault::{Blame, Fault};
use recognise::Recognised;

pub(crate) use ask::{Ask, Question};
pub(crate) use once::hash_caller;
pub(crate) use own::{can_serve, route_available};
pub(crate) use resume::{Resumable, Resumed, note_cut, resume};
pub(crate) use sequence::{Sequences, sweep_sequences};
pub(crate) use waiting::Waiting;

/// Answers one request, whatever it takes. Whether its client is `trusted` says whether it may
/// name its own priority.
pub(crate) fn answer(
    worker: Rc<Worker>,
    message: Request<Incoming>,
    trusted: bool,
) -> impl Future<Output = Response<AnswerBody>> {
    let flight = Flight::new(worker);
    let id = headers::request_id(flight.id());
    let (parts, body) = message.into_parts();
    // HTTP/1.1 leaves the body of an answer to HEAD out by itself; HTTP/2 would send it.
    let bare = parts.method == Method::HEAD && parts.version == Version::HTTP_2;
    let is_grpc = recognise::is_grpc(&parts);
    let mut cross =
        if flight.worker.is_crossed() { cors::of(&flight.worker, &parts) } else { None };
    // A request's future is large, and copied when it begins: an `async fn` would hold these
    // arguments twice, and a future that is awaited without `pin!` is copied into its place.
    async move {
        let preflight = cross.as_mut().and_then(|cross| cross.preflight.take());
        let mut response = match preflight {
            Some(response) => {
                flight.end(End::Answered, response.status().as_u16());
                response
            }
            None => pin!(respond(flight, (parts, trusted), body)).await,
        };
        if is_grpc {
            response = rpc::dress(response);
        }
        if let Some(cross) = cross {
            cross.mark(response.headers_mut());
        }
        if bare {
            *response.body_mut() = AnswerBody::whole(bytes::Bytes::new());
        }
        response.headers_mut().insert(headers::REQUEST_ID, id);
        response
    }
}

#[expect(clippy::manual_async_fn, reason = "an `async fn` would hold its arguments twice")]
fn respond(
    mut flight: Flight,
    (parts, trusted): (Parts, bool),
    body: Incoming,
) -> impl Future<Output = Response<AnswerBody>> {
    async move {
        let started = flight.started();
        let (mut ask, now) = match recognise::recognise(&flight.worker, parts, trusted, started) {
            Ok(Recognised::Own(response)) => {
                flight.end(End::Answered, response.status().as_u16());
                return response;
            }
            Ok(Recognised::Ask(mut ask)) => {
                flight.ask_for(&ask.route, ask.protocol);
                let admitted = pin!(admit::admit((&*flight.worker, started), body)).await;
                match admitted {
                    Ok(Admitted { payload, reservation, now }) => {
                        ask.payload = payload;
                        ask.reservation = reservation;
                        (ask, now)
                    }
                    Err(fault) => return refuse(flight, &fault),
                }
            }
            // Boxed: of other protocols than the one that costs least.
            Ok(Recognised::Nameless(nameless)) => {
                flight.protocol = nameless.protocol;
                match Box::pin(named::ask(&mut flight, *nameless, body)).await {
                    Ok(asked) => asked,
                    Err(fault) => return refuse(flight, &fault),
                }
            }
            Ok(Recognised::Rpc(rpc)) => {
                flight.protocol = Protocol::OipGrpc;
                match Box::pin(rpc::answer(&mut flight, *rpc, body)).await {
                    Ok(rpc::Answered::Ask(ask, now)) => (*ask, now),
                    Ok(rpc::Answered::Own(response)) => {
                        flight.end(End::Answered, response.status().as_u16());
                        return response;
                    }
                    Err(fault) => return refuse(flight, &fault),
                }
            }
            Err((protocol, fault)) => {
                flight.protocol = protocol;
                return refuse(flight, &fault);
            }
        };
        flight.record.deadline = ask.deadline.since(started);
        if ask.pass.is_some() {
            flight.pass = ask.pass.take();
        }
        if let Some(left) = ask.route.poison.as_ref().and_then(|it| it.refuses(&ask, now)) {
            flight.record.reason = Reason::Poison;
            return refuse(flight, &Fault::poison(&ask.route.name, left));
        }
        if let Some(lasts) = once::rule(&ask) {
            // Boxed: rare, and as large as all the rest.
            return Box::pin(once::answer(flight, ask, lasts)).await;
        }
        pin!(climb::climb(flight, ask, now)).await
    }
}

/// Ends a flight with a fault, said in the protocol's own form.
fn refuse(flight: Flight, fault: &Fault) -> Response<AnswerBody> {
    let response = reply::fault(flight.protocol, fault);
    let end = match fault.blame {
        Blame::Client => End::ClientFault,
        Blame::Load => End::Shed,
        Blame::Upstream => End::Failed,
    };
    flight.end(end, fault.status.as_u16());
    response
}
