//! A process's output: into a file that is rotated by size, and its last lines into memory.
//!
//! A thread of its own reads for each process, so that a slow disk holds up nobody else. Whatever
//! the disk does, the pipe is read: a full disk must not stop a server that only logs. What could
//! not be written is dropped, and the tail says so.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::process::wire::Log;

/// Lines that are kept in memory.
const LINES: usize = 20;
/// The longest of them, in characters.
const LONGEST: usize = 400;
/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// The last lines of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    whole: VecDeque<String>,
    begun: Vec<u8>,
    problem: Option<String>,
}

impl Tail {
    /// The lines, the latest last.
    pub(super) fn lines(&self) -> Vec<String> {
        let lines = self.lock();
        let begun = (!lines.begun.is_empty()).then(|| text(&lines.begun));
        lines.whole.iter().cloned().chain(begun).chain(lines.problem.clone()).collect()
    }

    fn take(&self, bytes: &[u8]) {
        let mut lines = self.lock();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = (4 * LONGEST).saturating_sub(lines.begun.len());
            lines.begun.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = text(&std::mem::take(&mut lines.begun));
                lines.whole.push_back(line);
                if lines.whole.len() > LINES {
                    lines.whole.pop_front();
                }
            }
        }
    }

    fn problem(&self, problem: Option<String>) {
        self.lock().problem = problem;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line without control characters, which could write to an operator's terminal.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

/// Copies everything from a pipe until all who write to it have ended.
pub(super) fn copy(mut from: PipeReader, log: &Log, tail: &Tail) {
    let mut file = Rotating::new(log);
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                tail.take(&chunk[..read]);
                let written = file.write(&chunk[..read]);
                tail.problem(written.err().map(|error| {
                    format!("[mainstay: {} cannot be written: {error}]", log.path.display())
                }));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// A file that makes room for itself.
struct Rotating<'l> {
    log: &'l Log,
    open: Option<(File, u64)>,
}

impl<'l> Rotating<'l> {
    const fn new(log: &'l Log) -> Self {
        Self { log, open: None }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut file, size) = match self.open.take() {
            Some(open) => open,
            None => open(&self.log.path)?,
        };
        let (file, size) = if size + bytes.len() as u64 > self.log.size && size > 0 {
            drop(file);
            self.rotate()?;
            let (mut file, size) = open(&self.log.path)?;
            file.write_all(bytes)?;
            (file, size)
        } else {
            file.write_all(bytes)?;
            (file, size)
        };
        self.open = Some((file, size + bytes.len() as u64));
        Ok(())
    }

    /// `log` → `log.1` → `log.2` …; the oldest is dropped.
    fn rotate(&self) -> io::Result<()> {
        for number in (1..self.log.files).rev() {
            let from = numbered(&self.log.path, number);
            if from.exists() {
                fs::rename(from, numbered(&self.log.path, number + 1))?;
            }
        }
        match self.log.files {
            0 => fs::remove_file(&self.log.path),
            _ => fs::rename(&self.log.path, numbered(&self.log.path, 1)),
        }
    }
}

/// For its owner alone: servers log what clients sent.
fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::options().append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_bounded_on_disk_and_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log { path: folder.path().join("deep/server.log"), size: 10_000, files: 2 };
        let (from, mut to) = io::pipe().unwrap();
        let tail = Tail::default();
        let reader = std::thread::spawn({
            let tail = tail.clone();
            move || copy(from, &log, &tail)
        });
        for number in 0..5_000 {
            writeln!(to, "line number {number}").unwrap();
        }
        write!(to, "\u{1b}[2Jthe end").unwrap();
        drop(to);
        reader.join().unwrap();

        let files: Vec<_> = fs::read_dir(folder.path().join("deep")).unwrap().collect();
        assert_eq!(files.len(), 3, "{files:?}");
        for file in files {
            assert!(file.unwrap().metadata().unwrap().len() <= 10_000 + CHUNK as u64);
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES + 1);
        assert_eq!(lines.last().unwrap(), "[2Jthe end", "no control characters");
    }

    #[test]
    fn a_file_that_cannot_be_written_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log { path: folder.path().to_owned(), size: 10, files: 1 };
        let (from, mut to) = io::pipe().unwrap();
        let tail = Tail::default();
        writeln!(to, "hello").unwrap();
        drop(to);
        copy(from, &log, &tail);
        let lines = tail.lines();
        assert_eq!(lines[0], "hello");
        assert!(lines[1].contains("cannot be written"), "{lines:?}");
    }
}
