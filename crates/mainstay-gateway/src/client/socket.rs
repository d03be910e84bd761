//! The bytes of a client's connection: as they are, or within TLS.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use mainstay_tls::ServerStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's socket.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<ServerStream<TcpStream>>),
}

/// What a look ahead finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing has come; whoever looked is woken when something does.
    Nothing,
    /// The client has said more.
    Bytes,
    /// The client has left.
    End,
}

impl Socket {
    /// Looks whether something has come, without taking it from whoever reads.
    #[inline]
    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> Seen {
        match self {
            Self::Plain(stream) => {
                let mut byte = [0];
                match stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
                    Poll::Pending => Seen::Nothing,
                    Poll::Ready(Ok(1..)) => Seen::Bytes,
                    Poll::Ready(Ok(0) | Err(_)) => Seen::End,
                }
            }
            Self::Tls(stream) => look_within(stream, cx),
        }
    }
}

/// Decrypts what has come, until it is something that a reader would get: it waits there, a
/// record at most.
fn look_within(stream: &mut ServerStream<TcpStream>, cx: &mut Context<'_>) -> Seen {
    let (socket, session) = stream.get_mut();
    loop {
        if !session.wants_read() {
            // Something to read is there, or the end.
            return match session.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => Seen::Bytes,
                Ok(state) if !state.peer_has_closed() => Seen::Bytes,
                Ok(_) | Err(_) => Seen::End,
            };
        }
        match session.read_tls(&mut Look { socket, cx }) {
            Ok(0) => return Seen::End,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Seen::Nothing,
            Err(_) => return Seen::End,
        }
        match session.process_new_packets() {
            Ok(state) if state.peer_has_closed() => return Seen::End,
            Ok(state) if state.plaintext_bytes_to_read() > 0 => return Seen::Bytes,
            Ok(_) => {}
            Err(_) => return Seen::End,
        }
    }
}

/// Reads what is there, and has the task woken where nothing is.
struct Look<'s, 'c, 'w> {
    socket: &'s mut TcpStream,
    cx: &'c mut Context<'w>,
}

impl Read for Look<'_, '_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.socket).poll_read(self.cx, &mut buf) {
            Poll::Ready(read) => read.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }
}
