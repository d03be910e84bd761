//! The bytes of a connection to a server: as they are, or within TLS.
//!
//! For a plain connection every look is what it is on the socket, behind one comparison. Within
//! TLS the same looks read records ahead: servers send session tickets after the handshake, which
//! are no word of theirs.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, Speak};
use crate::{Failure, Settings};

/// A connection to a server.
#[derive(Debug)]
pub enum Stream {
    /// In clear text.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    /// Nobody takes it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// TLS did not come about.
    #[error("{0}")]
    Tls(#[from] Failure),
}

impl Stream {
    /// Opens a connection and makes a handshake where `tls` says how. Takes as long as the server
    /// does: the caller bounds it.
    ///
    /// # Errors
    /// There is none, or no trust.
    pub async fn open(
        (host, port): (&str, u16),
        tls: Option<&Settings>,
        speak: Speak,
    ) -> Result<Self, Unopened> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(settings) = tls else { return Ok(Self::Plain(stream)) };
        Self::secure(stream, host, &Client::shared(settings), speak).await
    }

    /// Makes a handshake with `host` on a connection that is open.
    ///
    /// # Errors
    /// There is no trust, or no agreement.
    pub async fn secure(
        stream: TcpStream,
        host: &str,
        client: &Client,
        speak: Speak,
    ) -> Result<Self, Unopened> {
        Ok(Self::Tls(Box::new(client.connect(stream, host, speak).await?)))
    }

    /// Takes as much as can be sent, or kept, at once.
    ///
    /// # Errors
    /// Not a byte was sent. `WouldBlock` where there is no room.
    #[inline]
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(stream) => write_within(stream, bytes),
        }
    }

    /// Whether it has taken bytes that have not left us; a flush sends them.
    #[inline]
    pub fn owes(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.wants_write(),
        }
    }

    /// Whether the server has neither closed it nor spoken unasked. Costs no system call while
    /// the socket has nothing to tell.
    pub fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let nothing = stream.try_read(&mut [0]);
                matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(stream) => says_nothing(stream, |stream, buf| stream.try_read(buf)),
        }
    }

    /// Whether the server has closed it, or spoken unasked, since the runtime last looked. Costs
    /// a system call.
    pub fn has_just_closed(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let nothing = SockRef::from(&*stream).peek(&mut [MaybeUninit::uninit()]);
                !matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(stream) => {
                !says_nothing(stream, |stream, buf| (&*SockRef::from(stream)).read(buf))
            }
        }
    }
}

/// Encrypts and sends what goes at once; the rest waits for a flush.
fn write_within(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> io::Result<usize> {
    let (socket, session) = stream.get_mut();
    let taken = session.writer().write(bytes)?;
    let mut left = false;
    while session.wants_write() {
        match session.write_tls(&mut Ready(socket)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => left = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // What has left us may have been received.
            Err(_) if left => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// Writes as far as a socket is ready to take.
struct Ready<'s>(&'s TcpStream);

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads by a function of the socket.
struct Look<'s, F>(&'s TcpStream, F);

impl<F: Fn(&TcpStream, &mut [u8]) -> io::Result<usize>> Read for Look<'_, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (self.1)(self.0, buf)
    }
}

/// Whether a server within TLS has neither closed nor said anything to us, once all that `read`
/// has is read.
fn says_nothing(
    stream: &mut TlsStream<TcpStream>,
    read: impl Fn(&TcpStream, &mut [u8]) -> io::Result<usize> + Copy,
) -> bool {
    let (socket, session) = stream.get_mut();
    loop {
        // What is decrypted already and was not read, or the end, is a word of the server's.
        if !session.wants_read() {
            return false;
        }
        match session.read_tls(&mut Look(socket, read)) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

impl AsyncRead for Stream {
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

impl AsyncWrite for Stream {
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
}
