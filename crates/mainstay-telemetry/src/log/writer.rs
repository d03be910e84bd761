//! The thread that writes log lines, and the bounded queue before it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::error::Error;

/// Lines that may wait: some seconds of a gateway in trouble, about 1 MB.
const QUEUE: usize = 4096;
/// How long the end of the program waits for its last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log is the program's, and so is this count.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Log lines that were dropped because nobody read them fast enough.
#[must_use]
pub fn lines_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Waits when it is dropped until what is queued has been written, for a second at most. Logging
/// goes on after it.
#[derive(Debug)]
#[must_use = "hold it to the end of the program, or the last lines may be lost"]
pub struct Flush {
    queue: SyncSender<Message>,
}

/// Queues one line with each write.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<Message>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before it has been written: say so.
    Flush(SyncSender<()>),
}

/// Starts the thread that writes to `out`.
pub(super) fn start(
    out: impl Write + Send + 'static,
) -> Result<(impl Fn() -> Lines + Send + Sync + 'static, Flush), Error> {
    let (queue, messages) = sync_channel(QUEUE);
    let thread = std::thread::Builder::new().name("log".to_owned());
    thread.spawn(move || write_all(messages, out)).map_err(Error::Thread)?;
    let lines = Lines { queue: queue.clone() };
    Ok((move || lines.clone(), Flush { queue }))
}

/// An output that fails (a closed terminal) does not end the thread: it may come back, and the
/// queue must not fill.
fn write_all(messages: Receiver<Message>, mut out: impl Write) {
    for message in messages {
        match message {
            Message::Line(line) => {
                if out.write_all(&line).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Whoever asked may have stopped waiting.
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        // Where the queue is full of lines that nobody reads, there is nothing to wait for.
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            // Neither outcome could still be told to anyone.
            let _ = written.recv_timeout(PATIENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_queued_is_written_when_the_flush_is_dropped() {
        let sink = Sink::default();
        let (lines, flush) = start(sink.clone()).unwrap();
        for number in 0..100 {
            writeln!(lines(), "line {number}").unwrap();
        }
        drop(flush);
        let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 100);
        assert!(written.ends_with("line 99\n"));
    }

    #[test]
    fn a_writer_that_hangs_holds_up_nobody() {
        let sink = Sink::default();
        let held = sink.0.lock().unwrap();
        let (lines, flush) = start(sink.clone()).unwrap();
        let before = lines_lost();
        for _ in 0..QUEUE + 100 {
            lines().write_all(b"x").unwrap();
        }
        assert!(lines_lost() >= before + 99);
        drop(held);
        drop(flush);
    }
}
