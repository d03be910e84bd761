//! Taking the parts of an answer's body out of a buffer (RFC 9112, sections 6 and 7).

use bytes::{Bytes, BytesMut};

use super::Error;

/// The longest line between chunks: its size with extensions, or a trailer field.
const MAX_LINE: usize = 4096;

/// The most bytes of trailers; they are read and dropped.
const MAX_TRAILERS: usize = 16 * 1024;

/// What is at hand of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Its next bytes; never empty.
    Part(Bytes),
    /// Nothing until more has been read; at least so many bytes are still to come (0: unknown).
    More(u64),
    /// It has ended.
    End,
}

/// Reads one body; made by the head before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoder(State);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are left; 0 is the end.
    Length(u64),
    UntilClose,
    /// The line with the next chunk's size comes.
    ChunkSize,
    /// So many bytes of the chunk are left.
    Chunk(u64),
    /// The end of a chunk's line comes.
    ChunkEnd,
    /// Trailers come; so many bytes of them were read.
    Trailers(usize),
}

impl Decoder {
    /// Of an answer without a body.
    #[must_use]
    pub(super) const fn none() -> Self {
        Self(State::Length(0))
    }

    pub(super) const fn length(bytes: u64) -> Self {
        Self(State::Length(bytes))
    }

    pub(super) const fn chunked() -> Self {
        Self(State::ChunkSize)
    }

    pub(super) const fn until_close() -> Self {
        Self(State::UntilClose)
    }

    /// Whether the body has ended.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self.0, State::Length(0))
    }

    /// The bytes still to come, where they are known.
    #[must_use]
    pub const fn left(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Whether only the end of the connection ends the body.
    pub(super) const fn is_until_close(&self) -> bool {
        matches!(self.0, State::UntilClose)
    }

    /// Takes what is at hand of the body out of `buffer`.
    ///
    /// # Errors
    /// Chunks that cannot be told apart; the connection is lost.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Step, Error> {
        loop {
            match &mut self.0 {
                State::Length(0) => return Ok(Step::End),
                State::Length(left) => return Ok(take(buffer, left)),
                State::Chunk(left) => {
                    let step = take(buffer, left);
                    if *left == 0 {
                        self.0 = State::ChunkEnd;
                    }
                    return Ok(step);
                }
                State::UntilClose if buffer.is_empty() => return Ok(Step::More(0)),
                State::UntilClose => return Ok(Step::Part(buffer.split().freeze())),
                State::ChunkEnd => match line(buffer)? {
                    Some(line) if line.is_empty() => self.0 = State::ChunkSize,
                    Some(_) => return Err(Error::Chunk),
                    None => return Ok(Step::More(0)),
                },
                State::ChunkSize => match line(buffer)? {
                    Some(line) => self.0 = after_size(chunk_size(&line)?),
                    None => return Ok(Step::More(0)),
                },
                State::Trailers(read) => match line(buffer)? {
                    Some(line) if line.is_empty() => self.0 = State::Length(0),
                    Some(line) => {
                        *read += line.len();
                        if *read > MAX_TRAILERS {
                            return Err(Error::Chunk);
                        }
                    }
                    None => return Ok(Step::More(0)),
                },
            }
        }
    }

    /// The connection has ended: so has the body, if nothing else could end it.
    ///
    /// # Errors
    /// The body had not ended.
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        if !matches!(self.0, State::UntilClose | State::Length(0)) {
            return Err(Error::Truncated);
        }
        self.0 = State::Length(0);
        Ok(())
    }
}

const fn after_size(size: u64) -> State {
    if size == 0 { State::Trailers(0) } else { State::Chunk(size) }
}

fn take(buffer: &mut BytesMut, left: &mut u64) -> Step {
    if buffer.is_empty() {
        return Step::More(*left);
    }
    let at_hand = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
    *left -= at_hand as u64;
    Step::Part(buffer.split_to(at_hand).freeze())
}

/// Takes a line without its end out of `buffer`; `None` while it is not complete.
fn line(buffer: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
    let Some(end) = buffer.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if buffer.len() >= MAX_LINE { Err(Error::Chunk) } else { Ok(None) };
    };
    let mut line = buffer.split_to(end + 1);
    line.truncate(end);
    // A line ends in CR LF; a lone LF would let two readers see two different chunks.
    if line.last() != Some(&b'\r') {
        return Err(Error::Chunk);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size at the beginning of a chunk's line; extensions are passed over.
fn chunk_size(line: &[u8]) -> Result<u64, Error> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Error::Chunk);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Error::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| Error::Chunk)
}
