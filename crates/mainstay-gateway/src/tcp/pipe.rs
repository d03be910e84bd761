//! Pipes through which the kernel moves bytes from one socket to the other (splice(2)), so that
//! they are never copied here.
//!
//! A pipe is held only while bytes are in it, so a worker needs as many as it has connections that
//! move a lot at the same moment, not as many as it has connections.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Room in one pipe, in bytes, as far as the system grants it (its own default is 64 KiB).
const ROOM: usize = 256 * 1024;

/// Empty pipes that one worker keeps.
const KEPT: usize = 64;

/// A pipe and what is in it.
#[derive(Debug)]
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one does as well.
        let _granted = fcntl_setpipe_size(&into, ROOM);
        Ok(Self { out, into, held: 0 })
    }

    /// Whether nothing is in it.
    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what the socket has; 0 at its end.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = splice(from, None, &self.into, None, ROOM, flags)?;
        self.held += moved;
        Ok(moved)
    }

    /// Gives the socket what it takes.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = splice(&self.out, None, to, None, self.held, flags)?;
        self.held -= moved;
        Ok(moved)
    }
}

/// The empty pipes of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pipes(RefCell<Vec<Pipe>>);

impl Pipes {
    /// An empty pipe.
    ///
    /// # Errors
    /// The system has none left.
    pub(super) fn take(&self) -> io::Result<Pipe> {
        let kept = self.0.borrow_mut().pop();
        kept.map_or_else(Pipe::new, Ok)
    }

    /// An empty pipe is not needed any more.
    pub(super) fn give_back(&self, pipe: Pipe) {
        let mut kept = self.0.borrow_mut();
        if pipe.is_empty() && kept.len() < KEPT {
            kept.push(pipe);
        }
    }
}
