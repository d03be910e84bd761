//! Streams of predictions: the first message names the model.

use std::pin::pin;
use std::sync::Arc;

use hyper::body::Incoming;
use mainstay_policy::Moment;
use mainstay_protocol::{Protocol, grpc};

use super::super::ask::{Ask, Payload, Stream};
use super::super::fault::Fault;
use super::super::own;
use super::super::recognise::Rpc;
use crate::flight::Flight;
use crate::timeouts::within;
use crate::upstream::{Messages, Room};

/// Waits for the first message; gives the request that begins with it, and the time then.
pub(super) async fn begin(
    flight: &mut Flight,
    rpc: Rpc,
    body: Incoming,
) -> Result<(Ask, Moment), Fault> {
    let worker = std::rc::Rc::clone(&flight.worker);
    let limits = worker.view().limits.clone();
    let memory = Arc::clone(&worker.shared.memory);
    let room = Room { memory, longest: limits.body, kept: limits.replay };
    let messages = Messages::new(body, room);
    let first = {
        let mut first = pin!(messages.first());
        within(&worker, flight.started(), limits.idle_timeout, first.as_mut()).await
    };
    let first = first.ok_or_else(Fault::body_stalled)?;
    let first = first.ok_or_else(|| Fault::broken(&"the stream has no message"))?;
    let first = first.map_err(|error| Fault::broken(&error))?;
    let called = grpc::called(&first)
        .ok_or_else(|| Fault::broken(&"the first message does not say which model is asked"))?;
    let route = own::route(&worker, &called.model)?;
    flight.ask_for(&route, Protocol::OipGrpc);
    // A client may be slow to begin: its deadline runs from the first message.
    let now = worker.clock.now();
    let payload = Payload::Stream(Stream::new(messages));
    rpc.ask(route, &called.model, (payload, now)).map(|ask| (ask, now))
}
