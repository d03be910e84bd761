//! One request to one endpoint, up to the head of its answer.
//!
//! What counts is what is known of the request when it fails: if a connection never opened, or
//! did not take a single byte, it was not sent; anything later may have been executed. A
//! reused connection that closes at once is a case of its own: the server had most likely
//! closed it while idle (RFC 9112, section 9.3.1), so a repeatable request is sent once more,
//! on a fresh connection, without counting as another attempt.

use std::cell::Cell;
use std::pin::pin;

use http::{HeaderMap, Method, Response, Uri};
use mainstay_policy::{Class, Moment, SentState};
use mainstay_protocol::classify::Connecting;
use mainstay_protocol::http1::{self, Instead, RequestHead, write_head};

use super::body::OutBody;
use super::connection::{Broken, Connection, Inbound};
use super::stream::Unopened;
use crate::snapshot::Upstream;
use crate::worker::Worker;

/// How far a request has come, for a caller that gives up waiting.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    /// How much has left us.
    pub(crate) sent: Cell<SentState>,
    /// Whether the client owes a part of its body: all that came is with the server.
    pub(crate) client_owes: Cell<bool>,
}

/// What is sent, but for its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a Method,
    /// Path and query at the endpoint.
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// Whether it failed elsewhere before: what broke there may have broken here too.
    pub(crate) retried: bool,
    /// Sent instead of the headers of these names.
    pub(crate) instead: &'a [Option<Instead>],
}

/// An exchange whose answer has begun.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The answer's head, and its body to be read.
    pub(crate) response: Response<Inbound>,
    /// What brings the body; to be kept once it has been read.
    pub(crate) connection: Connection,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) sent: SentState,
    /// Whether nobody listens there any more: whatever the server held in memory is gone.
    pub(crate) gone: bool,
}

impl Failure {
    pub(crate) const fn new(class: Class, sent: SentState) -> Self {
        Self { class, sent, gone: false }
    }

    /// The server refused or reset the connection before it took a byte.
    const fn gone(sent: SentState) -> Self {
        Self { class: Class::Unreachable, sent, gone: true }
    }
}

/// Sends `outgoing` with the body that `body` makes, and waits for the head of the answer.
///
/// `body` makes the same body again as often as it is asked, or `None` where it can be sent only
/// once and has been. `sending` always tells how far it has come. `put_back` gets a body that was handed out and did not leave us.
pub(crate) async fn exchange(
    (worker, now): (&Worker, Moment),
    upstream: &Upstream,
    (sending, repeatable): (&Sending, bool),
    outgoing: &Outgoing<'_>,
    mut body: impl FnMut() -> Option<OutBody>,
    put_back: impl Fn(OutBody),
) -> Result<Exchange, Failure> {
    let mut unsent: Option<OutBody> = None;
    let mut forgiven = false;
    loop {
        // A request that was sent once may have been executed, whatever comes of the second try.
        let sent = if forgiven { SentState::MaybeSent } else { SentState::NotSent };
        let opened =
            pin!(checkout((worker, now), upstream, (forgiven, outgoing.retried || !repeatable)))
                .await;
        let mut connection = opened.map_err(|why| unopened(worker, upstream, &why, sent))?;
        let Some(body) = unsent.take().or_else(&mut body) else {
            return Err(Failure::new(Class::Unreachable, SentState::MaybeSent));
        };
        let reused = connection.reused;
        match send(worker, &mut connection, upstream, outgoing, body) {
            Ok(()) => sending.sent.set(SentState::MaybeSent),
            Err(body) if reused => {
                unsent = Some(body);
                continue;
            }
            Err(body) => {
                put_back(body);
                return Err(Failure::gone(sent));
            }
        }
        let bodiless = *outgoing.method == Method::HEAD;
        let head = std::future::poll_fn(|cx| {
            let head = connection.poll_head(bodiless, cx);
            sending.client_owes.set(connection.waits_for_client());
            head
        });
        match head.await {
            Ok(head) => {
                sending.sent.set(SentState::Sent);
                return Ok(Exchange { response: response(head), connection });
            }
            Err(Broken::Closed)
                if reused && repeatable && !forgiven && at_once(worker, upstream, now) =>
            {
                forgiven = true;
            }
            Err(broken) => return Err(failure(&broken)),
        }
    }
}

/// Whether so little time has passed since `started` that a connection which has closed was most
/// likely closed before the request came. Later, the request itself may be what closed it.
fn at_once(worker: &Worker, upstream: &Upstream, started: Moment) -> bool {
    worker.clock.now().since(started) <= upstream.connect_timeout
}

/// A connection that is ready for a request: an idle one if there is, unless `fresh` is asked.
/// `wary` looks whether the server has closed it just now: where another attempt failed, and
/// where the request could not be sent again.
async fn checkout(
    (worker, now): (&Worker, Moment),
    upstream: &Upstream,
    (fresh, wary): (bool, bool),
) -> Result<Connection, Unopened> {
    while !fresh && let Some(mut idle) = worker.connections.take(upstream, now) {
        if !wary || !idle.has_just_closed() {
            return Ok(idle);
        }
    }
    // Boxed: rare, and large enough to make every request's future a kilobyte bigger.
    Box::pin(Connection::open(upstream)).await
}

/// What it says of the server that a connection to it did not open.
#[cold]
pub(super) fn unopened(
    worker: &Worker,
    upstream: &Upstream,
    why: &Unopened,
    sent: SentState,
) -> Failure {
    let Unopened::Failed(error) = why else { return Failure::new(why.class(), sent) };
    match Connecting::failed(error) {
        Connecting::Gone => Failure::gone(sent),
        Connecting::Unreachable => Failure::new(Class::Unreachable, sent),
        Connecting::Shortage => {
            worker.shared.short_of(error, &upstream.label);
            Failure::new(Class::Shortage, sent)
        }
    }
}

/// Begins to send; the body comes back if not a byte was sent.
fn send(
    worker: &Worker,
    connection: &mut Connection,
    upstream: &Upstream,
    outgoing: &Outgoing<'_>,
    body: OutBody,
) -> Result<(), OutBody> {
    let length = body.length(outgoing.method);
    let target = outgoing.uri.path_and_query().map_or("/", |target| target.as_str());
    let head = RequestHead {
        method: outgoing.method,
        target,
        host: &upstream.authority,
        fields: outgoing.headers,
        instead: outgoing.instead,
        length,
    };
    let mut scratch = worker.connections.scratch();
    write_head(&head, &mut scratch);
    connection.send(scratch, body, length)
}

fn response(head: http1::Head) -> Response<Inbound> {
    let mut response = Response::new(Inbound(head.body));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// A body that the client did not finish is its own fault; whatever else ends a connection is
/// the server's.
const fn failure(broken: &Broken) -> Failure {
    match broken {
        Broken::Refused => Failure::new(Class::Unreachable, SentState::NotSent),
        Broken::Closed => Failure::new(Class::Unreachable, SentState::MaybeSent),
        Broken::Head(http1::Error::Truncated) => Failure::new(Class::Truncated, SentState::Sent),
        Broken::Head(_) => Failure::new(Class::BadAnswer, SentState::Sent),
        Broken::Client => Failure::new(Class::ClientFault, SentState::MaybeSent),
    }
}
