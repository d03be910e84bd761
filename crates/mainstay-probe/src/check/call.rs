//! One call about one model: to load it, to unload it.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use mainstay_config::{Call, EndpointUrl};
use mainstay_protocol::oip::path;

use super::http::{Question, exchange};

/// The most of a refusal that is read, in bytes.
const BODY_LIMIT: usize = 4 * 1024;
/// The most of it that is told, in characters.
const TOLD: usize = 200;

/// Makes the call for this model, within `limit`; any success will do.
///
/// # Errors
/// It was not answered, or refused: says why, with the beginning of the answer.
pub async fn call(
    address: &EndpointUrl,
    call: &Call,
    model: &str,
    limit: Duration,
) -> Result<(), String> {
    let called = tokio::time::timeout(limit, make(address, call, model));
    called.await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

async fn make(address: &EndpointUrl, call: &Call, model: &str) -> Result<(), String> {
    let json = HeaderValue::from_static("application/json");
    let path = call.path.replace("{model}", &path::segment(model));
    let question = Question {
        method: call.method.clone(),
        path: format!("{}{path}", address.prefix),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
        body: call.body.clone().into(),
    };
    let answer = exchange(address, question).await.map_err(|found| found.detail)?;
    let (status, text) = answer.text(BODY_LIMIT).await;
    if status.is_success() {
        return Ok(());
    }
    let text: String = text.chars().take(TOLD).collect();
    Err(format!("HTTP {}: {}", status.as_u16(), text.replace('\n', " ")))
}
