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
use mainstay_protocol::oip::{JSON_LENGTH_HEADER, answer, infer, path};
use mainstay_protocol::{Error, Protocol, grpc};

use super::http::{Question, exchange};
use super::{Found, ModelName, rpc};

/// The most of an answer that is read, in bytes: far above what is worth recording.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// What is asked of a subject, and how often.
#[derive(Clone, Debug)]
pub struct GoldenProbe {
    /// The questions, asked one after the other; the first wrong answer decides a round.
    pub questions: Vec<Arc<Golden>>,
    /// What the server speaks.
    pub protocol: Protocol,
    /// Whose dialect of failures the server speaks.
    pub flavour: Flavour,
    /// How often, how long for each, how many rounds decide.
    pub settings: Settings,
}

/// Asks every question until one is not answered rightly, each within the probe's timeout.
pub async fn round(address: &EndpointUrl, model: Option<&ModelName>, probe: &GoldenProbe) -> Found {
    for golden in &probe.questions {
        let found = within(
            probe.settings.timeout,
            ask(address, model, golden, (probe.protocol, probe.flavour)),
        );
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
    (protocol, flavour): (Protocol, Flavour),
) -> Found {
    let named = model.map(|model| (&*model.name, model.version.as_deref()));
    let Some((name, version)) = named.or_else(|| golden.model.as_deref().map(|name| (name, None)))
    else {
        return Found::new(Check::NotReady, "a golden request names no model");
    };
    if protocol == Protocol::OipGrpc {
        return ask_grpc(address, (name, version), golden, flavour).await;
    }
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

async fn ask_grpc(
    address: &EndpointUrl,
    (name, version): (&str, Option<&str>),
    golden: &Golden,
    flavour: Flavour,
) -> Found {
    let framed = infer::parse(&golden.request, None)
        .and_then(|request| grpc::infer::write_request(&request, name))
        .and_then(|sent| match version {
            None => Ok(sent.body),
            Some(version) => {
                grpc::renamed(&grpc::open(&sent.body)?, name, version).map(|it| grpc::frame(&it))
            }
        });
    let framed = match framed {
        Ok(framed) => framed,
        Err(error) => return Found::new(Check::Failed, error.to_string()),
    };
    let said = match rpc::call(address, grpc::INFER, framed, BODY_LIMIT).await {
        Ok(said) => said,
        Err(found) => return found,
    };
    let code = said.code.as_str();
    match classify::grpc(flavour, said.code, &said.message) {
        Ok(()) => compare(grpc::infer::read_answer(&said.body), golden),
        Err(class) if declines(class, said.code.http()) => {
            Found::new(Check::NotReady, format!("golden request not taken: {code}"))
        }
        Err(_) => wrong(code),
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
    compare(answer::parse(body, json_len), golden)
}

fn compare(answer: Result<answer::Response, Error>, golden: &Golden) -> Found {
    let compared = answer
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
