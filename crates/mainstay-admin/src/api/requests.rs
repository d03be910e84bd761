//! `GET /api/requests` and `GET /api/requests/{id}`: why requests were answered as they were.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use mainstay_telemetry::RequestId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Gateway, record};
use crate::code::Code;
use crate::refusal::Refusal;

/// The most that one answer holds.
const MOST: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only those that were retried, degraded or not answered.
    #[serde(default)]
    kept: bool,
    #[serde(default = "few")]
    limit: usize,
}

const fn few() -> usize {
    50
}

pub(super) async fn list(
    State(source): Gateway,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(Which { kept, limit }) = query?;
    let view = record::View::new(&*source);
    let records = source.telemetry().recent(limit.min(MOST), kept);
    let records: Vec<_> = records.iter().map(|record| view.show(record)).collect();
    Ok(Json(json!({"requests": records})))
}

pub(super) async fn one(
    State(source): Gateway,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let unknown = |message: &str| {
        Refusal::new(StatusCode::NOT_FOUND, Code::UnknownRequest, message.to_owned())
    };
    let id: RequestId =
        id.parse().map_err(|_| unknown("the id of a request is 16 hexadecimal digits"))?;
    let record = source.telemetry().request(id);
    let record = record.ok_or_else(|| unknown("no record of this request is left"))?;
    Ok(Json(record::View::new(&*source).show(&record)))
}
