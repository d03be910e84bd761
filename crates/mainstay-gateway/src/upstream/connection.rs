//! One connection to an endpoint, polled in place by whoever uses it.

use std::cell::RefMut;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use mainstay_policy::Class;
use mainstay_protocol::http1::{self, Decoder, Length, Step, read_head};
use mainstay_tls::Stream;
use mainstay_tls::client::Speak;
use tokio::io::AsyncReadExt;

use super::body::OutBody;
use super::stream::{self, Unopened};
use super::upload::Upload;
use crate::snapshot::Upstream;

/// Room made for each read: a head and a small body fit.
const READ: usize = 8 * 1024;

/// The most room made for one read of a large body.
const READ_MOST: usize = 256 * 1024;

/// Room is made anew only below this. What was read and is still in use keeps its whole buffer
/// alive, so that small parts must share one.
const READ_LEAST: usize = 2 * 1024;

/// A body up to this long is copied behind its head: one write is cheaper than two, and than a
/// list of buffers.
const COPIED: usize = 16 * 1024;

/// One open connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// Read and not yet taken.
    input: BytesMut,
    /// What of the request has still to be sent; an answer may come before its end.
    upload: Option<Box<Upload>>,
    /// Whether it has carried a request before.
    pub(super) reused: bool,
    /// Whether it can carry another one after the answer that is being read.
    keep_alive: bool,
    /// Whether the server stopped taking a request before its end.
    spoilt: bool,
}

/// The body of an answer that a connection brings.
#[derive(Debug)]
pub(crate) struct Inbound(pub(super) Decoder);

impl Inbound {
    /// Whether nothing comes any more.
    pub(crate) const fn is_end(&self) -> bool {
        self.0.is_end()
    }

    /// The bytes still to come, where they are known.
    pub(crate) const fn left(&self) -> Option<u64> {
        self.0.left()
    }
}

/// Why an answer did not come.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection ended before the first byte of an answer.
    Closed,
    /// The server does not take our certificate, which it says after the handshake (TLS 1.3): it
    /// has read nothing.
    Refused,
    /// It ended within the head, or the head cannot be read.
    Head(http1::Error),
    /// The client's own body broke off.
    Client,
}

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// It took too long, or the system or the handshake says why it cannot be.
    pub(super) async fn open(upstream: &Upstream) -> Result<Self, Unopened> {
        let stream = stream::open(upstream, Speak::Http1).await?;
        let input = BytesMut::new();
        Ok(Self { stream, input, upload: None, reused: false, keep_alive: false, spoilt: false })
    }

    /// Whether it has been left in a state in which another request may follow.
    pub(super) fn is_reusable(&self) -> bool {
        self.keep_alive && !self.spoilt && self.upload.is_none() && self.input.is_empty()
    }

    /// Whether the server has neither closed it nor spoken unasked. Costs no system call while
    /// the socket has nothing to tell.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// Whether the server has closed it, or spoken unasked, since the runtime last looked. Costs
    /// a system call.
    pub(super) fn has_just_closed(&mut self) -> bool {
        self.stream.has_just_closed()
    }

    /// Begins to send a request: its `head`, and as much of its `body` as goes along; the rest
    /// follows while the answer is awaited.
    ///
    /// # Errors
    /// Not a byte was sent: the connection had been closed. The body comes back whole.
    pub(super) fn send(
        &mut self,
        mut head: RefMut<'_, Vec<u8>>,
        body: OutBody,
        length: Length,
    ) -> Result<(), OutBody> {
        self.keep_alive = false;
        let along = match &body {
            OutBody::Whole(bytes) => bytes.as_ref().filter(|bytes| bytes.len() <= COPIED),
            OutBody::Streaming { .. } | OutBody::Messages(_) => None,
        };
        if let Some(bytes) = along {
            head.extend_from_slice(bytes);
        }
        let sent = match self.stream.try_write(&head) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(body),
        };
        let missed = &head[sent..];
        let rest = (along.is_none() && length != Length::None).then_some(body);
        if rest.is_some() || !missed.is_empty() || self.stream.owes() {
            let missed = Bytes::copy_from_slice(missed);
            let left = match length {
                Length::Known(bytes) => Some(bytes),
                Length::None => Some(0),
                Length::Chunked => None,
            };
            let left = if rest.is_some() { left } else { Some(0) };
            self.upload = Some(Box::new(Upload::new(missed, rest, left)));
        }
        Ok(())
    }

    /// The head of the answer.
    pub(super) fn poll_head(
        &mut self,
        bodiless: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<http1::Head, Broken>> {
        loop {
            if self.poll_upload(cx).is_err() {
                return Poll::Ready(Err(Broken::Client));
            }
            let read = ready!(self.poll_read(READ, cx));
            if matches!(&read, Err(error) if mainstay_tls::is_refusal(error))
                && self.input.is_empty()
            {
                return Poll::Ready(Err(Broken::Refused));
            }
            if matches!(read, Ok(0) | Err(_)) {
                let error = if self.input.is_empty() {
                    Broken::Closed
                } else {
                    Broken::Head(http1::Error::Truncated)
                };
                return Poll::Ready(Err(error));
            }
            if let Some(head) = read_head(&mut self.input, bodiless).map_err(Broken::Head)? {
                self.keep_alive = head.keep_alive;
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Whether it is the client, and not the server, that everything waits for.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.waits_for_client()) && !self.stream.owes()
    }

    /// The next part of an answer's body.
    pub(crate) fn poll_part(
        &mut self,
        body: &mut Inbound,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Class>>> {
        loop {
            match body.0.next(&mut self.input) {
                Ok(Step::Part(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Ok(Step::End) => return Poll::Ready(None),
                Err(_) => return Poll::Ready(Some(Err(self.lost(Class::BadAnswer)))),
                Ok(Step::More(left)) => {
                    if self.poll_upload(cx).is_err() {
                        return Poll::Ready(Some(Err(self.lost(Class::ClientFault))));
                    }
                    let room = usize::try_from(left).unwrap_or(READ_MOST).clamp(READ, READ_MOST);
                    // A reset is no end, also where the end of the connection would be one.
                    let cut = match ready!(self.poll_read(room, cx)) {
                        Ok(0) => body.0.end_of_input().is_err(),
                        Ok(_) => false,
                        Err(_) => true,
                    };
                    if cut {
                        return Poll::Ready(Some(Err(self.lost(Class::Truncated))));
                    }
                }
            }
        }
    }

    const fn lost(&mut self, class: Class) -> Class {
        self.keep_alive = false;
        class
    }

    /// Reads once; makes `room` where there is little left.
    fn poll_read(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < READ_LEAST {
            self.input.reserve(room);
        }
        pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    /// Sends on what is left of the request. That the server takes no more of it is no error:
    /// it may have answered already. That the client broke off is.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        match upload.poll_send(Pin::new(&mut self.stream), cx) {
            Poll::Ready(Ok(whole)) => {
                self.upload = None;
                self.spoilt = !whole;
            }
            Poll::Ready(Err(broken)) => return Err(broken),
            Poll::Pending => {}
        }
        Ok(())
    }
}
