//! Bytes from one side to the other, both ways, until both are done.
//!
//! Small messages are copied through one buffer that all connections of a worker share: a
//! connection that idles costs no memory. Where reads fill the buffer, bytes are moved through a
//! pipe instead and never seen here; where the system cannot do that, copying goes on.
//!
//! An end of the one side is passed on when everything before it has been: the other side may go
//! on for as long as it likes. A reset is no end, and must not be taken for one: it is passed on
//! as a reset.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::listener::End;
use super::pipe::{Pipe, Pipes};
use super::session::Session;

/// The shared buffer of a worker: reads that fill it are many enough to be spliced.
const BUFFER: usize = 32 * 1024;

/// A read of less than this ends the splicing: it was the rest of something large.
const SMALL: usize = 8 * 1024;

/// The most that is held of what a client sent, to be sent again elsewhere.
const HELD: usize = 16 * 1024;

/// What the connections of one worker share.
#[derive(Debug)]
pub(super) struct Desk {
    buffer: RefCell<Box<[u8]>>,
    pipes: Pipes,
}

impl Default for Desk {
    fn default() -> Self {
        Self { buffer: RefCell::new(vec![0; BUFFER].into()), pipes: Pipes::default() }
    }
}

/// Both ways of a connection.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// From the client.
    pub(super) up: Way,
    /// To the client.
    pub(super) down: Way,
    /// What the client sent, as long as it may have to be sent again.
    held: Option<Vec<u8>>,
}

/// One way.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Read and not written yet, from `written` on.
    pending: Vec<u8>,
    written: usize,
    /// The same, in a pipe.
    pipe: Option<Pipe>,
    /// Whether the last read was a large one.
    bulk: bool,
    /// Whether these sockets cannot be spliced.
    plain: bool,
    /// Whether its source has ended.
    ended: bool,
    /// Whether its sink was told.
    told: bool,
    /// Bytes that were read.
    moved: u64,
    /// Bytes that were written.
    passed: u64,
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Both sides were done.
    Done,
    /// The client reset it.
    ByClient,
    /// The endpoint reset it, or ended it before a byte had come of it.
    ByServer,
    /// The gateway ends it.
    Ordered(End),
}

/// Which side a way broke at.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Source,
    Sink,
}

impl Ways {
    /// These are the first bytes of the client's, read before.
    pub(super) fn begin_with(&mut self, bytes: Vec<u8>) {
        self.up.moved = bytes.len() as u64;
        self.up.pending = bytes;
    }

    /// From now on, what the client sends is held while nothing has come back.
    pub(super) fn hold(&mut self) {
        if self.held.is_none() && !self.has_sent() {
            self.held = Some(self.up.pending.clone());
        }
    }

    /// Whether another endpoint can have everything that the client sent: it is still here, nothing
    /// has come back of it, and the last endpoint's pool lets it be sent again (`repeatable`).
    pub(super) fn is_whole(&self, repeatable: bool) -> bool {
        self.down.moved == 0 && (!self.has_sent() || (repeatable && self.held.is_some()))
    }

    /// Whether an endpoint was given anything of the client's.
    pub(super) const fn has_sent(&self) -> bool {
        self.up.written > 0 || self.up.moved != self.up.pending.len() as u64
    }

    /// Prepares for another endpoint, which gets everything from the beginning.
    pub(super) fn rewind(&mut self) {
        self.down = Way::default();
        if let Some(held) = &self.held {
            (self.up.pending, self.up.written) = (held.clone(), 0);
        }
        self.up.told = false;
    }
}

impl Way {
    fn poll(
        &mut self,
        (from, to): (&mut ReadHalf<'_>, &mut WriteHalf<'_>),
        (session, desk, held): (&Session, &Desk, &mut Option<Vec<u8>>),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if session.is_fenced() {
                // Not a byte more; the relay finds out at once.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.poll_flush(to, desk, cx)).map_err(|_| Broken::Sink)?;
            if self.ended {
                return Poll::Ready(self.tell_end(to));
            }
            let read = if self.bulk && !self.plain && held.is_none() {
                ready!(self.poll_splice(from, desk, cx))
            } else {
                ready!(self.poll_copy((&mut *from, &mut *to), (desk, &mut *held), cx))?
            };
            match read {
                Ok(0) => self.ended = true,
                Ok(read) => self.moved += read as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if cannot_splice(&error) && self.bulk => self.plain = true,
                Err(_) => return Poll::Ready(Err(Broken::Source)),
            }
        }
    }

    /// Tells the sink that nothing comes any more.
    fn tell_end(&mut self, to: &WriteHalf<'_>) -> Result<(), Broken> {
        if !std::mem::replace(&mut self.told, true) {
            SockRef::from(to.as_ref()).shutdown(Shutdown::Write).map_err(|_| Broken::Sink)?;
        }
        Ok(())
    }

