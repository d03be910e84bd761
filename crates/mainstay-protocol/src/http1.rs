//! HTTP/1.1 as a client speaks it (RFC 9112), without I/O: a request's head is written, an
//! answer's head and body are read out of a buffer that the caller fills.
//!
//! httparse finds the fields; what is decided here is how long a body is, what may follow it on
//! the same connection, and which fields concern that connection alone. A body whose length two
//! fields disagree on is refused: to guess is how one answer is taken for the next.

mod body;
mod head;
mod request;

#[cfg(test)]
mod tests;

pub use body::{Decoder, Step};
pub use head::{Head, read_head};
pub use request::{Instead, Length, RequestHead, write_head};

/// The longest head of an answer that is read: above what servers themselves send by default.
pub const MAX_HEAD: usize = 64 * 1024;

/// The most fields of an answer's head.
pub const MAX_FIELDS: usize = 100;

/// Why an answer cannot be read. The server is to blame for every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The head is no HTTP/1.1.
    #[error("the answer's head is malformed")]
    Head,
    /// It is longer than [`MAX_HEAD`] or has more than [`MAX_FIELDS`] fields.
    #[error("the answer's head is too long")]
    HeadTooLong,
    /// 101: the connection would speak another protocol from now on, which nobody asked for.
    #[error("the server switched to another protocol")]
    Upgraded,
    /// Content-Length is no number, or several that differ.
    #[error("the answer's Content-Length cannot be believed")]
    Length,
    /// A transfer coding other than chunked.
    #[error("the answer comes in an unknown transfer coding")]
    TransferCoding,
    /// A chunk that does not begin or end as it must.
    #[error("the answer's chunks are malformed")]
    Chunk,
    /// The connection ended before the body.
    #[error("the answer stopped before its end")]
    Truncated,
}
