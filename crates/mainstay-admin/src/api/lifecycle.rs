//! `GET /api/configuration`, `POST /api/reload` and `POST /api/upgrade`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Gateway;
use crate::code::Code;
use crate::lifecycle::{Later, Lifecycle, Refused};
use crate::refusal::Refusal;

pub(super) async fn configuration(State(source): Gateway) -> Response {
    match source.lifecycle() {
        Some(lifecycle) => Json(lifecycle.configuration().await).into_response(),
        None => super::nothing().await.into_response(),
    }
}

pub(super) async fn reload(State(source): Gateway) -> Response {
    carry_out(&source, Code::ConfigurationRefused, |it| it.reload()).await
}

pub(super) async fn upgrade(State(source): Gateway) -> Response {
    carry_out(&source, Code::UpgradeFailed, |it| it.upgrade()).await
}

/// Carries it out to its end, even if whoever asked for it does not wait.
async fn carry_out(
    source: &std::sync::Arc<dyn crate::source::Source>,
    code: Code,
    what: impl FnOnce(&dyn Lifecycle) -> Later<Result<Value, Refused>>,
) -> Response {
    let Some(lifecycle) = source.lifecycle() else { return super::nothing().await.into_response() };
    let done = tokio::spawn(what(&*lifecycle)).await;
    match done.unwrap_or_else(|panic| Err(Refused::new(panic.to_string()))) {
        Ok(value) => Json(value).into_response(),
        Err(Refused { why, faults }) if faults.is_empty() => {
            Refusal::new(StatusCode::CONFLICT, code, why).into_response()
        }
        Err(Refused { why, faults }) => {
            let body = json!({"error": why, "code": code.as_str(), "faults": faults});
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}
