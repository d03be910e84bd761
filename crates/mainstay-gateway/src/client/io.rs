//! A client's socket, which notes when a request's head begins to come, and who watches it while
//! a request is answered: a client that leaves has no use for the answer.
//!
//! hyper would find that out as well, by reading ahead, for which it makes room anew for every
//! request. To look costs no room, and no system call either while the socket has nothing to
//! tell. A client that closes its sending side has left, as with hyper: nothing tells it from one
//! that has closed both.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;

use super::Client;
use super::socket::{Seen, Socket};
use crate::worker::Worker;

/// The socket of one client.
pub(super) struct ClientIo {
    socket: Rc<Shared>,
    worker: Rc<Worker>,
    client: Rc<Client>,
    /// Whether bytes between requests are the beginning of a head. HTTP/2 also sends frames of
    /// its own there, and bounds its heads itself.
    heads: bool,
}

/// What is read and written by hyper, and looked at by us.
struct Shared {
    stream: RefCell<TokioIo<Socket>>,
    /// Whether bytes wait in it that hyper has no use for yet.
    ahead: Cell<bool>,
}

/// Whoever watches a client while its request is answered.
pub(super) struct Watch {
    socket: Rc<Shared>,
    client: Rc<Client>,
}

impl ClientIo {
    pub(super) fn new(stream: Socket, worker: Rc<Worker>, client: Rc<Client>, heads: bool) -> Self {
        let stream = RefCell::new(TokioIo::new(stream));
        let socket = Rc::new(Shared { stream, ahead: Cell::new(false) });
        Self { socket, worker, client, heads }
    }

    pub(super) fn watch(&self) -> Watch {
        Watch { socket: Rc::clone(&self.socket), client: Rc::clone(&self.client) }
    }

    /// The client takes what is ready for it, or does not.
    fn note_write(&self, blocked: bool) {
        let since = self.client.blocked.get();
        match (blocked, since) {
            (true, None) => self.client.blocked.set(Some(self.worker.coarse_now.get())),
            (false, Some(_)) => self.client.blocked.set(None),
            _ => {}
        }
    }

    /// Bytes came (or the end): between requests they are the beginning of a head.
    fn note_read(&self) {
        self.socket.ahead.set(false);
        if self.heads && self.client.active.get() == 0 && !self.client.in_head.get() {
            self.client.in_head.set(true);
            self.client.since.set(self.worker.coarse_now.get());
        }
    }
}

impl Watch {
    /// Whether the client has left while its request is being answered; whoever polls is woken
    /// when it does. A next request in the socket hides what comes behind it.
    pub(super) fn sees_it_leave(&self, cx: &mut Context<'_>) -> bool {
        if self.client.active.get() == 0 || self.socket.ahead.get() {
            return false;
        }
        match self.socket.stream.borrow_mut().inner_mut().look(cx) {
            Seen::Nothing => false,
            Seen::Bytes => {
                self.socket.ahead.set(true);
                false
            }
            Seen::End => true,
        }
    }
}

impl Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut *self.socket.stream.borrow_mut()).poll_read(cx, buf);
        if result.is_ready() {
            self.note_read();
        }
        result
    }
}

impl Write for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut *self.socket.stream.borrow_mut()).poll_write(cx, buf);
        self.note_write(result.is_pending());
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.stream.borrow_mut()).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.stream.borrow().is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut *self.socket.stream.borrow_mut()).poll_write_vectored(cx, bufs);
        self.note_write(result.is_pending());
        result
    }
}
