//! `POST /api/breakers`: an operator's word on the breakers of an endpoint.
//!
//! A forced breaker that is forgotten is the next outage, so it must say why it is there and end
//! by itself.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Gateway;
use crate::refusal::Refusal;
use crate::source::{BreakerOverride, Force};

/// The longest that an override may last.
pub const LONGEST_OVERRIDE: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters of a reason.
const REASON: usize = 200;

/// The body. A key that is misspelt must not make an override meet more than it was meant to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    pool: String,
    endpoint: String,
    model: Option<String>,
    force: Force,
    reason: String,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

pub(super) async fn force(
    State(source): Gateway,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let body: Body = serde_json::from_slice(&body?)?;
    let request = body.validate()?;
    let outcome = source.force_breaker(&request);
    let (pool, endpoint) = (&request.pool, &request.endpoint);
    tracing::info!(
        pool,
        endpoint,
        model = request.model.as_deref().unwrap_or("*"),
        force = request.force.as_str(),
        lasts = ?request.lasts,
        reason = request.reason,
        targets = outcome.as_ref().ok(),
        "an operator forced breakers"
    );
    let lasts = request.lasts.as_secs_f64();
    Ok(Json(json!({
        "targets": outcome?,
        "force": request.force,
        "for_seconds": lasts,
        "reason": request.reason,
    })))
}

impl Body {
    fn validate(self) -> Result<BreakerOverride, Refusal> {
        Ok(BreakerOverride {
            lasts: lasts(self.force, self.lasts.as_deref())?,
            reason: reason(&self.reason)?,
            pool: self.pool,
            endpoint: self.endpoint,
            model: self.model,
            force: self.force,
        })
    }
}

fn lasts(force: Force, text: Option<&str>) -> Result<Duration, Refusal> {
    if force == Force::None {
        return Ok(Duration::ZERO);
    }
    let Some(text) = text else {
        let message = "say how long it lasts, for example \"for\": \"5m\"; 24h at most";
        return Err(Refusal::bad_request(message));
    };
    match humantime::parse_duration(text) {
        Ok(lasts) if !lasts.is_zero() && lasts <= LONGEST_OVERRIDE => Ok(lasts),
        Ok(_) => Err(Refusal::bad_request("\"for\" must be more than nothing and at most 24h")),
        Err(error) => Err(Refusal::bad_request(format!("\"for\": \"{text}\": {error}"))),
    }
}

/// The reason is shown in logs and tables: one line of some length.
pub(super) fn reason(text: &str) -> Result<String, Refusal> {
    let reason = text.trim();
    let sound = (1..=REASON).contains(&reason.chars().count());
    if sound && !reason.contains(char::is_control) {
        return Ok(reason.to_owned());
    }
    let message = format!("say why, in one line of at most {REASON} characters: \"reason\"");
    Err(Refusal::bad_request(message))
}
