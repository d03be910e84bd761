//! What of a request has not been sent when its connection begins to await the answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use mainstay_tls::Stream;
use tokio::io::AsyncWrite;

use super::body::OutBody;

/// The end of a body in chunks (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The rest of a request, on its way.
#[derive(Debug)]
pub(super) struct Upload {
    /// To be sent first.
    ready: Bytes,
    /// Where more comes from.
    rest: Option<OutBody>,
    /// The bytes that the head has announced and that have not come yet; `None` for chunks.
    left: Option<u64>,
}

impl Upload {
    pub(super) const fn new(ready: Bytes, rest: Option<OutBody>, left: Option<u64>) -> Self {
        Self { ready, rest, left }
    }

    /// Whether all that has come from the client is with the server, and more must come.
    pub(super) const fn waits_for_client(&self) -> bool {
        self.ready.is_empty() && matches!(self.rest, Some(OutBody::Streaming { .. }))
    }

    /// Sends what can be sent now. Ready once all is sent (`true`), or once the server takes no
    /// more (`false`).
    ///
    /// # Errors
    /// The client's body broke off.
    pub(super) fn poll_send(
        &mut self,
        mut stream: Pin<&mut Stream>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, ()>> {
        loop {
            while !self.ready.is_empty() {
                match ready!(stream.as_mut().poll_write(cx, &self.ready)) {
                    Ok(sent) if sent > 0 => self.ready.advance(sent),
                    Ok(_) | Err(_) => return Poll::Ready(Ok(false)),
                }
            }
            // Within TLS, what was written may not have left us; a plain socket owes nothing.
            if ready!(stream.as_mut().poll_flush(cx)).is_err() {
                return Poll::Ready(Ok(false));
            }
            let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(true)) };
            match ready!(Pin::new(rest).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // A client's trailers end with its own connection.
                    let Ok(data) = frame.into_data() else { continue };
                    self.ready = match &mut self.left {
                        Some(left) => {
                            // More or less than was announced would be read as the next request.
                            *left = left.checked_sub(data.len() as u64).ok_or(())?;
                            data
                        }
                        None => chunk(&data),
                    };
                }
                Some(Err(_)) => return Poll::Ready(Err(())),
                None => {
                    self.rest = None;
                    match self.left {
                        Some(0) => {}
                        Some(_) => return Poll::Ready(Err(())),
                        None => self.ready = Bytes::from_static(LAST_CHUNK),
                    }
                }
            }
        }
    }
}

/// One chunk; nothing for no bytes, since an empty one would end the body.
fn chunk(data: &[u8]) -> Bytes {
    if data.is_empty() {
        return Bytes::new();
    }
    let size = format!("{:x}\r\n", data.len());
    let mut chunk = BytesMut::with_capacity(size.len() + data.len() + 2);
    for part in [size.as_bytes(), data, b"\r\n"] {
        chunk.extend_from_slice(part);
    }
    chunk.freeze()
}
