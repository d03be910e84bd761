//! Messages in their frames.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::Read;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;

use crate::Error;

/// A byte that says whether the message is compressed, and its length.
const HEAD: usize = 5;

/// The most that a compressed message may become. A small message can claim to be very large.
const INFLATED: usize = 8 * 1024 * 1024;

/// Where gzip begins (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A message in its frame.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEAD + message.len());
    framed.put_u8(0);
    // No limit of a body lets 4 GiB through.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// What the head of a frame says: whether the message is compressed, and how long it is.
fn head(bytes: &[u8]) -> Option<(bool, usize)> {
    let (head, _) = bytes.split_first_chunk::<HEAD>()?;
    let [flag, length @ ..] = *head;
    Some((flag & 1 == 1, usize::try_from(u32::from_be_bytes(length)).ok()?))
}

/// The bytes of the frame that `bytes` begin with, its head included; `None` while that is cut.
#[must_use]
pub fn frame_length(bytes: &[u8]) -> Option<usize> {
    head(bytes).map(|(_, length)| length.saturating_add(HEAD))
}

/// The first message of a body, as it stands there; `None` where it is not there whole.
#[must_use]
pub fn first(body: &[u8]) -> Option<(bool, &[u8])> {
    let (compressed, length) = head(body)?;
    Some((compressed, body.get(HEAD..HEAD.checked_add(length)?)?))
}

/// The only message of a body, as it stands there, and whether it is compressed.
///
/// # Errors
/// There is none, it is cut, or more follows.
pub fn sole(body: &[u8]) -> Result<(bool, &[u8]), Error> {
    let (compressed, message) = first(body).ok_or(Error::Frame)?;
    if body.len() > HEAD + message.len() { Err(Error::Frame) } else { Ok((compressed, message)) }
}

/// The only message of a body, readable: of compressions, gzip is known.
///
/// # Errors
/// As for [`sole`]; or it is compressed in another way, is no gzip after all, or is too large.
pub fn open(body: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    let (compressed, message) = sole(body)?;
    if compressed { inflate(message).map(Cow::Owned) } else { Ok(Cow::Borrowed(message)) }
}

fn inflate(message: &[u8]) -> Result<Vec<u8>, Error> {
    if !message.starts_with(&GZIP) {
        return Err(Error::Compressed);
    }
    let mut plain = Vec::new();
    let limit = INFLATED as u64 + 1;
    let read = MultiGzDecoder::new(message).take(limit).read_to_end(&mut plain);
    if read.is_err() || plain.len() > INFLATED { Err(Error::Compressed) } else { Ok(plain) }
}

/// Finds the frames of a stream, however it is cut into parts.
#[derive(Debug, Default)]
pub struct Frames {
    /// The beginning of a frame's head.
    head: Vec<u8>,
    /// What is missing of the message.
    left: usize,
    /// Messages that are complete.
    complete: u64,
}

impl Frames {
    /// Looks at the next part of the stream.
    pub fn push(&mut self, mut part: &[u8]) {
        while !part.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(part.len());
                part = &part[taken..];
                self.left -= taken;
                self.complete += u64::from(self.left == 0);
                continue;
            }
            let taken = (HEAD - self.head.len()).min(part.len());
            self.head.extend_from_slice(&part[..taken]);
            part = &part[taken..];
            if let Some((_, length)) = head(&self.head) {
                self.head.clear();
                self.left = length;
                self.complete += u64::from(length == 0);
            }
        }
    }

    /// The messages that are complete.
    #[must_use]
    pub const fn complete(&self) -> u64 {
        self.complete
    }

    /// Whether the stream may end here: no message is cut.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }
}

/// Takes the first frame off the front of `parts`, where it is whole; small copies only.
#[must_use]
pub fn take(parts: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let total: usize = parts.iter().map(Bytes::len).sum();
    let mut beginning = [0; HEAD];
    let mut found = 0;
    for byte in parts.iter().flat_map(|part| part.iter()).take(HEAD) {
        beginning[found] = *byte;
        found += 1;
    }
    let (_, length) = head(&beginning[..found])?;
    let mut wanted = HEAD.checked_add(length).filter(|wanted| *wanted <= total)?;
    if let Some(front) = parts.front_mut().filter(|front| front.len() >= wanted) {
        let frame = front.split_to(wanted);
        if front.is_empty() {
            parts.pop_front();
        }
        return Some(frame);
    }
    let mut frame = BytesMut::with_capacity(wanted);
    while wanted > 0 {
        let front = parts.front_mut()?;
        let taken = wanted.min(front.len());
        frame.put_slice(&front[..taken]);
        front.advance(taken);
        wanted -= taken;
        if front.is_empty() {
            parts.pop_front();
        }
    }
    Some(frame.freeze())
}
