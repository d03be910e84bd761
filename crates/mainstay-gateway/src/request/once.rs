//! A request with an Idempotency-Key: executed once, answered as often as it comes.
//!
//! The request that is executed runs on a task of its own: if its client goes away, whoever
//! repeats it finds its answer and not a second execution.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, Method, Response};
use mainstay_policy::poison::Fingerprint;
use mainstay_telemetry::RequestId;
use mainstay_telemetry::record::End;

use super::ask::Ask;
use super::fault::Fault;
use super::{climb, headers, refuse, reply};
use crate::client::AnswerBody;
use crate::flight::{Closed, Flight};
use crate::idempotency::{Entered, Key, Lease, Stored};
use crate::poison::{fingerprint, first_128};
use crate::timeouts::within;

/// Headers by which callers name themselves.
static CALLER: [HeaderName; 5] = [
    crate::callers::CALLER,
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    COOKIE,
];

/// How long answers are remembered, where the request is one to be executed once.
pub(super) fn rule(ask: &Ask) -> Option<Duration> {
    let lasts = ask.route.remember?;
    let changes = ask.method != Method::GET && ask.method != Method::HEAD;
    (changes && ask.headers.contains_key(headers::IDEMPOTENCY_KEY)).then_some(lasts)
}

/// Executes the request, waits for the one that is being executed, or gives its answer again.
pub(super) async fn answer(
    mut flight: Flight,
    mut ask: Ask,
    lasts: Duration,
) -> Response<AnswerBody> {
    let worker = Rc::clone(&flight.worker);
    let Some(request) = request(&ask) else {
        return refuse(flight, &Fault::not_kept(worker.view().limits.replay));
    };
    let key = key(&ask);
    ask.once = true;
    loop {
        let now = worker.clock.now();
        match worker.shared.answers.enter(key, request, now) {
            Entered::First(lease) => return first(flight, ask, (lease, lasts)).await,
            Entered::Replay(stored) => {
                flight.record.replayed = true;
                return replay(flight, &stored);
            }
            Entered::Mismatch => return refuse(flight, &Fault::key_reused()),
            Entered::Lost => return refuse(flight, &Fault::answer_lost()),
            Entered::Full => {
                let why = "too many idempotency keys at once";
                return refuse(flight, &Fault::no_source(&ask.route.name, why));
            }
            Entered::Wait(mut running) => {
                let left = ask.deadline.remaining(now);
                let mut ended = std::pin::pin!(running.changed());
                if within(&worker, now, left, ended.as_mut()).await.is_none() {
                    return refuse(flight, &Fault::out_of_time(&ask.route.name));
                }
            }
        }
    }
}

/// The caller, as far as it names itself, the model and the key. A key is the caller's own: what
/// another one gets for the same key must not be seen.
fn key(ask: &Ask) -> Key {
    key_of(&ask.headers, &ask.route.name)
}

fn key_of(headers: &HeaderMap, model: &str) -> Key {
    let mut hasher = blake3::Hasher::new();
    part(&mut hasher, model.as_bytes());
    hash_caller(&mut hasher, headers);
    values(&mut hasher, headers, &headers::IDEMPOTENCY_KEY);
    Key(first_128(&hasher.finalize()))
}

/// Adds who asks, as far as the caller names itself.
pub(crate) fn hash_caller(hasher: &mut blake3::Hasher, headers: &HeaderMap) {
    CALLER.iter().for_each(|name| values(hasher, headers, name));
}

/// What the key stands for: method, path, body, and as what the body is to be read. `None` where
/// the body was not kept.
fn request(ask: &Ask) -> Option<Fingerprint> {
    let Fingerprint(asked) = fingerprint(ask)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&asked.to_le_bytes());
    part(&mut hasher, ask.method.as_str().as_bytes());
    values(&mut hasher, &ask.headers, &CONTENT_TYPE);
    Some(Fingerprint(first_128(&hasher.finalize())))
}

