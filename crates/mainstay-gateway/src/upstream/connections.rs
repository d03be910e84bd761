//! Idle connections of one worker, by endpoint.
//!
//! The one used last is used first, so that the others can grow old and be closed. Connections
//! belong to a worker: its tasks and theirs run on one thread and nothing is shared. A general
//! client pool was measured 10 % slower for its locks and its key hashing.

use std::cell::RefCell;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mainstay_policy::Moment;
use tokio::net::TcpStream;

use super::body::OutBody;
use crate::snapshot::Upstream;

/// One open connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Sends one request after the other.
    pub(crate) sender: SendRequest<OutBody>,
    /// Whether it has carried a request before.
    pub(crate) reused: bool,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<OutBody>,
    since: Moment,
}

/// The idle connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_endpoint: Vec<RefCell<Vec<Idle>>>,
}

impl Connections {
    /// Room for the connections to so many endpoints.
    pub(crate) fn new(endpoints: usize) -> Self {
        Self { by_endpoint: (0..endpoints).map(|_| RefCell::default()).collect() }
    }

    /// The open connection that was used last, if there is one.
    pub(crate) fn take(&self, upstream: &Upstream, now: Moment) -> Option<Connection> {
        let mut idle = self.by_endpoint.get(upstream.index)?.borrow_mut();
        while let Some(candidate) = idle.pop() {
            let fresh = now.since(candidate.since) < upstream.keep_alive;
            if fresh && !candidate.sender.is_closed() {
                return Some(Connection { sender: candidate.sender, reused: true });
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn put(&self, upstream: &Upstream, connection: Connection, now: Moment) {
        if connection.sender.is_closed() || upstream.max_idle == 0 {
            return;
        }
        let Some(idle) = self.by_endpoint.get(upstream.index) else { return };
        let mut idle = idle.borrow_mut();
        if idle.len() >= upstream.max_idle {
            idle.remove(0);
        }
        idle.push(Idle { sender: connection.sender, since: now });
    }

    /// Closes what has been idle for too long, oldest first.
    pub(crate) fn sweep(&self, keep_alive: impl Fn(usize) -> Duration, now: Moment) {
        for (endpoint, idle) in self.by_endpoint.iter().enumerate() {
            let limit = keep_alive(endpoint);
            idle.borrow_mut()
                .retain(|entry| now.since(entry.since) < limit && !entry.sender.is_closed());
        }
    }
}

/// Opens a connection; its task runs beside the worker's others until either side closes it.
pub(crate) async fn connect(upstream: &Upstream) -> Result<Connection, ConnectError> {
    let opening = TcpStream::connect((&*upstream.host, upstream.port));
    let stream = tokio::time::timeout(upstream.connect_timeout, opening)
        .await
        .map_err(|_| ConnectError::TimedOut)?
        .map_err(ConnectError::Io)?;
    stream.set_nodelay(true).map_err(ConnectError::Io)?;
    // One write for head and body: for the small messages of inference a copy is cheaper than
    // what the kernel does for a list of buffers.
    let (sender, connection) = http1::Builder::new()
        .writev(false)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectError::Handshake)?;
    tokio::task::spawn_local(async move {
        // How a connection ended is told to whoever uses it; a task of its own need not say it.
        if let Err(error) = connection.await {
            tracing::trace!(%error, "upstream connection ended");
        }
    });
    Ok(Connection { sender, reused: false })
}

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection within the connect timeout")]
    TimedOut,
    #[error("no connection")]
    Io(#[source] std::io::Error),
    #[error("no HTTP/1.1 connection")]
    Handshake(#[source] hyper::Error),
}
