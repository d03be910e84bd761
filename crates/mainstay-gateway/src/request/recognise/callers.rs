//! Who asks, where that has to be known.
//!
//! What asks no model and tells nothing of one is for everybody: liveness, readiness of the
//! gateway as a whole, and its metadata. Whoever balances over gateways has no key.

use std::sync::Arc;

use ::http::request::Parts;
use mainstay_protocol::certificate::Certificate;
use mainstay_protocol::oip::path::{self, Call};
use mainstay_protocol::{Protocol, grpc};

use super::super::fault::Fault;
use crate::callers::{Denied, Who};
use crate::worker::Worker;

/// Notes who asks, for whoever recognises the model.
pub(super) fn identify(worker: &Worker, parts: &mut Parts) -> Result<(), (Protocol, Fault)> {
    let view = worker.view();
    let Some(callers) = &view.callers else { return Ok(()) };
    let shown = parts.extensions.get::<Arc<Certificate>>().cloned();
    let found = callers.identify(&mut parts.headers, shown.as_deref(), worker.clock);
    match found {
        Ok(who) => {
            parts.extensions.insert(who);
            Ok(())
        }
        Err(Denied::Nameless | Denied::Unknown) if is_open(parts) => Ok(()),
        Err(denied) => Err((spoken(parts), Fault::denied(denied))),
    }
}

/// Who may ask some models only is not told which others there are: one that is unknown is
/// refused as one that is not its own.
pub(super) fn hidden(fault: Fault, parts: &Parts) -> Fault {
    let who = parts.extensions.get::<Who>();
    let bound = who.is_some_and(|who| who.caller.grant.models.is_some());
    if bound && fault.is_unknown_model() { Fault::denied(Denied::Model) } else { fault }
}

/// What the client most likely speaks: which model it asks is not looked at for a stranger.
fn spoken(parts: &Parts) -> Protocol {
    if super::is_grpc(parts) {
        return Protocol::OipGrpc;
    }
    let path = parts.uri.path();
    match path.strip_prefix("/v1/") {
        Some(rest) if rest.starts_with("models") => Protocol::V1,
        Some(_) => Protocol::OpenAi,
        None if path.starts_with("/predictions/") || path == "/models" => Protocol::TorchServe,
        None => Protocol::Oip,
    }
}

fn is_open(parts: &Parts) -> bool {
    let path = parts.uri.path();
    if super::is_grpc(parts) {
        let call = grpc::recognise(path);
        return matches!(call, Some(grpc::Call::ServerLive | grpc::Call::ServerReady));
    }
    let call = path::recognise(path);
    path == "/ping"
        || matches!(call, Some(Call::ServerLive | Call::ServerReady | Call::ServerMetadata))
}
