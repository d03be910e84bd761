//! What the gateway answers for itself: health, metadata, and which models can be asked.

use http::request::Parts;
use http::{Method, Response, StatusCode};
use mainstay_policy::Moment;
use mainstay_policy::chain;
use mainstay_protocol::oip::path::Call;
use mainstay_protocol::oip::{Encoded, metadata, repository};

use super::fault::Fault;
use super::reply;
use crate::callers::{Denied, Who};
use crate::client::AnswerBody;
use crate::snapshot::{Route, RouteView, Snapshot};
use crate::worker::Worker;

/// The route of a model, or a fault that names the models there are.
pub(super) fn route(worker: &Worker, model: &str) -> Result<RouteView, Fault> {
    let view = worker.view();
    view.route(model).ok_or_else(|| match view.callers {
        None => Fault::unknown_model(model, view.model_names()),
        // Which models there are is for those who may ask them; see the index.
        Some(_) => Fault::unknown_model(model, std::iter::empty()),
    })
}

/// The same for an answer of the gateway's own about the model, if its caller may have one.
pub(super) fn visible(worker: &Worker, parts: &Parts, model: &str) -> Result<RouteView, Fault> {
    let route = route(worker, model)?;
    if may_see(parts, (&route.name, model)) { Ok(route) } else { Err(Fault::denied(Denied::Model)) }
}

/// Whether whoever asks may know of the model; everybody may, where nobody needs a key.
pub(super) fn is_visible(parts: &Parts, route: &Route) -> bool {
    may_see(parts, (&route.name, &route.name))
}

fn may_see(parts: &Parts, (route, model): (&str, &str)) -> bool {
    let who = parts.extensions.get::<Who>();
    who.is_none_or(|who| who.caller.grant.allows(route, model))
}

/// Answers a call that no model's servers are needed for.
pub(super) fn answer(
    worker: &Worker,
    parts: &Parts,
    call: &Call<'_>,
) -> Result<Response<AnswerBody>, Fault> {
    let method = &parts.method;
    let index = matches!(call, Call::RepositoryIndex);
    if index && method != Method::POST && method != Method::GET {
        return Err(Fault::method("POST"));
    }
    if !index && method != Method::GET && method != Method::HEAD {
        return Err(Fault::method("GET"));
    }
    let (ready, body) = match call {
        Call::ServerLive => (true, metadata::live(true)),
        Call::ServerReady => {
            let ready = is_ready(worker);
            (ready, metadata::ready(ready))
        }
        Call::ServerMetadata => (true, metadata::render_server(&server())),
        Call::RepositoryIndex => (true, repository::render(&models(worker, parts))),
        _ => {
            let model = call.model().unwrap_or_default();
            let route = visible(worker, parts, model)?;
            let ready = route_available(&route, worker.clock.now());
            (ready, metadata::model_ready(model, ready))
        }
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(reply::own(status, Encoded { body, json_len: None }))
}

/// Whether requests should come here: not while draining, and only if a model can be answered.
pub(super) fn is_ready(worker: &Worker) -> bool {
    let now = worker.clock.now();
    !worker.shared.is_draining() && can_serve(&worker.view(), now)
}

/// Whether a model can be answered, or a TCP connection passed on.
pub(crate) fn can_serve(snapshot: &Snapshot, now: Moment) -> bool {
    snapshot.routes.iter().any(|route| route_available(route, now))
        || snapshot.tcp.iter().any(|listener| listener.is_available(now))
}

/// Whether some step of the route could answer now.
pub(crate) fn route_available(route: &Route, now: Moment) -> bool {
    route.plan.steps().iter().any(|step| match step {
        chain::Step::Local(local) => local.is_available() && !local.may_decline,
        chain::Step::Pool(pool) => pool.members.iter().any(|member| {
            member.target.health.verdict().takes_traffic()
                && member.target.breaker.would_admit(now).is_ok()
        }),
    })
}

/// What the gateway says of itself.
pub(super) fn server() -> metadata::Server {
    metadata::Server {
        name: "mainstay".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: vec!["binary_tensor_data".to_owned(), "model_repository".to_owned()],
    }
}

/// The models that can be asked, and whether they can answer now.
pub(super) fn models(worker: &Worker, parts: &Parts) -> Vec<repository::Entry> {
    let now = worker.clock.now();
    let view = worker.view();
    view.routes
        .iter()
        .filter(|route| is_visible(parts, route))
        .map(|route| {
            let available = route_available(route, now);
            let state = Some(if available {
                repository::State::Ready
            } else {
                repository::State::Unavailable
            });
            let reason = if available { "" } else { "no step of its chain can answer" };
            repository::Entry {
                name: route.name.to_string(),
                version: String::new(),
                state,
                reason: reason.to_owned(),
            }
        })
        .collect()
}