    /// Writes what was read before.
    fn poll_flush(
        &mut self,
        to: &mut WriteHalf<'_>,
        desk: &Desk,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(pipe) = &mut self.pipe {
            if pipe.is_empty() {
                self.pipe.take().map_or_else(|| {}, |pipe| desk.pipes.give_back(pipe));
                break;
            }
            let to = to.as_ref();
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                Ok(drained) => self.passed += drained as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            let written = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            self.written += written;
            self.passed += written as u64;
        }
        if self.written > 0 {
            (self.pending, self.written) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into the shared buffer and writes as much of it as goes.
    fn poll_copy(
        &mut self,
        (from, to): (&mut ReadHalf<'_>, &mut WriteHalf<'_>),
        (desk, held): (&Desk, &mut Option<Vec<u8>>),
        cx: &mut Context<'_>,
    ) -> Poll<Result<io::Result<usize>, Broken>> {
        let mut buffer = desk.buffer.borrow_mut();
        let mut room = ReadBuf::new(&mut buffer);
        if let Err(error) = ready!(Pin::new(from).poll_read(cx, &mut room)) {
            return Poll::Ready(Ok(Err(error)));
        }
        let bytes = room.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(Ok(0)));
        }
        keep(held, bytes);
        self.bulk = bytes.len() == BUFFER;
        let written = match Pin::new(to).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) => {
                // Another endpoint may still have them.
                self.pending.extend_from_slice(bytes);
                self.moved += bytes.len() as u64;
                return Poll::Ready(Err(Broken::Sink));
            }
            Poll::Pending => 0,
        };
        self.passed += written as u64;
        if written < bytes.len() {
            self.pending.extend_from_slice(&bytes[written..]);
        }
        Poll::Ready(Ok(Ok(bytes.len())))
    }

    /// Takes what the source has into a pipe.
    fn poll_splice(
        &mut self,
        from: &ReadHalf<'_>,
        desk: &Desk,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let from = from.as_ref();
        ready!(from.poll_read_ready(cx))?;
        let Ok(mut pipe) = desk.pipes.take() else {
            self.bulk = false;
            return Poll::Ready(Err(io::ErrorKind::WouldBlock.into()));
        };
        let moved = from.try_io(Interest::READABLE, || pipe.fill(from));
        if let Ok(moved) = moved {
            self.bulk = moved >= SMALL;
        }
        if pipe.is_empty() {
            desk.pipes.give_back(pipe);
        } else {
            self.pipe = Some(pipe);
        }
        Poll::Ready(moved)
    }
}

/// Holds what a client sent, as long as there is room for all of it.
fn keep(held: &mut Option<Vec<u8>>, bytes: &[u8]) {
    if let Some(kept) = held {
        if kept.len() + bytes.len() > HELD {
            *held = None;
        } else {
            kept.extend_from_slice(bytes);
        }
    }
}

/// Whether the system does not splice these sockets at all.
fn cannot_splice(error: &io::Error) -> bool {
    let codes = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
    error.raw_os_error().is_some_and(|code| codes.iter().any(|known| known.raw_os_error() == code))
}

/// Passes bytes on until both sides are done, one breaks, or the gateway ends it.
pub(super) async fn relay(
    desk: &Desk,
    session: &Session,
    (client, server): (&mut TcpStream, &mut TcpStream),
    ways: &mut Ways,
) -> Ended {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    poll_fn(|cx| {
        if let Some(end) = session.ordered(cx) {
            return Poll::Ready(Ended::Ordered(end));
        }
        let Ways { up, down, held } = &mut *ways;
        let before = (up.moved, up.passed, down.moved, down.passed);
        let mut none = None;
        let down_polled =
            down.poll((&mut from_server, &mut to_client), (session, desk, &mut none), cx);
        if down.moved > 0 {
            *held = None;
        }
        // An end before anything has come, while the client still listens for more.
        let stillborn = down.ended && down.moved == 0 && !up.ended;
        if stillborn && !session.is_settled() {
            return Poll::Ready(Ended::ByServer);
        }
        if matches!(down_polled, Poll::Ready(Err(Broken::Source))) {
            // What the client says meanwhile is for the next endpoint.
            return Poll::Ready(Ended::ByServer);
        }
        let up_polled = up.poll((&mut from_client, &mut to_server), (session, desk, held), cx);
        if (up.moved, up.passed, down.moved, down.passed) != before {
            session.moved([up.moved, down.moved]);
        }
        match (up_polled, down_polled) {
            (_, Poll::Ready(Err(Broken::Source))) | (Poll::Ready(Err(Broken::Sink)), _) => {
                Poll::Ready(Ended::ByServer)
            }
            (Poll::Ready(Err(Broken::Source)), _) | (_, Poll::Ready(Err(Broken::Sink))) => {
                Poll::Ready(Ended::ByClient)
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ended::Done),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Has the peer see a reset when the socket is closed: what it got was not everything.
pub(super) fn reset(stream: &TcpStream) {
    // One that is closed already needs none.
    let _gone = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}
