//! A client's socket that notes when a request's head begins to come.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Client;
use crate::worker::Worker;

/// The socket of one client.
pub(super) struct ClientIo {
    stream: TokioIo<TcpStream>,
    worker: Rc<Worker>,
    client: Rc<Client>,
    /// Whether bytes between requests are the beginning of a head. HTTP/2 also sends frames of
    /// its own there, and bounds its heads itself.
    heads: bool,
}

impl ClientIo {
    pub(super) fn new(
        stream: TcpStream,
        worker: Rc<Worker>,
        client: Rc<Client>,
        heads: bool,
    ) -> Self {
        Self { stream: TokioIo::new(stream), worker, client, heads }
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
        if self.heads && self.client.active.get() == 0 && !self.client.in_head.get() {
            self.client.in_head.set(true);
            self.client.since.set(self.worker.coarse_now.get());
        }
    }
}

impl Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if result.is_ready() {
            self.note_read();
        }
        result
    }
}

impl Write for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_write(result.is_pending());
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_write(result.is_pending());
        result
    }
}
