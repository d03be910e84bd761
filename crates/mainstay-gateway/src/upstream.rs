//! Connections to endpoints: kept by each worker for itself, so that none is ever locked.
//!
//! A connection has no task of its own: whoever waits for its answer polls its socket. hyper's
//! client, which the first gateway used, hands each request over a channel to a task of the
//! connection and the answer back over two others; that was a fifth of all instructions of a
//! request. What HTTP/1.1 means is decided in `mainstay_protocol::http1`.

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod exchange;
pub(crate) mod http2;
mod messages;
pub(crate) mod stream;
mod upload;

pub(crate) use body::OutBody;
pub(crate) use connection::{Connection, Inbound};
pub(crate) use connections::Connections;
pub(crate) use exchange::{Exchange, Failure, Outgoing, Sending, exchange};
pub(crate) use messages::{Messages, Reader, Renamed, Room};
pub(crate) use stream::open;
