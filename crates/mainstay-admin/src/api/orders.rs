//! `POST /v1/orders`, `GET /v1/orders` and `GET /v1/forecast`: operators move traffic, or ask what
//! would come of it.
//!
//! One path for all verbs, since they are one thing: an order with a reason, about an endpoint, a
//! zone, a region or a pool. Every fault of a body is told before anything is done.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use mainstay_control::forecast::Forecast;
use mainstay_control::orders::Scope;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Gateway;
use super::breakers::reason;
use crate::code::Code;
use crate::instruction::{Act, Carried, Instruction};
use crate::refusal::Refusal;

/// The longest that an order with an end may last: a month. Longer is until it is taken back.
pub const LONGEST_ORDER: Duration = Duration::from_hours(31 * 24);
/// What a weight can be multiplied by. Less is a drain.
const FACTORS: std::ops::RangeInclusive<f32> = 0.01..=100.0;
/// What is kept of a dry run, which needs no reason.
const NO_REASON: &str = "a dry run";

/// The body. A key that is misspelt must not make an order meet more than it was meant to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    verb: Verb,
    pool: Option<String>,
    endpoint: Option<String>,
    zone: Option<String>,
    region: Option<String>,
    to: Option<String>,
    factor: Option<f32>,
    reason: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verb {
    Drain,
    Undrain,
    Maintenance,
    EndMaintenance,
    Weight,
    Failover,
    Failback,
}

/// What a forecast is asked for: exactly one of an endpoint, a zone and a region dies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pool: Option<String>,
    endpoint: Option<String>,
    zone: Option<String>,
    region: Option<String>,
}

pub(super) async fn order(
    State(source): Gateway,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Carried>, Refusal> {
    let body: Body = serde_json::from_slice(&body?)?;
    let instruction = body.validate()?;
    let carried = tokio::task::spawn_blocking(move || source.order(&instruction)).await;
    let panicked = |error: tokio::task::JoinError| {
        let message = format!("the order met a fault of the gateway's own: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Code::OrdersFile, message)
    };
    Ok(Json(carried.map_err(panicked)??))
}

pub(super) async fn list(State(source): Gateway) -> Json<Value> {
    Json(json!({"orders": source.orders()}))
}

pub(super) async fn forecast(
    State(source): Gateway,
    query: Result<Query<About>, QueryRejection>,
) -> Result<Json<Forecast>, Refusal> {
    let Query(about) = query?;
    let scope = about.scope()?;
    if let Scope::Pool(_) = scope {
        return Err(Refusal::bad_request("say which endpoint of the pool dies: \"endpoint\""));
    }
    Ok(Json(source.forecast(&scope)?))
}

impl About {
    /// One thing, and not two that contradict each other.
    fn scope(self) -> Result<Scope, Refusal> {
        match (self.pool, self.endpoint, self.zone, self.region) {
            (Some(pool), Some(endpoint), None, None) => Ok(Scope::Endpoint { pool, endpoint }),
            (Some(pool), None, None, None) => Ok(Scope::Pool(pool)),
            (None, None, Some(zone), None) => Ok(Scope::Zone(zone)),
            (None, None, None, Some(region)) => Ok(Scope::Region(region)),
            _ => Err(Refusal::bad_request(
                "say whom it meets, in one way: \"pool\" and \"endpoint\", \"zone\" or \"region\"",
            )),
        }
    }
}

impl Body {
    fn validate(self) -> Result<Instruction, Refusal> {
        let act = self.act()?;
        let lasts = self.lasts(&act)?;
        let reason = match &self.reason {
            None if self.dry_run => NO_REASON.to_owned(),
            text => reason(text.as_deref().unwrap_or_default())?,
        };
        let (force, dry_run) = (self.force, self.dry_run);
        let about = About {
            pool: self.pool,
            endpoint: self.endpoint,
            zone: self.zone,
            region: self.region,
        };
        let scope = about.scope()?;
        check(&act, &scope)?;
        Ok(Instruction { act, scope, reason, lasts, force, dry_run })
    }

    fn act(&self) -> Result<Act, Refusal> {
        if self.factor.is_some() && self.verb != Verb::Weight {
            return Err(Refusal::bad_request("\"factor\" belongs to the verb weight"));
        }
        if self.to.is_some() && self.verb != Verb::Failover {
            return Err(Refusal::bad_request("\"to\" belongs to the verb failover"));
        }
        Ok(match self.verb {
            Verb::Drain => Act::Drain,
            Verb::Undrain => Act::Undrain,
            Verb::Maintenance => Act::Maintenance,
            Verb::EndMaintenance => Act::EndMaintenance,
            Verb::Weight => Act::Weight(factor(self.factor)?),
            Verb::Failover => Act::Failover { to: self.to.clone() },
            Verb::Failback => Act::Failback,
        })
    }

    fn lasts(&self, act: &Act) -> Result<Option<Duration>, Refusal> {
        let Some(text) = &self.lasts else { return Ok(None) };
        if !matches!(act, Act::Drain | Act::Maintenance | Act::Weight(_)) {
            let message = format!("\"for\" has no meaning with the verb {}", act.as_str());
            return Err(Refusal::bad_request(message));
        }
        match humantime::parse_duration(text) {
            Ok(lasts) if lasts >= Duration::from_secs(1) && lasts <= LONGEST_ORDER => {
                Ok(Some(lasts))
            }
            Ok(_) => Err(Refusal::bad_request("\"for\" must be at least 1s and at most 31 days")),
            Err(error) => Err(Refusal::bad_request(format!("\"for\": \"{text}\": {error}"))),
        }
    }
}

fn factor(factor: Option<f32>) -> Result<f32, Refusal> {
    match factor {
        Some(factor) if FACTORS.contains(&factor) => Ok(factor),
        _ => Err(Refusal::bad_request(
            "\"factor\" is what the weight is multiplied by, from 0.01 to 100; 1 is as configured, \
             and who is to get nothing is drained",
        )),
    }
}

/// Seats belong to pools, weights to endpoints; whole zones can be drained.
fn check(act: &Act, scope: &Scope) -> Result<(), Refusal> {
    let (fits, takes) = match act {
        Act::Drain | Act::Undrain => {
            (!matches!(scope, Scope::Pool(_)), "an endpoint, a zone or a region")
        }
        Act::Maintenance | Act::EndMaintenance | Act::Weight(_) => {
            (matches!(scope, Scope::Endpoint { .. }), "one endpoint: \"pool\" and \"endpoint\"")
        }
        Act::Failover { .. } => (matches!(scope, Scope::Pool(_)), "a pool"),
        Act::Failback => (
            matches!(scope, Scope::Pool(_) | Scope::Endpoint { .. }),
            "a pool, or one endpoint of it",
        ),
    };
    if fits {
        return Ok(());
    }
    Err(Refusal::bad_request(format!("the verb {} takes {takes}", act.as_str())))
}
