//! Golden requests: the whole way to a prediction and back, and was it the right one?
//!
//! Only an answer says something of a model's rightness. A server that is refused, busy, loading
//! or silent says nothing here; other checks and the traffic itself find that out. An answer that
//! is an error of the server's, or cannot be read, is as wrong as a wrong number: the same
//! request was answered rightly when it was recorded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, Response};
use http_body_util::{BodyExt, Limited};
use mainstay_config::EndpointUrl;
use mainstay_policy::Class;
use mainstay_policy::health::{Check, Settings};
use mainstay_protocol::classify::{self, Flavour};
use mainstay_protocol::oip::golden::Golden;
use mainstay_protocol::oip::{JSON_LENGTH_HEADER, answer, path};

use super::http::{Question, exchange};
use super::{Found, ModelName};

/// The most of an answer that is read, in bytes: far above what is worth recording.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// What is asked of a subject, and how often.
#[derive(Clone, Debug)]
pub struct GoldenProbe {
    /// The questions, asked one after the other; the first wrong answer decides a round.
    pub questions: Vec<Arc<Golden>>,
    /// Whose dialect of failures the server speaks.
    pub flavour: Flavour,
    /// How often, how long for each, how many rounds decide.
    pub settings: Settings,
}

/// Asks every question until one is not answered rightly, each within the probe's timeout.
pub async fn round(address: &EndpointUrl, model: Option<&ModelName>, probe: &GoldenProbe) -> Found {
    for golden in &probe.questions {
        let found = within(probe.settings.timeout, ask(address, model, golden, probe.flavour));
        let found = found.await;
        if found.check != Check::Passed {
            return found;
        }
    }
    Found::new(Check::Passed, "golden request answered rightly")
}

async fn within(limit: Duration, asked: impl Future<Output = Found>) -> Found {
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
        Found::new(Check::TimedOut, format!("no answer to a golden request within {limit:?}"))
    })
}

async fn ask(
    address: &EndpointUrl,
    model: Option<&ModelName>,
    golden: &Golden,
    flavour: Flavour,
) -> Found {
    let named = model.map(|model| (&*model.name, model.version.as_deref()));
    let Some((name, version)) = named.or_else(|| golden.model.as_deref().map(|name| (name, None)))
    else {
        return Found::new(Check::NotReady, "a golden request names no model");
    };
    let json = HeaderValue::from_static("application/json");
    let question = Question {
        method: Method::POST,
        path: path::model_path(&address.prefix, name, version, "infer"),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
        body: golden.request.clone(),
    };
    let answer = match exchange(address, question).await {
        Ok(answer) => answer,
        Err(found) => return found,
    };
    let (parts, body) = answer.response.into_parts();
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => judge(&Response::from_parts(parts, body.to_bytes()), golden, flavour),
        Err(error) => Found::new(Check::Failed, format!("an answer broke off: {error}")),
    }
}

fn judge(response: &Response<Bytes>, golden: &Golden, flavour: Flavour) -> Found {
    let (status, body) = (response.status().as_u16(), response.body());
    let retry_after = response.headers().contains_key(RETRY_AFTER);
    match classify::response(flavour, status, retry_after, body) {
        Ok(()) => {}
        Err(class) if declines(class, status) => {
            return Found::new(Check::NotReady, format!("golden request not taken: HTTP {status}"));
        }
        Err(_) => return wrong(format!("HTTP {status}")),
    }
    let json_len = response.headers().get(JSON_LENGTH_HEADER);
    let json_len = json_len.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let compared = answer::parse(body, json_len)
        .map_err(|error| error.to_string())
        .and_then(|answer| golden.compare(&answer).map_err(|mismatch| mismatch.to_string()));
    match compared {
        Ok(()) => Found::new(Check::Passed, "golden request answered rightly"),
        Err(what) => wrong(what),
    }
}

/// Whether the server did not try. A 503 says so as a rule, and 502 and 504 come from something
/// in front of it.
const fn declines(class: Class, status: u16) -> bool {
    matches!(class, Class::NotReady | Class::Capacity) || matches!(status, 502..=504)
}

fn wrong(what: impl std::fmt::Display) -> Found {
    Found::new(Check::Wrong, format!("golden request answered wrongly: {what}"))
}
