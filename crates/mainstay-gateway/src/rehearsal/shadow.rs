//! One shadow request: asked, read, and held against what it should be.

use std::borrow::Cow;
use std::fmt::Display;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, RETRY_AFTER,
};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mainstay_config as config;
use mainstay_policy::Class;
use mainstay_policy::rehearsal::Found;
use mainstay_protocol::oip::answer::Response;
use mainstay_protocol::oip::guard::{Asked, Finding};
use mainstay_protocol::oip::{Encoded, JSON_LENGTH_HEADER, agreement, default, infer};
use mainstay_protocol::{Called, Data, Error, Protocol, Tensor, classify, form};
use mainstay_tls::client::Speak;
use tokio::task::JoinSet;

use super::{Sample, Stage};
use crate::embedded::Embedded;
use crate::shared::Shared;
use crate::snapshot::{Member, PoolSource, Source, Upstream};
use crate::upstream;

/// Tells a server that nobody waits for the answer.
static SHADOW: HeaderName = HeaderName::from_static("x-mainstay-shadow");
/// Executes a request once: not what a second one is for.
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Why there is no answer.
enum Miss {
    /// It would have failed a client too.
    Failed(String),
    /// There was no room for a shadow: that says nothing.
    NoRoom,
}

impl Miss {
    fn of(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Asks one stage; `None` where what came of it says nothing.
pub(super) async fn ask(
    shared: &Shared,
    sample: &Sample,
    stage: &Stage,
    rule: &config::Rehearsal,
) -> Option<Found> {
    let started = shared.clock.now();
    let answered =
        tokio::time::timeout(sample.asked.route.deadline, answer_of(shared, sample, stage));
    let answered = answered.await.unwrap_or_else(|_| {
        Err(Miss::Failed(format!("no answer within {:?}", sample.asked.route.deadline)))
    });
    let latency = shared.clock.now().since(started);
    let judged = answered.and_then(|response| {
        judge(sample, stage, &response).map_err(Miss::Failed)?;
        Ok(agreement(sample, &response, rule))
    });
    match judged {
        Ok(agreement) => Some(Found::Good { latency, agreement }),
        Err(Miss::Failed(why)) => Some(Found::Failed(why)),
        Err(Miss::NoRoom) => None,
    }
}

async fn answer_of(shared: &Shared, sample: &Sample, stage: &Stage) -> Result<Response, Miss> {
    let step = &sample.asked.route.steps[stage.step];
    match (&step.source, stage.member(&sample.asked.route)) {
        (Source::Pool(pool), Some(member)) => {
            let limit = shared.snapshot().limits.replay;
            server(sample, (pool, member), limit).await
        }
        (Source::Embedded(embedded), _) => embedded_answer(shared, sample, embedded).await,
        (Source::Default(outputs), _) => fixed(sample, outputs),
        (Source::Pool(_) | Source::LastGood | Source::Fixed(_), _) => Err(Miss::NoRoom),
    }
}

/// What a server says, on a connection of its own.
async fn server(
    sample: &Sample,
    (pool, member): (&PoolSource, &Member),
    limit: usize,
) -> Result<Response, Miss> {
    if pool.protocol == Protocol::OipGrpc {
        // Shadows go over HTTP alone.
        return Err(Miss::NoRoom);
    }
    let request = request(sample, pool, &member.upstream)
        .ok_or_else(|| Miss::Failed("the request cannot be sent there".to_owned()))?;
    let opened = upstream::open(&member.upstream, Speak::Http1).await;
    let stream = opened.map_err(|why| match why.class() {
        Class::Shortage => Miss::NoRoom,
        class => Miss::Failed(format!("no connection ({})", class.as_str())),
    })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(Miss::of)?;
    // Ends with the answer.
    let mut task = JoinSet::new();
    task.spawn(connection);
    let response = sender.send_request(request).await.map_err(Miss::of)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, limit).collect().await.map_err(Miss::of)?.to_bytes();
    let status = head.status.as_u16();
    let later = head.headers.contains_key(RETRY_AFTER);
    match classify::response(pool.flavour, status, later, &body) {
        Err(Class::Capacity) => return Err(Miss::NoRoom),
        Err(class) => return Err(Miss::Failed(format!("HTTP {status} ({})", class.as_str()))),
        Ok(()) => {}
    }
    let json_len = head.headers.get(JSON_LENGTH_HEADER).and_then(|it| it.to_str().ok());
    let json_len = json_len.and_then(|text| text.trim().parse().ok());
    form::read_answer(pool.protocol, (&body, json_len), sample.asked.context()).map_err(Miss::of)
}

/// The request as this endpoint would get it, with the mark of a shadow.
fn request(
    sample: &Sample,
    pool: &PoolSource,
    upstream: &Upstream,
) -> Option<Request<Full<Bytes>>> {
    let asked = &sample.asked;
    let own = form::called(asked.protocol, asked.uri.path())?;
    let translated = pool.protocol != asked.protocol;
    let called = Called {
        model: Cow::Borrowed(pool.model.as_deref().unwrap_or(&own.model)),
        version: pool.version.as_deref().or(own.version.as_deref()).map(Cow::Borrowed),
        tail: if translated { form::infer_tail(pool.protocol) } else { own.tail },
    };
    let mut path = form::path(pool.protocol, &upstream.prefix, &called)?;
    if let Some(query) = asked.uri.query().filter(|_| !translated) {
        path.push('?');
        path.push_str(query);
    }
    let Encoded { body, json_len } = match translated {
        true => form::write_request(pool.protocol, &read(sample).ok()?, asked.context()).ok()?,
        false => Encoded { body: asked.body.clone(), json_len: asked.json_len },
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::try_from(path).ok()?;
    let headers = request.headers_mut();
    headers.clone_from(&asked.headers);
    if translated {
        let media = form::media_type(pool.protocol, json_len.is_some());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        headers.remove(JSON_LENGTH_HEADER);
        let json_len = json_len.map(|len| (JSON_LENGTH_HEADER, HeaderValue::from(len)));
        headers.extend(json_len.map(|(name, len)| (HeaderName::from_static(name), len)));
    }
    for name in [&IDEMPOTENCY_KEY, &ACCEPT_ENCODING, &CONTENT_LENGTH] {
        headers.remove(name);
    }
    headers.insert(HOST, upstream.authority.clone());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(SHADOW.clone(), HeaderValue::from_static("1"));
    Some(request)
}

/// The sample's tensors.
fn read(sample: &Sample) -> Result<infer::Request, Error> {
    let asked = &sample.asked;
    form::read_request(asked.protocol, (&asked.body, asked.json_len), asked.context())
}

/// The headers of a request in JSON.
pub(super) fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

async fn embedded_answer(
    shared: &Shared,
    sample: &Sample,
    embedded: &Embedded,
) -> Result<Response, Miss> {
    let model = embedded.model().ok_or_else(|| {
        Miss::Failed(embedded.problem().unwrap_or_else(|| "it is not loaded".to_owned()))
    })?;
    let request = read(sample).map_err(Miss::of)?;
    match shared.executor.run(model, request.inputs).await {
        Ok(outputs) if outputs.iter().all(is_finite) => {
            Ok(Response { outputs, ..Response::default() })
        }
        Ok(_) => Err(Miss::Failed("its answer is not finite".to_owned())),
        Err(mainstay_onnx::Error::QueueFull(_)) => Err(Miss::NoRoom),
        Err(error) => Err(Miss::of(error)),
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    match &tensor.data {
        Data::Fp32(values) => values.iter().all(|value| value.is_finite()),
        Data::Fp64(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    }
}

fn fixed(sample: &Sample, outputs: &[Tensor]) -> Result<Response, Miss> {
    let asked = &sample.asked;
    let rows = form::rows(asked.protocol, (&asked.body, asked.json_len), asked.context());
    let rows = rows.map_err(Miss::of)?;
    let outputs = default::tensors(outputs, rows, sample.asked.route.batch).map_err(Miss::of)?;
    Ok(Response { outputs, ..Response::default() })
}

/// Whether an answer is one: as the guards want it, and right where the right one is known.
fn judge(sample: &Sample, stage: &Stage, response: &Response) -> Result<(), String> {
    if let Some(golden) = &sample.expected {
        return golden.compare(response).map_err(|wrong| format!("golden answer: {wrong}"));
    }
    let route = &sample.asked.route;
    let guards = &route.guards.each;
    if guards.is_empty() || matches!(route.steps[stage.step].source, Source::Default(_)) {
        return Ok(());
    }
    let request = read(sample).map_err(|e| e.to_string())?;
    let rows = route.batch.then(|| request.rows());
    let asked = Asked { specs: &route.outputs, rows, wanted: &request.outputs };
    match guards.check(response, asked) {
        Finding::Sound => Ok(()),
        Finding::Rows { first, .. } => Err(first.to_string()),
        Finding::Whole(broken) => Err(broken.to_string()),
    }
}

/// Rows that say what the source in use said, and rows compared.
fn agreement(sample: &Sample, response: &Response, rule: &config::Rehearsal) -> Option<(u32, u32)> {
    let (body, json_len) = sample.answer.as_ref()?;
    let asked = &sample.asked;
    let primary = form::read_answer(asked.protocol, (body, *json_len), asked.context()).ok()?;
    let found = agreement::compare(&primary, response, sample.asked.route.batch, rule.tolerance)?;
    Some((found.agreed, found.rows))
}
