//! The forecast in words.

use std::time::Duration;

use super::report::{EndpointLoad, Forecast, ModelAnswers, PoolLoad, StepLoad};
use super::{Change, LEAST, View};

/// What would happen, line by line: who takes over, when, and what is missing.
pub(super) fn summary(forecast: &Forecast, change: &Change, view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    for pool in &forecast.pools {
        lines.extend(pool_lines(pool));
        let detection = view.pools.iter().find(|known| known.name == pool.name);
        let detection = detection.map_or(Duration::ZERO, |pool| pool.detection);
        if change.sudden && pool.now >= LEAST {
            lines.push(format!(
                "{}: requests that meet a dead endpoint go on to another one at once; one that \
                 answers nothing is out within about {}",
                pool.name,
                span(detection.as_secs_f64())
            ));
        }
    }
    lines.extend(forecast.models.iter().flat_map(model_lines));
    if forecast.pools.is_empty() {
        lines.push("nothing would change".to_owned());
    } else if forecast.missing < LEAST && forecast.missing_then < LEAST {
        lines.push("no request would go unanswered".to_owned());
    }
    lines
}

fn pool_lines(pool: &PoolLoad) -> Vec<String> {
    let mut lines: Vec<_> = pool.endpoints.iter().filter_map(|e| comes(pool, e)).collect();
    let serves = |e: &&EndpointLoad| e.becomes == "active" && e.then.max(e.meanwhile) >= LEAST;
    let serving: Vec<_> = pool.endpoints.iter().filter(serves).collect();
    if let Some(fullest) = serving.iter().filter_map(|e| full(e)).reduce(f64::max) {
        let count = serving.len();
        let of = if count == 1 { "endpoint" } else { "endpoints" };
        let share = fullest * 100.0;
        lines.push(format!("{}: {count} {of} would serve, the fullest at {share:.0} %", pool.name));
    }
    if pool.short >= LEAST {
        let until =
            if pool.short_then + LEAST < pool.short { ", until a standby is ready" } else { "" };
        lines.push(format!(
            "{}: {} too many for those who are left{until}",
            pool.name,
            rate(pool.short)
        ));
    }
    lines
}

/// How full it would be, where its capacity is known.
fn full(endpoint: &EndpointLoad) -> Option<f64> {
    Some(endpoint.then.max(endpoint.meanwhile) / endpoint.capacity?.max(endpoint.now))
}

/// One who comes into use.
fn comes(pool: &PoolLoad, endpoint: &EndpointLoad) -> Option<String> {
    let ready = endpoint.ready.as_ref()?;
    let when = match (ready.how.as_str(), ready.seconds) {
        ("at-once", _) => "inside the request that needs it".to_owned(),
        ("load", Some(seconds)) => {
            format!("once its models are loaded, in about {}", span(seconds))
        }
        ("load", None) => "once its models are loaded, which was never measured".to_owned(),
        (_, Some(seconds)) => format!("once it is started and loaded, in about {}", span(seconds)),
        (_, None) => "once it is started and loaded, which was never measured".to_owned(),
    };
    let hand = if ready.by_hand { "; to stay in use it waits for: mainstay failover" } else { "" };
    Some(format!("{}/{} would serve {when}{hand}", pool.name, endpoint.name))
}

/// What steps would answer more than now, and what none would.
fn model_lines(model: &ModelAnswers) -> Vec<String> {
    let first = model.steps.iter().position(|step| step.now >= LEAST).unwrap_or_default();
    let more = |step: &&StepLoad| step.meanwhile >= step.now + LEAST;
    let mut lines: Vec<_> = model
        .steps
        .iter()
        .skip(first + 1)
        .filter(more)
        .map(|step| {
            let until =
                if step.then + LEAST < step.meanwhile { ", until a standby is ready" } else { "" };
            let more = rate(step.meanwhile - step.now);
            format!("{}: {more} more would be answered by {}{until}", model.name, step.name)
        })
        .collect();
    if model.missing >= LEAST {
        let until = if model.missing_then + LEAST < model.missing {
            " until a standby is ready"
        } else {
            ""
        };
        let missing = rate(model.missing);
        lines
            .push(format!("{}: {missing} would be shed{until}, lowest priority first", model.name));
    }
    lines
}

fn rate(rate: f64) -> String {
    let digits = usize::from(rate < 10.0);
    format!("{rate:.digits$} requests/s")
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 600.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}
