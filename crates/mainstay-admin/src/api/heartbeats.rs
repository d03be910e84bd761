//! `PUT /v1/heartbeats/{pool}/{endpoint}`: an endpoint says that it lives, and how it is.
//!
//! Registration and renewal are the same request. Endpoints that are not configured exist only
//! where their pool lets servers register themselves, from networks and in numbers that it names:
//! so nobody can make the gateway remember more, or send it anywhere. `DELETE` says that a server
//! goes.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use mainstay_policy::health::heartbeat::State as Said;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Gateway;
use crate::refusal::Refusal;
use crate::source::{Beat, Registration};

/// The longest that a word may hold without being renewed: longer, and a server that died while
/// it said that it drains would do so for a day.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// The shortest: below it, the network decides who lives.
const SHORTEST_LIFETIME: Duration = Duration::from_millis(100);
/// The most that a load can be; 1 is full.
const MOST_LOAD: f32 = 100.0;

/// The body. A key that is misspelt must not be taken for the default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    lifetime: Option<String>,
    #[serde(default)]
    state: Word,
    load: Option<f32>,
    url: Option<String>,
    weight: Option<f32>,
    region: Option<String>,
    zone: Option<String>,
}

/// A state as servers write it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    #[default]
    Ready,
    Loading,
    Draining,
}

pub(super) async fn beat(
    State(source): Gateway,
    path: Result<Path<(String, String)>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let Path((pool, endpoint)) = path.map_err(|e| Refusal::bad_request(e.body_text()))?;
    let body: Body = serde_json::from_slice(&body?)?;
    let beat = Beat {
        pool,
        endpoint,
        state: match body.state {
            Word::Ready => Said::Ready,
            Word::Loading => Said::Loading,
            Word::Draining => Said::Draining,
        },
        load: body.load.map(load).transpose()?,
        lifetime: body.lifetime.as_deref().map(lifetime).transpose()?,
        registration: Registration {
            url: body.url,
            weight: body.weight,
            region: body.region,
            zone: body.zone,
        },
    };
    let renewal = source.heartbeat(&beat)?;
    Ok(Json(json!({
        "renew_seconds": renewal.renew.as_secs_f64(),
        "lifetime_seconds": renewal.lifetime.as_secs_f64(),
    })))
}

pub(super) async fn leave(
    State(source): Gateway,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Refusal> {
    let Path((pool, endpoint)) = path.map_err(|e| Refusal::bad_request(e.body_text()))?;
    source.leave(&pool, &endpoint)?;
    Ok(StatusCode::NO_CONTENT)
}

fn load(load: f32) -> Result<f32, Refusal> {
    if (0.0..=MOST_LOAD).contains(&load) {
        return Ok(load);
    }
    let message = format!("\"load\" is 0 when idle and 1 when full, {MOST_LOAD} at most");
    Err(Refusal::bad_request(message))
}

fn lifetime(text: &str) -> Result<Duration, Refusal> {
    match humantime::parse_duration(text) {
        Ok(time) if (SHORTEST_LIFETIME..=LONGEST_LIFETIME).contains(&time) => Ok(time),
        Ok(_) => Err(Refusal::bad_request("\"lifetime\" must be at least 100ms and at most 1h")),
        Err(error) => Err(Refusal::bad_request(format!("\"lifetime\": \"{text}\": {error}"))),
    }
}
