//! What of a request has not been sent when its connection begins to await the answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

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
    chunked: bool,
}

impl Upload {
    pub(super) const fn new(ready: Bytes, rest: Option<OutBody>, chunked: bool) -> Self {
        Self { ready, rest, chunked }
    }

    /// Sends what can be sent now. Ready once all is sent (`true`), or once the server takes no
    /// more (`false`).
    ///
    /// # Errors
    /// The client's body broke off.
    pub(super) fn poll_send(
        &mut self,
        mut stream: Pin<&mut TcpStream>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, ()>> {
        loop {
            while !self.ready.is_empty() {
                match ready!(stream.as_mut().poll_write(cx, &self.ready)) {
                    Ok(sent) if sent > 0 => self.ready.advance(sent),
                    Ok(_) | Err(_) => return Poll::Ready(Ok(false)),
                }
            }
            let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(true)) };
            match ready!(Pin::new(rest).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // A client's trailers end with its own connection.
                    let Ok(data) = frame.into_data() else { continue };
                    self.ready = if self.chunked { chunk(&data) } else { data };
                }
                Some(Err(_)) => return Poll::Ready(Err(())),
                None => {
                    self.rest = None;
                    self.ready = Bytes::from_static(if self.chunked { LAST_CHUNK } else { b"" });
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
