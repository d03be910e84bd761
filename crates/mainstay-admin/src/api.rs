//! The paths of the listener, each a small translation between HTTP and the [`Source`].

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use mainstay_telemetry::exposition;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::code::Code;
use crate::gauges;
use crate::refusal::Refusal;
use crate::source::{Readiness, Source};
use crate::status::Status;

mod breakers;
mod events;
mod heartbeats;
mod lifecycle;
mod orders;
mod record;
mod requests;

pub use breakers::LONGEST_OVERRIDE;
pub use heartbeats::LONGEST_LIFETIME;
pub use orders::LONGEST_ORDER;

/// The largest body that a verb may have, in bytes.
pub(crate) const BODY: usize = 16 * 1024;

/// The content type of the status.
const JSON: &str = "application/json";

/// Where another configuration is asked for, and another binary: both take their time.
pub(crate) const RELOAD: &str = "/api/reload";
pub(crate) const UPGRADE: &str = "/api/upgrade";

/// How handlers see the gateway.
type Gateway = State<Arc<dyn Source>>;

/// Every path, unguarded.
pub(crate) fn routes(source: Arc<dyn Source>) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/healthz/deep", get(deep))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/events", get(events::list))
        .route("/api/requests", get(requests::list))
        .route("/api/requests/{id}", get(requests::one))
        .route("/api/breakers", post(breakers::force))
        .route("/api/configuration", get(lifecycle::configuration))
        .route(RELOAD, post(lifecycle::reload))
        .route(UPGRADE, post(lifecycle::upgrade))
        .route("/v1/heartbeats/{pool}/{endpoint}", put(heartbeats::beat).delete(heartbeats::leave))
        .route("/v1/orders", get(orders::list).post(orders::order))
        .route("/v1/forecast", get(orders::forecast))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(source)
}

async fn live(State(source): Gateway) -> Response {
    let live = source.live();
    let reasons: &[&str] = if live { &[] } else { &["a worker has shown no life for too long"] };
    (health(live), Json(json!({"live": live, "reasons": reasons}))).into_response()
}

async fn ready(State(source): Gateway) -> (StatusCode, Json<Readiness>) {
    answer(source.readiness())
}

async fn deep(State(source): Gateway) -> (StatusCode, Json<Readiness>) {
    answer(source.deep())
}

async fn metrics(State(source): Gateway) -> Response {
    let page = apart(move || {
        let mut page = String::new();
        let written = source.telemetry().encode(&gauges::of(&source.status()), &mut page);
        written.map(|()| page).ok()
    });
    match page.await.flatten() {
        Some(page) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], page).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn status(State(source): Gateway) -> Response {
    let page = apart(move || serde_json::to_vec::<Status>(&source.status()).ok());
    match page.await.flatten() {
        Some(page) => ([(header::CONTENT_TYPE, JSON)], page).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Makes a page apart from the loop that probes and judges: with thousands of endpoints it takes
/// longer than a probe may. Two at a time, since each may be large; `None` if it panicked.
async fn apart<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    static PAGES: Semaphore = Semaphore::const_new(2);
    // It is never closed.
    let _place = PAGES.acquire().await;
    tokio::task::spawn_blocking(make).await.ok()
}

async fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, Code::NoSuchPath, "there is nothing at this path")
}

async fn wrong_method() -> Refusal {
    let message = "this path does not take that method";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::NoSuchPath, message)
}

fn answer(readiness: Readiness) -> (StatusCode, Json<Readiness>) {
    (health(readiness.ready), Json(readiness))
}

const fn health(healthy: bool) -> StatusCode {
    if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
