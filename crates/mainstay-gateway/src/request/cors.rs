//! Pages of other sites in a browser (the Fetch standard, section 3.2: CORS).
//!
//! A browser asks beforehand whether a page may ask; the gateway answers that itself, since
//! servers of models know nothing of pages. Everything else goes its way, and its answer says who
//! may read it. Who asks is decided by keys and tokens: CORS keeps pages of other sites from using
//! what a browser knows of its user, and nobody else from anything.
//!
//! Source: <https://fetch.spec.whatwg.org/#http-cors-protocol>

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use mainstay_config::{Cors, Origins};

use crate::client::AnswerBody;
use crate::worker::Worker;

/// A request as far as pages of other sites are concerned.
#[derive(Debug)]
pub(super) struct Cross {
    /// The answer to a browser that asks whether a page may ask.
    pub(super) preflight: Option<Response<AnswerBody>>,
    /// What its answer says besides.
    marks: HeaderMap,
}

/// What is to be done for a request, where pages of other sites may ask.
pub(super) fn of(worker: &Worker, parts: &Parts) -> Option<Box<Cross>> {
    let view = worker.view();
    let cors = view.config.listen.cors.as_ref()?;
    let mut marks = HeaderMap::new();
    if matches!(cors.origins, Origins::These(_)) {
        marks.insert(VARY, HeaderValue::from_static("origin"));
    }
    let origin = parts.headers.get(ORIGIN);
    if let Some(allowed) = origin.and_then(|origin| allowed(cors, origin)) {
        marks.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if cors.credentials {
            marks.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        marks.insert(ACCESS_CONTROL_EXPOSE_HEADERS, cors.expose.clone());
    }
    let asks = parts.method == Method::OPTIONS
        && origin.is_some()
        && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let preflight = asks.then(|| preflight(cors, &mut marks));
    Some(Box::new(Cross { preflight, marks }))
}

/// The origin as the answer repeats it; `None` where it may not ask.
fn allowed(cors: &Cors, origin: &HeaderValue) -> Option<HeaderValue> {
    match &cors.origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::These(known) => {
            let same = |it: &&HeaderValue| it.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
            known.iter().find(same).map(|_| origin.clone())
        }
    }
}

fn preflight(cors: &Cors, marks: &mut HeaderMap) -> Response<AnswerBody> {
    marks.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
    if marks.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        marks.insert(ACCESS_CONTROL_ALLOW_METHODS, cors.methods.clone());
        marks.insert(ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.clone());
        marks.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
    }
    let mut response = Response::new(AnswerBody::whole(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

impl Cross {
    /// Marks an answer; what a server said of pages gives way.
    pub(super) fn mark(self, headers: &mut HeaderMap) {
        for name in [
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
        ] {
            headers.remove(name);
        }
        for (name, value) in self.marks {
            let Some(name) = name else { continue };
            if name == VARY {
                headers.append(name, value);
            } else {
                headers.insert(name, value);
            }
        }
    }
}
