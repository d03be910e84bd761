//! `/v1/models`: two protocols have this path for their lists, and the same prefix for what a
//! single model is.
//!
//! KServe's V1 protocol lists `{"models": [...]}`, the OpenAI API `{"object": "list", "data":
//! [...]}`. Each kind of client gets its own members of one answer; which of them there are, the
//! pools of the models say.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};
use mainstay_protocol::Protocol;
use mainstay_protocol::oip::{Encoded, path};
use serde_json::{Map, Value, json};

use super::super::fault::Fault;
use super::super::{own, reply};
use super::Heading;
use crate::snapshot::Route;
use crate::worker::Worker;

/// Who keeps the models, as the OpenAI API wants to know it.
const OWNER: &str = "mainstay";

/// The list, or one model of the OpenAI API; `None` for everything else.
pub(super) fn heading(worker: &Worker, parts: &Parts) -> Result<Option<Heading>, Fault> {
    let Some(rest) = parts.uri.path().strip_prefix("/v1/models") else { return Ok(None) };
    let body = match rest {
        "" | "/" => list(worker, parts),
        _ => match openai_model(worker, parts, rest) {
            Some(model) => model,
            None => return Ok(None),
        },
    };
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(Fault::method("GET"));
    }
    let encoded = Encoded { body: body.to_string().into(), json_len: None };
    Ok(Some(Heading::Own(reply::own(StatusCode::OK, encoded))))
}

/// The models of each kind, under the names that its clients look for.
fn list(worker: &Worker, parts: &Parts) -> Value {
    let view = worker.view();
    let mut answer = Map::new();
    let routes = || view.routes.iter().filter(|route| own::is_visible(parts, route));
    let chats: Vec<Value> = routes().filter(|it| is_openai(it)).map(described).collect();
    if !chats.is_empty() {
        answer.insert("object".to_owned(), "list".into());
        answer.insert("data".to_owned(), chats.into());
    }
    let tensors: Vec<&str> = routes().filter(|it| it.has_tensors()).map(|it| &*it.name).collect();
    if !tensors.is_empty() || answer.is_empty() {
        answer.insert("models".to_owned(), json!(tensors));
    }
    answer.into()
}

/// A model of the OpenAI API by what follows `/v1/models` in a path; its name may hold slashes.
fn openai_model(worker: &Worker, parts: &Parts, rest: &str) -> Option<Value> {
    let name = path::decode(rest.strip_prefix('/')?)?;
    let view = worker.view();
    let visible = |route: &&Arc<Route>| is_openai(route) && own::is_visible(parts, route);
    view.route_named(&name).filter(visible).map(described)
}

fn is_openai(route: &Route) -> bool {
    route.has_pool_of(Protocol::OpenAi)
}

fn described(route: &Arc<Route>) -> Value {
    json!({ "id": &*route.name, "object": "model", "created": 0, "owned_by": OWNER })
}
