//! The body of a request to an endpoint: kept whole for replay, or streamed through once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use mainstay_protocol::http1::Length;

use super::messages::Reader;

/// What is sent upstream.
#[derive(Debug)]
pub(crate) enum OutBody {
    /// All of it, or nothing when it was sent or never was.
    Whole(Option<Bytes>),
    /// Too large to keep: what has come so far, and the rest as it comes.
    Streaming {
        /// Read before it was known to be too large.
        first: VecDeque<Bytes>,
        /// Still with the client.
        rest: Incoming,
        /// The bytes that may still come.
        left: usize,
    },
    /// A stream of messages, from the first one on.
    Messages(Box<Reader>),
}

impl OutBody {
    /// A body of these bytes; nothing at all for none.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Whether more of it may have to come from the client.
    pub(super) const fn comes_from_client(&self) -> bool {
        !matches!(self, Self::Whole(_))
    }

    /// Whether the client owes a part of it. A stream goes on whenever its client likes: its server
    /// has what it needs to answer, once the first message is there.
    pub(super) const fn is_owed(&self) -> bool {
        matches!(self, Self::Streaming { .. })
    }

    /// Its length, as the head of a request with this method announces it.
    pub(super) fn length(&self, method: &Method) -> Length {
        match self {
            Self::Whole(Some(bytes)) => Length::Known(bytes.len() as u64),
            // A method that is meant to carry something says that it carries nothing
            // (RFC 9110, section 8.6).
            Self::Whole(None) if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
                Length::Known(0)
            }
            Self::Whole(None) => Length::None,
            Self::Streaming { .. } | Self::Messages(_) => {
                self.size_hint().exact().map_or(Length::Chunked, Length::Known)
            }
        }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Messages(reader) => {
                reader.poll_next(cx).map(|next| next.map(|message| message.map(Frame::data)))
            }
            Self::Streaming { first, rest, left } => match first.pop_front() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => {
                    Pin::new(rest).poll_frame(cx).map(|next| next.map(|frame| pass(frame, left)))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Messages(_) => false,
            Self::Streaming { first, rest, .. } => first.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Messages(_) => SizeHint::default(),
            Self::Streaming { first, rest, .. } => {
                let held: u64 = first.iter().map(|bytes| bytes.len() as u64).sum();
                rest.size_hint().exact().map_or_else(SizeHint::default, |exact| {
                    SizeHint::with_exact(exact.saturating_add(held))
                })
            }
        }
    }
}

/// Counts a part against what may still come.
fn pass(
    frame: Result<Frame<Bytes>, hyper::Error>,
    left: &mut usize,
) -> Result<Frame<Bytes>, BodyError> {
    let frame = frame.map_err(BodyError::Client)?;
    let size = frame.data_ref().map_or(0, Bytes::len);
    *left = left.checked_sub(size).ok_or(BodyError::TooLarge)?;
    Ok(frame)
}

/// Why a client's body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the client broke off")]
    Client(#[source] hyper::Error),
    #[error("a message is cut")]
    Cut,
    #[error("the body is larger than it may be")]
    TooLarge,
}