/// All values of a header, told apart from those of the next one. HTTP/2 splits cookies.
fn values(hasher: &mut blake3::Hasher, headers: &HeaderMap, name: &HeaderName) {
    let all = headers.get_all(name);
    hasher.update(&(all.iter().count() as u64).to_le_bytes());
    all.iter().for_each(|value| part(hasher, value.as_bytes()));
}

fn part(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

/// Executes the request to its end, whether or not its client stays.
async fn first(
    mut flight: Flight,
    ask: Ask,
    (lease, lasts): (Lease, Duration),
) -> Response<AnswerBody> {
    let closed = Rc::new(Cell::new(None));
    flight.witness = Some(Rc::clone(&closed));
    let (worker, id) = (Rc::clone(&flight.worker), flight.id());
    let (route, model, protocol) = (ask.route.clone(), Arc::clone(&ask.route.name), ask.protocol);
    let run = tokio::task::spawn_local(async move {
        let now = worker.clock.now();
        let response = climb::climb(flight, ask, now).await;
        let (now, closed) = (worker.clock.now(), closed.get());
        let stored = closed.and_then(|closed| stored(&response, id, closed));
        // An answer that streams is not over, and its end is not waited for.
        let executed = closed.is_none_or(|closed| closed.executed);
        let settled = closed.is_some_and(|closed| settled(closed, response.headers()));
        if (settled && stored.is_some()) || (executed && !route.repeatable) {
            lease.remember(stored, lasts, now);
        }
        response
    });
    let response = run.await;
    response.unwrap_or_else(|_| reply::fault(protocol, &Fault::no_source(&model, "it ended early")))
}

/// Whether this is what a server said. A fault of the gateway's own and an answer of lesser quality
/// are not: another time a server may say better.
fn settled(closed: Closed, marks: &HeaderMap) -> bool {
    let own = marks.contains_key(headers::ERROR) || marks.contains_key(headers::DEGRADED);
    closed.executed && !own && matches!(closed.end, End::Answered | End::ClientFault)
}

/// The answer as it can be given again; `None` where it is not whole.
fn stored(response: &Response<AnswerBody>, id: RequestId, closed: Closed) -> Option<Stored> {
    Some(Stored {
        id,
        end: closed.end,
        status: response.status(),
        headers: response.headers().clone(),
        body: response.body().bytes()?,
    })
}

/// Gives an answer again, and says so.
fn replay(flight: Flight, stored: &Stored) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(stored.body.clone()));
    *response.status_mut() = stored.status;
    *response.headers_mut() = stored.headers.clone();
    response.headers_mut().insert(headers::REPLAY_OF, headers::request_id(stored.id));
    flight.end(stored.end, stored.status.as_u16());
    response
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_what_a_server_said_is_given_again() {
        let (plain, error) = (headers(&[]), headers(&[("x-mainstay-error", "MS0221")]));
        let degraded = headers(&[("x-mainstay-degraded", "true")]);
        let table = [
            (End::Answered, true, &plain, true),
            (End::ClientFault, true, &plain, true),
            (End::ClientFault, true, &error, false),
            (End::ClientFault, false, &error, false),
            (End::Answered, true, &degraded, false),
            (End::Answered, false, &plain, false),
            (End::Failed, true, &plain, false),
            (End::Shed, true, &plain, false),
        ];
        for (end, executed, marks, expected) in table {
            let closed = Closed { end, executed };
            assert_eq!(settled(closed, marks), expected, "{closed:?} {marks:?}");
        }
    }

    #[test]
    fn a_key_is_its_callers_own_however_that_names_itself() {
        let callers = [
            headers(&[]),
            headers(&[("authorization", "a")]),
            headers(&[("x-api-key", "a")]),
            headers(&[("api-key", "a")]),
            headers(&[("cookie", "a")]),
            headers(&[("cookie", "a"), ("cookie", "b")]),
            headers(&[("idempotency-key", "a")]),
        ];
        for (at, one) in callers.iter().enumerate() {
            for (other_at, other) in callers.iter().enumerate() {
                assert_eq!(key_of(one, "m") == key_of(other, "m"), at == other_at);
            }
        }
        assert_ne!(key_of(&callers[0], "m"), key_of(&callers[0], "n"));
    }
}
