//! HTTP/2 to endpoints, for protocols that need it: many requests over few connections.
//!
//! Unlike one of HTTP/1.1, a connection here has a task of its own, since nobody waits for it
//! alone: it reads for all of its streams. h2 is used without hyper's client above it, because
//! only h2 tells exactly what became of a request that failed: that it was refused, or that its
//! stream lay beyond the last one of a GOAWAY, which means that it was not executed.
//!
//! ```text
//! Lines     by endpoint: a few connections, opened as streams fill up
//!  └ Line   one connection: counted streams, a sign of life, a task
//!     └ Call   one request and its answer
//! ```
//!
//! A connection is new until its first PING was answered: a peer that accepts and says nothing is
//! found out before anything was sent to it, and the number of streams that it allows is known. A
//! connection that has not said anything for a while, though somebody waits for it, is sent one
//! PING more; without an answer it is given up. No more than that: servers of gRPC close
//! connections that are pinged for nothing ("too_many_pings").
//!
//! Sources: RFC 9113; <https://github.com/grpc/grpc/blob/master/doc/keepalive.md>.

mod call;
mod line;
mod lines;

pub(crate) use call::{Answered, Call, Request, call};
pub(crate) use lines::Lines;
