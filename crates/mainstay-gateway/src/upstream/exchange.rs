//! One request to one endpoint, up to the head of its answer.
//!
//! What counts is what is known of the request when it fails: a connection that never opened,
//! or a request that hyper hands back, was not sent; anything later may have been executed. A
//! reused connection that closes at once is a case of its own: the server had most likely
//! closed it while idle (RFC 9112, section 9.3.1), so a repeatable request is sent once more,
//! on a fresh connection, without counting as another attempt.

use std::cell::Cell;

use http::{Request, Response};
use hyper::body::Incoming;
use mainstay_policy::{Class, Moment, SentState};

use super::body::OutBody;
use super::connections::{ConnectError, Connection, connect};
use crate::snapshot::Upstream;
use crate::worker::Worker;

/// An exchange whose answer has begun.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The answer's head, and its body to be read.
    pub(crate) response: Response<Incoming>,
    /// To be kept once the body has been read.
    pub(crate) connection: Connection,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) sent: SentState,
}

impl Failure {
    pub(crate) const fn new(class: Class, sent: SentState) -> Self {
        Self { class, sent }
    }
}

/// Sends what `request` makes and waits for the head of the answer.
///
/// `request` makes the same request again as often as it is asked, or `None` where its body can
/// be sent only once and has been. `progress` always tells how much has left us, for a caller
/// that gives up waiting. `put_back` gets a body that was handed out and did not leave us.
pub(crate) async fn exchange(
    (worker, now): (&Worker, Moment),
    upstream: &Upstream,
    (progress, repeatable): (&Cell<SentState>, bool),
    mut request: impl FnMut() -> Option<Request<OutBody>>,
    put_back: impl Fn(OutBody),
) -> Result<Exchange, Failure> {
    let mut unsent: Option<Request<OutBody>> = None;
    let mut forgiven = false;
    loop {
        // A request that was sent once may have been executed, whatever comes of the second try.
        let sent = if forgiven { SentState::MaybeSent } else { SentState::NotSent };
        let opened = checkout((worker, now), upstream, forgiven).await;
        let mut connection = opened.map_err(|failure| Failure::new(failure.class, sent))?;
        let Some(message) = unsent.take().or_else(&mut request) else {
            return Err(Failure::new(Class::Unreachable, SentState::MaybeSent));
        };
        let reused = connection.reused;
        progress.set(SentState::MaybeSent);
        match connection.sender.try_send_request(message).await {
            Ok(response) => {
                progress.set(SentState::Sent);
                return Ok(Exchange { response, connection });
            }
            Err(mut error) => match error.take_message() {
                Some(message) if reused => {
                    progress.set(SentState::NotSent);
                    unsent = Some(message);
                }
                Some(message) => {
                    put_back(message.into_body());
                    return Err(Failure::new(Class::Unreachable, sent));
                }
                None if reused && repeatable && !forgiven && closed_at_once(error.error()) => {
                    forgiven = true;
                }
                None => return Err(Failure::new(class_of(error.error()), SentState::MaybeSent)),
            },
        }
    }
}

/// A connection that is ready for a request: an idle one if there is, unless `fresh` is asked.
async fn checkout(
    at: (&Worker, Moment),
    upstream: &Upstream,
    fresh: bool,
) -> Result<Connection, Failure> {
    if !fresh && let Some(idle) = reusable(at, upstream).await {
        return Ok(idle);
    }
    // Boxed: rare, and large enough to make every request's future a kilobyte bigger.
    let mut opened = Box::pin(connect(upstream)).await.map_err(|error| refuse(&error))?;
    match opened.sender.ready().await {
        Ok(()) => Ok(opened),
        Err(_) => Err(Failure::new(Class::Unreachable, SentState::NotSent)),
    }
}

/// The idle connection that was used last and still lives.
async fn reusable((worker, now): (&Worker, Moment), upstream: &Upstream) -> Option<Connection> {
    loop {
        let mut idle = worker.connections.take(upstream, now)?;
        if idle.sender.is_ready() || idle.sender.ready().await.is_ok() {
            return Some(idle);
        }
    }
}

const fn refuse(error: &ConnectError) -> Failure {
    let class = match error {
        ConnectError::TimedOut => Class::Timeout,
        ConnectError::Io(_) | ConnectError::Handshake(_) => Class::Unreachable,
    };
    Failure::new(class, SentState::NotSent)
}

/// Whether the connection ended before a single byte of an answer.
fn closed_at_once(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || is_reset(error)
}

fn is_reset(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|io| {
            matches!(
                io.kind(),
                std::io::ErrorKind::ConnectionReset
                    | std::io::ErrorKind::BrokenPipe
                    | std::io::ErrorKind::ConnectionAborted
            )
        })
}

/// A body that the client did not finish is its own fault; whatever else ends a connection
/// before an answer makes the server unreachable.
fn class_of(error: &hyper::Error) -> Class {
    if error.is_user() {
        Class::ClientFault
    } else if error.is_parse() {
        Class::BadAnswer
    } else {
        Class::Unreachable
    }
}
